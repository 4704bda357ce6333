//! The routes, published.
//!
//! A config may have ten thousand of them, and whoever publishes them has gates to close. So all that says nothing of services
//! is made ready beforehand, on any thread ([`Drafts`]); then each route is led to its services, a few at a time; and then one
//! pointer is swapped.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::Service;
use crate::endpoint::ServiceName;
use crate::route::{Action, Ask, Changes, Matcher, Redirect, RouteTable, Share, Timeouts, To};

/// A route, and what it does.
#[derive(Debug)]
pub struct Route {
    /// `host/path`, for logs and reports, as its [`Matcher`] is written.
    pub label: Arc<str>,
    /// Where it leads.
    pub way: Way,
    /// What it changes; nothing, for most.
    pub changes: Option<Arc<Changes>>,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// Where a route leads.
#[derive(Debug)]
pub enum Way {
    /// To one service.
    Service(Arc<Service>),
    /// To one of several.
    Split(Split),
    /// The client is sent elsewhere.
    Redirect(Arc<Redirect>),
}

/// Services and their shares. Some of it may lead nowhere.
#[derive(Debug)]
pub struct Split {
    /// Each with the sum of the weights up to it.
    shares: Box<[(u64, Option<Arc<Service>>)]>,
}

/// Routes that do not lead to services yet.
#[derive(Debug, Default)]
pub struct Drafts {
    table: RouteTable<usize>,
    routes: Vec<Draft>,
}

#[derive(Debug)]
struct Draft {
    label: Arc<str>,
    to: DraftTo,
    changes: Option<Arc<Changes>>,
    timeouts: Timeouts,
}

#[derive(Debug)]
enum DraftTo {
    Services(Vec<Share>),
    Redirect(Arc<Redirect>),
}

/// All routes.
#[derive(Debug, Default)]
pub struct Routes {
    drafts: Arc<Drafts>,
    /// Each at the place of its draft.
    routes: Vec<Route>,
}

/// The writer's end.
#[derive(Debug, Clone)]
pub struct Publisher {
    routes: Arc<ArcSwap<Routes>>,
}

/// A worker's end.
#[derive(Debug, Clone)]
pub struct Reader {
    routes: Cache<Arc<ArcSwap<Routes>>, Arc<Routes>>,
}

impl Publisher {
    /// Nothing is routed yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            routes: Arc::default(),
        }
    }

    /// A reader, one for each worker.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            routes: Cache::new(self.routes.clone()),
        }
    }

    /// Replaces all routes at once.
    pub fn publish(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }
}

impl Drafts {
    /// The drafts of these routes.
    pub fn of(routes: impl IntoIterator<Item = (Matcher, Action)>) -> Self {
        let mut drafts = Vec::new();
        let table = RouteTable::build(routes.into_iter().map(|(matcher, action)| {
            let Action {
                to,
                changes,
                timeouts,
            } = action;
            drafts.push(Draft {
                label: matcher.to_string().into(),
                to: match to {
                    To::Services(shares) => DraftTo::Services(shares),
                    To::Redirect(redirect) => DraftTo::Redirect(Arc::new(redirect)),
                },
                changes: (!changes.is_none()).then(|| Arc::new(changes)),
                timeouts,
            });
            (matcher, drafts.len() - 1)
        }));
        Self {
            table,
            routes: drafts,
        }
    }
}

impl Routes {
    /// None of them leads anywhere yet.
    #[must_use]
    pub fn begin(drafts: Arc<Drafts>) -> Self {
        Self {
            routes: Vec::with_capacity(drafts.routes.len()),
            drafts,
        }
    }

    /// Leads the next ones, as many as `most`, to their services. What leads to a service that `find` does not know leads
    /// nowhere. True once all are led.
    pub fn lead(
        &mut self,
        most: usize,
        find: impl Fn(&ServiceName) -> Option<Arc<Service>>,
    ) -> bool {
        let drafts = self.drafts.routes.iter();
        let next = drafts.skip(self.routes.len()).take(most);
        self.routes.extend(next.map(|draft| draft.lead(&find)));
        self.routes.len() == self.drafts.routes.len()
    }

    /// Where a request goes, as [`RouteTable::find`] has it.
    #[must_use]
    pub fn find(&self, ask: &Ask<'_>) -> Option<&Route> {
        self.routes.get(*self.drafts.table.find(ask)?)
    }
}

impl Draft {
    fn lead(&self, find: impl Fn(&ServiceName) -> Option<Arc<Service>>) -> Route {
        Route {
            label: self.label.clone(),
            way: match &self.to {
                DraftTo::Services(shares) => Way::to(shares, find),
                DraftTo::Redirect(redirect) => Way::Redirect(redirect.clone()),
            },
            changes: self.changes.clone(),
            timeouts: self.timeouts,
        }
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

impl Way {
    fn to(shares: &[Share], find: impl Fn(&ServiceName) -> Option<Arc<Service>>) -> Self {
        let mut sum = 0;
        let shares = shares.iter().filter(|share| share.weight > 0);
        let shares = shares.map(|share| {
            sum += u64::from(share.weight);
            (sum, share.service.as_ref().and_then(&find))
        });
        let shares: Box<[_]> = shares.collect();
        match &*shares {
            [(_, Some(service))] => Self::Service(service.clone()),
            _ => Self::Split(Split { shares }),
        }
    }
}

impl Split {
    /// A service by its share; none for the share of what cannot be.
    #[must_use]
    pub fn choose(&self, rng: &mut fastrand::Rng) -> Option<&Arc<Service>> {
        let (whole, _) = self.shares.last()?;
        let at = rng.u64(0..*whole);
        let index = self.shares.partition_point(|(sum, _)| *sum <= at);
        self.shares[index].1.as_ref()
    }

    /// Whether a service has a share of it.
    #[must_use]
    pub fn has(&self, service: &Arc<Service>) -> bool {
        let mut services = self.shares.iter().filter_map(|(_, it)| it.as_ref());
        services.any(|it| Arc::ptr_eq(it, service))
    }
}

impl Reader {
    /// The routes as they are now.
    pub fn routes(&mut self) -> &Arc<Routes> {
        self.routes.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ServiceSettings;

    #[test]
    fn services_get_their_shares() {
        let share = |name: &str, weight| Share {
            service: (!name.is_empty()).then(|| name.into()),
            weight,
        };
        let find = |name: &ServiceName| {
            let settings = Arc::new(ServiceSettings::named(name.clone()));
            (name.as_str() != "unknown").then(|| Arc::new(Service::new(settings, 1)))
        };
        let mut rng = fastrand::Rng::with_seed(3);
        let mut counts = |shares: &[Share]| {
            let Way::Split(split) = Way::to(shares, find) else {
                panic!("{shares:?}");
            };
            let mut counts = std::collections::BTreeMap::new();
            for _ in 0..10_000 {
                let found = split.choose(&mut rng);
                let name = found.map_or("", |service| service.name().as_str());
                *counts.entry(name.to_owned()).or_insert(0) += 1;
            }
            counts
        };
        let split = [
            share("a", 90),
            share("zero", 0),
            share("b", 8),
            share("", 2),
        ];
        let found = counts(&split);
        assert_eq!(found.len(), 3, "{found:?}");
        for (name, wanted) in [("a", 9000), ("b", 800), ("", 200)] {
            let count: i32 = found[name];
            assert!((count - wanted).abs() < 150, "{found:?}");
        }
        assert_eq!(counts(&[share("unknown", 5)])[""], 10_000);
        assert_eq!(counts(&[share("a", 0), share("b", 0)])[""], 10_000);
        assert_eq!(counts(&[])[""], 10_000);
        let most = [share("a", u32::MAX), share("b", u32::MAX)];
        assert!(counts(&most)["a"] > 4800);
        let one = Way::to(&[share("a", 1), share("b", 0)], find);
        assert!(matches!(one, Way::Service(service) if service.name().as_str() == "a"));
    }
}

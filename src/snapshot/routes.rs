//! The routes, published.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::Service;
use crate::endpoint::ServiceName;
use crate::route::{Action, Changes, Matcher, Redirect, RouteTable, Share, To};

/// A route, and what it does.
#[derive(Debug)]
pub struct Route {
    /// `host/path`, for logs and reports, as its [`Matcher`] is written.
    pub label: Arc<str>,
    /// Where it leads.
    pub way: Way,
    /// What it changes; nothing, for most.
    pub changes: Option<Arc<Changes>>,
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

/// All routes.
pub type Routes = RouteTable<Route>;

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
            routes: Arc::new(ArcSwap::from_pointee(RouteTable::build([]))),
        }
    }

    /// A reader, one for each worker.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            routes: Cache::new(self.routes.clone()),
        }
    }

    /// Replaces all routes at once. What leads to a service that `find` does not know leads nowhere.
    pub fn publish(
        &self,
        routes: &[(Matcher, Action)],
        find: impl Fn(&ServiceName) -> Option<Arc<Service>>,
    ) {
        let table = routes.iter().map(|(matcher, action)| {
            let Action { to, changes } = action;
            let route = Route {
                label: matcher.to_string().into(),
                way: match to {
                    To::Services(shares) => Way::to(shares, &find),
                    To::Redirect(redirect) => Way::Redirect(Arc::new(redirect.clone())),
                },
                changes: (!changes.is_none()).then(|| Arc::new(changes.clone())),
            };
            (matcher.clone(), route)
        });
        self.routes.store(Arc::new(RouteTable::build(table)));
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

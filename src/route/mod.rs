//! Which service a request is for: the most specific host, then the exact path, then the longest path prefix, then the most
//! conditions.
//!
//! A [`RouteTable`] is built once for a config and then only read. Finding a route allocates nothing unless the host has
//! capitals, and its cost grows neither with the number of hosts (one look-up for the host itself and one for each domain
//! above it) nor, to speak of, with the number of paths (two binary searches). What a client sends cannot make it slow: no
//! more domains are tried than the longest configured one has labels, and a path is only read as far as some route agrees
//! with it.
//!
//! All of a route is decided together: a host whose paths do not match the request hides no wider host that does, and a
//! route whose conditions do not hold hides no other one. The order is the Gateway API's; routes that it leaves equal come
//! in the order in which they are given.

mod action;
mod change;
mod conditions;
mod fields;
mod matcher;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use action::{Action, Changes, Redirect, RedirectStatus, Scheme, Share, Timeouts, To};
pub use change::{Edits, NewPath, may_be_path};
pub use conditions::{Ask, Conditions};
pub use fields::{may_be_asked, may_be_changed, may_be_changed_back};
pub use matcher::{Host, Matcher, Path};

use matcher::{bare, folded};
use paths::Paths;

/// All routes, ready to be asked.
#[derive(Debug, Clone)]
pub struct RouteTable<T> {
    exact: HashMap<Box<str>, Paths<T>>,
    below: HashMap<Box<str>, Below<T>>,
    any: Paths<T>,
    /// The most labels that a host in `below` has.
    labels_max: usize,
}

/// What is routed below a domain.
#[derive(Debug, Clone)]
struct Below<T> {
    /// Of hosts that have one label more than the domain.
    child: Paths<T>,
    /// Of all.
    any: Paths<T>,
}

impl<T> RouteTable<T> {
    /// The table of these routes. Of equal ones the first wins.
    #[must_use]
    pub fn build(routes: impl IntoIterator<Item = (Matcher, T)>) -> Self {
        let mut exact: HashMap<_, Vec<_>> = HashMap::new();
        let mut below: HashMap<_, [Vec<_>; 2]> = HashMap::new();
        let mut any = Vec::new();
        for (matcher, to) in routes {
            let Matcher {
                host,
                path,
                conditions,
            } = matcher;
            let paths: &mut Vec<_> = match host {
                Host::Exact(host) => exact.entry(key(&host)).or_default(),
                Host::Child(host) => &mut below.entry(key(&host)).or_default()[0],
                Host::Below(host) => &mut below.entry(key(&host)).or_default()[1],
                Host::Any => &mut any,
            };
            paths.push((path, conditions, to));
        }
        let below_of = |paths: [Vec<_>; 2]| {
            let [child, any] = paths.map(Paths::build);
            Below { child, any }
        };
        Self {
            labels_max: below.keys().map(|host| labels(host)).max().unwrap_or(0),
            exact: by_host(exact, Paths::build),
            below: by_host(below, below_of),
            any: Paths::build(any),
        }
    }

    /// Where a request goes: of all routes that match, the one with the most specific host (the host itself, then the
    /// longest `*.` suffix, then any), of those the one for exactly this path, or else with the longest prefix, and of those
    /// the one that asks for its listener, its method, the most fields, the most of its query.
    #[must_use]
    pub fn find(&self, ask: &Ask<'_>) -> Option<&T> {
        let host = folded(bare(ask.host));
        let exact = self.exact.get(&*host).and_then(|paths| paths.find(ask));
        exact
            .or_else(|| self.find_below(&host, ask))
            .or_else(|| self.any.find(ask))
    }

    fn find_below(&self, host: &str, ask: &Ask<'_>) -> Option<&T> {
        if self.below.is_empty() {
            return None;
        }
        // Longer than the longest key cannot match, so that a host of a thousand labels costs no thousand look-ups.
        let start = match host.rmatch_indices('.').nth(self.labels_max) {
            Some((dot, _)) => dot + 1,
            None => 0,
        };
        host[start..]
            .match_indices('.')
            .map(|(dot, _)| start + dot)
            // The host below needs a name of its own: ".example.com" is not one.
            .filter(|&dot| dot > 0)
            .find_map(|dot| {
                let below = self.below.get(&host[dot + 1..])?;
                let is_child = !host[..dot].contains('.');
                let child = is_child.then(|| below.child.find(ask)).flatten();
                child.or_else(|| below.any.find(ask))
            })
    }
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self::build([])
    }
}

fn key(host: &str) -> Box<str> {
    folded(bare(host)).into()
}

fn labels(host: &str) -> usize {
    host.split('.').count()
}

fn by_host<P, B>(routes: HashMap<Box<str>, P>, build: impl Fn(P) -> B) -> HashMap<Box<str>, B> {
    let built = routes.into_iter().map(|(host, paths)| (host, build(paths)));
    built.collect()
}

//! Which service a request is for: the most specific host, then the longest path prefix.
//!
//! A [`RouteTable`] is built once for a config and then only read. Finding a route allocates nothing unless the host has
//! capitals, and its cost grows neither with the number of hosts (one look-up for the host itself and one for each domain
//! above it) nor, to speak of, with the number of paths (a binary search). What a client sends cannot make it slow: no
//! more domains are tried than the longest configured one has labels, and a path is only read as far as some prefix
//! agrees with it.
//!
//! Host and path are decided together: a host whose paths do not match the request hides no wider host that does.

mod matcher;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use matcher::{Host, Matcher};

use matcher::{bare, folded};
use paths::Paths;

/// All routes, ready to be asked.
#[derive(Debug, Clone)]
pub struct RouteTable<T> {
    exact: HashMap<Box<str>, Paths<T>>,
    below: HashMap<Box<str>, Paths<T>>,
    any: Paths<T>,
    /// The most labels that a host in `below` has.
    labels_max: usize,
}

impl<T> RouteTable<T> {
    /// The table of these routes. Of two with the same matcher the first one wins.
    #[must_use]
    pub fn build(routes: impl IntoIterator<Item = (Matcher, T)>) -> Self {
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        let mut any = Vec::new();
        for (Matcher { host, path }, to) in routes {
            let paths: &mut Vec<_> = match host {
                Host::Exact(host) => exact.entry(key(&host)).or_default(),
                Host::Below(host) => below.entry(key(&host)).or_default(),
                Host::Any => &mut any,
            };
            paths.push((path, to));
        }
        Self {
            labels_max: below.keys().map(|host| labels(host)).max().unwrap_or(0),
            exact: by_host(exact),
            below: by_host(below),
            any: Paths::build(any),
        }
    }

    /// Where a request goes: of all routes whose host and path match, the one with the most specific host (the host itself,
    /// then the longest `*.` suffix, then any), and of those the one with the longest path.
    ///
    /// `host` is taken as the request has it: a port, capitals and a trailing dot make no difference. `path` is without its
    /// query.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&T> {
        let host = folded(bare(host));
        let exact = self.exact.get(&*host).and_then(|paths| paths.find(path));
        exact
            .or_else(|| self.find_below(&host, path))
            .or_else(|| self.any.find(path))
    }

    fn find_below(&self, host: &str, path: &str) -> Option<&T> {
        // Longer than the longest key cannot match, so that a host of a thousand labels costs no thousand look-ups.
        let start = match host.rmatch_indices('.').nth(self.labels_max) {
            _ if self.labels_max == 0 => return None,
            Some((dot, _)) => dot + 1,
            None => 0,
        };
        host[start..]
            .match_indices('.')
            .map(|(dot, _)| start + dot)
            // The host below needs a name of its own: ".example.com" is not one.
            .filter(|&dot| dot > 0)
            .find_map(|dot| self.below.get(&host[dot + 1..])?.find(path))
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

fn by_host<T>(routes: HashMap<Box<str>, Vec<(String, T)>>) -> HashMap<Box<str>, Paths<T>> {
    routes
        .into_iter()
        .map(|(host, paths)| (host, Paths::build(paths)))
        .collect()
}

//! The path prefixes of one host, and the longest of them that a path begins with.
//!
//! The prefixes are sorted element by element, so that everything below a prefix stands together, right behind it: `/api`,
//! `/api/x`, `/api-v2`. The last prefix that sorts no later than a path is either the answer, or the answer is one of those
//! that it lies below itself; each knows the next such one.

use std::cmp::Ordering;

/// The routes of one host by path.
#[derive(Debug, Clone)]
pub(super) struct Paths<T> {
    sorted: Vec<Prefix<T>>,
}

#[derive(Debug, Clone)]
struct Prefix<T> {
    /// Without a slash at the end, so that `/` is empty.
    path: Box<str>,
    /// The longest other prefix that this one lies below.
    parent: Option<usize>,
    to: T,
}

impl<T> Paths<T> {
    /// Of two with the same path the first one wins.
    pub(super) fn build(routes: Vec<(String, T)>) -> Self {
        let mut routes: Vec<(Box<str>, T)> = routes
            .into_iter()
            .map(|(path, to)| (path.trim_end_matches('/').into(), to))
            .collect();
        // Stable, so that of two equal ones the first stays.
        routes.sort_by(|(a, _), (b, _)| by_element(a, b));
        routes.dedup_by(|(later, _), (earlier, _)| later == earlier);
        let mut sorted: Vec<Prefix<T>> = Vec::with_capacity(routes.len());
        for (path, to) in routes {
            let last = sorted.len().checked_sub(1);
            let parent = longest(&sorted, last, &path);
            sorted.push(Prefix { path, parent, to });
        }
        Self { sorted }
    }

    /// The route with the longest prefix of this path.
    pub(super) fn find(&self, path: &str) -> Option<&T> {
        let later = self
            .sorted
            .partition_point(|prefix| by_element(&prefix.path, path).is_le());
        let found = longest(&self.sorted, later.checked_sub(1), path)?;
        Some(&self.sorted[found].to)
    }
}

/// The first that covers the path among `from` and those it lies below.
fn longest<T>(sorted: &[Prefix<T>], mut from: Option<usize>, path: &str) -> Option<usize> {
    while let Some(index) = from {
        let prefix = &sorted[index];
        if covers(&prefix.path, path) {
            return Some(index);
        }
        from = prefix.parent;
    }
    None
}

/// Whether the path's first elements are the prefix. The empty one also covers what is no path: `*` of `OPTIONS *`.
fn covers(prefix: &str, path: &str) -> bool {
    prefix.is_empty()
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The order of the bytes, but that a slash comes first.
fn by_element(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| (byte != b'/', byte);
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

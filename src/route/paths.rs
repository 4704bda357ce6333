//! The paths of one host: those matched exactly, and prefixes, of which the longest wins that a path begins with.
//!
//! The prefixes are sorted element by element, so that everything below a prefix stands together, right behind it: `/api`,
//! `/api/x`, `/api-v2`. The last prefix that sorts no later than a path is either the answer, or the answer is one of those
//! that it lies below itself; each knows the next such one.

use std::cmp::Ordering;

use super::Path;

/// The routes of one host by path.
#[derive(Debug, Clone)]
pub(super) struct Paths<T> {
    /// In the order of their bytes.
    exact: Vec<(Box<str>, T)>,
    /// In the order of their elements.
    prefixes: Vec<Prefix<T>>,
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
    pub(super) fn build(routes: Vec<(Path, T)>) -> Self {
        let mut exact: Vec<(Box<str>, T)> = Vec::new();
        let mut prefixes: Vec<(Box<str>, T)> = Vec::new();
        for (path, to) in routes {
            match path {
                Path::Exact(path) => exact.push((path.into(), to)),
                Path::Prefix(path) => prefixes.push((path.trim_end_matches('/').into(), to)),
            }
        }
        // Stable, so that of two equal ones the first stays.
        exact.sort_by(|(a, _), (b, _)| a.cmp(b));
        exact.dedup_by(|(later, _), (earlier, _)| later == earlier);
        prefixes.sort_by(|(a, _), (b, _)| by_element(a, b));
        prefixes.dedup_by(|(later, _), (earlier, _)| later == earlier);
        let mut sorted: Vec<Prefix<T>> = Vec::with_capacity(prefixes.len());
        for (path, to) in prefixes {
            let last = sorted.len().checked_sub(1);
            let parent = longest(&sorted, last, &path);
            sorted.push(Prefix { path, parent, to });
        }
        Self {
            exact,
            prefixes: sorted,
        }
    }

    /// The route for exactly this path, or else the one with its longest prefix.
    pub(super) fn find(&self, path: &str) -> Option<&T> {
        if let Ok(found) = self
            .exact
            .binary_search_by(|(exact, _)| (**exact).cmp(path))
        {
            return Some(&self.exact[found].1);
        }
        let later = self
            .prefixes
            .partition_point(|prefix| by_element(&prefix.path, path).is_le());
        let found = longest(&self.prefixes, later.checked_sub(1), path)?;
        Some(&self.prefixes[found].to)
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

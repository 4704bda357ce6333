//! The paths of one host: those matched exactly, and prefixes, of which the longest wins that a path begins with.
//!
//! The prefixes are sorted element by element, so that everything below a prefix stands together, right behind it: `/api`,
//! `/api/x`, `/api-v2`. The last prefix that sorts no later than a path is either the answer, or the answer is one of those
//! that it lies below itself; each knows the next such one.

use std::cmp::{Ordering, Reverse};
use std::iter::successors;

use super::{Ask, Conditions, Path};

/// The routes of one host by path.
#[derive(Debug, Clone)]
pub(super) struct Paths<T> {
    /// In the order of their bytes.
    exact: Vec<(Box<str>, Choices<T>)>,
    /// In the order of their elements.
    prefixes: Vec<Prefix<T>>,
}

#[derive(Debug, Clone)]
struct Prefix<T> {
    /// Without a slash at the end, so that `/` is empty.
    path: Box<str>,
    /// The longest other prefix that this one lies below.
    parent: Option<usize>,
    choices: Choices<T>,
}

/// The routes of one path, the most specific first.
#[derive(Debug, Clone)]
struct Choices<T>(Vec<(Conditions, T)>);

impl<T> Paths<T> {
    /// Of equal ones the first wins.
    pub(super) fn build(routes: Vec<(Path, Conditions, T)>) -> Self {
        let mut exact: Vec<(Box<str>, Conditions, T)> = Vec::new();
        let mut prefixes: Vec<(Box<str>, Conditions, T)> = Vec::new();
        for (path, conditions, to) in routes {
            match path {
                Path::Exact(path) => exact.push((path.into(), conditions, to)),
                Path::Prefix(path) => {
                    prefixes.push((path.trim_end_matches('/').into(), conditions, to));
                }
            }
        }
        let mut sorted: Vec<Prefix<T>> = Vec::with_capacity(prefixes.len());
        for (path, choices) in by_path(prefixes, by_element) {
            let last = sorted.len().checked_sub(1);
            let parent = covering(&sorted, last, &path).next();
            sorted.push(Prefix {
                path,
                parent,
                choices,
            });
        }
        Self {
            exact: by_path(exact, str::cmp),
            prefixes: sorted,
        }
    }

    /// The first whose conditions hold, of those for exactly this path and then from the longest prefix to the shortest.
    pub(super) fn find(&self, ask: &Ask<'_>) -> Option<&T> {
        let path = ask.path;
        let exact = self
            .exact
            .binary_search_by(|(exact, _)| (**exact).cmp(path));
        if let Ok(found) = exact
            && let Some(to) = self.exact[found].1.find(ask)
        {
            return Some(to);
        }
        let later = self
            .prefixes
            .partition_point(|prefix| by_element(&prefix.path, path).is_le());
        covering(&self.prefixes, later.checked_sub(1), path)
            .find_map(|index| self.prefixes[index].choices.find(ask))
    }
}

impl<T> Choices<T> {
    fn find(&self, ask: &Ask<'_>) -> Option<&T> {
        let Self(choices) = self;
        let found = choices.iter().find(|(conditions, _)| conditions.hold(ask));
        found.map(|(_, to)| to)
    }
}

/// Gathers the routes of each path, and sorts the paths.
fn by_path<T>(
    mut routes: Vec<(Box<str>, Conditions, T)>,
    order: fn(&str, &str) -> Ordering,
) -> Vec<(Box<str>, Choices<T>)> {
    // Both sorts are stable, so that of two equal routes the first stays.
    routes.sort_by(|(a, ..), (b, ..)| order(a, b));
    let mut gathered: Vec<(Box<str>, Choices<T>)> = Vec::new();
    for (path, conditions, to) in routes {
        match gathered.last_mut() {
            Some((last, Choices(choices))) if *last == path => choices.push((conditions, to)),
            _ => gathered.push((path, Choices(vec![(conditions, to)]))),
        }
    }
    for (_, Choices(choices)) in &mut gathered {
        choices.sort_by_key(|(conditions, _)| Reverse(conditions.rank()));
    }
    gathered
}

/// Those that cover the path among `from` and those it lies below, the longest first.
fn covering<T>(
    sorted: &[Prefix<T>],
    from: Option<usize>,
    path: &str,
) -> impl Iterator<Item = usize> {
    successors(from, |index| sorted[*index].parent)
        .filter(move |index| covers(&sorted[*index].path, path))
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

//! What several parts of the file are read with, beyond what a document offers.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::document::{Item, Mapping, Position, write_size};

/// Puts what the file says in the place of a default. After a fault the default stays; nobody will see it.
pub(super) fn take<'n, T>(
    place: &mut T,
    item: Option<Item<'n>>,
    read: impl FnOnce(&Item<'n>) -> Option<T>,
) {
    if let Some(value) = item.and_then(|item| read(&item)) {
        *place = value;
    }
}

/// A name of ours, which goes into metrics, logs and the paths of the API.
pub(super) fn name<'n>(item: &Item<'n>) -> Option<&'n str> {
    let text = item.name()?;
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.chars().count() > NAME_CHARS_MAX {
        item.fault(format!("is longer than {NAME_CHARS_MAX} characters"));
        return None;
    }
    // Clients would take `.` and `..` out of a path.
    if !text.chars().all(known) || matches!(text, "." | "..") {
        item.fault(format!(
            "is {text:?}, should be letters, digits, `-`, `_` and `.`"
        ));
        return None;
    }
    Some(text)
}

/// A duration that is more than nothing.
pub(super) fn time(item: &Item<'_>) -> Option<Duration> {
    let duration = item.duration()?;
    if duration.is_zero() {
        item.fault("is zero, should be more, as 10s");
        return None;
    }
    Some(duration)
}

/// A size within bounds.
pub(super) fn size(item: &Item<'_>, bounds: RangeInclusive<u64>) -> Option<u32> {
    let bytes = item.size()?;
    if !bounds.contains(&bytes) {
        item.fault(format!(
            "is {}, should be from {} to {}",
            write_size(bytes),
            write_size(*bounds.start()),
            write_size(*bounds.end())
        ));
        return None;
    }
    u32::try_from(bytes).ok()
}

/// A count within bounds.
pub(super) fn count(item: &Item<'_>, bounds: RangeInclusive<u32>) -> Option<u32> {
    let bounds = u64::from(*bounds.start())..=u64::from(*bounds.end());
    item.integer(bounds).and_then(|n| u32::try_from(n).ok())
}

/// The one key of a mapping that stands for a choice. Its value may be null: the reader of the value says so.
pub(super) fn choice<'n>(
    mut mapping: Mapping<'n>,
    keys: &[&'static str],
) -> Option<(&'static str, Position, Item<'n>)> {
    let mut chosen = Vec::new();
    for key in keys {
        if let Some(item) = mapping.find(key) {
            chosen.push((*key, mapping.place(key), item));
        }
    }
    chosen.sort_by_key(|(_, at, _)| *at);
    let all = keys.join(", ");
    if let [(first, ..), (second, at, _), ..] = chosen[..] {
        let what = format!("stands beside {first}: keep one of {all}");
        mapping.faults.add(at, second, what);
    }
    if mapping.entries.is_empty() {
        let what = format!("is empty, should have one of {all}");
        mapping.faults.add(mapping.at, mapping.key, what);
    }
    // Another key than these is told as unknown, and that is enough.
    mapping.finish();
    chosen.into_iter().next()
}

/// What must not be there twice, and where it stood first.
#[derive(Debug, Default)]
pub(super) struct Seen {
    places: HashMap<String, Position>,
}

impl Seen {
    /// Notes a fault of a value that was there before. `what` names it in the message.
    pub(super) fn note(&mut self, item: &Item<'_>, value: &str, what: &str) {
        match self.places.get(value) {
            Some(Position { line, .. }) => {
                item.fault(format!(
                    "{what} is there twice, first on line {line}: keep one"
                ));
            }
            None => {
                self.places.insert(value.into(), item.at());
            }
        }
    }
}

/// Names are labels, and a person reads them.
const NAME_CHARS_MAX: usize = 100;

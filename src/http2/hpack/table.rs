//! The table of a decoder: the fixed part, and behind it what the client has inserted, the newest first (RFC 7541,
//! section 2.3).

use std::collections::VecDeque;

use super::field::{Field, Name};
use super::fixed::FIXED;
use super::{ENTRY_OVERHEAD, Flaw};

/// A field that can be told by its number, or lend its name to another.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) field: Field,
    /// The name's length in bytes.
    pub(super) name_length: usize,
    /// What it counts in the table.
    pub(super) size: usize,
}

/// The entries of one connection.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    inserted: VecDeque<Entry>,
    /// The sum of their sizes.
    size: usize,
    /// What that is at most.
    max: usize,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self {
            inserted: VecDeque::new(),
            size: 0,
            max,
        }
    }

    /// The entry with this number. Numbers begin at 1.
    #[inline]
    pub(super) fn entry(&self, index: usize) -> Result<&Entry, Flaw> {
        // Number 0 wraps and is out of both.
        let index = index.wrapping_sub(1);
        FIXED
            .get(index)
            .or_else(|| self.inserted.get(index.wrapping_sub(FIXED.len())))
            .ok_or(Flaw("a field's number is not in the table"))
    }

    /// Inserts an entry, which takes the place of the oldest. One that is larger than the table just empties it.
    pub(super) fn insert(&mut self, entry: Entry) {
        let size = entry.size;
        self.evict(self.max.saturating_sub(size));
        if size <= self.max {
            self.size += size;
            self.inserted.push_front(entry);
        }
    }

    /// Lets the table hold so much from now on.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict(max);
    }

    /// Removes the oldest until no more than this is left.
    fn evict(&mut self, left: usize) {
        while self.size > left
            && let Some(oldest) = self.inserted.pop_back()
        {
            self.size -= oldest.size;
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub(super) fn inserted(&self) -> impl Iterator<Item = &Entry> {
        self.inserted.iter()
    }
}

/// What a field counts (RFC 7541, section 4.1).
pub(super) const fn size(name_length: usize, value_length: usize) -> usize {
    name_length + value_length + ENTRY_OVERHEAD
}

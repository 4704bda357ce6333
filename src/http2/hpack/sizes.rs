//! The client's table, as its encoder sees it: sizes are enough, for whoever says a field by its number knows that number.

use std::collections::VecDeque;

use super::fixed::FIXED;

/// What a table holds at first, and the most that is used of one.
const MAX: usize = 4096;

/// The sizes of what has been inserted into a table and is still there.
#[derive(Debug)]
pub(super) struct Sizes {
    /// The oldest first.
    held: VecDeque<usize>,
    /// Their sum.
    size: usize,
    /// What that is at most.
    max: usize,
    /// The smallest that `max` has been since the client was told, if that is due.
    smallest: Option<usize>,
    /// How many entries have ever been inserted: the number of the newest.
    newest: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            size: 0,
            max: MAX,
            smallest: None,
            newest: 0,
        }
    }
}

impl Sizes {
    /// How large an entry may be: one must not drive out all others.
    pub(super) fn entry_max(&self) -> usize {
        self.max / 4
    }

    /// The place in the table of the entry that was inserted with this number, if it is still there.
    pub(super) fn index(&self, number: u64) -> Option<usize> {
        let behind = self.newest - number;
        (behind < self.held.len() as u64).then_some(FIXED.len() + 1 + behind as usize)
    }

    /// Inserts an entry of at most [`Self::entry_max`], and gives its number, which is never 0.
    pub(super) fn insert(&mut self, size: usize) -> u64 {
        self.evict(self.max - size);
        self.size += size;
        self.held.push_back(size);
        self.newest += 1;
        self.newest
    }

    /// The client says how large its table may be.
    pub(super) fn resize(&mut self, max: usize) {
        let max = max.min(MAX);
        if max != self.max {
            self.smallest = Some(self.smallest.unwrap_or(max).min(max));
            self.max = max;
            self.evict(max);
        }
    }

    /// What the client is to be told of its table's size before the next field: the smallest that it has been, and what it
    /// is (RFC 7541, section 4.2).
    pub(super) fn due(&mut self) -> impl Iterator<Item = usize> + use<> {
        let smallest = self.smallest.take();
        let last = smallest.map(|_| self.max);
        smallest
            .filter(|_| smallest != last)
            .into_iter()
            .chain(last)
    }

    /// Removes the oldest until no more than this is left.
    fn evict(&mut self, left: usize) {
        while self.size > left
            && let Some(oldest) = self.held.pop_front()
        {
            self.size -= oldest;
        }
    }
}

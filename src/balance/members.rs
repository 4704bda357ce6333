//! Members in an order, in chunks that the versions of a set share.
//!
//! When one of 100,000 members changes, the next version has one chunk of its own, or two, and shares all others with the
//! one before. So an update costs some hundreds of members and a pointer for each chunk, and a version that is dropped as
//! little; what pickers need to know of the members of a chunk is found out once, and kept with it. All chunks but the last
//! are full, so that a place in the order is a chunk and a place in it.

use std::ops::Index;
use std::sync::{Arc, OnceLock};

use fastrand::Rng;

use super::lots::Slot;
use super::{Candidate, lots};

/// Members in an order. A clone shares them.
#[derive(Debug, Clone)]
pub struct Members<C> {
    chunks: Vec<Arc<Chunk<C>>>,
}

/// Some members that follow each other, and what is known of them together.
#[derive(Debug)]
pub(super) struct Chunk<C> {
    members: Vec<C>,
    weights: OnceLock<Weights>,
    slots: OnceLock<Box<[Slot]>>,
    ends: OnceLock<Box<[u64]>>,
}

/// The weights of some members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weights {
    /// All together.
    pub(super) total: u64,
    /// That of each, if it is one and not 0.
    pub(super) common: Option<u32>,
}

impl<C> Default for Members<C> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<C> Members<C> {
    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK + last.members.len(),
            None => 0,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &C> + Clone {
        self.chunks.iter().flat_map(|chunk| &chunk.members)
    }

    pub(super) fn chunks(&self) -> &[Arc<Chunk<C>>] {
        &self.chunks
    }
}

impl<C: Clone> Members<C> {
    /// Another one, at the end.
    pub fn push(&mut self, member: C) {
        if self.len() == self.chunks.len() * CHUNK {
            self.chunks.push(Arc::new(Chunk::of(Vec::new())));
        }
        let last = self.chunks.len() - 1;
        self.chunk_mut(last).push(member);
    }

    /// Puts another one in a place.
    ///
    /// # Panics
    /// If nobody is there.
    pub fn set(&mut self, index: usize, member: C) {
        self.chunk_mut(index / CHUNK)[index % CHUNK] = member;
    }

    /// Takes one out. The last one comes into its place, unless it was the last itself.
    ///
    /// # Panics
    /// If nobody is there.
    pub fn swap_remove(&mut self, index: usize) {
        let last = self.len() - 1;
        let moved = self.chunk_mut(last / CHUNK).pop();
        if last.is_multiple_of(CHUNK) {
            self.chunks.pop();
        }
        if let Some(moved) = moved.filter(|_| index != last) {
            self.set(index, moved);
        }
    }

    /// The members of a chunk, to be changed: its own from now on, and nothing is known of them any more.
    fn chunk_mut(&mut self, chunk: usize) -> &mut Vec<C> {
        let chunk = Arc::make_mut(&mut self.chunks[chunk]);
        (chunk.weights, chunk.slots, chunk.ends) = Default::default();
        &mut chunk.members
    }
}

/// What is known of a chunk is not: a copy is made to be changed.
impl<C: Clone> Clone for Chunk<C> {
    fn clone(&self) -> Self {
        Self::of(self.members.clone())
    }
}

impl<C: Candidate> Members<C> {
    /// Whether any of them has a weight.
    #[must_use]
    pub fn have_weight(&self) -> bool {
        self.weights().total > 0
    }

    /// What is known of the weights of all.
    pub(super) fn weights(&self) -> Weights {
        let mut all = self.chunks.iter().map(|chunk| chunk.weights());
        let Some(first) = all.next() else {
            return Weights {
                total: 0,
                common: None,
            };
        };
        all.fold(first, |all, chunk| Weights {
            total: all.total + chunk.total,
            common: all.common.filter(|_| all.common == chunk.common),
        })
    }
}

impl<C> Index<usize> for Members<C> {
    type Output = C;

    fn index(&self, index: usize) -> &C {
        &self.chunks[index / CHUNK].members[index % CHUNK]
    }
}

impl<C> FromIterator<C> for Members<C> {
    fn from_iter<I: IntoIterator<Item = C>>(members: I) -> Self {
        let mut members = members.into_iter().peekable();
        let mut chunks = Vec::new();
        while members.peek().is_some() {
            let chunk = members.by_ref().take(CHUNK).collect();
            chunks.push(Arc::new(Chunk::of(chunk)));
        }
        Self { chunks }
    }
}

impl<C> Chunk<C> {
    fn of(members: Vec<C>) -> Self {
        Self {
            members,
            weights: OnceLock::new(),
            slots: OnceLock::new(),
            ends: OnceLock::new(),
        }
    }
}

impl<C: Candidate> Chunk<C> {
    pub(super) fn weights(&self) -> Weights {
        *self.weights.get_or_init(|| {
            let mut weights = self.members.iter().map(Candidate::weight);
            let first = self.members.first().map_or(0, Candidate::weight);
            Weights {
                total: weights.clone().map(u64::from).sum(),
                common: (first > 0 && weights.all(|weight| weight == first)).then_some(first),
            }
        })
    }

    /// The place of one of them, by weight and chance.
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        match self.slots() {
            Some(slots) => lots::drawn(slots, rng),
            None => rng.usize(..self.members.len()),
        }
    }

    /// The place of the one whose piece has this point, on a line of all their weights.
    pub(super) fn at(&self, point: u64) -> usize {
        match (self.ends(), self.weights().common) {
            (Some(ends), _) => ends.partition_point(|&end| end <= point),
            (None, Some(common)) => (point / u64::from(common)) as usize,
            (None, None) => 0,
        }
    }

    /// Slots to draw them from; none where all have the same weight.
    pub(super) fn slots(&self) -> Option<&[Slot]> {
        let Weights { total, common } = self.weights();
        common.is_none().then(|| {
            &**self.slots.get_or_init(|| {
                let weights = self.members.iter().map(|member| member.weight().into());
                lots::alias(weights, total)
            })
        })
    }

    /// Where the piece of each ends; none where all have the same weight.
    pub(super) fn ends(&self) -> Option<&[u64]> {
        self.weights().common.is_none().then(|| {
            &**self.ends.get_or_init(|| {
                let ends = self.members.iter().scan(0, |end, member| {
                    *end += u64::from(member.weight());
                    Some(*end)
                });
                ends.collect()
            })
        })
    }
}

/// So many that their pointers and the members of one chunk cost about the same where there are 100,000 of them.
pub(super) const CHUNK: usize = 256;

//! Draws by weight at a constant cost: Walker's alias table.
//!
//! The table has a slot for each member, all equally likely. A slot belongs to its member up to some point and from there
//! on to another one, so that the parts of each member add up to its weight. All is reckoned in whole numbers: weight 0
//! means no part at all. First a chunk is drawn by the weight of all that are in it, and then one of those: the tables of
//! chunks that have not changed are there already.

use fastrand::Rng;

use super::hash::scale;
use super::members::{CHUNK, Members};
use super::settle::settle;
use super::{Candidate, PickContext};

/// Members to draw from.
#[derive(Debug)]
pub(super) enum Lots {
    /// None has any weight.
    Empty,
    /// This many, all of the same weight: the usual case needs no table.
    Even(usize),
    /// A slot for each chunk; the chunks have those of their members.
    Uneven(Box<[Slot]>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Where the owner's own part ends, in parts of 2^32.
    end: u32,
    /// Whose the rest is.
    other: u32,
}

impl Lots {
    pub(super) fn build<C: Candidate>(members: &Members<C>) -> Self {
        let weights = members.weights();
        if weights.common.is_some() {
            return Self::Even(members.len());
        }
        if weights.total == 0 {
            return Self::Empty;
        }
        let chunks = members.chunks().iter();
        let totals = chunks.map(|chunk| {
            // Now, so that no pick has to.
            chunk.slots();
            chunk.weights().total
        });
        Self::Uneven(alias(totals, weights.total))
    }

    /// One of the members, by weight alone.
    pub(super) fn draw<C: Candidate>(
        &self,
        members: &Members<C>,
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        match self {
            Self::Empty => None,
            &Self::Even(count) => Some(cx.rng.usize(..count)),
            Self::Uneven(slots) => {
                let chunk = drawn(slots, cx.rng);
                let within = members.chunks()[chunk].draw(cx.rng);
                Some(chunk * CHUNK + within)
            }
        }
    }

    /// A pick by weight and share.
    pub(super) fn pick<C: Candidate>(
        &self,
        members: &Members<C>,
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        settle(members, cx, |cx| self.draw(members, cx))
    }
}

/// Whose a slot by chance is.
pub(super) fn drawn(slots: &[Slot], rng: &mut Rng) -> usize {
    // One random number is enough for both: which slot, and where in it.
    let (index, within) = scale(rng.u64(..), slots.len() as u64);
    let Slot { end, other } = slots[index as usize];
    let own = ((within >> 32) as u32) < end;
    if own { index as usize } else { other as usize }
}

/// Fills every slot that its owner cannot fill from the next one that has more than a slot.
pub(super) fn alias(weights: impl ExactSizeIterator<Item = u64>, total: u64) -> Box<[Slot]> {
    // In this unit a slot holds `total`, and all together fill all slots exactly.
    let count = weights.len() as u64;
    let mut left: Vec<u64> = weights.map(|weight| weight * count).collect();
    let mut slots: Box<[Slot]> = (0..count as u32)
        .map(|other| Slot {
            end: u32::MAX,
            other,
        })
        .collect();
    let mut giver = 0;
    for first in 0..left.len() {
        let mut taker = first;
        // Whoever has given until less than a slot was left takes in turn: here if its place is behind us, later if not.
        while taker <= first && left[taker] < total {
            // There is one: what is missing here is too much elsewhere, and nobody before the giver has too much.
            while left[giver] < total {
                giver += 1;
            }
            slots[taker] = Slot {
                end: (left[taker] as f64 / total as f64 * 2_f64.powi(32)) as u32,
                other: giver as u32,
            };
            left[giver] -= total - left[taker];
            taker = giver;
        }
    }
    slots
}

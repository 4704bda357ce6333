//! Draws by weight at a constant cost: Walker's alias table.
//!
//! The table has a slot for each member, all equally likely. A slot belongs to its member up to some point and from there
//! on to another one, so that the parts of each member add up to its weight. All is reckoned in whole numbers: weight 0
//! means no part at all.

use super::hash::scale;
use super::settle::settle;
use super::{Candidate, PickContext, common_weight};

/// Members to draw from.
#[derive(Debug)]
pub(super) enum Lots {
    /// None has any weight.
    Empty,
    /// This many, all of the same weight: the usual case needs no table.
    Even(usize),
    Uneven(Box<[Slot]>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Where the member's own part ends, in parts of 2^32.
    end: u32,
    /// Whose the rest is.
    other: u32,
}

impl Lots {
    pub(super) fn build<C: Candidate>(members: &[C]) -> Self {
        if common_weight(members).is_some() {
            return Self::Even(members.len());
        }
        match members
            .iter()
            .map(|member| u64::from(member.weight()))
            .sum()
        {
            0 => Self::Empty,
            total => Self::Uneven(alias(members, total)),
        }
    }

    /// One of the members, by weight alone.
    pub(super) fn draw(&self, cx: &mut PickContext<'_>) -> Option<usize> {
        match self {
            Self::Empty => None,
            &Self::Even(count) => Some(cx.rng.usize(..count)),
            Self::Uneven(slots) => {
                // One random number is enough for both: which slot, and where in it.
                let (index, within) = scale(cx.rng.u64(..), slots.len() as u64);
                let Slot { end, other } = slots[index as usize];
                let own = ((within >> 32) as u32) < end;
                Some(if own { index as usize } else { other as usize })
            }
        }
    }

    /// A pick by weight and share.
    pub(super) fn pick<C: Candidate>(
        &self,
        members: &[C],
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        settle(members, cx, |cx| self.draw(cx))
    }
}

/// Fills every slot that its member cannot fill from the next member that has more than a slot.
fn alias<C: Candidate>(members: &[C], total: u64) -> Box<[Slot]> {
    // In this unit a slot holds `total`, and all members together fill all slots exactly.
    let count = members.len() as u64;
    let mut left: Vec<u64> = members
        .iter()
        .map(|member| u64::from(member.weight()) * count)
        .collect();
    let mut slots: Box<[Slot]> = (0..members.len() as u32)
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

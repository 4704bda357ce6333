//! In turn, smoothly by weight, over all workers.
//!
//! A turn is a number that only grows, and the turn alone says whose it is: workers share one counter and nothing else.
//! Where the weights are small numbers, a list holds one round, in which each member comes exactly as often as its weight
//! says. Where a round would be long, turns stride along a line on which each member has a piece as long as its weight,
//! by the golden ratio: such strides visit every piece in proportion to its length and evenly, however long the round.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::hash::scale;
use super::settle::settle;
use super::turns::{Turns, interleave};
use super::{Candidate, PickContext, common_weight};

#[derive(Debug)]
pub(super) struct RoundRobin {
    order: Order,
    turn: AtomicUsize,
}

#[derive(Debug)]
enum Order {
    /// Who comes in a round.
    List(Box<[u32]>),
    /// Where each member's piece of the line ends.
    Line(Box<[u64]>),
}

impl RoundRobin {
    pub(super) fn build<C: Candidate>(members: &[C]) -> Self {
        Self {
            order: Order::build(members),
            turn: AtomicUsize::new(0),
        }
    }

    pub(super) fn resume(&self, earlier: &Self) {
        // Relaxed, here and below: a turn is only a number, nothing is published with it.
        let turn = earlier.turn.load(Ordering::Relaxed);
        self.turn.store(turn, Ordering::Relaxed);
    }

    pub(super) fn pick<C: Candidate>(
        &self,
        members: &[C],
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        settle(members, cx, |_| {
            self.order.at(self.turn.fetch_add(1, Ordering::Relaxed))
        })
    }
}

impl Order {
    fn build<C: Candidate>(members: &[C]) -> Self {
        if common_weight(members).is_some() {
            return Self::List((0..members.len() as u32).collect());
        }
        let divisor = members
            .iter()
            .fold(0, |divisor, member| gcd(member.weight(), divisor))
            .max(1);
        let round: u64 = members
            .iter()
            .map(|member| u64::from(member.weight() / divisor))
            .sum();
        if round <= ROUND_MAX.max(members.len() as u64 * TURNS_EACH_MAX) {
            Self::List(round_of(members, divisor))
        } else {
            Self::Line(ends(members))
        }
    }

    fn at(&self, turn: usize) -> Option<usize> {
        match self {
            Self::List(round) => {
                let place = turn.checked_rem(round.len())?;
                Some(round[place] as usize)
            }
            Self::Line(ends) => {
                let stride = (turn as u64).wrapping_mul(GOLDEN);
                let (point, _) = scale(stride, *ends.last()?);
                Some(ends.partition_point(|&end| end <= point))
            }
        }
    }
}

fn round_of<C: Candidate>(members: &[C], divisor: u32) -> Box<[u32]> {
    let turns: Vec<Turns> = members
        .iter()
        .zip(0..)
        .map(|(candidate, member)| Turns {
            member,
            count: f64::from(candidate.weight() / divisor),
            phase: phase(member),
        })
        .collect();
    interleave(&turns)
}

fn ends<C: Candidate>(members: &[C]) -> Box<[u64]> {
    let ends = members.iter().scan(0, |end, member| {
        *end += u64::from(member.weight());
        Some(*end)
    });
    ends.collect()
}

/// Phases that lie well apart for members that follow each other, and for any run of them.
fn phase(member: u32) -> f64 {
    f64::from(member.wrapping_mul((GOLDEN >> 32) as u32)) / 2_f64.powi(32)
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The golden ratio's fraction, in parts of 2^64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// The longest list of a round that is always allowed ...
const ROUND_MAX: u64 = 1024;
/// ... and for many members, how many turns each may take in one.
const TURNS_EACH_MAX: u64 = 4;

//! In turn, smoothly by weight, over all workers.
//!
//! A turn is a number that only grows, and the turn alone says whose it is: workers share one counter and nothing else.
//! Among equals the turn is the place. Where members are few and their weights small numbers, a list holds one round, in
//! which each comes exactly as often as its weight says. Where a round would be long, turns stride along a line on which each
//! member has a piece as long as its weight, by the golden ratio: such strides visit every piece in proportion to its length
//! and evenly, however long the round.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::hash::scale;
use super::members::CHUNK;
use super::settle::settle;
use super::turns::{Turns, interleave};
use super::{Candidate, Members, PickContext};

#[derive(Debug)]
pub(super) struct RoundRobin {
    order: Order,
    turn: AtomicUsize,
}

#[derive(Debug)]
enum Order {
    /// This many, one after the other: all of the same weight.
    Even(usize),
    /// Who comes in a round.
    List(Box<[u32]>),
    /// Where each chunk's piece of the line ends; the chunks have the ends of their members' pieces.
    Line(Box<[u64]>),
}

impl RoundRobin {
    pub(super) fn build<C: Candidate>(members: &Members<C>) -> Self {
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
        members: &Members<C>,
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        settle(members, cx, |_| {
            self.order
                .at(self.turn.fetch_add(1, Ordering::Relaxed), members)
        })
    }
}

impl Order {
    fn build<C: Candidate>(members: &Members<C>) -> Self {
        if members.weights().common.is_some() {
            return Self::Even(members.len());
        }
        match members.chunks() {
            [] | [_] => Self::list(members).unwrap_or_else(|| Self::line(members)),
            _ => Self::line(members),
        }
    }

    /// A list of one round, unless that is long.
    fn list<C: Candidate>(members: &Members<C>) -> Option<Self> {
        let weights = members.iter().map(Candidate::weight);
        let divisor = weights.clone().fold(0, |a, b| gcd(b, a)).max(1);
        let round: u64 = weights.map(|weight| u64::from(weight / divisor)).sum();
        (round <= ROUND_MAX).then(|| Self::List(round_of(members, divisor)))
    }

    fn line<C: Candidate>(members: &Members<C>) -> Self {
        let ends = members.chunks().iter().scan(0, |end, chunk| {
            // Now, so that no pick has to.
            chunk.ends();
            *end += chunk.weights().total;
            Some(*end)
        });
        Self::Line(ends.collect())
    }

    fn at<C: Candidate>(&self, turn: usize, members: &Members<C>) -> Option<usize> {
        match self {
            Self::Even(count) => turn.checked_rem(*count),
            Self::List(round) => {
                let place = turn.checked_rem(round.len())?;
                Some(round[place] as usize)
            }
            Self::Line(ends) => {
                let stride = (turn as u64).wrapping_mul(GOLDEN);
                let (point, _) = scale(stride, *ends.last()?);
                let chunk = ends.partition_point(|&end| end <= point);
                let before = chunk.checked_sub(1).map_or(0, |before| ends[before]);
                let within = members.chunks().get(chunk)?.at(point - before);
                Some(chunk * CHUNK + within)
            }
        }
    }
}

fn round_of<C: Candidate>(members: &Members<C>, divisor: u32) -> Box<[u32]> {
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

/// Phases that lie well apart for members that follow each other, and for any run of them.
fn phase(member: u32) -> f64 {
    f64::from(member.wrapping_mul((GOLDEN >> 32) as u32)) / 2_f64.powi(32)
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The golden ratio's fraction, in parts of 2^64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// The longest list of a round.
const ROUND_MAX: u64 = 1024;

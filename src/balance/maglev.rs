//! By key, after Google's Maglev: members take slots of a table in turn, each along a walk of its own; a key belongs to a
//! slot, and so to a member.
//!
//! Walks follow from a member's seed alone and turns from the order of their hashes, so that every replica builds the same
//! table, and when one member leaves, the others mostly keep their slots. Two things differ from the paper.
//!
//! The table is not filled to the last slot. The last eighth would take four fifths of all steps, for there every walk
//! stumbles over slots long taken. A key whose slot is free is hashed once more, which spreads such keys as evenly as all
//! others. Of the keys that have no need to move when one of 1,000 members leaves, this moves 0.2 % instead of 0.6 %; of
//! 100, both move 0.5 %; of 3, it is 2 % instead of none.
//!
//! The size is the same for 3 members and for 16,000. A table that grew with its members would be cheaper for few, but at
//! every step of its growth nearly all keys would move.

use super::hash::{hash_key, mix, scale};
use super::turns::{Turns, interleave};
use super::{Candidate, Members, PickContext};

#[derive(Debug)]
pub(super) struct Maglev {
    /// Whose each slot is, or `FREE`. Empty if no member has any weight.
    slots: Box<[u32]>,
}

/// A member's way through the table: prime size and any step, so that it comes to every slot.
struct Walk {
    hash: u64,
    member: u32,
    weight: u32,
    at: u32,
    step: u32,
}

impl Maglev {
    pub(super) fn build<C: Candidate>(members: &Members<C>) -> Self {
        let size = size(members.len());
        let mut walks: Vec<Walk> = members
            .iter()
            .zip(0..)
            .filter(|(candidate, _)| candidate.weight() > 0)
            .map(|(candidate, member)| Walk::of(candidate, member, size))
            .collect();
        if walks.is_empty() {
            return Self { slots: [].into() };
        }
        walks.sort_unstable_by_key(|walk| (walk.hash, walk.member));
        let wanted = size - size / 8;
        let turns = if members.weights().common.is_some() {
            (0..walks.len() as u32).collect()
        } else {
            by_weight(&walks, wanted)
        };
        Self {
            slots: fill(&mut walks, size, turns.iter().cycle().take(wanted as usize)),
        }
    }

    pub(super) fn pick<C: Candidate>(
        &self,
        members: &Members<C>,
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let key = match cx.hash {
            Some(hash) => hash,
            None => cx.rng.u64(..),
        };
        let home = self.home(key);
        (home..home + WALK_MAX)
            .map(|slot| self.slots[slot % self.slots.len()])
            .find(|&member| member != FREE && !cx.excludes(member as usize))
            .map(|member| member as usize)
            .or_else(|| search(key, members, cx))
    }

    /// The slot of a key.
    fn home(&self, key: u64) -> usize {
        let mut hash = mix(key);
        for _ in 0..HOPS_MAX {
            let slot = scale(hash, self.slots.len() as u64).0 as usize;
            if self.slots[slot] != FREE {
                return slot;
            }
            hash = mix(hash);
        }
        0
    }
}

impl Walk {
    fn of<C: Candidate>(candidate: &C, member: u32, size: u32) -> Self {
        let hash = hash_key(candidate.hash_seed().as_bytes());
        Self {
            hash,
            member,
            weight: candidate.weight(),
            at: scale(hash, size.into()).0 as u32,
            step: 1 + scale(mix(hash), u64::from(size) - 1).0 as u32,
        }
    }

    const fn advance(&mut self, size: u32) {
        self.at += self.step;
        if self.at >= size {
            self.at -= size;
        }
    }
}

/// The order of turns where weights differ. A member's phase is its hash, as its place among equals is.
fn by_weight(walks: &[Walk], wanted: u32) -> Box<[u32]> {
    let total: f64 = walks.iter().map(|walk| f64::from(walk.weight)).sum();
    let turns: Vec<Turns> = walks
        .iter()
        .zip(0..)
        .map(|(walk, member)| Turns {
            member,
            count: f64::from(walk.weight) / total * f64::from(wanted),
            phase: (walk.hash >> 32) as f64 / 2_f64.powi(32),
        })
        .collect();
    interleave(&turns)
}

/// Gives a slot at each turn. There are fewer turns than slots, so that every walk comes to a free one.
fn fill<'a>(walks: &mut [Walk], size: u32, turns: impl Iterator<Item = &'a u32>) -> Box<[u32]> {
    let mut slots = vec![FREE; size as usize].into_boxed_slice();
    // What is taken, once more as bits: most steps only ask that, and a processor has these at hand.
    let mut taken = vec![0_u64; size as usize / 64 + 1];
    for &turn in turns {
        let walk = &mut walks[turn as usize];
        while taken[walk.at as usize / 64] >> (walk.at % 64) & 1 == 1 {
            walk.advance(size);
        }
        taken[walk.at as usize / 64] |= 1 << (walk.at % 64);
        slots[walk.at as usize] = walk.member;
    }
    slots
}

/// For a key whose neighbourhood is all excluded: the member that goes best with it, of those left.
fn search<C: Candidate>(key: u64, members: &Members<C>, cx: &PickContext<'_>) -> Option<usize> {
    let left = members.iter().enumerate();
    left.filter(|(index, member)| member.weight() > 0 && !cx.excludes(*index))
        .max_by_key(|(_, member)| mix(key ^ hash_key(member.hash_seed().as_bytes())))
        .map(|(index, _)| index)
}

/// The first size that has four slots for each member. The steps are far apart, for each moves nearly all keys once.
fn size(members: usize) -> u32 {
    let fits = |&&size: &&u32| size as usize / 4 >= members;
    *SIZES.iter().find(fits).unwrap_or(&SIZES[SIZES.len() - 1])
}

const FREE: u32 = u32::MAX;
/// Primes just above powers of two. With more members than the last has slots, some get no key.
const SIZES: [u32; 4] = [65_537, 262_147, 1_048_583, 4_194_319];
/// An eighth is free, so that one key in 8^16 does not find its slot, and then has slot 0.
const HOPS_MAX: usize = 16;
/// How far to look for a member that is not excluded.
const WALK_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_prime_so_that_every_walk_comes_everywhere() {
        for size in SIZES {
            let divisors = (2..).take_while(|divisor| divisor * divisor <= size);
            assert!(
                divisors.clone().all(|divisor| size % divisor != 0),
                "{size}"
            );
        }
    }

    #[test]
    fn there_is_room_for_any_number_of_members() {
        assert_eq!(
            [0, 3, 16_384, 16_385, usize::MAX].map(size),
            [65_537, 65_537, 65_537, 262_147, 4_194_319]
        );
    }
}

//! From draws to a pick: passes over the excluded and gives the others their share.

use super::{Candidate, Members, PickContext};

/// The first of a few draws that is not excluded and whose share lets it pass.
///
/// `draw` gives members in proportion to their weights, and none only if there are none. If no draw passes, the one that
/// came closest wins, so that members that all have just begun do not shut each other out. If none is even allowed, what is
/// left is searched: for a retry among few members, or beside one that outweighs all.
pub(super) fn settle<C: Candidate>(
    members: &Members<C>,
    cx: &mut PickContext<'_>,
    mut draw: impl FnMut(&mut PickContext<'_>) -> Option<usize>,
) -> Option<usize> {
    let mut closest: Option<(f64, usize)> = None;
    for _ in 0..DRAWS_MAX {
        let index = draw(cx)?;
        if cx.excludes(index) {
            continue;
        }
        let share = members[index].share(cx.now);
        if share >= 1.0 {
            return Some(index);
        }
        let margin = share - cx.rng.f64();
        if margin > 0.0 {
            return Some(index);
        }
        if closest.is_none_or(|(closest, _)| margin > closest) {
            closest = Some((margin, index));
        }
    }
    match closest {
        Some((_, index)) => Some(index),
        None => search(members, cx),
    }
}

/// One of those that are not excluded, by weight.
fn search<C: Candidate>(members: &Members<C>, cx: &mut PickContext<'_>) -> Option<usize> {
    let excluded = cx.excluded;
    let weight = |index: usize| {
        if excluded.contains(&index) {
            0
        } else {
            u64::from(members[index].weight())
        }
    };
    let total: u64 = (0..members.len()).map(weight).sum();
    if total == 0 {
        return None;
    }
    let mut left = cx.rng.u64(..total);
    (0..members.len()).find(|&index| {
        let weight = weight(index);
        let found = left < weight;
        left = left.saturating_sub(weight);
        found
    })
}

/// Enough that beside a member with half of the weight that must be passed over, the search is for one pick in 65,536.
const DRAWS_MAX: usize = 16;

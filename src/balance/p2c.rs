//! Two random choices, the less loaded one wins: least request, and peak EWMA that weighs load by latency.
//!
//! Two choices are as good as the look at everyone, without the herd that follows a minimum all workers see. Both are
//! drawn by weight, and loads are compared per weight. Then the weight must not decide a second time: if the heavier won
//! every pair that is equally idle, the lighter would get nothing until the heavier is as full as its weight allows, and a
//! canary of weight 1 beside 10 would never see a request by hand. So the first choice is charged for the request itself at
//! the lower of the two rates, and on a tie it keeps it. Between equal weights this is the plain comparison.

use tokio::time::Instant;

use super::lots::Lots;
use super::{Candidate, Members, PickContext};

/// What a load is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    /// The requests in flight.
    InFlight,
    /// How long they will take.
    Latency,
}

#[derive(Debug)]
pub(super) struct P2c {
    lots: Lots,
    measure: Measure,
}

impl P2c {
    pub(super) fn build<C: Candidate>(measure: Measure, members: &Members<C>) -> Self {
        let lots = Lots::build(members);
        Self { lots, measure }
    }

    pub(super) fn pick<C: Candidate>(
        &self,
        members: &Members<C>,
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        let first = self.lots.pick(members, cx)?;
        let Some(second) = self.another(first, members, cx) else {
            return Some(first);
        };
        let load = |index: usize| Load::of(&members[index], self.measure, cx.now);
        Some(if load(second).beats(load(first)) {
            second
        } else {
            first
        })
    }

    /// A second choice that differs from the first. Its share is left to the comparison.
    fn another<C: Candidate>(
        &self,
        first: usize,
        members: &Members<C>,
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        let excluded = cx.excluded;
        let fits = |&index: &usize| index != first && !excluded.contains(&index);
        for _ in 0..BY_WEIGHT_MAX {
            let drawn = self.lots.draw(members, cx).filter(fits);
            if drawn.is_some() {
                return drawn;
            }
        }
        // The first has nearly all the weight. Any other will do to compare it with, since loads are per weight.
        (0..BY_CHANCE_MAX)
            .map(|_| cx.rng.usize(..members.len()))
            .find(|index| fits(index) && members[*index].weight() > 0)
    }
}

/// How loaded a member is.
#[derive(Debug, Clone, Copy)]
struct Load {
    weight: f64,
    in_flight: f64,
    seconds: f64,
}

impl Load {
    fn of<C: Candidate>(member: &C, measure: Measure, now: Instant) -> Self {
        let in_flight = member.in_flight();
        Self {
            weight: f64::from(member.weight()) * member.share(now).max(SHARE_MIN),
            in_flight: in_flight as f64,
            seconds: match measure {
                Measure::InFlight => 1.0,
                Measure::Latency => expected(member.latency(), in_flight),
            },
        }
    }

    /// Whether this one, the second choice, should have the request.
    fn beats(self, first: Self) -> bool {
        let ours = self.seconds * (self.in_flight + 1.0) / self.weight;
        let request = 1.0 / first.weight.max(self.weight);
        ours < first.seconds * (first.in_flight / first.weight + request)
    }
}

/// The latency to reckon with. An unknown one promises everything to the first request, and nothing until that is
/// answered: one probe at a time.
fn expected(latency: f64, in_flight: u64) -> f64 {
    if latency > 0.0 {
        latency
    } else if in_flight == 0 {
        0.0
    } else {
        UNKNOWN_BUSY_S
    }
}

/// Keeps a weight above zero at the first moment of slow start.
const SHARE_MIN: f64 = 1e-6;
/// Longer than any latency, and still a number, so that of two unknown ones the less loaded wins.
const UNKNOWN_BUSY_S: f64 = 1e9;
const BY_WEIGHT_MAX: usize = 8;
const BY_CHANCE_MAX: usize = 8;

//! The order in which members take turns, each as often as its weight says and its turns spread evenly.

/// Someone who takes turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    pub(super) member: u32,
    /// How many turns, on average where it is no whole number.
    pub(super) count: f64,
    /// When the first turn comes, from 0 to just under 1 of the way to the second. Different phases keep members of the
    /// same weight from coming all at once.
    pub(super) phase: f64,
}

impl Turns {
    /// How many turns come before the end.
    fn number(self) -> u32 {
        (self.count - self.phase).ceil().max(0.0) as u32
    }

    /// The bucket of each turn.
    fn buckets(self, buckets: usize) -> impl Iterator<Item = usize> {
        let scale = buckets as f64 / self.count;
        (0..self.number()).map(move |turn| {
            let bucket = (f64::from(turn) + self.phase) * scale;
            // The last turn comes before the end, but rounding may not know.
            (bucket as usize).min(buckets - 1)
        })
    }
}

/// The members in the order of their turns. Linear: turns are not sorted but counted into buckets.
pub(super) fn interleave(members: &[Turns]) -> Box<[u32]> {
    let total: usize = members.iter().map(|member| member.number() as usize).sum();
    let buckets = total.clamp(1, BUCKETS_MAX);
    let mut places = vec![0_u32; buckets];
    for bucket in members.iter().flat_map(|member| member.buckets(buckets)) {
        places[bucket] += 1;
    }
    let mut place = 0;
    for count in &mut places {
        place += std::mem::replace(count, place);
    }
    let mut order = vec![0; total].into_boxed_slice();
    for member in members {
        for bucket in member.buckets(buckets) {
            let place = &mut places[bucket];
            order[*place as usize] = member.member;
            *place += 1;
        }
    }
    order
}

/// As many as a processor has at hand. With more turns a few of them share a bucket, in the order of members.
const BUCKETS_MAX: usize = 1 << 13;

#[cfg(test)]
mod tests {
    use super::*;

    fn order(counts: &[f64]) -> Vec<u32> {
        let members: Vec<Turns> = counts
            .iter()
            .zip(0..)
            .map(|(&count, member)| Turns {
                member,
                count,
                phase: f64::from(member) / counts.len() as f64,
            })
            .collect();
        interleave(&members).into_vec()
    }

    #[test]
    fn everyone_takes_as_many_turns_as_counted() {
        let order = order(&[5.0, 0.0, 1.0, 12.0, 3.0]);
        let count = |member| order.iter().filter(|&&m| m == member).count();
        assert_eq!([0, 1, 2, 3, 4].map(count), [5, 0, 1, 12, 3]);
    }

    #[test]
    fn turns_are_spread() {
        assert_eq!(order(&[2.0, 2.0]), [0, 1, 0, 1]);
        let order = order(&[6.0, 1.0, 1.0, 1.0]);
        assert!(
            !order.windows(2).any(|pair| pair[0] > 0 && pair[1] > 0),
            "{order:?}"
        );
    }

    #[test]
    fn nobody_takes_no_turn() {
        assert!(order(&[]).is_empty() && order(&[0.0]).is_empty());
    }
}

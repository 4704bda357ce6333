//! Durations, counted in buckets that are never wider than a thirty-second of what they hold.

use std::time::Duration;

/// A histogram of durations, to the microsecond.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    /// Counts one.
    pub(super) fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(us);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
    }

    /// How many were counted.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The duration that a share of them, from 0 to 1, does not exceed; none if there are none.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let found = self.buckets.iter().position(|n| {
            below += n;
            below >= rank
        })?;
        Some(Duration::from_micros(middle(found)))
    }
}

/// Below 64 every microsecond has its bucket; above, every power of two is cut into 32.
fn bucket(us: u64) -> usize {
    let shift = us.max(1).ilog2().saturating_sub(5);
    (u64::from(shift) * 32 + (us >> shift)) as usize
}

fn middle(bucket: usize) -> u64 {
    let shift = (bucket / 32).saturating_sub(1);
    let low = ((bucket - shift * 32) as u64) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_within_a_thirty_second(us in 0_u64..u64::MAX / 2) {
            let near = middle(bucket(us));
            prop_assert!(near.abs_diff(us) <= us / 32 + 1, "{us} became {near}");
        }
    }

    #[test]
    fn finds_the_quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for us in 1..=50 {
            histogram.record(Duration::from_micros(us));
        }
        assert_eq!(histogram.count(), 50);
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(25)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(50)));
        assert_eq!(histogram.quantile(0.0), Some(Duration::from_micros(1)));
    }
}

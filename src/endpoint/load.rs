//! How slow an endpoint answers: an estimate that decays with time, relaxed and lossy on purpose.
//!
//! Two threads that note a latency at once may lose one of them. The estimate only ranks endpoints; a lock or a loop would
//! cost more than the lost sample is worth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A peak-sensitive, exponentially weighted mean of latencies: it follows a rise at once and a fall slowly.
#[derive(Debug, Default)]
pub struct Load {
    /// Seconds, as bits of an `f64`; 0 while nothing is known.
    mean: AtomicU64,
}

/// The weight of one sample below the mean.
const GAIN: f64 = 0.1;

impl Load {
    /// Notes how long the head of a response took.
    pub fn note(&self, latency: Duration) {
        let sample = latency.as_secs_f64();
        let mean = self.seconds();
        let next = if sample > mean {
            sample
        } else {
            mean + (sample - mean) * GAIN
        };
        self.mean.store(next.to_bits(), Ordering::Relaxed);
    }

    /// The estimate in seconds; 0 while nothing is known.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        f64::from_bits(self.mean.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_rise_at_once_and_a_fall_slowly() {
        let load = Load::default();
        load.note(Duration::from_millis(10));
        load.note(Duration::from_millis(100));
        assert!((load.seconds() - 0.1).abs() < 1e-9);
        load.note(Duration::from_millis(10));
        assert!(load.seconds() > 0.08);
        for _ in 0..100 {
            load.note(Duration::from_millis(10));
        }
        assert!(load.seconds() < 0.011);
    }
}

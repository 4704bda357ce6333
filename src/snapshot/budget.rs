//! The retry budget of a service, over all workers (P10): retries are a share of the requests of the last ten seconds,
//! besides ten a second.
//!
//! Every worker counts its own requests, alone, in buckets of a second; who wants to retry adds them up. A retry is rare
//! and may pay for the sum; a request must not pay for the retries it does not make.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// What may be sent again.
#[derive(Debug)]
pub struct RetryBudget {
    began: Instant,
    requests: Box<[Window]>,
    retries: Window,
}

/// Counts of the last seconds: each bucket packs the second it counts and the count.
#[derive(Debug)]
#[repr(align(128))]
struct Window {
    buckets: [AtomicU64; SECONDS],
}

/// The length of the window.
const SECONDS: usize = 10;

/// Retries that are free, per second.
const FREE: f64 = 10.0;

impl RetryBudget {
    /// A full budget, for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            began: Instant::now(),
            requests: (0..workers).map(|_| Window::new()).collect(),
            retries: Window::new(),
        }
    }

    /// Counts a request. Only the worker itself may name its number.
    pub fn note_request(&self, worker: usize, now: Instant) {
        self.requests[worker].add_alone(self.second(now));
    }

    /// Takes one retry, if the budget has one: `share` of the requests and ten a second, over ten seconds.
    #[must_use]
    pub fn take(&self, share: f64, now: Instant) -> bool {
        let second = self.second(now);
        let requests: u64 = self.requests.iter().map(|window| window.sum(second)).sum();
        let allowed = share * requests as f64 + FREE * SECONDS as f64;
        // Taken first and given back when it was too much: two workers cannot both take the last one.
        self.retries.add(second);
        if self.retries.sum(second) as f64 <= allowed {
            return true;
        }
        self.retries.take_back(second);
        false
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }
}

// Relaxed throughout: these are statistics, and a count that arrives late is a count of the next request.
impl Window {
    fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn bucket(&self, second: u64) -> &AtomicU64 {
        &self.buckets[(second % SECONDS as u64) as usize]
    }

    /// Counts without a read-modify-write: for a window that one thread alone writes.
    fn add_alone(&self, second: u64) {
        let bucket = self.bucket(second);
        bucket.store(
            next(bucket.load(Ordering::Relaxed), second),
            Ordering::Relaxed,
        );
    }

    fn add(&self, second: u64) {
        // The closure never refuses.
        let _ = self
            .bucket(second)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| {
                Some(next(seen, second))
            });
    }

    fn take_back(&self, second: u64) {
        let _ = self
            .bucket(second)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| {
                (seen >> 32 == second && seen & COUNT > 0).then(|| seen - 1)
            });
    }

    fn sum(&self, second: u64) -> u64 {
        let recent = |seen: &u64| (seen >> 32) + SECONDS as u64 > second;
        self.buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .filter(recent)
            .map(|seen| seen & COUNT)
            .sum()
    }
}

const COUNT: u64 = (1 << 32) - 1;

fn next(seen: u64, second: u64) -> u64 {
    if seen >> 32 == second {
        seen + 1
    } else {
        second << 32 | 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn allows_a_fifth_and_ten_a_second_over_ten_seconds() {
        let budget = RetryBudget::new(2);
        let now = budget.began;
        let taken = |now| (0..10_000).take_while(|_| budget.take(0.2, now)).count();
        assert_eq!(taken(now), 100);
        for worker in 0..2 {
            (0..500).for_each(|_| budget.note_request(worker, now));
        }
        assert_eq!(taken(now), 200);
        assert_eq!(taken(now + Duration::from_secs(9)), 0);
        assert_eq!(
            taken(now + Duration::from_secs(10)),
            100,
            "what is older is forgotten"
        );
    }
}

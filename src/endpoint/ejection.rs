//! Ejection: an endpoint that refuses connections is passed over for a while, by all workers.
//!
//! One word says until when, and how often in a row it came to that. It is 0 for whoever has done nothing, so that a choice
//! reads no more than this. Only what the endpoint says itself counts, a refused or reset connect: one that takes long may
//! be our own side's fault, and ejecting for it would lead the load of a slow endpoint to the next one.
//!
//! Like everything but the gate this is a hint. It takes nothing out of a snapshot and nothing from what is in flight; the
//! choice passes over ejected endpoints as long as there is another, and so an ejection never leaves a tier without anyone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What is held against an endpoint.
#[derive(Debug)]
pub struct Ejection {
    /// Where the word's time begins.
    epoch: Instant,
    /// The end in milliseconds, above [`ROW_BITS`] bits that hold how many ejections there were in a row.
    word: AtomicU64,
}

const ROW_BITS: u32 = 8;

/// The first ejection of a row; each further one is twice as long.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

impl Ejection {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            word: AtomicU64::new(0),
        }
    }

    /// Whether others are to be preferred now.
    #[must_use]
    pub fn is_out(&self, now: Instant) -> bool {
        // Relaxed, here and below: the word is all there is, and nothing is published with it.
        let word = self.word.load(Ordering::Relaxed);
        word != 0 && self.ms(now) < word >> ROW_BITS
    }

    /// A connect was refused or reset. Returns for how long that ejects the endpoint; none when it is out already, which
    /// many connects that began together must not prolong.
    pub fn refused(&self, now: Instant) -> Option<Duration> {
        let ms = self.ms(now);
        let before = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let row = row(word);
                let until = ms + length(row).as_millis() as u64;
                (ms >= word >> ROW_BITS)
                    .then_some(until << ROW_BITS | (row + 1).min((1 << ROW_BITS) - 1))
            });
        before.ok().map(|before| length(row(before)))
    }

    /// A connect succeeded: nothing is held against the endpoint any more.
    pub fn connected(&self) {
        // Connects are frequent and ejections are not: the line is not taken from others for nothing.
        if self.word.load(Ordering::Relaxed) != 0 {
            self.word.store(0, Ordering::Relaxed);
        }
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }
}

const fn row(word: u64) -> u64 {
    word & ((1 << ROW_BITS) - 1)
}

fn length(row: u64) -> Duration {
    // Further than this it is the longest in any case.
    let doubled = SHORTEST.saturating_mul(1 << row.min(8));
    doubled.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_while_it_goes_on_and_is_forgotten_by_a_success() {
        let ejection = Ejection::new();
        let mut now = Instant::now();
        assert!(!ejection.is_out(now));
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            let length = Duration::from_secs(seconds);
            assert_eq!(ejection.refused(now), Some(length));
            assert_eq!(ejection.refused(now), None, "it is out already");
            assert!(ejection.is_out(now));
            now += length - Duration::from_millis(2);
            assert!(ejection.is_out(now), "{seconds}");
            now += Duration::from_millis(2);
            assert!(!ejection.is_out(now), "{seconds}");
        }
        for _ in 0..300 {
            assert_eq!(ejection.refused(now), Some(LONGEST));
            now += LONGEST;
        }
        ejection.connected();
        assert_eq!(ejection.refused(now), Some(SHORTEST));
        ejection.connected();
        assert!(!ejection.is_out(now));
    }
}

//! Our own leaving, as moments in time (P11): one budget, everything else derived from it. Pure.
//!
//! ```text
//! signal        wait_end     idle_end              cut        end
//!   │── announce ──│── idle ────│                    │          │
//!   │  ever more   │   close at │   what is left     │ boundary │
//!   │  closes      │   random   │   finishes         │ waits    │
//!                  │─ deaf ─│ no new handshakes; those under way are accepted, then the listeners close
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// The moments of one leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// When it began.
    pub signal: Instant,
    /// Until here connections are accepted and closings announced.
    pub wait_end: Instant,
    /// Until here handshakes that were under way at the end of the wait are accepted; then the listeners close.
    pub deaf_end: Instant,
    /// Until here idle connections are closed, at random moments.
    pub idle_end: Instant,
    /// What is still in flight is ended (P5).
    pub cut: Instant,
    /// Nothing runs any longer.
    pub end: Instant,
}

/// How long handshakes under way may take: most round trips are shorter.
const HANDSHAKES_MAX: Duration = Duration::from_millis(200);

/// Idle connections are closed within this at the most.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// What ending in-flight work and flushing may take at the most: boundary waits are two seconds.
const ENDING_MAX: Duration = Duration::from_millis(2_500);

/// What telling the last streams may take.
const FORCE_MAX: Duration = Duration::from_millis(200);

impl Plan {
    /// The plan of a budget that begins now. `wait` is part of `grace`.
    #[must_use]
    pub fn new(now: Instant, wait: Duration, grace: Duration) -> Self {
        let wait_end = now + wait.min(grace);
        let end = now + grace;
        let left = end - wait_end;
        Self {
            signal: now,
            wait_end,
            deaf_end: wait_end + (left / 8).min(HANDSHAKES_MAX),
            idle_end: wait_end + (left / 4).min(IDLE_MAX),
            cut: end - (left / 5).min(ENDING_MAX),
            end,
        }
    }

    /// Milliseconds from the signal: until here connections are accepted; here the last idle one is closed; what is left is
    /// ended; nothing runs any longer.
    #[must_use]
    pub fn outline_ms(&self) -> [u64; 4] {
        [self.wait_end, self.idle_end, self.cut, self.end]
            .map(|moment| moment.saturating_duration_since(self.signal).as_millis() as u64)
    }

    /// Whether a response announces that its connection closes: ever more likely over the wait, always after it.
    /// `random` is a number from 0 to 1.
    #[must_use]
    pub fn announces(&self, now: Instant, random: f64) -> bool {
        let wait = self.wait_end.saturating_duration_since(self.signal);
        let done = now.saturating_duration_since(self.signal);
        done >= wait || random < done.as_secs_f64() / wait.as_secs_f64()
    }

    /// The moment at which what does not end is ended by force, a little before nothing runs any longer: each stream of an
    /// HTTP/2 client is still told.
    #[must_use]
    pub fn force(&self) -> Instant {
        self.end - ((self.end - self.cut) / 2).min(FORCE_MAX)
    }

    /// The moment at which an HTTP/2 client is told, idle or not: somewhere in what is left of the wait. `random` is a number
    /// from 0 to 1.
    #[must_use]
    pub fn goaway_moment(&self, now: Instant, random: f64) -> Instant {
        now + self
            .wait_end
            .saturating_duration_since(now)
            .mul_f64(random.clamp(0.0, 1.0))
    }

    /// The moment from which an idle connection is closed. `random` is a number from 0 to 1.
    #[must_use]
    pub fn idle_moment(&self, random: f64) -> Instant {
        self.wait_end + (self.idle_end - self.wait_end).mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn divides_the_default_budget() {
        let now = Instant::now();
        let plan = Plan::new(now, secs(15), secs(60));
        assert_eq!(plan.wait_end, now + secs(15));
        assert_eq!(plan.deaf_end, now + secs(15) + HANDSHAKES_MAX);
        assert_eq!(plan.idle_end, now + secs(25));
        assert_eq!(plan.cut, now + secs(60) - ENDING_MAX);
        assert_eq!(plan.end, now + secs(60));
    }

    #[test]
    fn announces_ever_more_often() {
        let now = Instant::now();
        let plan = Plan::new(now, secs(10), secs(20));
        assert!(!plan.announces(now, 0.0));
        assert!(plan.announces(now + secs(5), 0.4) && !plan.announces(now + secs(5), 0.6));
        assert!(plan.announces(now + secs(10), 1.0));
        assert!(
            Plan::new(now, Duration::ZERO, secs(20)).announces(now, 1.0),
            "Ctrl-C announces at once"
        );
    }

    proptest! {
        #[test]
        fn keeps_its_order_whatever_the_budget(wait in 0u64..100_000, grace in 0u64..100_000, random in 0.0f64..1.0) {
            let now = Instant::now();
            let plan = Plan::new(now, Duration::from_millis(wait), Duration::from_millis(grace));
            prop_assert!(plan.signal <= plan.wait_end && plan.wait_end <= plan.deaf_end);
            prop_assert!(plan.deaf_end <= plan.idle_end);
            prop_assert!(plan.idle_end <= plan.cut && plan.cut <= plan.end);
            let moment = plan.idle_moment(random);
            prop_assert!(plan.wait_end <= moment && moment <= plan.idle_end);
            let moment = plan.goaway_moment(now, random);
            prop_assert!(plan.signal <= moment && moment <= plan.wait_end);
            prop_assert!(plan.cut <= plan.force() && plan.force() <= plan.end);
            let late = plan.idle_end + secs(1);
            prop_assert_eq!(plan.goaway_moment(late, random), late);
        }
    }
}

//! An endpoint's place in a service: what the choice between endpoints depends on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Endpoint, EndpointId};

/// A member of a service's snapshot.
#[derive(Debug, Clone)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its share of new work; 0 takes none.
    pub weight: u32,
    /// Its slow start, while one is configured.
    pub ramp: Option<Ramp>,
}

/// A slow start: the share of new work grows in proportion to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    /// When the endpoint became ready.
    pub since: Instant,
    /// How long until it has its full share.
    pub over: Duration,
}

impl Ramp {
    /// The share at a moment: a tenth at first, the whole at the end.
    #[must_use]
    pub fn share(&self, now: Instant) -> f64 {
        let done =
            now.saturating_duration_since(self.since).as_secs_f64() / self.over.as_secs_f64();
        // A share of nothing would never warm anything up; `min` also turns the NaN of a zero ramp into the whole.
        (0.1 + 0.9 * done).min(1.0)
    }

    /// Whether the full share is reached.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.over
    }
}

impl Member {
    /// Whether it is the same life, with the same share.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoint, &other.endpoint)
            && self.weight == other.weight
            && self.ramp == other.ramp
    }

    /// Whether it is there for new work, and for work that these have failed.
    #[must_use]
    pub fn may_take(&self, avoid: &[EndpointId]) -> bool {
        self.weight > 0 && !avoid.contains(&self.endpoint.id())
    }

    /// Whether it is ejected, so that others are to be preferred.
    #[must_use]
    pub fn is_out(&self, now: Instant) -> bool {
        self.endpoint.ejection().is_out(now)
    }

    /// The share of its weight that it should get now.
    #[must_use]
    pub fn share(&self, now: Instant) -> f64 {
        self.ramp.map_or(1.0, |ramp| ramp.share(now))
    }
}

//! The guard of a place in flight: whoever holds it is counted, and dropping it is the only way out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Endpoint;

/// A place in flight at an endpoint (law 4: held until both directions of the work have ended).
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    fallback: bool,
}

impl InFlight {
    pub(super) fn new(endpoint: Arc<Endpoint>, fallback: bool) -> Self {
        Self { endpoint, fallback }
    }

    /// Where the place is.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether the endpoint was draining and serving as the fallback when the work started (P7).
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.fallback
    }

    /// Gives the place back before a byte was written: no work has started here (P1).
    pub fn give_back(self) {
        // Relaxed: read after the edge, which the gate orders after the drop below.
        self.endpoint
            .tally
            .given_back
            .fetch_add(1, Ordering::Relaxed);
        if self.fallback {
            self.endpoint.tally.fallback.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.leave();
    }
}

//! The guard of a place in flight: whoever holds it is counted, and dropping it is the only way out.

use std::sync::Arc;

use super::Endpoint;

/// Why work was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The endpoint was in rotation.
    Ready,
    /// It is missing in a list, and serves because nobody else can (P9).
    Suspect,
    /// It drains, and serves because nobody else can (P7).
    Fallback,
    /// It drains, and the work belongs there by an affinity that says so (P14).
    Affinity,
}

/// A place in flight at an endpoint (law 4: held until both directions of the work have ended).
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    admission: Admission,
}

impl Admission {
    /// Whether the endpoint drains.
    #[must_use]
    pub const fn is_draining(self) -> bool {
        self.why().is_some()
    }

    /// The state of the endpoint, as the access log has it.
    #[must_use]
    pub const fn state(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Suspect => "suspect",
            Self::Fallback | Self::Affinity => "draining",
        }
    }

    /// The word for it in `dispatched_to_draining_total`; none where nothing drains.
    #[must_use]
    pub const fn why(self) -> Option<&'static str> {
        match self {
            Self::Ready | Self::Suspect => None,
            Self::Fallback => Some("fallback"),
            Self::Affinity => Some("affinity"),
        }
    }
}

impl InFlight {
    pub(super) fn new(endpoint: Arc<Endpoint>, admission: Admission) -> Self {
        Self {
            endpoint,
            admission,
        }
    }

    /// Where the place is.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Why it was given.
    #[must_use]
    pub fn admission(&self) -> Admission {
        self.admission
    }

    /// Gives the place back before a byte was written: no work has started here (P1).
    pub fn give_back(self) {
        self.endpoint.count_given_back();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.leave();
    }
}

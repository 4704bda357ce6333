//! What one drain did (P13): the report that every drain ends with, exactly one each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Cause, LimitedBy};
use crate::endpoint::{EndpointId, EndpointKey, ServiceName};

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Everything in flight ended by itself, or well.
    Clean,
    /// Something was cut at the deadline.
    Cut,
    /// An operator put the endpoint back before the end.
    Cancelled,
}

impl Outcome {
    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Cut => "cut",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a word means.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Clean, Self::Cut, Self::Cancelled]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

/// What was cut, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// Requests: no response, or a response or an upload in progress.
    pub request: u64,
    /// Event streams and gRPC streams.
    pub stream: u64,
    /// WebSockets and other tunnels.
    pub tunnel: u64,
}

impl Cut {
    /// All kinds together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.request + self.stream + self.tunnel
    }
}

/// Requests that started after the drain was known, by the reason that allowed it (P1, P7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StartedAfter {
    /// No ready endpoint was left.
    pub fallback: u64,
    /// An explicit affinity asked for it.
    pub affinity: u64,
}

/// What became of the work of a drain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ended by itself.
    pub finished: u64,
    /// Given back before a byte was written, and sent elsewhere.
    pub retried: u64,
    /// Ended by tidegate at the deadline.
    pub cut: Cut,
    /// Started although the drain was known.
    pub started_after: StartedAfter,
}

/// What one drain did.
#[derive(Debug, Clone)]
pub struct Report {
    /// The service.
    pub service: ServiceName,
    /// The endpoint as its source knows it.
    pub key: EndpointKey,
    /// Which of its lives.
    pub life: EndpointId,
    /// Its address.
    pub address: SocketAddr,
    /// Its pod, where it has one.
    pub pod: Option<Arc<str>>,
    /// Who told us first.
    pub cause: Cause,
    /// Everyone who told us, and when.
    pub seen: Vec<(Cause, SystemTime)>,
    /// When the drain began: the gate closed.
    pub since: SystemTime,
    /// When what is left is cut; none once an undrain has lifted it.
    pub deadline: Option<SystemTime>,
    /// What set the deadline.
    pub limited_by: LimitedBy,
    /// In flight when the gate closed.
    pub in_flight_at_start: u64,
    /// What became of it.
    pub counts: Counts,
    /// When the last work ended; none while the drain runs.
    pub ended: Option<SystemTime>,
    /// From the closed gate to the last work's end.
    pub took: Option<Duration>,
    /// None while the drain runs.
    pub outcome: Option<Outcome>,
}

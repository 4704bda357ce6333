//! How an endpoint is chosen: the policy that is configured, and the picker that is built from members.

mod hash;

use std::sync::Arc;

pub use hash::HashKey;

/// How a service balances.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Policy {
    /// Two at random, the one with fewer in flight wins.
    #[default]
    LeastRequest,
    /// Two at random, the one with the lower expected latency wins.
    PeakEwma,
    /// In turn, smoothly by weight.
    RoundRobin,
    /// At random by weight.
    Random,
    /// By a key of the request (Maglev): the same key goes to the same endpoint, and few keys move when the set changes.
    Hash(HashKey),
}

/// Placeholder so that the type has a user before the pickers come.
#[derive(Debug, Clone)]
pub struct Named(pub Arc<str>);

//! Where a body that goes on for ever can end well (P5).

use tokio::time::Instant;

use crate::ending::{EventEnds, Grpc, Messages};

/// Where a body may stop.
#[derive(Debug)]
pub(super) enum Ends {
    Events(EventEnds),
    Messages(Messages, Grpc),
}

/// A stream that can end well.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) ends: Ends,
    /// It is to end at the next boundary ...
    pub(super) ending: bool,
    /// ... and by this moment in any case.
    pub(super) latest: Option<Instant>,
}

impl Ends {
    /// Whether it may stop here.
    pub(super) fn at_boundary(&self) -> bool {
        match self {
            Self::Events(ends) => ends.at_boundary(),
            Self::Messages(messages, _) => messages.at_boundary(),
        }
    }

    /// How much of a piece goes up to its first boundary, if there is one.
    pub(super) fn feed(&mut self, data: &[u8]) -> Option<usize> {
        match self {
            Self::Events(ends) => ends.feed(data).first,
            Self::Messages(messages, _) => messages.feed(data),
        }
    }
}

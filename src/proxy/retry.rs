//! What may be sent again, and how often: the table of P10.

use http::Method;
use http::request::Parts;
use tokio::time::Instant;

use super::{Failure, Flow, Proxy, inspect};
use crate::endpoint::EndpointId;
use crate::snapshot::Retry;

/// How an attempt failed. What was sent by then decides what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The drain called it back before a byte was written (P1): no attempt at all.
    Recalled,
    /// Refused, reset or unreachable: nothing was sent.
    Unconnected,
    /// Not in time: nothing was sent.
    ConnectTimeout,
    /// A reused connection was found closed before the write: nothing was sent.
    Stale,
    /// The endpoint said itself that it has not processed the request (HTTP/2).
    RefusedStream,
    /// A reused connection was closed before any byte of an answer: perhaps it was never read, perhaps it was executed.
    ReusedClosed,
    /// Nothing that may be sent again.
    Final(Failure),
}

/// A request's attempts.
#[derive(Debug)]
pub(super) struct Retries {
    left: u32,
    budget: f64,
    retrying: bool,
    /// Endpoints that have failed it.
    pub(super) avoid: Vec<EndpointId>,
}

impl Failed {
    /// The word in `tries` and in `retries_total`.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Recalled => "recalled",
            Self::Unconnected => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Stale => "stale_connection",
            Self::RefusedStream => "refused_stream",
            Self::ReusedClosed => "reused_connection_closed",
            Self::Final(failure) => failure.code(),
        }
    }

    /// What it becomes when it is not sent again.
    pub(super) const fn failure(self) -> Failure {
        match self {
            Self::Recalled => Failure::NoEndpoint,
            Self::Unconnected | Self::Stale => Failure::ConnectFailed,
            Self::ConnectTimeout => Failure::ConnectTimeout,
            Self::RefusedStream => Failure::StreamRefused,
            Self::ReusedClosed => Failure::UpstreamClosed,
            Self::Final(failure) => failure,
        }
    }

    /// Whether P10 allows another attempt for a method.
    const fn allows_again(self, idempotent: bool) -> bool {
        match self {
            Self::Recalled
            | Self::Unconnected
            | Self::ConnectTimeout
            | Self::Stale
            | Self::RefusedStream => true,
            Self::ReusedClosed => idempotent,
            Self::Final(_) => false,
        }
    }
}

impl Retries {
    pub(super) fn new(settings: &Retry) -> Self {
        Self {
            left: settings.attempts.saturating_sub(1),
            budget: settings.budget,
            retrying: false,
            avoid: Vec::new(),
        }
    }

    /// Whether the coming attempt is another than the first; it takes a fresh connection.
    pub(super) fn is_retry(&self) -> bool {
        self.retrying
    }

    /// RFC 9110, section 9.2.2, as far as P10 goes. A WebSocket over HTTP/2 is what a GET asks for over HTTP/1.1.
    pub(super) fn is_idempotent(&self, parts: &Parts) -> bool {
        matches!(
            parts.method,
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::TRACE
                | Method::PUT
                | Method::DELETE
        ) || inspect::protocol(parts).is_some()
    }
}

impl Proxy {
    /// Prepares another attempt, or says what the client is told instead.
    pub(super) fn may_try_again(
        &self,
        flow: &mut Flow<'_>,
        failed: (Failed, EndpointId),
    ) -> Result<(), Failure> {
        let (failed, endpoint) = failed;
        let allowed = failed.allows_again(flow.retries.is_idempotent(flow.parts));
        if failed == Failed::Recalled {
            // Nothing was tried, so nothing is used up; the pick that follows finds a newer snapshot.
            return if flow.upload.rewind() {
                Ok(())
            } else {
                Err(failed.failure())
            };
        }
        let service = flow.service.name();
        if failed == Failed::ReusedClosed {
            self.metrics.shared().reuse_race(service.as_str());
        }
        let again = allowed
            && flow.retries.left > 0
            && flow.upload.rewind()
            && flow
                .service
                .budget()
                .take(flow.retries.budget, Instant::now());
        if !again {
            return Err(failed.failure());
        }
        flow.retries.left -= 1;
        flow.retries.retrying = true;
        flow.retries.avoid.push(endpoint);
        flow.account.tried(failed.reason());
        self.metrics
            .shared()
            .retry(service.as_str(), failed.reason());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of P10, row by row.
    #[test]
    fn allows_what_the_table_allows() {
        for unsent in [
            Failed::Unconnected,
            Failed::ConnectTimeout,
            Failed::Stale,
            Failed::RefusedStream,
            Failed::Recalled,
        ] {
            assert!(
                unsent.allows_again(true) && unsent.allows_again(false),
                "{unsent:?}"
            );
        }
        assert!(
            Failed::ReusedClosed.allows_again(true) && !Failed::ReusedClosed.allows_again(false)
        );
        for failure in [
            Failure::UpstreamClosed,
            Failure::BadResponse("x"),
            Failure::RequestTimeout,
        ] {
            assert!(!Failed::Final(failure).allows_again(true));
        }
    }
}

//! What is refused before there is a request: broken heads, and heads that do not end. Their connection has answered them;
//! here they are counted and logged like every other request.

use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::{Downstream, Proxy};
use crate::telemetry::{Client, Record};

/// Why there was no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The head is no HTTP/1.1.
    Malformed,
    /// The head is too large.
    TooLarge,
    /// The head took too long.
    SlowHead,
    /// What came by HTTP/2 is none, or a flood.
    Frames,
}

impl Refusal {
    /// The status that it is answered with, and what the client is told of it.
    #[must_use]
    pub const fn status(self) -> (StatusCode, &'static str) {
        let (status, _, reason) = self.told();
        (status, reason)
    }

    const fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "the request's head is broken",
            ),
            Self::TooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
                "the request's head is too large",
            ),
            Self::Frames => (
                StatusCode::BAD_REQUEST,
                "http2_error",
                "the connection broke the rules of HTTP/2",
            ),
            Self::SlowHead => (
                StatusCode::REQUEST_TIMEOUT,
                "slow_head",
                "the request took too long",
            ),
        }
    }
}

impl Proxy {
    /// Counts and logs what never became a request.
    pub fn refused(&self, downstream: &Downstream, refusal: Refusal) {
        let (status, code, reason) = refusal.told();
        let listener = &downstream.entrance.listener;
        self.metrics
            .request(listener, "", status.as_u16(), Duration::ZERO);
        self.log.put(&Record {
            time: SystemTime::now(),
            client: Client {
                ip: downstream.client.ip(),
                port: Some(downstream.client.port()),
            },
            method: None,
            authority: None,
            path: None,
            status: Some(status),
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            listener,
            service: None,
            last: None,
            tries: &[],
            reason: Some(reason),
            code: Some(code),
            trace_id: None,
        });
    }
}

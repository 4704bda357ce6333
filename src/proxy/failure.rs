//! Every failure, and the response that it becomes: here, and nowhere else.

use std::fmt;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::account::Account;
use super::{Answer, Body};
use crate::ending::{Grpc, grpc_message};

/// The status of gRPC that says: try again, elsewhere.
pub(super) const UNAVAILABLE: u8 = 14;

/// The fields that tell a gRPC client how its call ended.
pub(super) fn add_grpc_status(fields: &mut HeaderMap, status: u8, message: &str) {
    fields.insert(
        HeaderName::from_static("grpc-status"),
        HeaderValue::from(u16::from(status)),
    );
    if let Ok(message) = HeaderValue::from_str(&grpc_message(message)) {
        fields.insert(HeaderName::from_static("grpc-message"), message);
    }
}

/// Why a request was not answered by an endpoint. The text is what the client is told, and `reason` in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Downstream: the request cannot be understood, or can be understood in two ways.
    BadRequest(&'static str),
    /// Downstream: a method that is not served.
    NotAllowed(&'static str),
    /// Downstream: a protocol that is not served, or not by these endpoints.
    NotServed(&'static str),
    /// Downstream: an `Expect` that nobody knows.
    ExpectationFailed,
    /// Downstream: the target is too long.
    TargetTooLong,
    /// Downstream: the head is too long.
    HeadTooLarge,
    /// Downstream: the body is too long.
    BodyTooLarge,
    /// Downstream: the upload stalled.
    UploadStalled,
    /// Downstream: the upload ended early; nobody is left to answer.
    ClientGone,
    /// Ours: no route.
    NoRoute,
    /// Ours: what the route leads to, or this request's share of it, is not there.
    NoService,
    /// Upstream: no endpoint can serve.
    NoEndpoint,
    /// Ours: too many wait for a connection already, or this one has waited too long.
    Overloaded,
    /// Upstream: no connection came about; nothing was sent.
    ConnectFailed,
    /// Upstream: no connection came about in time; nothing was sent.
    ConnectTimeout,
    /// Upstream: the endpoint refused to process it (HTTP/2).
    StreamRefused,
    /// Upstream: the connection ended after bytes were sent and before an answer.
    UpstreamClosed,
    /// Upstream: what came is no answer.
    BadResponse(&'static str),
    /// Upstream: no answer in time.
    RequestTimeout,
    /// Ours: the endpoint's drain is over and it had not answered (P5).
    DrainDeadline {
        /// The upload was not over.
        mid_upload: bool,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// CONNECT, where no service has it.
    pub(super) const NOT_ALLOWED: Self = Self::NotAllowed("CONNECT is not allowed here");

    /// The status it becomes.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::NotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotServed(_) => StatusCode::NOT_IMPLEMENTED,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UploadStalled => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoService => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoEndpoint | Self::Overloaded | Self::ConnectFailed | Self::StreamRefused => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamClosed | Self::BadResponse(_) => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::RequestTimeout | Self::DrainDeadline { .. } => {
                StatusCode::GATEWAY_TIMEOUT
            }
        }
    }

    /// The code in the access log.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::NotAllowed(_) => "method_not_allowed",
            Self::NotServed(_) => "protocol_not_served",
            Self::ExpectationFailed => "expectation_failed",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::UploadStalled => "upload_stalled",
            Self::ClientGone => "client_closed",
            Self::NoRoute => "no_route",
            Self::NoService => "no_service",
            Self::NoEndpoint => "no_endpoint",
            Self::Overloaded => "overloaded",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::StreamRefused => "stream_refused",
            Self::UpstreamClosed => "upstream_closed",
            Self::BadResponse(_) => "bad_response",
            Self::RequestTimeout => "request_timeout",
            Self::DrainDeadline { mid_upload: false } => "drain_deadline_no_headers",
            Self::DrainDeadline { mid_upload: true } => "drain_deadline_mid_upload",
        }
    }

    /// The status of gRPC that it becomes.
    #[must_use]
    pub const fn grpc_status(self) -> u8 {
        match self {
            Self::ClientGone => 1,
            Self::UploadStalled | Self::RequestTimeout => 4,
            Self::BodyTooLarge => 8,
            Self::NoRoute | Self::NotServed(_) => 12,
            Self::BadRequest(_)
            | Self::NotAllowed(_)
            | Self::ExpectationFailed
            | Self::TargetTooLong
            | Self::HeadTooLarge => 13,
            Self::NoService
            | Self::NoEndpoint
            | Self::Overloaded
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::StreamRefused
            | Self::UpstreamClosed
            | Self::BadResponse(_)
            | Self::DrainDeadline { .. } => UNAVAILABLE,
        }
    }

    /// Whether the connection ends with the response: its state is unknown, or its next request would be more of the same.
    const fn closes(self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::NotAllowed(_)
            | Self::NotServed(_)
            | Self::ExpectationFailed
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::UploadStalled
            | Self::ClientGone
            | Self::DrainDeadline { mid_upload: true } => true,
            Self::NoRoute
            | Self::NoService
            | Self::NoEndpoint
            | Self::Overloaded
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::StreamRefused
            | Self::UpstreamClosed
            | Self::BadResponse(_)
            | Self::RequestTimeout
            | Self::DrainDeadline { mid_upload: false } => false,
        }
    }

    /// The text for `reason`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest(why)
            | Self::NotAllowed(why)
            | Self::NotServed(why)
            | Self::BadResponse(why) => why,
            Self::ExpectationFailed => "the expectation cannot be met",
            Self::TargetTooLong => "the target is too long",
            Self::HeadTooLarge => "the request's head is too large",
            Self::BodyTooLarge => "the body is too long",
            Self::UploadStalled => "the request took too long",
            Self::ClientGone => "the client ended the request early",
            Self::NoRoute => "no route leads there",
            Self::NoService => "the route leads to a service that is not there",
            Self::NoEndpoint => "no endpoint can serve",
            Self::Overloaded => "too many requests wait for a connection",
            Self::ConnectFailed => "no connection with an endpoint",
            Self::ConnectTimeout => "no connection with an endpoint in time",
            Self::StreamRefused => "the endpoint refused to process the request",
            Self::UpstreamClosed => "the endpoint closed the connection without an answer",
            Self::RequestTimeout => "the endpoint did not answer in time",
            Self::DrainDeadline { .. } => "the endpoint went away before it answered",
        }
    }

    /// The response, and the end of the request's account.
    pub(super) fn respond(self, account: Account, parts: &Parts) -> Answer {
        if Grpc::of(&parts.headers).is_some() {
            return self.respond_grpc(account, parts);
        }
        let text = format!("{} {self}\n", self.status().as_u16());
        let length = if parts.method == Method::HEAD {
            0
        } else {
            text.len()
        };
        let mut fields = HeaderMap::new();
        fields.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Self::NotAllowed(_) = self {
            fields.insert(
                ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"),
            );
        }
        account.failed(self, self.status(), length as u64);
        let mut answer = Answer::new(self.status(), fields, Body::text(text));
        answer.close = self.closes() || parts.method == Method::CONNECT;
        answer
    }

    /// A response of trailers alone, which is what gRPC has for a call that nobody took.
    fn respond_grpc(self, account: Account, parts: &Parts) -> Answer {
        let mut fields = HeaderMap::new();
        if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
            fields.insert(CONTENT_TYPE, kind.clone());
        }
        add_grpc_status(&mut fields, self.grpc_status(), self.reason());
        account.failed(self, StatusCode::OK, 0);
        let mut answer = Answer::new(StatusCode::OK, fields, Body::empty());
        answer.close = self.closes() || parts.method == Method::CONNECT;
        answer
    }
}

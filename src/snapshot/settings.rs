//! What is configured of a service, as the request path and the writer need it.

use std::sync::Arc;
use std::time::Duration;

use super::Affinity;
use crate::balance::Policy;
use crate::drain;
use crate::endpoint::ServiceName;
use crate::net::tls::Connector;

/// Everything configured of one service but its source.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSettings {
    /// Its name.
    pub name: ServiceName,
    /// How an endpoint is chosen.
    pub balance: Policy,
    /// What keeps a client's requests on one endpoint (P14).
    pub affinity: Affinity,
    /// What is spoken to the endpoints.
    pub protocol: Protocol,
    /// TLS to the endpoints, where it is spoken.
    pub tls: Option<Connector>,
    /// How endpoints drain.
    pub drain: drain::Settings,
    /// What happens when no endpoint is ready but some are still serving (P7).
    pub all_draining: AllDraining,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What may be sent again (P10).
    pub retry: Retry,
    /// Bounds, over all workers.
    pub limits: Limits,
    /// A newly ready endpoint gets a growing share over this time; zero turns it off.
    pub slow_start: Duration,
    /// Protocols that a client may switch to, in lower case.
    pub upgrades: Vec<Arc<str>>,
    /// How endpoints are asked whether they are well, if they are.
    pub health: Option<HealthCheck>,
}

/// What is spoken to endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
    /// What ALPN says; without TLS HTTP/1.1.
    Auto,
}

impl Protocol {
    /// Whether it is HTTP/2 on a connection for which the endpoint has, or has not, chosen that by ALPN.
    #[must_use]
    pub const fn is_http2(self, chosen: bool) -> bool {
        match self {
            Self::Http1 => false,
            Self::Http2 => true,
            Self::Auto => chosen,
        }
    }
}

/// How endpoints are asked whether they are well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What they are asked.
    pub probe: Probe,
    /// From an answer to the next question, about.
    pub interval: Duration,
    /// What has not answered by then has failed.
    pub timeout: Duration,
    /// So many good answers in a row bring an endpoint back.
    pub healthy: u32,
    /// So many bad ones in a row take it out.
    pub unhealthy: u32,
}

/// What an endpoint is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// To accept a connection; with TLS, to prove who it is.
    Tcp,
    /// To answer a GET of this path with a status from 200 to 399.
    Http(String),
    /// To say that it serves this service (`grpc.health.v1`); the empty name means all of it.
    Grpc(String),
}

impl HealthCheck {
    /// The defaults, with a probe.
    #[must_use]
    pub fn by(probe: Probe) -> Self {
        Self {
            probe,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy: 1,
            unhealthy: 3,
        }
    }
}

/// What to do with no ready endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AllDraining {
    /// Use those that drain and still serve.
    #[default]
    Serve,
    /// Answer 503.
    Reject,
}

/// The time limits of a service. Zero means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To a connection with an endpoint.
    pub connect: Duration,
    /// From the request's arrival to the response's head.
    pub request: Duration,
    /// Without a byte of a body, in either direction, while one is under way.
    pub idle: Duration,
    /// Without a byte in a tunnel, in either direction.
    pub tunnel_idle: Duration,
    /// An idle upstream connection is closed after this, or a second before the endpoint's own `Keep-Alive: timeout`.
    pub upstream_keep_alive: Duration,
    /// An HTTP/2 connection by which nothing has come for this long is asked for a sign of life, and given up after as much
    /// again.
    pub upstream_ping: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            request: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            tunnel_idle: Duration::from_secs(3600),
            upstream_keep_alive: Duration::from_secs(30),
            upstream_ping: Duration::from_secs(15),
        }
    }
}

/// What may be sent again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Attempts in all, 1 to 2.
    pub attempts: u32,
    /// The share of requests that may be sent again, besides 10 a second, over 10 s.
    pub budget: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            budget: 0.2,
        }
    }
}

/// Bounds of a service, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Upstream connections to one endpoint.
    pub connections_per_endpoint: u32,
    /// Requests that wait for a connection; one more is answered 503.
    pub pending: u32,
    /// Bytes of a request's body; a larger one is answered 413. Zero means no bound.
    pub request_body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_endpoint: 1024,
            pending: 1024,
            request_body: 0,
        }
    }
}

impl ServiceSettings {
    /// The defaults, under a name.
    #[must_use]
    pub fn named(name: ServiceName) -> Self {
        Self {
            name,
            balance: Policy::default(),
            affinity: Affinity::default(),
            protocol: Protocol::default(),
            tls: None,
            drain: drain::Settings::default(),
            all_draining: AllDraining::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            limits: Limits::default(),
            slow_start: Duration::ZERO,
            upgrades: vec!["websocket".into()],
            health: None,
        }
    }
}

//! Downstream connections: accepted, limited, served, and let go.
//!
//! * [`listener`](Entry): one socket of one listener on one worker.
//! * `connection`: one connection, from its first byte to its lingering close.
//! * `http1` and `http2`: what is spoken on it. TLS decides by ALPN, a clear listener by the first bytes.
//! * [`Plan`]: our own leaving, as moments in time (P11).

mod connection;
mod crowd;
mod date;
mod door;
mod http1;
mod http2;
mod listener;
mod pinned;
mod shutdown;
mod wire;

pub use crowd::{Crowd, Room};
pub use door::{Acceptor, Door};
pub use listener::Entry;
pub use shutdown::Plan;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::proxy::Underscores;

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Peers whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<crate::net::Network>,
    /// Connections begin with a PROXY header that tells who the client is.
    pub proxy_protocol: bool,
    /// TLS; none on a clear listener.
    pub tls: Option<crate::net::tls::Settings>,
    /// What becomes of field names with an underscore.
    pub underscores: Underscores,
    /// Whether HTTP/2 is spoken, too.
    pub http2: bool,
    /// `x-tidegate-endpoint` and `x-tidegate-attempts` on responses.
    pub debug_headers: bool,
    /// Time limits of its connections.
    pub timeouts: Timeouts,
    /// Size limits of its requests.
    pub limits: Limits,
}

/// Time limits of downstream connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// To the whole head of a request, from its first byte, and to the first byte of a new connection; 408.
    pub header: Duration,
    /// Without a byte of an upload under way; 408.
    pub body: Duration,
    /// To the end of a request's body, from its head; 408. Zero is never.
    pub request: Duration,
    /// An idle connection is closed after this; longer than the idle timeout of the balancer in front (AWS ALB: 60 s).
    pub keep_alive: Duration,
    /// HTTP/2: a client with open streams from which nothing comes for so long is asked, and given up after as long again.
    pub ping: Duration,
    /// A connection ends well at this age, give or take a tenth; zero is never.
    pub max_connection_age: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            body: Duration::from_secs(60),
            request: Duration::ZERO,
            keep_alive: Duration::from_secs(75),
            ping: Duration::from_secs(30),
            max_connection_age: Duration::ZERO,
        }
    }
}

/// Size limits of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head; 431.
    pub header_bytes: u32,
    /// Fields of a request's head; 431.
    pub headers: u32,
    /// Bytes of the request target; 414.
    pub target_bytes: u32,
    /// Open connections of the listener, over all workers; more are closed at once.
    pub connections: u32,
    /// Open connections of one client, over all workers; more are closed at once. 0 bounds nothing.
    pub connections_per_client: u32,
    /// HTTP/2: open streams of a connection.
    pub streams: u32,
    /// HTTP/2: open streams of one client, over all its connections and all workers; more are refused. 0 bounds nothing.
    pub streams_per_client: u32,
    /// HTTP/2: bytes of one upload that may be on their way.
    pub stream_window: u32,
    /// HTTP/2: the same for all uploads of a connection.
    pub connection_window: u32,
    /// HTTP/2: streams that a client has opened and reset before they were looked at; more end the connection.
    pub resets: u32,
    /// HTTP/2: streams of a connection that were reset for the client's errors; more end it.
    pub stream_errors: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            headers: 100,
            target_bytes: 16 * 1024,
            connections: 100_000,
            connections_per_client: 0,
            streams: 128,
            streams_per_client: 0,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            resets: 20,
            stream_errors: 1024,
        }
    }
}

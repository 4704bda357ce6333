//! Downstream connections.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Peers whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<Network>,
    /// TLS; none on a clear listener.
    pub tls: Option<crate::net::tls::Settings>,
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
    /// An idle connection is closed after this; longer than the idle timeout of the balancer in front (AWS ALB: 60 s).
    pub keep_alive: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            headers: 100,
            target_bytes: 16 * 1024,
            connections: 100_000,
        }
    }
}

/// A network in CIDR notation; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `::1` and the like.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RIGHT: &str = "should be an address or a network, as 10.0.0.7 or 10.0.0.0/8";
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| RIGHT)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(prefix) => prefix.parse().ok().filter(|n| *n <= most).ok_or(RIGHT)?,
        };
        Ok(Self { address, prefix })
    }

    /// Whether an address belongs to it. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                u32::from(own) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                u128::from(own) & mask == u128::from(other) & mask
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    /// As [`Network::parse`] reads it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

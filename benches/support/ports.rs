//! Ports that nobody else has.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// A free port of the loopback, for a process that is about to start.
pub(crate) fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

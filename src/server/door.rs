//! Where connections come from: a socket, or memory in the simulation.

use std::io;
use std::net::SocketAddr;

use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::debug;

use crate::net::{Stream, accept_waiting, ignore_newcomers, into_tokio};

/// Where connections come from.
#[derive(Debug)]
pub enum Acceptor {
    /// A socket.
    Tcp(TcpListener),
    /// A socket whose queue outlasts us: whoever lent it goes on with it.
    Lent(TcpListener),
    /// Memory, in the simulation.
    Memory(mpsc::UnboundedReceiver<DuplexStream>),
}

/// Where a worker's connections come from, before it listens there.
#[derive(Debug)]
pub enum Door {
    /// A socket.
    Socket(std::net::TcpListener),
    /// A socket whose queue outlasts us: whoever lent it goes on with it.
    Lent(std::net::TcpListener),
    /// Memory, in the simulation.
    Memory(mpsc::UnboundedReceiver<DuplexStream>),
}

impl Acceptor {
    /// Listens, on the runtime of this thread.
    ///
    /// # Errors
    /// As the runtime's registration.
    pub fn open(door: Door) -> io::Result<Self> {
        Ok(match door {
            Door::Socket(socket) => Self::Tcp(into_tokio(socket)?),
            Door::Lent(socket) => Self::Lent(into_tokio(socket)?),
            Door::Memory(connections) => Self::Memory(connections),
        })
    }

    pub(super) async fn accept(&mut self) -> io::Result<Option<(Stream, SocketAddr)>> {
        match self {
            Self::Tcp(listener) | Self::Lent(listener) => {
                let (stream, client) = listener.accept().await?;
                Ok(Some((Stream::Tcp(stream), client)))
            }
            Self::Memory(listener) => Ok(listener
                .recv()
                .await
                .map(|stream| (Stream::from(stream), SocketAddr::from(([127, 0, 0, 1], 1))))),
        }
    }

    /// Nobody new is let in. False where that cannot be had.
    pub(super) fn ignore_newcomers(&self) -> bool {
        match self {
            Self::Tcp(listener) | Self::Lent(listener) => ignore_newcomers(listener)
                .inspect_err(|error| debug!(%error, "a listener closes without a filter"))
                .is_ok(),
            Self::Memory(_) => false,
        }
    }

    /// What is there already.
    pub(super) fn accept_waiting(&mut self) -> io::Result<Option<(Stream, SocketAddr)>> {
        match self {
            Self::Tcp(listener) | Self::Lent(listener) => {
                Ok(accept_waiting(listener)?.map(|(stream, client)| (Stream::Tcp(stream), client)))
            }
            Self::Memory(listener) => Ok(listener
                .try_recv()
                .ok()
                .map(|stream| (Stream::from(stream), SocketAddr::from(([127, 0, 0, 1], 1))))),
        }
    }
}

//! How a worker reaches an endpoint: over TCP, or through memory in the simulation.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Stream;
use super::socket::tune_upstream;

/// Opens connections to endpoints.
#[derive(Debug, Clone, Default)]
pub enum Dialer {
    /// Over TCP.
    #[default]
    Tcp,
    /// Through memory.
    Memory(MemoryNet),
}

impl Dialer {
    /// Connects.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub async fn dial(&self, address: SocketAddr) -> io::Result<Stream> {
        match self {
            Self::Tcp => {
                let stream = TcpStream::connect(address).await?;
                tune_upstream(&stream);
                Ok(Stream::Tcp(stream))
            }
            Self::Memory(net) if net.lost.borrow().contains(&address) => {
                std::future::pending().await
            }
            Self::Memory(net) => net.connect(address).map(Stream::from),
        }
    }
}

/// A network in memory, of one thread: addresses, and who listens there.
#[derive(Debug, Clone, Default)]
pub struct MemoryNet {
    listeners: Rc<RefCell<HashMap<SocketAddr, mpsc::UnboundedSender<DuplexStream>>>>,
    lost: Rc<RefCell<HashSet<SocketAddr>>>,
}

/// What a pipe in memory holds before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;

impl MemoryNet {
    /// Listens at an address; dropping the receiver closes it.
    #[must_use]
    pub fn listen(&self, address: SocketAddr) -> mpsc::UnboundedReceiver<DuplexStream> {
        let (accepted, accept) = mpsc::unbounded_channel();
        self.listeners.borrow_mut().insert(address, accepted);
        accept
    }

    /// From now on whoever dials this address gets no answer.
    pub fn lose(&self, address: SocketAddr) {
        self.lost.borrow_mut().insert(address);
    }

    /// Connects to whoever listens.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] when nobody does.
    pub fn connect(&self, address: SocketAddr) -> io::Result<DuplexStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let listeners = self.listeners.borrow();
        listeners
            .get(&address)
            .ok_or_else(refused)?
            .send(far)
            .map_err(|_| refused())?;
        Ok(near)
    }
}

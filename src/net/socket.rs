//! Socket options and listening sockets.
//!
//! Peers that vanish without a word are found by keepalive probes while a connection is idle and by `TCP_USER_TIMEOUT`
//! (RFC 5482) while something is unacknowledged, on both sides.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};

/// Why a listener could not be set up.
#[derive(Debug, Error)]
#[error("listen on {address}: {}", explain(.source, *.address))]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long a peer may leave data unacknowledged, and how long an idle dead peer stays unnoticed at most.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// One listening socket for each worker, all on one address: the kernel spreads connections over them
/// (`SO_REUSEPORT`). Port 0 is a free one that the kernel chooses.
///
/// # Errors
/// [`BindError`] when the address is taken, also by a process that would share it.
pub fn bind_listeners(
    address: SocketAddr,
    workers: usize,
) -> Result<Vec<std::net::TcpListener>, BindError> {
    let wrap = |source| BindError { address, source };
    // A socket without SO_REUSEPORT finds out whether anybody listens here who would otherwise share the port unseen.
    drop(bind(address, false).map_err(wrap)?);
    let mut address = address;
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let listener = bind(address, true).map_err(wrap)?;
        // The first one has a port of its own, and the others take the same.
        address = listener.local_addr().map_err(wrap)?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Has the kernel answer no new connection on a listening socket, while handshakes under way come to their end. A client that
/// comes now asks again a second later, and is then told by whoever listens, or by nobody.
///
/// # Errors
/// When the kernel takes no filter.
pub fn ignore_newcomers(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).attach_filter(&WITHOUT_SYN)
}

/// A classic packet filter over the TCP header: drops a SYN without an ACK, lets everything else pass. Accepted connections
/// inherit it, and are not harmed: their SYN is behind them.
const WITHOUT_SYN: [SockFilter; 5] = {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// The options of a connection to an endpoint.
pub(super) fn tune_upstream(stream: &TcpStream) {
    tune(&SockRef::from(stream));
}

fn tune(socket: &SockRef<'_>) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    // A connection without these options works; a peer that vanishes is then noticed later.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

/// A listening socket for the runtime of this thread. The connections that it accepts from here on inherit their options from
/// it: set on each, they would be six system calls.
///
/// # Errors
/// As the runtime's registration.
pub fn into_tokio(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    tune(&SockRef::from(&listener));
    TcpListener::from_std(listener)
}

/// The next connection that the kernel has accepted already; none when there is none. The kernel is asked, not the runtime:
/// that hears of connections only when its event loop turns, and who is about to close a socket cannot wait for it.
///
/// # Errors
/// As `accept(2)`.
pub fn accept_waiting(listener: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    let (socket, client) = match SockRef::from(listener).accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    socket.set_nonblocking(true)?;
    let client = client
        .as_socket()
        .ok_or_else(|| io::Error::other("a client without an address"))?;
    Ok(Some((TcpStream::from_std(socket.into())?, client)))
}

fn explain(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "port {} is in use; stop what listens there or choose another port",
                address.port()
            )
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        _ => error.to_string(),
    }
}

/// Where a socket is bound, if that is an address and a port.
#[must_use]
pub fn bound_to(socket: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(socket).local_addr().ok()?.as_socket()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A connection that is begun and not waited for. On loopback all that the kernel does about it is done then.
    fn begin(address: SocketAddr) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let begun = socket.connect(&address.into()).unwrap_err();
        assert_eq!(begun.raw_os_error(), Some(115), "in progress");
        socket
    }

    #[tokio::test]
    async fn newcomers_are_not_answered_and_who_was_let_in_is_served() {
        let mut listeners = bind_listeners(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap();
        let listener = into_tokio(listeners.remove(0)).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = begin(address);
        assert!(waiting.peer_addr().is_ok(), "let in");
        ignore_newcomers(&listener).unwrap();
        let newcomer = begin(address);
        assert!(newcomer.peer_addr().is_err(), "its SYN is not answered");
        let (mut accepted, client) = accept_waiting(&listener).unwrap().unwrap();
        assert_eq!(client, waiting.local_addr().unwrap().as_socket().unwrap());
        let mut stream = TcpStream::from_std(waiting.into()).unwrap();
        stream.write_all(b"here").await.unwrap();
        let mut read = [0; 4];
        accepted.read_exact(&mut read).await.unwrap();
        accepted.write_all(&read).await.unwrap();
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"here", "what is open goes on");
        assert!(accept_waiting(&listener).unwrap().is_none());
    }

    #[tokio::test]
    async fn accepted_connections_have_the_options_of_their_listener() {
        let mut listeners = bind_listeners(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap();
        let listener = into_tokio(listeners.remove(0)).unwrap();
        let client = begin(listener.local_addr().unwrap());
        let (accepted, _) = accept_waiting(&listener).unwrap().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        drop(client);
    }

    #[test]
    fn gives_every_worker_the_port_that_the_kernel_chose() {
        let listeners = bind_listeners(SocketAddr::from(([127, 0, 0, 1], 0)), 3).unwrap();
        let first = listeners[0].local_addr().unwrap();
        assert_ne!(first.port(), 0);
        assert!(
            listeners
                .iter()
                .all(|listener| listener.local_addr().unwrap() == first)
        );
    }
}

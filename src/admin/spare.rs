//! Descriptors kept for bad times, so that the admin side answers when the process has used up all others.
//!
//! A connection that is accepted with a spare one gives it back when it ends, and not to the system: there the workers, who
//! also wait for one, would have it sooner, and the admin side would have answered once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::{DupFlags, dup3};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::warn;

use super::listen::{Socket, into_descriptor};

/// The spare descriptors of a listener. Each is one of a socket that nobody can reach.
#[derive(Debug)]
pub(super) struct Spares {
    socket: OwnedFd,
    kept: Mutex<Vec<OwnedFd>>,
}

/// So many connections are served at a time when nothing else is left.
const KEPT_MAX: usize = 8;

/// After an accept that failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Spares {
    /// As many as are to be kept.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let spares = Self {
            socket: UnixDatagram::unbound()?.into(),
            kept: Mutex::default(),
        };
        spares.refill();
        Ok(Arc::new(spares))
    }

    /// Takes new ones for those that are in use, where the system has any.
    pub(super) fn refill(&self) {
        while self.lacks() {
            let Ok(one) = self.socket.try_clone() else {
                return;
            };
            self.with(|kept| kept.push(one));
        }
    }

    /// What to do when nothing could be accepted: give one away, or wait, so that the loop does not spin.
    pub(super) async fn survive(&self, error: &io::Error) {
        let gone = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        );
        if gone || self.with(Vec::pop).is_some() {
            return;
        }
        warn!(%error, "cannot accept admin connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// Closes a connection. Where one is lacking, its descriptor is a spare one from then on, without a moment in between in
    /// which it is anybody's.
    fn take_back(&self, mut connection: OwnedFd) {
        if self.lacks() && dup3(self.socket.as_fd(), &mut connection, DupFlags::CLOEXEC).is_ok() {
            self.with(|kept| kept.push(connection));
        }
    }

    fn lacks(&self) -> bool {
        self.with(|kept| kept.len() < KEPT_MAX)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<OwnedFd>) -> T) -> T {
        // Nobody can panic in between; and if, what is kept is as good as before.
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection whose descriptor goes back to the spare ones, where it is needed.
#[derive(Debug)]
pub(super) struct Lent {
    /// None once it is given back.
    stream: Option<Socket>,
    spares: Arc<Spares>,
}

impl Lent {
    pub(super) fn new(stream: Socket, spares: Arc<Spares>) -> Self {
        Self {
            stream: Some(stream),
            spares,
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Socket>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take()
            && let Ok(descriptor) = into_descriptor(stream)
        {
            self.spares.take_back(descriptor);
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    async fn listen() -> (TcpListener, Arc<Spares>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener, Spares::new().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn lends_its_spare_descriptors_and_then_waits() {
        let (_listener, spares) = listen().await;
        let none_left = io::Error::other("too many open files");
        let began = Instant::now();
        for _ in 0..KEPT_MAX {
            spares.survive(&none_left).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        spares.survive(&none_left).await;
        assert!(began.elapsed() >= ACCEPT_PAUSE);
        spares.refill();
        let began = Instant::now();
        spares
            .survive(&io::ErrorKind::ConnectionAborted.into())
            .await;
        spares.survive(&none_left).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_connection_gives_its_descriptor_back() {
        let (listener, spares) = listen().await;
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(spares.with(Vec::pop).is_some());
        drop(Lent::new(Socket::Left(accepted), spares.clone()));
        assert!(!spares.lacks());
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "it is closed");
        let mut client = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        drop(Lent::new(Socket::Left(accepted), spares.clone()));
        assert_eq!(
            spares.with(|kept| kept.len()),
            KEPT_MAX,
            "no more than are kept"
        );
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

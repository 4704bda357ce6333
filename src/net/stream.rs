//! A byte stream: TCP, TLS, or memory in the simulation.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

use super::memory::Memory;
use super::tls::{TlsStream, UpstreamTlsStream};

/// A connection with a client or an endpoint.
#[derive(Debug)]
pub enum Stream {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A TLS connection with a client. Boxed: it is large, and most connections are not.
    Tls(Box<TlsStream>),
    /// A TLS connection with an endpoint.
    UpstreamTls(Box<UpstreamTlsStream>),
    /// One end of a pipe in memory.
    Memory(Memory),
}

impl Stream {
    /// Makes the coming close a reset: what was sent can then not be taken for whole (P5, bodies without a length).
    pub fn reset_on_close(&self) {
        if let Some(tcp) = self.tcp() {
            // Fails only on a socket that is closed already.
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }

    /// Whether the peer has neither closed nor sent anything that was not read. The kernel is asked, not the runtime: a close
    /// that arrived since the last turn of the event loop is seen, too.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let Some(tcp) = self.tcp() else { return true };
        if self.has_decrypted() {
            return false;
        }
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(tcp).peek(&mut byte) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// What is spoken inside TLS, by ALPN.
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::UpstreamTls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Tcp(_) | Self::Memory(_) => None,
        }
    }

    /// Whether HTTP/2 was chosen by ALPN.
    #[must_use]
    pub fn chose_http2(&self) -> bool {
        self.protocol() == Some(b"h2")
    }

    /// Whether what has been written may wait in here for a flush.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::UpstreamTls(_))
    }

    /// Whether there is something to read, or an end; `cx` is woken then. It is not certain: what has come by TLS may hold
    /// nothing for us.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Memory(stream) => stream.poll_readable(cx),
            _ if self.has_decrypted() => Poll::Ready(()),
            // An error is something to be read, too.
            _ => self
                .tcp()
                .map_or(Poll::Ready(()), |tcp| tcp.poll_read_ready(cx).map(drop)),
        }
    }

    /// Whether TLS has taken something off the socket that nobody has read yet: bytes, or the end.
    fn has_decrypted(&self) -> bool {
        match self {
            Self::Tls(stream) => !stream.get_ref().1.wants_read(),
            Self::UpstreamTls(stream) => !stream.get_ref().1.wants_read(),
            Self::Tcp(_) | Self::Memory(_) => false,
        }
    }

    /// The socket below; memory has none.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0.tcp()),
            Self::UpstreamTls(stream) => Some(stream.get_ref().0.tcp()),
            Self::Memory(_) => None,
        }
    }
}

impl From<DuplexStream> for Stream {
    fn from(pipe: DuplexStream) -> Self {
        Self::Memory(pipe.into())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::UpstreamTls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::UpstreamTls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::UpstreamTls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::UpstreamTls(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::UpstreamTls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::UpstreamTls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

//! A TCP connection as TLS writes to it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection below TLS.
///
/// * rustls always writes a vector of records, and nearly always a vector of one: a plain `send(2)` is then cheaper than
///   `writev(2)`, which has to find out first that it is a socket that it writes to.
/// * The tickets that end a handshake (RFC 8446, section 4.6.1) go out with what is written next. Nobody waits for them, and a
///   packet of their own wakes the client for nothing.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    handshake: Handshake,
    /// Tickets that wait for company.
    held: Vec<u8>,
}

/// How far a handshake of a server's is, as its records tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handshake {
    /// Our part is still to be written, or what is left of it.
    Begun,
    /// It is written.
    Answered,
    /// And the client has gone on.
    Ending,
    /// There is none, or no more.
    Over,
}

/// The type of a record that is encrypted, whatever it holds (RFC 8446, section 5.2).
const ENCRYPTED: u8 = 0x17;

impl Wire {
    /// A server's, whose handshake begins.
    pub(super) const fn server(stream: TcpStream) -> Self {
        Self::new(stream, Handshake::Begun)
    }

    /// A client's.
    pub(super) const fn client(stream: TcpStream) -> Self {
        Self::new(stream, Handshake::Over)
    }

    const fn new(stream: TcpStream, handshake: Handshake) -> Self {
        Self {
            stream,
            handshake,
            held: Vec::new(),
        }
    }

    /// The connection itself.
    #[must_use]
    pub const fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// Everything is written at once from now on.
    pub(super) const fn handshake_over(&mut self) {
        self.handshake = Handshake::Over;
    }

    /// Whether these are a handshake's last records: behind our part and the client's nothing comes but tickets, or an alert
    /// that ends it.
    fn may_wait(&self, bufs: &[IoSlice<'_>]) -> bool {
        let first = bufs.iter().find_map(|buf| buf.first());
        self.handshake == Handshake::Ending && first == Some(&ENCRYPTED)
    }

    /// Writes what was held, and these behind it.
    fn poll_write_held(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let mut all = Vec::with_capacity(1 + bufs.len());
            all.push(IoSlice::new(&self.held));
            all.extend_from_slice(bufs);
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?;
            let of_held = written.min(self.held.len());
            if of_held == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..of_held);
            if written > of_held {
                self.held = Vec::new();
                return Poll::Ready(Ok(written - of_held));
            }
        }
        self.held = Vec::new();
        Poll::Ready(Ok(0))
    }

    fn poll_write_through(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.held.is_empty() {
            let written = ready!(self.poll_write_held(cx, bufs))?;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
        }
        let stream = Pin::new(&mut self.stream);
        match bufs {
            [one] => stream.poll_write(cx, one),
            several => stream.poll_write_vectored(cx, several),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.handshake == Handshake::Answered {
            self.handshake = Handshake::Ending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.handshake == Handshake::Over {
            return self.poll_write_through(cx, bufs);
        }
        if self.may_wait(bufs) {
            let before = self.held.len();
            bufs.iter().for_each(|buf| self.held.extend_from_slice(buf));
            return Poll::Ready(Ok(self.held.len() - before));
        }
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        let written = ready!(self.poll_write_through(cx, bufs))?;
        self.handshake = if written == size {
            Handshake::Answered
        } else {
            // What is left begins within a record, whatever its first byte is.
            Handshake::Begun
        };
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.handshake == Handshake::Over {
            ready!(self.poll_write_held(cx, &[]))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_held(cx, &[]))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::mem::MaybeUninit;

    use socket2::SockRef;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (Wire::server(server.unwrap().0), client.unwrap())
    }

    /// Whether anything has, as the kernel knows, which has what was written to loopback at once.
    pub(in crate::net::tls) fn has_come(client: &TcpStream) -> bool {
        SockRef::from(client)
            .peek(&mut [MaybeUninit::uninit()])
            .is_ok()
    }

    async fn came(client: &mut TcpStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        client.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn holds_what_ends_a_handshake_until_there_is_more() {
        let (mut wire, mut client) = pair().await;
        // A flight; a request for another hello does not end the handshake.
        for flight in [&b"\x16again"[..], b"\x16flight\x17rest"] {
            wire.write_all(flight).await.unwrap();
            assert_eq!(came(&mut client, flight.len()).await, flight);
            client.write_all(b"x").await.unwrap();
            wire.read_u8().await.unwrap();
        }
        wire.write_all(b"\x17ticket").await.unwrap();
        wire.flush().await.unwrap();
        assert!(!has_come(&client), "held");
        wire.handshake_over();
        assert_eq!(wire.write(b"\x17answer").await.unwrap(), 7);
        assert_eq!(came(&mut client, 14).await, b"\x17ticket\x17answer");
        wire.write_all(b"\x17more").await.unwrap();
        assert_eq!(came(&mut client, 5).await, b"\x17more");
    }

    #[tokio::test]
    async fn what_is_held_goes_with_a_flush_and_with_the_end() {
        for ends in [false, true] {
            let (mut wire, mut client) = pair().await;
            wire.write_all(b"\x16flight").await.unwrap();
            client.write_all(b"x").await.unwrap();
            wire.read_u8().await.unwrap();
            wire.write_all(b"\x17alert").await.unwrap();
            wire.handshake_over();
            if ends {
                wire.shutdown().await.unwrap();
            } else {
                wire.flush().await.unwrap();
            }
            assert_eq!(came(&mut client, 13).await, b"\x16flight\x17alert");
        }
    }

    #[tokio::test]
    async fn a_flight_is_not_held_before_the_client_has_gone_on() {
        let (mut wire, mut client) = pair().await;
        wire.write_all(b"\x16flight").await.unwrap();
        wire.write_all(b"\x17rest").await.unwrap();
        assert_eq!(came(&mut client, 12).await, b"\x16flight\x17rest");
    }
}

//! A stream of an HTTP/2 connection as bytes both ways (RFC 8441, RFC 9113 section 8.5): DATA frames are what a TCP connection
//! would carry, END_STREAM is its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::room::Room;

/// Both halves of a stream.
///
/// Whoever reads has passed on what was read before: only then may the other side send as much again. So what is under way
/// is bounded by the stream's window, and a side that takes nothing holds back the other.
#[derive(Debug)]
pub struct ByteStream {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// What has come and was not read.
    unread: Bytes,
    /// What was read and is not known to have been passed on.
    passing: usize,
    /// Where what is sent is copied to.
    room: Room,
}

/// What is asked of the other side's windows at a time, and goes into one frame.
const AT_ONCE: usize = 16 * 1024;

impl ByteStream {
    /// Of these halves.
    #[must_use]
    pub fn new(send: SendStream<Bytes>, recv: RecvStream) -> Self {
        Self {
            send,
            recv,
            unread: Bytes::new(),
            passing: 0,
            room: Room::default(),
        }
    }

    /// Whether the other side has reset it, or is gone with its connection.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(drop)
    }

    /// Says that nothing more comes, where that has not been said.
    pub fn finish(&mut self) {
        // Fails where it has been said.
        let _ = self.send.send_data(Bytes::new(), true);
    }

    /// Breaks it off, as a TCP connection is by a reset.
    pub fn reset(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }

    fn release(&mut self) {
        let passed = std::mem::take(&mut self.passing);
        if passed > 0 {
            // Fails only where nothing is held back.
            let _ = self.recv.flow_control().release_capacity(passed);
        }
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.release();
        while stream.unread.is_empty() {
            match ready!(stream.recv.poll_data(cx)) {
                Some(data) => stream.unread = data.map_err(io::Error::other)?,
                // Trailers have no meaning here, and end it as well.
                None => return Poll::Ready(Ok(())),
            }
        }
        let size = stream.unread.len().min(buf.remaining());
        buf.put_slice(&stream.unread[..size]);
        stream.unread.advance(size);
        stream.passing = size;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { send, room, .. } = self.get_mut();
        let wanted = buf.len().min(AT_ONCE);
        if send.capacity() == 0 {
            send.reserve_capacity(wanted);
        }
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(room) => drop(room.map_err(io::Error::other)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let size = send.capacity().min(wanted);
        send.send_data(room.copy(&buf[..size]), false)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what it is given.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.get_mut().send.send_data(Bytes::new(), true);
        Poll::Ready(sent.map_err(io::Error::other))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::{Method, Request, Response};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// A client's halves of a stream, and the server's as bytes.
    async fn pair() -> (SendStream<Bytes>, RecvStream, ByteStream) {
        let (near, far) = duplex(1 << 20);
        let (client, server) = tokio::join!(
            h2::client::handshake(near),
            h2::server::Builder::new()
                .enable_connect_protocol()
                .handshake::<_, Bytes>(far)
        );
        let ((mut sender, connection), mut server) = (client.unwrap(), server.unwrap());
        tokio::spawn(connection);
        let request = Request::builder().method(Method::CONNECT).uri("a:1");
        let request = request.body(()).unwrap();
        let (response, send) = sender.send_request(request, false).unwrap();
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while server.accept().await.is_some() {} });
        let own = respond.send_response(Response::new(()), false).unwrap();
        let recv = response.await.unwrap().into_body();
        (send, recv, ByteStream::new(own, request.into_body()))
    }

    #[tokio::test]
    async fn lets_more_come_only_for_what_was_passed_on() {
        let (mut send, _recv, mut stream) = pair().await;
        send.send_data(Bytes::from_static(b"0123456789"), true)
            .unwrap();
        let mut piece = [0; 4];
        for used in [10, 6, 2] {
            let read = stream.read(&mut piece).await.unwrap();
            assert_eq!(read, piece.len().min(used));
            assert_eq!(stream.recv.flow_control().used_capacity(), used);
        }
        assert_eq!(stream.read(&mut piece).await.unwrap(), 0);
        assert_eq!(stream.recv.flow_control().used_capacity(), 0);
    }

    #[tokio::test]
    async fn gives_no_more_than_the_other_side_takes() {
        let (_send, mut recv, mut stream) = pair().await;
        let sent = vec![b'x'; 100_000];
        let mut given = 0;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(size) = Pin::new(&mut stream).poll_write(&mut cx, &sent[given..]) {
            given += size.unwrap();
        }
        assert_eq!(given, 65_535, "a window");
        let rest = async {
            stream.write_all(&sent[given..]).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let take = async {
            let mut taken = 0;
            while let Some(data) = recv.data().await {
                let size = data.unwrap().len();
                taken += size;
                recv.flow_control().release_capacity(size).unwrap();
            }
            taken
        };
        assert_eq!(tokio::join!(rest, take).1, sent.len());
    }

    #[tokio::test]
    async fn hears_of_a_reset() {
        let (mut send, _recv, mut stream) = pair().await;
        send.send_reset(Reason::CANCEL);
        poll_fn(|cx| stream.poll_broken(cx)).await;
        assert!(stream.read(&mut [0; 4]).await.is_err());
    }
}

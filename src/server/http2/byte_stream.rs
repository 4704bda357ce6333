//! A stream as bytes both ways (RFC 8441, RFC 9113 section 8.5): DATA frames are what a TCP connection would carry, END_STREAM is
//! its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::incoming::{Next, Upload};
use super::stream::Handle;
use crate::http2::frame::Reason;
use crate::proxy::Inbound;

/// Both halves of a stream.
///
/// Whoever reads has passed on what was read before: only then may the other side send as much again. So what is under way
/// is bounded by the stream's window, and a side that takes nothing holds back the other.
pub(super) struct ByteStream {
    handle: Handle,
    upload: Upload,
    /// What the request came by. Dropping it would say that nobody reads any more.
    _incoming: Inbound,
    /// What was read and is not known to have been passed on.
    passing: usize,
}

impl ByteStream {
    /// Of a stream whose request came by `incoming`.
    pub(super) fn new(handle: Handle, incoming: Inbound) -> Self {
        Self {
            upload: handle.upload(),
            handle,
            _incoming: incoming,
            passing: 0,
        }
    }

    /// Whether the other side has reset it, or is gone with its connection.
    pub(super) fn is_broken(&self) -> bool {
        self.handle.is_gone()
    }

    /// Says that nothing more comes, where that has not been said.
    pub(super) fn finish(&self) {
        self.handle.send_copied(&[], true);
    }

    /// Breaks it off, as a TCP connection is by a reset.
    pub(super) fn reset(&self) {
        self.handle.reset(Reason::CANCEL);
    }
}

impl Drop for ByteStream {
    fn drop(&mut self) {
        if self.passing > 0 {
            // Whether it was passed on or not: nobody will do it any more.
            self.upload.release_last(self.passing);
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
        let passed = std::mem::take(&mut stream.passing);
        if passed > 0 {
            stream.upload.release(passed);
        }
        match ready!(stream.upload.poll_next(cx, buf.remaining())) {
            Ok(Next::Data(data)) => {
                buf.put_slice(&data);
                stream.passing = data.len();
                Poll::Ready(Ok(()))
            }
            // Trailers have no meaning here, and end it as well.
            Ok(Next::End(_)) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.handle.poll_capacity()) {
            Some(capacity) => {
                let size = capacity.min(buf.len());
                self.handle.send_copied(&buf[..size], false);
                Poll::Ready(Ok(size))
            }
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what it is given.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::clock::Clock;
    use crate::server::http2::shared::{Shared, Windows};
    use std::rc::Rc;

    /// A stream whose client may send eight bytes.
    fn stream(clock: &Rc<Clock>) -> (Rc<Shared>, ByteStream) {
        let windows = Windows {
            stream: 8,
            connection: 100_000,
        };
        let shared = Shared::new(clock.task(), windows, 100);
        shared.settings_hold();
        let stream = shared.open(1, clock.task(), false, None);
        let handle = Handle::new(shared.clone(), stream);
        let incoming = Inbound::Body(Box::pin(handle.upload()));
        (shared, ByteStream::new(handle, incoming))
    }

    #[tokio::test]
    async fn lets_more_come_only_for_what_was_passed_on() {
        let clock = Clock::new();
        let (shared, mut stream) = stream(&clock);
        let own = shared.find(1).unwrap();
        own.incoming
            .borrow_mut()
            .keep(&mut BytesMut::from(&b"01234567"[..]), 8);
        let mut piece = [0; 5];
        for (read, said) in [(5, 0), (3, 13)] {
            assert_eq!(stream.read(&mut piece).await.unwrap(), read);
            assert_eq!(shared.state().out.len(), said, "WINDOW_UPDATE");
        }
        own.incoming.borrow_mut().end(None);
        assert_eq!(stream.read(&mut piece).await.unwrap(), 0);
        assert_eq!(shared.state().out.len(), 13, "nothing more will come");
    }

    #[tokio::test]
    async fn leaves_nothing_of_the_connections_window_behind() {
        let clock = Clock::new();
        let (shared, mut stream) = stream(&clock);
        let own = shared.find(1).unwrap();
        own.incoming
            .borrow_mut()
            .keep(&mut BytesMut::from(&b"01234567"[..]), 8);
        assert_eq!(stream.read(&mut [0; 5]).await.unwrap(), 5);
        drop(stream);
        let reset = shared.state().out.len();
        // Half of the connection's window is told: what was read, what was not, and the rest.
        shared.release(None, 50_000 - 8);
        assert_eq!(shared.state().out.len(), reset + 13, "WINDOW_UPDATE");
    }

    #[tokio::test]
    async fn gives_no_more_than_the_other_side_takes() {
        let clock = Clock::new();
        let (shared, mut stream) = stream(&clock);
        assert!(shared.widen_all(20_000));
        let sent = vec![b'x'; 50_000];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut given = 0;
        while let Poll::Ready(size) = Pin::new(&mut stream).poll_write(&mut cx, &sent[given..]) {
            given += size.unwrap();
        }
        assert_eq!(given, 20_000, "a window");
        stream.shutdown().await.unwrap();
        assert!(shared.find(1).unwrap().ended.get());
    }

    #[tokio::test]
    async fn hears_of_a_reset() {
        let clock = Clock::new();
        let (shared, mut stream) = stream(&clock);
        shared.close(&shared.find(1).unwrap());
        assert!(stream.is_broken());
        assert!(stream.read(&mut [0; 4]).await.is_err());
        assert!(stream.write(b"x").await.is_err());
    }
}

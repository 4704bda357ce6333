//! One end of a pipe in memory, which stands for a connection in the simulation.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// A pipe's end that can be asked whether there is something to read, as a socket can.
#[derive(Debug)]
pub struct Memory {
    pipe: DuplexStream,
    /// Taken out to see whether something is there.
    next: Option<u8>,
}

impl Memory {
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() {
            let mut byte = [0];
            let mut buf = ReadBuf::new(&mut byte);
            // An error and an end are something to be read, too, and stay.
            let _ = ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut buf));
            self.next = buf.filled().first().copied();
        }
        Poll::Ready(())
    }
}

impl From<DuplexStream> for Memory {
    fn from(pipe: DuplexStream) -> Self {
        Self { pipe, next: None }
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(next) = self.next.take()
        {
            buf.put_slice(&[next]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.pipe.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

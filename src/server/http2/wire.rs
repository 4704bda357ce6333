//! The bytes of an HTTP/2 connection on their way to and from h2, with a look at its frames.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Frames, Resets};
use crate::server::http1::PREFACE;
use crate::server::wire::{Phase, Watched};

/// Pieces that come to this much together are written as one.
const TOGETHER_MAX: usize = 1024;

/// h2's end.
#[derive(Debug)]
pub(super) struct Wire {
    watched: Rc<Watched>,
    seen: Rc<Seen>,
}

/// What was seen of the frames.
#[derive(Debug)]
pub(super) struct Seen {
    /// Those that come.
    come: RefCell<Frames>,
    /// Those that go.
    go: RefCell<Resets>,
    /// Something has come since this was last taken back.
    heard: Cell<bool>,
}

impl Wire {
    /// From here on this connection speaks HTTP/2. What has come of it already is read first.
    pub(super) fn new(watched: Rc<Watched>) -> (Self, Rc<Seen>) {
        watched.phase.set(Phase::Streams);
        let seen = Rc::new(Seen {
            come: RefCell::new(Frames::new(PREFACE.len())),
            go: RefCell::default(),
            heard: Cell::new(false),
        });
        let wire = Self {
            watched,
            seen: seen.clone(),
        };
        (wire, seen)
    }
}

impl Seen {
    /// Whether the head of a request is under way on one of the streams.
    pub(super) fn in_head(&self) -> bool {
        self.come.borrow().in_head()
    }

    /// Tells why streams were reset since this was last asked.
    pub(super) fn take_resets(&self, tell: impl FnMut(&'static str)) {
        self.go.borrow_mut().take().for_each(tell);
    }

    /// Whether something has come since this was last asked.
    pub(super) fn take_heard(&self) -> bool {
        self.heard.take()
    }

    fn note_written<'b>(
        &self,
        written: &Poll<io::Result<usize>>,
        bufs: impl IntoIterator<Item = &'b [u8]>,
    ) {
        let Poll::Ready(Ok(size)) = written else {
            return;
        };
        let (mut left, mut go) = (*size, self.go.borrow_mut());
        for buf in bufs {
            let taken = left.min(buf.len());
            go.feed(&buf[..taken]);
            left -= taken;
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if !self.watched.intake.borrow_mut().take_early(buf) {
            ready!(Pin::new(&mut *self.watched.stream.borrow_mut()).poll_read(cx, buf))?;
        }
        let read = &buf.filled()[before..];
        if read.is_empty() {
            self.watched.ended.set(true);
        } else {
            self.seen.heard.set(true);
        }
        self.seen.come.borrow_mut().feed(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.watched.poll_write(cx, buf, &[]);
        self.seen.note_written(&written, [buf]);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        if size > TOGETHER_MAX {
            let mut stream = self.watched.stream.borrow_mut();
            let written = Pin::new(&mut *stream).poll_write_vectored(cx, bufs);
            self.watched.note_written(&written);
            let pieces = bufs.iter().map(|buf| &**buf);
            self.seen.note_written(&written, pieces);
            return written;
        }
        // A head and a short body: copying them together costs less than a vector costs the kernel.
        let mut together = [0; TOGETHER_MAX];
        let mut rest = &mut together[..];
        for buf in bufs {
            let (front, back) = rest.split_at_mut(buf.len());
            front.copy_from_slice(buf);
            rest = back;
        }
        self.poll_write(cx, &together[..size])
    }

    fn is_write_vectored(&self) -> bool {
        self.watched.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.watched.stream.borrow_mut()).poll_flush(cx)
    }

    /// h2 is done; how the connection is closed is for the connection to decide.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

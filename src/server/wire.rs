//! The bytes of one downstream connection, watched on their way to and from hyper.
//!
//! hyper owns a connection's protocol but not its time. What it reads and writes passes through here, so the connection
//! knows whether it is idle, in the middle of a head, or at work, and can be looked at once more before it is closed.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lines::Lines;
use crate::net::Stream;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has ever come.
    New,
    /// Between two requests.
    Idle,
    /// A head has begun.
    Head,
    /// A request is being answered.
    Busy,
}

/// The state of a connection, shared by hyper's end and ours.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: RefCell<Stream>,
    pub(super) phase: Cell<Phase>,
    /// How the lines of the head end that came last.
    pub(super) lines: RefCell<Lines>,
    /// The client has closed its end.
    pub(super) ended: Cell<bool>,
    /// The client takes no more for now.
    pub(super) blocked: Cell<bool>,
    /// It has taken something since somebody asked.
    pub(super) wrote: Cell<bool>,
}

/// Pieces that come to this much together are written as one.
const TOGETHER_MAX: usize = 1024;

/// hyper's end.
#[derive(Debug)]
pub(super) struct Wire {
    watched: Rc<Watched>,
}

impl Watched {
    pub(super) fn new(stream: Stream) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(stream),
            phase: Cell::new(Phase::New),
            lines: RefCell::default(),
            ended: Cell::new(false),
            blocked: Cell::new(false),
            wrote: Cell::new(false),
        })
    }

    /// hyper's end.
    pub(super) fn wire(self: &Rc<Self>) -> Wire {
        Wire {
            watched: self.clone(),
        }
    }

    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        self.blocked.set(written.is_pending());
        if written.is_ready() {
            self.wrote.set(true);
        }
    }

    /// Whether closing it now would take nothing from anybody: no byte of a request has come, as far as the kernel knows.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.phase.get(), Phase::New | Phase::Idle) && self.stream.borrow().is_quiet()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let watched = &self.watched;
        let before = buf.filled().len();
        ready!(Pin::new(&mut *watched.stream.borrow_mut()).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            watched.ended.set(true);
            return Poll::Ready(Ok(()));
        }
        if matches!(watched.phase.get(), Phase::New | Phase::Idle) {
            watched.phase.set(Phase::Head);
            watched.lines.take();
        }
        if watched.phase.get() == Phase::Head {
            watched.lines.borrow_mut().feed(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.watched.stream.borrow_mut()).poll_write(cx, buf);
        self.watched.note_written(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.watched.stream.borrow_mut();
        let stream = Pin::new(&mut *stream);
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        if size > TOGETHER_MAX {
            let written = stream.poll_write_vectored(cx, bufs);
            self.watched.note_written(&written);
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
        let written = stream.poll_write(cx, &together[..size]);
        self.watched.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.watched.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.watched.stream.borrow_mut()).poll_flush(cx)
    }

    /// hyper is done; how the connection is closed is for the connection to decide.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

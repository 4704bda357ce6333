//! The bytes of one downstream connection, watched on their way.
//!
//! What is read and written passes through here, so the connection knows whether it is idle, in the middle of a head, or at
//! work, and can be looked at once more before it is closed.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::http1::Intake;
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
    /// HTTP/2: streams come and go.
    Streams,
}

/// The state of a connection, shared by all that read and write it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: RefCell<Stream>,
    pub(super) phase: Cell<Phase>,
    /// What has been read and not been taken yet.
    pub(super) intake: RefCell<Intake>,
    /// The client has closed its end.
    pub(super) ended: Cell<bool>,
    /// The client takes no more for now.
    pub(super) blocked: Cell<bool>,
    /// It has taken something since somebody asked.
    pub(super) wrote: Cell<bool>,
}

/// So much of a request is read at a time.
const READ_MAX: usize = 256 * 1024;

/// The same of many requests at once: a piece of one that waits to be passed on keeps all that was read with it.
const STREAMS_READ_MAX: usize = 64 * 1024;

impl Watched {
    /// `unclear`: its first bytes say what is spoken; otherwise that is known.
    pub(super) fn new(stream: Stream, unclear: bool) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(stream),
            phase: Cell::new(Phase::New),
            intake: RefCell::new(Intake::new(unclear)),
            ended: Cell::new(false),
            blocked: Cell::new(false),
            wrote: Cell::new(false),
        })
    }

    /// Whether there is something to read; `cx` is woken then.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.borrow_mut().poll_readable(cx)
    }

    /// Reads more into the intake. False at the end, however it came about.
    pub(super) fn poll_fill(&self, intake: &mut Intake, cx: &mut Context<'_>) -> Poll<bool> {
        let mut stream = self.stream.borrow_mut();
        let is_first = self.phase.get() != Phase::Busy;
        let most = match self.phase.get() {
            Phase::Streams => STREAMS_READ_MAX,
            _ => READ_MAX,
        };
        let read = ready!(intake.inbox.poll_fill(&mut stream, cx, most, is_first));
        if read == 0 {
            self.ended.set(true);
        }
        Poll::Ready(read > 0)
    }

    /// Writes as much of these as the client takes.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        small: &[u8],
        large: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let stream = Pin::new(&mut *stream);
        // One buffer alone is cheaper to write without a vector.
        let written = match (small, large) {
            (small, []) => stream.poll_write(cx, small),
            ([], large) => stream.poll_write(cx, large),
            _ => {
                let both = [io::IoSlice::new(small), io::IoSlice::new(large)];
                stream.poll_write_vectored(cx, &both)
            }
        };
        self.note_written(&written);
        written
    }

    /// The same for any number of pieces.
    pub(super) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let written = Pin::new(&mut *stream).poll_write_vectored(cx, pieces);
        self.note_written(&written);
        written
    }

    /// Hands on what may be held back below.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream.borrow_mut();
        if !stream.holds_back() {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut *stream).poll_flush(cx);
        self.blocked.set(flushed.is_pending());
        flushed
    }

    pub(super) fn note_written(&self, written: &Poll<io::Result<usize>>) {
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

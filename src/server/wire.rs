//! The bytes of one downstream connection, watched on their way to and from hyper.
//!
//! hyper owns a connection's protocol but not its time. What it reads and writes passes through here, so the connection
//! knows whether it is idle, in the middle of a head, or at work, and can be looked at once more before it is closed.
//!
//! On a clear listener the first bytes say which protocol it is. They are read as HTTP/1, straight to where hyper wants
//! them, and looked at on the way; only what begins as HTTP/2 does is held back, so HTTP/1 pays nothing but the look.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http2::{Frames, Resets};
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
    /// HTTP/2: streams come and go.
    Streams,
}

/// The state of a connection, shared by hyper's end and ours.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: RefCell<Stream>,
    pub(super) phase: Cell<Phase>,
    /// How the lines of its requests end.
    pub(super) lines: RefCell<Lines>,
    /// The client has closed its end.
    pub(super) ended: Cell<bool>,
    /// The client takes no more for now.
    pub(super) blocked: Cell<bool>,
    /// It has taken something since somebody asked.
    pub(super) wrote: Cell<bool>,
    /// Something has come since this was last taken back.
    pub(super) heard: Cell<bool>,
    opening: RefCell<Opening>,
    /// Over HTTP/2: those that come, and those that go.
    frames: RefCell<Option<(Frames, Resets)>>,
}

/// The beginning of a connection.
#[derive(Debug)]
enum Opening {
    /// What is spoken is known, and nothing is held back.
    Over,
    /// It may be either; so much has come, and is the beginning of HTTP/2's preface.
    Unclear(Vec<u8>),
    /// It is HTTP/2, and so much has come of it.
    Http2(Vec<u8>),
    /// It is HTTP/1, and so much was read of a request that nobody has taken yet.
    Read(Vec<u8>),
}

/// How every HTTP/2 client begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Pieces that come to this much together are written as one.
const TOGETHER_MAX: usize = 1024;

/// hyper's end.
#[derive(Debug)]
pub(super) struct Wire {
    watched: Rc<Watched>,
}

impl Watched {
    /// `unclear`: its first bytes say what is spoken; otherwise that is known.
    pub(super) fn new(stream: Stream, unclear: bool) -> Rc<Self> {
        let opening = if unclear {
            Opening::Unclear(Vec::new())
        } else {
            Opening::Over
        };
        Rc::new(Self {
            stream: RefCell::new(stream),
            phase: Cell::new(Phase::New),
            lines: RefCell::default(),
            ended: Cell::new(false),
            blocked: Cell::new(false),
            wrote: Cell::new(false),
            heard: Cell::new(false),
            opening: RefCell::new(opening),
            frames: RefCell::new(None),
        })
    }

    /// Its frames are looked at from now on.
    pub(super) fn speak_http2(&self) {
        self.phase.set(Phase::Streams);
        self.lines.take();
        let both = (Frames::new(PREFACE.len()), Resets::default());
        self.frames.replace(Some(both));
    }

    /// Whether the head of a request is under way on one of its streams.
    pub(super) fn in_head(&self) -> bool {
        let frames = self.frames.borrow();
        frames.as_ref().is_some_and(|(come, _)| come.in_head())
    }

    /// Tells why streams were reset since this was last asked.
    pub(super) fn take_resets(&self, tell: impl FnMut(&'static str)) {
        if let Some((_, go)) = &mut *self.frames.borrow_mut() {
            go.take().for_each(tell);
        }
    }

    /// Its first bytes have turned out to be HTTP/2, and are held back for whoever speaks that.
    pub(super) fn begins_as_http2(&self) -> bool {
        matches!(&*self.opening.borrow(), Opening::Http2(_))
    }

    /// hyper has read this and made nothing of it: whoever reads next gets it first.
    pub(super) fn put_back(&self, read: &[u8]) {
        if !read.is_empty() {
            self.phase.set(Phase::Head);
            self.opening.replace(Opening::Read(read.to_vec()));
        }
    }

    /// Whether there is something to read; `cx` is woken then.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &*self.opening.borrow() {
            Opening::Read(_) | Opening::Http2(_) => Poll::Ready(()),
            Opening::Over | Opening::Unclear(_) => self.stream.borrow_mut().poll_readable(cx),
        }
    }

    /// hyper's end.
    pub(super) fn wire(self: &Rc<Self>) -> Wire {
        Wire {
            watched: self.clone(),
        }
    }

    fn note_written<'b>(
        &self,
        written: &Poll<io::Result<usize>>,
        bufs: impl IntoIterator<Item = &'b [u8]>,
    ) {
        if let Poll::Ready(Ok(size)) = written
            && let Some((_, go)) = &mut *self.frames.borrow_mut()
        {
            let mut left = *size;
            for buf in bufs {
                let taken = left.min(buf.len());
                go.feed(&buf[..taken]);
                left -= taken;
            }
        }
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
        let read = watched.poll_either(cx, buf);
        if let Some((come, _)) = &mut *watched.frames.borrow_mut() {
            come.feed(&buf.filled()[before..]);
        }
        read
    }
}

impl Watched {
    fn poll_either(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut opening = self.opening.borrow_mut();
        match &mut *opening {
            Opening::Over => self.poll_read(cx, buf),
            Opening::Unclear(_) => self.poll_opening(&mut opening, cx, buf),
            Opening::Http2(held) | Opening::Read(held) => {
                let size = held.len().min(buf.remaining());
                buf.put_slice(&held[..size]);
                held.drain(..size);
                if held.is_empty() {
                    *opening = Opening::Over;
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            self.ended.set(true);
            return Poll::Ready(Ok(()));
        }
        self.heard.set(true);
        if matches!(self.phase.get(), Phase::New | Phase::Idle) {
            self.phase.set(Phase::Head);
        }
        if self.phase.get() == Phase::Streams {
            return Poll::Ready(Ok(()));
        }
        let mut lines = self.lines.borrow_mut();
        lines.feed(&buf.filled()[before..]);
        if lines.is_broken() {
            // Nothing of it is handed over: the upload breaks off here.
            buf.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what may be either protocol. HTTP/2 is never handed over: what has come of it is held back.
    fn poll_opening(
        &self,
        opening: &mut Opening,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Opening::Unclear(held) = opening else {
            return Poll::Ready(Ok(()));
        };
        let before = buf.filled().len();
        loop {
            buf.put_slice(held);
            if self.poll_read(cx, buf)?.is_pending() {
                buf.set_filled(before);
                return Poll::Pending;
            }
            let seen = &buf.filled()[before..];
            let more = seen.len() > held.len();
            if seen.starts_with(PREFACE) {
                *opening = Opening::Http2(seen.to_vec());
                buf.set_filled(before);
                return Poll::Pending;
            }
            if !(more && PREFACE.starts_with(seen)) {
                *opening = Opening::Over;
                return Poll::Ready(Ok(()));
            }
            *held = seen.to_vec();
            buf.set_filled(before);
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.watched.stream.borrow_mut()).poll_write(cx, buf);
        self.watched.note_written(&written, [buf]);
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
            let pieces = bufs.iter().map(|buf| &**buf);
            self.watched.note_written(&written, pieces);
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
        self.watched.note_written(&written, [&together[..size]]);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends pieces, and returns what is read as HTTP/1, or else what an HTTP/2 reader finds.
    fn open(pieces: &[&[u8]]) -> (bool, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut client, ours) = tokio::io::duplex(1024);
            let watched = Watched::new(ours.into(), true);
            let mut wire = watched.wire();
            let mut read = Vec::new();
            let mut buf = [0; 512];
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                if watched.begins_as_http2() {
                    continue;
                }
                let waker = std::task::Waker::noop();
                let mut buf = ReadBuf::new(&mut buf);
                if let Poll::Ready(done) =
                    Pin::new(&mut wire).poll_read(&mut Context::from_waker(waker), &mut buf)
                {
                    done.unwrap();
                    read.extend_from_slice(buf.filled());
                }
            }
            drop(client);
            let http2 = watched.begins_as_http2();
            assert!(
                !http2 || read.is_empty(),
                "nothing of HTTP/2 is handed to HTTP/1"
            );
            watched.wire().read_to_end(&mut read).await.unwrap();
            (http2, read)
        })
    }

    #[test]
    fn tells_the_protocols_apart_wherever_the_first_bytes_are_split() {
        for (sent, is_http2) in [
            ([PREFACE, b"and frames"].concat(), true),
            (b"PRI * HTTP/1.1\r\nhost: a\r\n\r\n12345678".to_vec(), false),
            (b"PRIVATE / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), false),
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), false),
            (b"PRI * HT".to_vec(), false),
        ] {
            for cut in 0..sent.len() {
                let (front, back) = sent.split_at(cut);
                assert_eq!(
                    open(&[front, back]),
                    (is_http2, sent.clone()),
                    "cut at {cut}"
                );
            }
            let bytes: Vec<&[u8]> = sent.chunks(1).collect();
            assert_eq!(open(&bytes), (is_http2, sent.clone()));
        }
    }

    proptest! {
        #[test]
        fn loses_no_byte(sent in prop::collection::vec(any::<u8>(), 1..100), cut in 0usize..100) {
            let (front, back) = sent.split_at(cut.min(sent.len()));
            prop_assert_eq!(open(&[front, back]).1, sent);
        }
    }
}

//! An HTTP/1.1 connection to an endpoint, one exchange after the other (RFC 9112).
//!
//! tidegate speaks HTTP/1.1 to endpoints itself, with httparse for heads. A client library hands requests and responses to
//! a task of its own through channels; here the request's own task writes and reads, so three things are known exactly
//! that the promises rest on: whether a byte of the request was written (P1, P10), whether a byte of the response has
//! arrived (P10), and that nothing is written once a drain has called the request back. It is also a third cheaper.
//!
//! The connection knows framing and nothing of routing; what a head says is decided by `proxy`.

mod body;
mod head;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Permit;
use crate::http1::{End, Inbox, give, write_end, write_size};
use crate::net::Stream;
use body::{Body, Taken};
pub use head::{Asked, Head, Length};

/// What went wrong with a response.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The endpoint closed the connection, or reset it.
    #[error("the endpoint closed the connection")]
    Closed,
    /// The endpoint refused to process the request (HTTP/2: REFUSED_STREAM, or a GOAWAY that leaves it out).
    #[error("the endpoint refused the stream")]
    Refused,
    /// The endpoint reset the stream (HTTP/2).
    #[error("the endpoint reset the stream")]
    Reset,
    /// What came is no response that can be passed on.
    #[error("{0}")]
    Malformed(&'static str),
}

/// A piece of a response's body.
#[derive(Debug)]
pub enum Piece {
    /// Some bytes.
    Data(Bytes),
    /// The trailers, at the end.
    Trailers(HeaderMap),
}

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    id: u64,
    /// Requests it has carried, the current one included.
    requests: u64,
    inbox: Inbox,
    /// The client has many requests under way at a time, and may stall with what has been read of each.
    one_of_many: bool,
    /// Where the head ends that is awaited.
    end: End,
    /// What is to be written: first this, then `large`.
    out: BytesMut,
    large: Bytes,
    /// A byte of the current request has been taken by the kernel.
    written: bool,
    /// A byte of the current response has arrived.
    answered: bool,
    body: Body,
    /// The connection may carry another request after this one.
    persistent: bool,
    keep_alive: Option<Duration>,
    permit: Permit,
}

/// So much of an answer is read at a time, and waits where the client takes nothing.
const READ_MAX: usize = 256 * 1024;

/// What a stream of an HTTP/2 client holds of its answer while the window is closed: as much as a frame takes.
const READ_OF_MANY: usize = 16 * 1024;

/// Pieces up to this size are copied behind what is to be written anyway: one buffer is cheaper than two.
const COPY_MAX: usize = 4 * 1024;

/// A response's head may be so long.
const HEAD_MAX: usize = 64 * 1024;

/// Interim responses (1xx) before the final one; they are dropped.
const INTERIM_MAX: usize = 32;

impl Connection {
    /// A connection that has carried nothing yet.
    #[must_use]
    pub fn new(stream: Stream, id: u64, permit: Permit) -> Self {
        Self {
            stream,
            id,
            requests: 0,
            inbox: Inbox::default(),
            one_of_many: false,
            end: End::default(),
            out: BytesMut::new(),
            large: Bytes::new(),
            written: false,
            answered: false,
            body: Body::Done,
            persistent: true,
            keep_alive: None,
            permit,
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many requests it has carried, the current one included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// The right it is open by.
    #[must_use]
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Begins a request; `head` writes its head. Nothing is sent before [`Connection::poll_write`]. `one_of_many`: its client has
    /// many under way at a time, and may stall with what has been read of each.
    pub fn begin(&mut self, one_of_many: bool, head: impl FnOnce(&mut BytesMut)) {
        self.one_of_many = one_of_many;
        debug_assert!(self.out.is_empty() && self.large.is_empty());
        self.requests += 1;
        self.written = false;
        self.answered = false;
        self.end = End::default();
        head(&mut self.out);
    }

    /// Whether a byte of the current request has been handed to the kernel.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.written
    }

    /// Whether a byte of the current response has arrived.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Queues a piece of the request's body, framed as a chunk or not. Only when nothing large is queued.
    pub fn queue(&mut self, data: Bytes, chunked: bool) {
        if data.is_empty() {
            return;
        }
        if chunked {
            write_size(data.len(), &mut self.out);
        }
        if data.len() <= COPY_MAX {
            self.out.put_slice(&data);
            if chunked {
                self.out.put_slice(b"\r\n");
            }
        } else {
            debug_assert!(self.large.is_empty());
            self.large = data;
        }
    }

    /// Queues what ends a large chunk. Called once [`Connection::poll_write`] is through with it.
    pub fn queue_chunk_end(&mut self) {
        self.out.put_slice(b"\r\n");
    }

    /// Whether a large piece of a body is queued.
    #[must_use]
    pub fn has_large(&self) -> bool {
        !self.large.is_empty()
    }

    /// Queues the end of a chunked request.
    pub fn queue_end(&mut self, trailers: Option<&HeaderMap>) {
        write_end(trailers, &mut self.out);
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() || !self.large.is_empty() {
            let stream = Pin::new(&mut self.stream);
            // One buffer alone is cheaper to write without a vector.
            let written = if self.large.is_empty() {
                ready!(stream.poll_write(cx, &self.out))?
            } else if self.out.is_empty() {
                ready!(stream.poll_write(cx, &self.large))?
            } else {
                let both = [io::IoSlice::new(&self.out), io::IoSlice::new(&self.large)];
                ready!(stream.poll_write_vectored(cx, &both))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = true;
            let small = written.min(self.out.len());
            self.out.advance(small);
            self.large.advance(written - small);
            if self.large.is_empty() {
                give(std::mem::take(&mut self.large));
            }
        }
        if self.stream.holds_back() {
            return Pin::new(&mut self.stream).poll_flush(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the head of the response.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked<'_>,
    ) -> Poll<Result<Head, ReadError>> {
        let mut interim = 0;
        loop {
            if !self.inbox.bytes.is_empty() {
                match head::parse(&mut self.inbox.bytes, &mut self.end, asked)? {
                    head::Parsed::Final(head) => {
                        self.start_body(&head);
                        return Poll::Ready(Ok(head));
                    }
                    head::Parsed::Interim => {
                        interim += 1;
                        if interim > INTERIM_MAX {
                            return Poll::Ready(Err(ReadError::Malformed(
                                "too many interim responses",
                            )));
                        }
                        continue;
                    }
                    head::Parsed::Partial if self.inbox.bytes.len() >= HEAD_MAX => {
                        return Poll::Ready(Err(ReadError::Malformed(
                            "the response's head is too long",
                        )));
                    }
                    head::Parsed::Partial => {}
                }
            }
            if ready!(self.poll_fill(cx)) == 0 {
                return Poll::Ready(Err(ReadError::Closed));
            }
            self.answered = true;
        }
    }

    /// Takes it apart, for a tunnel: its stream, and what has come behind the response's head. None while something of the
    /// request is still to be written.
    #[must_use]
    pub fn into_stream(self) -> Option<(Stream, BytesMut, Permit)> {
        let whole = self.out.is_empty() && self.large.is_empty();
        whole.then_some((self.stream, self.inbox.bytes, self.permit))
    }

    fn start_body(&mut self, head: &Head) {
        self.persistent = head.persistent;
        self.keep_alive = head.keep_alive;
        self.body = Body::of(head.length);
    }

    /// The rest of the response's body, if its length was said and all of it has come.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        self.body.take_whole(&mut self.inbox)
    }

    /// The next piece of the response's body; none at its end.
    ///
    /// # Errors
    /// [`ReadError`]: the body is not whole.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, ReadError>>> {
        loop {
            match self.body.take_piece(&mut self.inbox) {
                Ok(Taken::Piece(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(Taken::End) => return Poll::Ready(None),
                Ok(Taken::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if ready!(self.poll_fill(cx)) == 0 {
                let is_whole = self.body.end();
                return Poll::Ready((!is_whole).then_some(Err(ReadError::Closed)));
            }
        }
    }

    /// Whether the response's body is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.body.is_done()
    }

    /// Whether it may carry another request: the exchange ended whole, nothing is left over, and nobody said `close`.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.persistent
            && self.is_done()
            && self.inbox.bytes.is_empty()
            && self.out.is_empty()
            && self.large.is_empty()
    }

    /// How long it may stay idle: the endpoint's own word less a second, or else `configured`.
    pub(super) fn keep_alive(&self, configured: Duration) -> Duration {
        match self.keep_alive {
            Some(own) => own.saturating_sub(Duration::from_secs(1)).min(configured),
            None => configured,
        }
    }

    /// Listens for its end: `cx` is woken then. False when it has ended, or says something although nobody asked. Small
    /// buffers are kept for the request that follows soon, until [`Connection::park`].
    pub(super) fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        self.inbox.shrink();
        self.is_silent(cx)
    }

    /// As [`Connection::rest`], and makes it small: nobody needed it for a while.
    pub(super) fn park(&mut self, cx: &mut Context<'_>) -> bool {
        self.inbox.bytes = BytesMut::new();
        self.out = BytesMut::new();
        self.is_silent(cx)
    }

    /// Whether nothing has come of it since it was parked, as far as the event loop knows.
    #[must_use]
    pub fn is_idle_alive(&mut self) -> bool {
        self.is_silent(&mut Context::from_waker(Waker::noop()))
    }

    /// Whether nothing has come of it, as the kernel knows.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }

    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        Pin::new(&mut self.stream)
            .poll_read(cx, &mut ReadBuf::new(&mut byte))
            .is_pending()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let most = if self.one_of_many {
            READ_OF_MANY
        } else {
            READ_MAX
        };
        let is_first = !self.answered;
        self.inbox.poll_fill(&mut self.stream, cx, most, is_first)
    }
}

//! What carries one exchange with an endpoint: an HTTP/1.1 connection, or a stream of an HTTP/2 one.
//!
//! The request path sees one shape. Where the protocols differ beyond framing, the difference is said here.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::Permit;
use super::h1::{self, Asked, Head, Piece, ReadError};
use super::http2::Exchange;
use crate::net::Stream;

/// Carries one exchange at a time.
#[derive(Debug)]
pub enum Connection {
    /// A connection, which may carry another exchange afterwards.
    Http1(h1::Connection),
    /// A stream, which ends with its exchange.
    Http2(Exchange),
}

impl Connection {
    /// The connection's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        match self {
            Self::Http1(connection) => connection.id(),
            Self::Http2(exchange) => exchange.id(),
        }
    }

    /// How many requests the connection has carried, the current one included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        match self {
            Self::Http1(connection) => connection.requests(),
            Self::Http2(exchange) => exchange.requests(),
        }
    }

    /// Whether something of the current request has gone out: a byte taken by the kernel (HTTP/1.1), or its head handed to
    /// the connection's driver (HTTP/2).
    #[must_use]
    pub fn is_written(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_written(),
            Self::Http2(exchange) => exchange.is_written(),
        }
    }

    /// Whether something of the current response has arrived.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_answered(),
            Self::Http2(exchange) => exchange.is_answered(),
        }
    }

    /// Queues a piece of the request's body; `chunked` where HTTP/1.1 frames it so. Only when nothing large is queued.
    pub fn queue(&mut self, data: Bytes, chunked: bool) {
        match self {
            Self::Http1(connection) => connection.queue(data, chunked),
            Self::Http2(exchange) => exchange.queue(data),
        }
    }

    /// Queues what ends a large chunk.
    pub fn queue_chunk_end(&mut self) {
        if let Self::Http1(connection) = self {
            connection.queue_chunk_end();
        }
    }

    /// Whether a large piece of a body is queued whose chunk is still to be ended.
    #[must_use]
    pub fn has_large(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.has_large(),
            Self::Http2(_) => false,
        }
    }

    /// Queues the end of the request's body.
    pub fn queue_end(&mut self, chunked: bool, trailers: Option<HeaderMap>) {
        match self {
            Self::Http1(connection) if chunked => connection.queue_end(trailers.as_ref()),
            Self::Http1(_) => {}
            Self::Http2(exchange) => exchange.queue_end(trailers),
        }
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// The endpoint takes no more.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(connection) => connection.poll_write(cx),
            Self::Http2(exchange) => exchange.poll_write(cx),
        }
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
        match self {
            Self::Http1(connection) => connection.poll_head(cx, asked),
            Self::Http2(exchange) => exchange.poll_head(cx, matches!(asked, Asked::Head)),
        }
    }

    /// The rest of the response's body, if all of it has come. Of a stream that is not known.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Http1(connection) => connection.take_whole(),
            Self::Http2(_) => None,
        }
    }

    /// The next piece of the response's body; none at its end.
    ///
    /// # Errors
    /// [`ReadError`]: the body is not whole.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, ReadError>>> {
        match self {
            Self::Http1(connection) => connection.poll_piece(cx),
            Self::Http2(exchange) => exchange.poll_piece(cx),
        }
    }

    /// Whether the response is over, trailers included.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_done(),
            Self::Http2(exchange) => exchange.is_done(),
        }
    }

    /// Whether every byte of the response's body has come: trailers, or only the word that it is over, may still follow.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_done(),
            Self::Http2(exchange) => exchange.is_filled(),
        }
    }

    /// Whether the exchange ended whole, so that what carried it may carry more.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_reusable(),
            Self::Http2(exchange) => exchange.is_filled(),
        }
    }

    /// Takes it apart, for a tunnel: its stream, and what has come behind the response's head. None while something of the
    /// request is still to be written, and of a stream, by which no protocol is switched to.
    #[must_use]
    pub fn into_stream(self) -> Option<(Stream, BytesMut, Permit)> {
        match self {
            Self::Http1(connection) => connection.into_stream(),
            Self::Http2(_) => None,
        }
    }

    /// Whether it may be kept for another exchange. A stream may not: its connection never left the slot.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// Whether nothing has come of it since its last exchange, as far as the event loop knows.
    pub fn is_idle_alive(&mut self) -> bool {
        self.http1().is_some_and(h1::Connection::is_idle_alive)
    }

    /// Whether nothing has come of it, as the kernel knows.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_quiet(),
            Self::Http2(_) => false,
        }
    }

    /// A connection that is kept while it carries nothing. A stream is not: its connection never left the slot.
    pub(super) fn http1(&mut self) -> Option<&mut h1::Connection> {
        match self {
            Self::Http1(connection) => Some(connection),
            Self::Http2(_) => None,
        }
    }

    /// How long it may stay idle.
    pub(super) fn keep_alive(&self, configured: Duration) -> Duration {
        match self {
            Self::Http1(connection) => connection.keep_alive(configured),
            Self::Http2(_) => configured,
        }
    }
}

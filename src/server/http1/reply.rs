//! An answer on its way to the client: its head, and its body as HTTP/1 frames it (RFC 9112, section 6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use http_body::Body as _;
use tokio::time::Instant;

use crate::http1::{give, write_end, write_size};
use crate::proxy::{Answer, Body};
use crate::server::connection::{Connection, LAST_WAIT};

/// What is to be known of a request to frame its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// By HTTP/1.0.
    pub(super) http10: bool,
    /// For a head alone.
    pub(super) head_only: bool,
    /// Trailers are taken.
    pub(super) trailers: bool,
    /// A success opens a tunnel.
    pub(super) connect: bool,
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// Its length has been said.
    Sized,
    Chunked,
    /// The connection's end is its own.
    UntilClose,
}

/// Pieces up to this size are copied behind what is to be written anyway: one buffer is cheaper than two.
const COPY_MAX: usize = 4 * 1024;

/// Writes the head of an answer. `last`: no other follows it on this connection.
pub(super) fn write_head(
    out: &mut BytesMut,
    answer: &mut Answer,
    asked: Asked,
    last: bool,
    date: impl FnOnce() -> HeaderValue,
) -> Framing {
    let status = answer.status;
    write_status(out, status, asked.http10);
    let (has_length, has_date) = match answer.fields.lines() {
        Some(lines) => {
            out.put_slice(lines.text());
            (lines.has_length, lines.has_date)
        }
        None => write_fields(out, answer),
    };
    if !has_date {
        put(out, &[b"date: ", date().as_bytes(), b"\r\n"]);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS || asked.connect && status.is_success() {
        // What follows is the tunnel's.
        out.put_slice(b"\r\n");
        return Framing::None;
    }
    let framing = write_framing(out, &answer.body, status, has_length, asked);
    if last || framing == Framing::UntilClose {
        out.put_slice(b"connection: close\r\n");
    } else if asked.http10 {
        out.put_slice(b"connection: keep-alive\r\n");
    }
    out.put_slice(b"\r\n");
    framing
}

fn write_status(out: &mut BytesMut, status: StatusCode, http10: bool) {
    out.reserve(512);
    if status == StatusCode::OK && !http10 {
        out.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let version = if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    let reason = status.canonical_reason().unwrap_or_default();
    put(
        out,
        &[
            version,
            status.as_str().as_bytes(),
            b" ",
            reason.as_bytes(),
            b"\r\n",
        ],
    );
}

/// Whether there were a length and a date among them.
fn write_fields(out: &mut BytesMut, answer: &mut Answer) -> (bool, bool) {
    let fields = answer.fields.map();
    // Framing is ours to say.
    fields.remove(TRANSFER_ENCODING);
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        fields.remove(CONNECTION);
    }
    for (name, value) in &*fields {
        put(
            out,
            &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"],
        );
    }
    (
        fields.contains_key(CONTENT_LENGTH),
        fields.contains_key(DATE),
    )
}

fn write_framing(
    out: &mut BytesMut,
    body: &Body,
    status: StatusCode,
    has_length: bool,
    asked: Asked,
) -> Framing {
    let never = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = body.size_hint().exact();
    // Of an empty answer to HEAD it would be a lie: what GET would be answered is not known.
    let is_unsaid = has_length || never || asked.head_only && length == Some(0);
    if let Some(length) = length.filter(|_| !is_unsaid) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(length).as_bytes();
        put(out, &[b"content-length: ", digits, b"\r\n"]);
    }
    if never || asked.head_only {
        Framing::None
    } else if has_length || length.is_some() {
        Framing::Sized
    } else if asked.http10 {
        Framing::UntilClose
    } else {
        out.put_slice(b"transfer-encoding: chunked\r\n");
        Framing::Chunked
    }
}

fn put(out: &mut BytesMut, parts: &[&[u8]]) {
    for part in parts {
        out.put_slice(part);
    }
}

/// What is to be written: first `small`, then `large`, then `behind`.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) small: BytesMut,
    large: Bytes,
    behind: BytesMut,
}

impl Out {
    /// Where the next bytes go.
    fn end(&mut self) -> &mut BytesMut {
        if self.large.is_empty() {
            &mut self.small
        } else {
            &mut self.behind
        }
    }

    fn is_full(&self) -> bool {
        !self.large.is_empty() || self.small.len() > COPY_MAX
    }

    fn poll_write(
        &mut self,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let watched = &connection.watched;
        loop {
            if self.small.is_empty() && self.large.is_empty() {
                std::mem::swap(&mut self.small, &mut self.behind);
            }
            if self.small.is_empty() && self.large.is_empty() {
                return watched.poll_flush(cx);
            }
            let written = ready!(watched.poll_write(cx, &self.small, &self.large))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let small = written.min(self.small.len());
            self.small.advance(small);
            self.large.advance(written - small);
            if self.large.is_empty() {
                give(std::mem::take(&mut self.large));
            }
        }
    }
}

/// A body on its way to the client, behind its head.
pub(super) struct Reply<'c> {
    pub(super) connection: &'c Connection,
    pub(super) out: &'c mut Out,
    pub(super) body: Body,
    pub(super) framing: Framing,
    pub(super) trailers: bool,
    /// Nothing follows what is to be written.
    pub(super) is_last: bool,
}

/// An answer has not been handed over whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

impl Reply<'_> {
    /// Hands over as much as there is and the client takes; ready once that is all of it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            let gathered = self.gather(cx);
            // What was there before a body broke off is handed over all the same.
            match self.out.poll_write(self.connection, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken)),
                Poll::Pending if gathered.is_err() => return Poll::Ready(Err(Broken)),
                Poll::Pending => return self.poll_stopped(cx),
            }
            match gathered {
                Ok(Poll::Ready(())) if self.is_last => return Poll::Ready(Ok(())),
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => return Poll::Pending,
                Err(broken) => return Poll::Ready(Err(broken)),
            }
        }
    }

    /// Collects what is there of the body, until that is enough to write. Pending when the body has no more for now.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Broken> {
        while !self.is_last && !self.out.is_full() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Ok(Poll::Pending);
            };
            let mut trailers = None;
            match frame {
                None => self.is_last = true,
                Some(Err(_)) => return Err(Broken),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.take(data);
                        self.is_last = self.body.is_end_stream();
                    }
                    Err(frame) => {
                        trailers = frame.into_trailers().ok().filter(|_| self.trailers);
                        self.is_last = true;
                    }
                },
            }
            if self.is_last && self.framing == Framing::Chunked {
                write_end(trailers.as_ref(), self.out.end());
            }
        }
        Ok(Poll::Ready(()))
    }

    /// There is no body, and that is said in chunks.
    pub(super) fn end(&mut self) {
        write_end(None, self.out.end());
    }

    fn take(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let chunked = self.framing == Framing::Chunked;
        if chunked {
            write_size(data.len(), self.out.end());
        }
        if data.len() > COPY_MAX {
            self.out.large = data;
        } else {
            self.out.small.put_slice(&data);
        }
        if chunked {
            self.out.end().put_slice(b"\r\n");
        }
    }

    /// The client takes nothing, so the body is not asked. It may have to end all the same.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.body.poll_stopped(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken)),
            Poll::Ready(Ok(())) if !self.is_last => {
                // What waits is the end of a body that ends well, if it is taken in time.
                self.is_last = true;
                if self.framing == Framing::Chunked {
                    write_end(None, self.out.end());
                }
                let limit = Instant::now() + LAST_WAIT;
                self.connection.task().limit(Some(limit));
            }
            _ => {}
        }
        Poll::Pending
    }
}

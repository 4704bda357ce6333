//! The request's body on its way to an endpoint: streamed with backpressure, never collected, and remembered only as long
//! as it is short enough to be sent again (P10).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use http_body::Body as _;
use tokio::time::Instant;

use super::present::Present;
use super::times::earlier;
use super::{BrokenOff, Downstream, Failure, Inbound, Underscores};
use crate::pool::Connection;

/// How a request's body is framed towards the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// With a `Content-Length`.
    Sized(u64),
    /// In chunks.
    Chunked,
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct Upload {
    incoming: Inbound,
    framing: Framing,
    /// Bytes of it that have come, at most `max`.
    received: u64,
    max: u64,
    /// When it has to be whole, if ever.
    until: Option<Instant>,
    /// When the exchange has to be over, if ever.
    over: Option<Instant>,
    /// The frames so far, while they are few enough to be sent again.
    memory: Option<Memory>,
    /// Frames of the memory that this attempt has sent.
    sent: usize,
    stage: Stage,
    /// A large chunk is under way, and its line end is still to be queued.
    chunk_open: bool,
    /// This attempt has looked whether the first frame is there already.
    gathered: bool,
}

#[derive(Debug, Default)]
struct Memory {
    data: Vec<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Streaming,
    /// Its end is queued.
    Ended,
    /// The endpoint takes no more; its answer may be there all the same.
    Refused,
}

/// Why an upload stopped.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The endpoint takes no more.
    Refused,
    /// The client is to blame.
    Client(Failure),
}

/// A length that does not fit a signed number is read as a negative one by some.
const LENGTH_MAX: u64 = i64::MAX as u64;

/// Bodies up to this size are remembered for a second attempt.
const REMEMBERED_MAX: usize = 64 * 1024;

impl Upload {
    /// The body of a request that has just come in; `max` bounds it, zero does not. It has to be whole `until` then.
    pub(super) fn new(
        parts: &Parts,
        present: Present,
        incoming: Inbound,
        max: u64,
        until: Option<Instant>,
    ) -> Result<Self, Failure> {
        let length = present
            .content_length
            .then(|| parts.headers.get(CONTENT_LENGTH));
        let framing = if present.transfer_encoding {
            Framing::Chunked
        } else if let Some(length) = length.flatten() {
            // It has been checked that it is one number.
            let length = length.to_str().ok().and_then(|text| text.parse().ok());
            Framing::Sized(length.ok_or(Failure::BadRequest("the content length is no number"))?)
        } else if incoming.is_end_stream() || parts.method == Method::CONNECT {
            Framing::None
        } else {
            // HTTP/2 says by its frames where a body ends.
            Framing::Chunked
        };
        let max = if max == 0 { LENGTH_MAX } else { max };
        if let Framing::Sized(length) = framing
            && length > max
        {
            return Err(Failure::BodyTooLarge);
        }
        let stage = match framing {
            Framing::None | Framing::Sized(0) => Stage::Ended,
            Framing::Sized(_) | Framing::Chunked => Stage::Streaming,
        };
        let memory = (stage == Stage::Streaming).then(Memory::default);
        Ok(Self {
            incoming,
            framing,
            received: 0,
            max,
            until,
            over: None,
            memory,
            sent: 0,
            stage,
            chunk_open: false,
            gathered: false,
        })
    }

    /// What it comes by: a tunnel's bytes follow.
    pub(super) fn into_inbound(self) -> Inbound {
        self.incoming
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// Bytes of the body that have come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Until when more of it has to come.
    pub(super) fn limit(&self, downstream: &Downstream) -> Instant {
        let stalled = Instant::now() + downstream.entrance.body_timeout;
        let until = earlier(self.until, self.over);
        until.map_or(stalled, |until| until.min(stalled))
    }

    /// The exchange has to be over by then, if ever.
    pub(super) fn end_by(&mut self, over: Option<Instant>) {
        self.over = over;
    }

    /// Nothing more will be sent.
    pub(super) fn is_over(&self) -> bool {
        self.stage != Stage::Streaming
    }

    /// It was sent to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.stage == Stage::Ended && !self.chunk_open
    }

    /// The client has more of it to send, for all that is known.
    pub(super) fn goes_on(&self) -> bool {
        let is_known = self.memory.as_ref().is_some_and(|memory| memory.whole);
        !(self.stage == Stage::Ended || is_known || self.incoming.is_end_stream())
    }

    /// Begins anew for another attempt. False when it has been forgotten.
    pub(super) fn rewind(&mut self) -> bool {
        if self.framing == Framing::None || self.framing == Framing::Sized(0) {
            return true;
        }
        if self.memory.is_none() {
            return false;
        }
        (self.sent, self.stage) = (0, Stage::Streaming);
        (self.chunk_open, self.gathered) = (false, false);
        true
    }

    /// Sends as much as is there. Ready once everything is written, the head included.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        downstream: &Downstream,
    ) -> Poll<Result<(), UploadError>> {
        if !self.gathered {
            self.gathered = true;
            // What is there already goes out together with the head, as long as it is remembered: should nothing of it be
            // written, the request can still go elsewhere.
            if self.stage == Stage::Streaming
                && self.memory.is_some()
                && let Poll::Ready(next) = self.poll_next(cx, downstream)
            {
                self.queue(next.map_err(UploadError::Client)?, connection);
            }
        }
        loop {
            downstream.uploading.set(false);
            if ready!(connection.poll_write(cx)).is_err() {
                self.stage = Stage::Refused;
                return Poll::Ready(Err(UploadError::Refused));
            }
            if std::mem::take(&mut self.chunk_open) {
                connection.queue_chunk_end();
                continue;
            }
            if self.stage != Stage::Streaming {
                return Poll::Ready(Ok(()));
            }
            downstream.uploading.set(true);
            let next = ready!(self.poll_next(cx, downstream));
            self.queue(next.map_err(UploadError::Client)?, connection);
        }
    }

    fn queue(&mut self, next: Next, connection: &mut Connection) {
        let chunked = self.framing == Framing::Chunked;
        match next {
            Next::Data(data) => {
                connection.queue(data, chunked);
                self.chunk_open = chunked && connection.has_large();
            }
            Next::End(trailers) => {
                connection.queue_end(chunked, trailers);
                self.stage = Stage::Ended;
            }
        }
    }

    /// The next frame: one that is remembered, or one that comes.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &Downstream,
    ) -> Poll<Result<Next, Failure>> {
        if let Some(memory) = &self.memory {
            if let Some(data) = memory.data.get(self.sent) {
                self.sent += 1;
                return Poll::Ready(Ok(Next::Data(data.clone())));
            }
            if memory.whole {
                return Poll::Ready(Ok(Next::End(memory.trailers.clone())));
            }
        }
        let mut trailers = None;
        loop {
            let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None => break,
                Some(Err(BrokenOff::Gone)) => return Poll::Ready(Err(Failure::ClientGone)),
                Some(Err(BrokenOff::Malformed(why))) => {
                    return Poll::Ready(Err(Failure::BadRequest(why)));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    downstream.task.limit(Some(self.limit(downstream)));
                    return Poll::Ready(self.receive(data));
                }
                Err(other) => {
                    trailers = other.into_trailers().ok();
                    if downstream.entrance.underscores != Underscores::Pass {
                        trailers.as_mut().map(drop_underscores);
                    }
                }
            }
        }
        if let Some(memory) = &mut self.memory {
            memory.whole = true;
            memory.trailers.clone_from(&trailers);
        }
        Poll::Ready(Ok(Next::End(trailers)))
    }

    fn receive(&mut self, data: Bytes) -> Result<Next, Failure> {
        self.received += data.len() as u64;
        if self.received > self.max {
            return Err(Failure::BodyTooLarge);
        }
        if let Some(memory) = &mut self.memory {
            memory.bytes += data.len();
            if memory.bytes > REMEMBERED_MAX {
                self.memory = None;
            } else {
                memory.data.push(data.clone());
                self.sent += 1;
            }
        }
        Ok(Next::Data(data))
    }
}

/// It is too late to refuse a request for a field behind its body.
fn drop_underscores(trailers: &mut HeaderMap) {
    let named: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .cloned()
        .collect();
    for name in named {
        trailers.remove(name);
    }
}

/// What comes next.
enum Next {
    Data(Bytes),
    End(Option<HeaderMap>),
}

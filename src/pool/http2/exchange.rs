//! One exchange: a stream of a connection that others share.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use super::Shared;
use super::head;
use crate::http1::is_forbidden_trailer;
use crate::pool::h1::{Head, Length, Piece, ReadError};

/// A stream. Dropping it resets what is not over (CANCEL), and makes room for another. What is over but for the endpoint's
/// word is left to the connection.
#[derive(Debug)]
pub struct Exchange {
    shared: Rc<Shared>,
    /// The how-manieth of its connection it is.
    number: u64,
    sender: Option<SendRequest<Bytes>>,
    /// Boxed, as it is large and soon gone.
    request: Option<Box<Request<()>>>,
    /// The request has no body.
    whole: bool,
    /// What of the request's body the connection has not taken yet.
    data: Bytes,
    end: Option<Option<Box<HeaderMap>>>,
    send: Option<SendStream<Bytes>>,
    response: Option<ResponseFuture>,
    interim: usize,
    body: Body,
    written: bool,
    /// The request has been handed over to its end.
    sent: bool,
    answered: bool,
    /// The connection ended before the head could be handed over.
    lost: bool,
}

#[derive(Debug)]
enum Body {
    /// No head yet.
    Awaited,
    /// Under way; so many bytes are left where a length was said.
    Coming(RecvStream, Option<u64>),
    /// Over, trailers included.
    Done,
}

/// Interim responses (1xx) before the final one; they are dropped.
const INTERIM_MAX: usize = 32;

impl Exchange {
    pub(super) fn new(shared: Rc<Shared>, sender: SendRequest<Bytes>, number: u64) -> Self {
        Self {
            shared,
            number,
            sender: Some(sender),
            request: None,
            whole: false,
            data: Bytes::new(),
            end: None,
            send: None,
            response: None,
            interim: 0,
            body: Body::Awaited,
            written: false,
            sent: false,
            answered: false,
            lost: false,
        }
    }

    pub(in crate::pool) fn id(&self) -> u64 {
        self.shared.id()
    }

    pub(in crate::pool) fn requests(&self) -> u64 {
        self.number
    }

    /// Begins a request; `whole` when it has no body. Nothing is sent before the first write.
    pub fn begin(&mut self, request: Request<()>, whole: bool) {
        (self.request, self.whole) = (Some(Box::new(request)), whole);
    }

    pub(in crate::pool) fn is_written(&self) -> bool {
        self.written
    }

    pub(in crate::pool) fn is_answered(&self) -> bool {
        self.answered
    }

    pub(in crate::pool) fn queue(&mut self, data: Bytes) {
        debug_assert!(self.data.is_empty());
        self.data = data;
    }

    pub(in crate::pool) fn queue_end(&mut self, trailers: Option<HeaderMap>) {
        self.end = Some(trailers.map(Box::new));
    }

    pub(in crate::pool) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(request) = self.request.take() {
            self.send_head(*request)?;
        }
        if !self.written {
            // An error may have come after the head went out as well as before: it counts as written, and the stream's
            // own end tells whether it was processed.
            if let Some(sender) = &mut self.sender {
                let _ = ready!(sender.poll_ready(cx));
            }
            self.written = true;
        }
        let Some(send) = &mut self.send else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        while !self.data.is_empty() {
            send.reserve_capacity(self.data.len());
            let room = match ready!(send.poll_capacity(cx)) {
                Some(Ok(room)) => room.min(self.data.len()),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            send.send_data(self.data.split_to(room), false)
                .map_err(io::Error::other)?;
        }
        if let Some(trailers) = self.end.take() {
            let trailers = trailers
                .map(|trailers| permitted(*trailers))
                .filter(|trailers| !trailers.is_empty());
            match trailers {
                Some(trailers) => send.send_trailers(trailers),
                None => send.send_data(Bytes::new(), true),
            }
            .map_err(io::Error::other)?;
            self.sent = true;
        }
        Poll::Ready(Ok(()))
    }

    fn send_head(&mut self, request: Request<()>) -> io::Result<()> {
        let sender = self.sender.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let sent = sender.send_request(request, self.whole);
        let (response, send) = sent.map_err(|error| {
            self.lost = true;
            io::Error::other(error)
        })?;
        (self.response, self.send) = (Some(response), Some(send));
        self.sent = self.whole;
        Ok(())
    }

    pub(in crate::pool) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        to_head: bool,
    ) -> Poll<Result<Head, ReadError>> {
        let Some(response) = &mut self.response else {
            return if self.lost {
                Poll::Ready(Err(ReadError::Closed))
            } else {
                Poll::Pending
            };
        };
        while let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            interim.map_err(|error| read_error(&error))?;
            self.answered = true;
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Poll::Ready(Err(ReadError::Malformed("too many interim responses")));
            }
        }
        let response = ready!(Pin::new(response).poll(cx)).map_err(|error| read_error(&error))?;
        self.answered = true;
        self.response = None;
        Poll::Ready(self.start(response, to_head))
    }

    fn start(&mut self, response: Response<RecvStream>, to_head: bool) -> Result<Head, ReadError> {
        let (parts, stream) = response.into_parts();
        let over = stream.is_end_stream();
        let head = head::check(parts, to_head, over)?;
        self.body = match head.length {
            _ if over => Body::Done,
            Length::None => Body::Coming(stream, Some(0)),
            Length::Sized(length) => Body::Coming(stream, Some(length)),
            Length::Chunked | Length::UntilClose => Body::Coming(stream, None),
        };
        Ok(head)
    }

    pub(in crate::pool) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, ReadError>>> {
        let piece = ready!(self.poll_any(cx));
        if !matches!(piece, Some(Ok(Piece::Data(_)))) {
            self.body = Body::Done;
        }
        Poll::Ready(piece)
    }

    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, ReadError>>> {
        const WRONG: ReadError =
            ReadError::Malformed("the body is not as long as it was said to be");
        loop {
            let Body::Coming(stream, left) = &mut self.body else {
                return Poll::Ready(None);
            };
            let Some(data) = ready!(stream.poll_data(cx)) else {
                break;
            };
            let data = match data {
                Ok(data) => data,
                Err(error) => return Poll::Ready(Some(Err(read_error(&error)))),
            };
            // Whoever polls takes it: the endpoint may send as much again. Fails only where nothing is held back.
            let _ = stream.flow_control().release_capacity(data.len());
            if let Some(left) = left {
                let Some(less) = left.checked_sub(data.len() as u64) else {
                    return Poll::Ready(Some(Err(WRONG)));
                };
                *left = less;
            }
            if stream.is_end_stream() && left.is_none_or(|left| left == 0) {
                self.body = Body::Done;
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Piece::Data(data))));
            }
        }
        let Body::Coming(stream, left) = &mut self.body else {
            return Poll::Ready(None);
        };
        if left.is_some_and(|left| left > 0) {
            return Poll::Ready(Some(Err(WRONG)));
        }
        let trailers = ready!(stream.poll_trailers(cx)).map_err(|error| read_error(&error));
        let trailers = trailers.map(|trailers| trailers.map(permitted)).transpose();
        match trailers {
            Some(Ok(trailers)) if trailers.is_empty() => Poll::Ready(None),
            trailers => Poll::Ready(trailers.map(|it| it.map(Piece::Trailers))),
        }
    }

    pub(in crate::pool) fn is_done(&self) -> bool {
        matches!(self.body, Body::Done)
    }

    pub(in crate::pool) fn is_filled(&self) -> bool {
        matches!(self.body, Body::Done | Body::Coming(_, Some(0)))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // First h2 learns that nobody cares any more, then the room is given to another.
        (self.send, self.response, self.sender) = (None, None, None);
        let rest = match std::mem::replace(&mut self.body, Body::Done) {
            Body::Coming(stream, Some(0)) if self.sent => Some(stream),
            _ => None,
        };
        self.shared.leave(rest);
    }
}

/// Trailers without what may not stand behind a body.
fn permitted(trailers: HeaderMap) -> HeaderMap {
    if !trailers.keys().any(is_forbidden_trailer) {
        return trailers;
    }
    let kept = trailers
        .iter()
        .filter(|(name, _)| !is_forbidden_trailer(name));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What the end of a stream means (P10). A stream above a GOAWAY's last one was not processed, and h2 says so of no other.
fn read_error(error: &h2::Error) -> ReadError {
    let refused = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && refused {
        ReadError::Refused
    } else if error.is_remote() {
        ReadError::Reset
    } else if error.is_library() {
        ReadError::Malformed("the response is no HTTP/2")
    } else {
        ReadError::Closed
    }
}

//! A request's body as it comes from the client, by either protocol.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::Frame;
use thiserror::Error;

/// A request's body.
pub enum Inbound {
    /// There is none.
    None,
    /// What follows a head by HTTP/1.
    Http1(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BrokenOff>>>),
    /// A stream's.
    Http2(RecvStream),
}

/// Why a body has broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BrokenOff {
    /// The client went away, or broke its own word.
    #[error("the client ended the request early")]
    Gone,
    /// What came is no body.
    #[error("{0}")]
    Malformed(&'static str),
}

impl fmt::Debug for Inbound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "None",
            Self::Http1(_) => "Http1",
            Self::Http2(_) => "Http2",
        })
    }
}

impl http_body::Body for Inbound {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Http1(body) => body.as_mut().poll_frame(cx),
            Self::Http2(stream) => poll_stream(stream, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(stream) => stream.is_end_stream(),
        }
    }
}

fn poll_stream(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
    if let Some(data) = ready!(stream.poll_data(cx)) {
        let data = data.map_err(|_| BrokenOff::Gone)?;
        // Whoever polls takes it: the client may send as much again. Fails only where nothing is held back.
        let _ = stream.flow_control().release_capacity(data.len());
        return Poll::Ready(Some(Ok(Frame::data(data))));
    }
    let trailers = ready!(stream.poll_trailers(cx)).map_err(|_| BrokenOff::Gone)?;
    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
}

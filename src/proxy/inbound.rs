//! A request's body as it comes from the client, by whatever protocol.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use thiserror::Error;

/// A request's body.
pub enum Inbound {
    /// There is none.
    None,
    /// What follows a head. Dropping it says that nobody will read the rest.
    Body(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BrokenOff>>>),
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
            Self::Body(_) => "Body",
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
            Self::Body(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Body(body) => body.is_end_stream(),
        }
    }
}

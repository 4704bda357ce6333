//! A request's body as it comes from the client, by either protocol.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::Frame;
use hyper::body::Incoming;
use thiserror::Error;

/// A request's body.
#[derive(Debug)]
pub enum Inbound {
    /// hyper's.
    Http1(Incoming),
    /// A stream's.
    Http2(RecvStream),
}

/// A body has broken off: the client went away, or broke its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the client ended the request early")]
pub struct BrokenOff;

impl http_body::Body for Inbound {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|_| BrokenOff))),
            Self::Http2(stream) => poll_stream(stream, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
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
        let data = data.map_err(|_| BrokenOff)?;
        // Whoever polls takes it: the client may send as much again. Fails only where nothing is held back.
        let _ = stream.flow_control().release_capacity(data.len());
        return Poll::Ready(Some(Ok(Frame::data(data))));
    }
    let trailers = ready!(stream.poll_trailers(cx)).map_err(|_| BrokenOff)?;
    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
}

//! How each kind of exchange ends well when its time is over: pure, told bytes and answering where they may stop.
//!
//! A cut must never look like a whole answer, and what can end whole must not be cut. Most bodies have no place to stop:
//! theirs is an abort. An event stream has one after every event; [`EventEnds`] finds it, so that a browser sees its stream
//! end between two events and comes back by itself (P5, and the table in its section). A WebSocket has one after every
//! frame, found by [`Frames`].

mod grpc;
mod sse;
mod websocket;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method};

pub use grpc::{Grpc, Messages, grpc_message, web_trailers};
pub use sse::{EventEnds, Scan};
pub use websocket::{FrameScan, Frames, close_frame};

/// How a response's body can end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only by an abort, which no client can take for the end.
    Body,
    /// After an event. Such a stream never ends by itself, and its client reconnects.
    EventStream,
    /// After a message of gRPC, with a status.
    Grpc(Grpc),
}

impl Kind {
    /// The kind of the response to such a request.
    ///
    /// An event stream by another method than GET is not asked for again by any browser, and in an encoded one no boundary
    /// can be seen: both are plain bodies.
    #[must_use]
    pub fn of(method: &Method, response: &HeaderMap) -> Self {
        if *method == Method::GET && is_event_stream(response) && is_plain(response) {
            return Self::EventStream;
        }
        match Grpc::of(response) {
            Some(kind) if kind != Grpc::WebText && is_plain(response) => Self::Grpc(kind),
            _ => Self::Body,
        }
    }
}

fn is_event_stream(response: &HeaderMap) -> bool {
    let essence = response
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().split(|&byte| byte == b';').next());
    essence.is_some_and(|text| text.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

fn is_plain(response: &HeaderMap) -> bool {
    response.get_all(CONTENT_ENCODING).iter().all(|value| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(method: &Method, fields: &[(&'static str, &'static str)]) -> Kind {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        Kind::of(method, &headers)
    }

    #[test]
    fn only_a_plain_event_stream_by_get_ends_at_an_event() {
        let stream = ("content-type", "text/event-stream");
        for fields in [
            &[stream][..],
            &[("content-type", "Text/Event-Stream; charset=utf-8")],
            &[stream, ("content-encoding", "identity")],
        ] {
            assert_eq!(kind(&Method::GET, fields), Kind::EventStream, "{fields:?}");
        }
        for fields in [
            &[][..],
            &[("content-type", "text/event-streams")],
            &[("content-type", "text/plain")],
            &[stream, ("content-encoding", "gzip")],
            &[
                stream,
                ("content-encoding", "identity"),
                ("content-encoding", "br"),
            ],
        ] {
            assert_eq!(kind(&Method::GET, fields), Kind::Body, "{fields:?}");
        }
        assert_eq!(kind(&Method::POST, &[stream]), Kind::Body);
    }
}

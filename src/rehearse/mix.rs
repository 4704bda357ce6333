//! What the clients ask, and in which proportion.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};

use super::tally::Class;
use super::upstream::NUMBER;

/// The usual mix: mostly short requests, and always some that a drain has to wait for.
pub(super) fn any() -> Class {
    match fastrand::u32(..100) {
        0..60 => Class::Get,
        60..80 => Class::Post,
        80..90 => Class::Idle,
        90..95 => Class::Download,
        _ => Class::Upload,
    }
}

impl Class {
    /// A request of this class.
    pub(super) fn request(
        self,
        target: SocketAddr,
        number: u64,
    ) -> http::Result<Request<UnsyncBoxBody<Bytes, io::Error>>> {
        let (method, path) = match self {
            Self::Get => (Method::GET, "/".to_owned()),
            Self::Download => (
                Method::GET,
                format!(
                    "/stream?chunks={CHUNKS}&every={}ms&size={CHUNK}",
                    PAUSE.as_millis()
                ),
            ),
            Self::Post | Self::Idle | Self::Upload => (Method::POST, "/upload".to_owned()),
        };
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", target.to_string())
            .header("user-agent", "tidegate-rehearse")
            .header(NUMBER, number)
            .body(self.body())
    }

    /// How long the bodies of its requests are.
    pub(super) const fn body_bytes(self) -> u64 {
        match self {
            Self::Get | Self::Download => 0,
            Self::Post | Self::Idle => CHUNK as u64,
            Self::Upload => (CHUNKS * CHUNK) as u64,
        }
    }

    fn body(self) -> UnsyncBoxBody<Bytes, io::Error> {
        match self {
            Self::Get | Self::Download => {
                Empty::new().map_err(|never| match never {}).boxed_unsync()
            }
            Self::Post | Self::Idle => Full::new(Bytes::from_static(&[b'~'; CHUNK]))
                .map_err(|never| match never {})
                .boxed_unsync(),
            Self::Upload => {
                let chunks = stream::unfold(0, |sent| async move {
                    if sent > 0 {
                        tokio::time::sleep(PAUSE).await;
                    }
                    let chunk = Ok(Frame::data(Bytes::from_static(&[b'~'; CHUNK])));
                    (sent < CHUNKS).then_some((chunk, sent + 1))
                });
                StreamBody::new(chunks).boxed_unsync()
            }
        }
    }
}

/// Slow transfers take a second: as many chunks, as long, with such a pause between each two.
const CHUNKS: usize = 20;
const CHUNK: usize = 1024;
const PAUSE: Duration = Duration::from_millis(50);

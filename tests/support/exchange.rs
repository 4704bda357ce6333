//! A request that waits for the test.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use socket2::SockRef;
use tokio::time::Instant;

use super::End;
use super::endpoint::Shared;
use super::message::Head;

/// A request as it reached an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: Head,
    /// As much of the body as has come.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether it has come to its end.
    pub(crate) whole: bool,
    /// The connection it came by: its place in the list.
    pub(crate) connection: usize,
    /// The how-manieth request of its connection it is.
    pub(crate) number: usize,
    /// When its head was there.
    pub(crate) at: Instant,
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }

    pub(super) fn is_held(&self) -> bool {
        self.path().starts_with("/held") || self.method() == "CONNECT"
    }
}

/// A request in the hands of the test, from its head on. The test answers it with whatever bytes it likes, in as many
/// pieces as it likes; the connection goes on with its next request by itself.
#[derive(Debug)]
pub(crate) struct Exchange {
    request: Request,
    place: usize,
    stream: Arc<TcpStream>,
    shared: Arc<Shared>,
}

impl Exchange {
    pub(super) fn new(
        request: Request,
        place: usize,
        stream: Arc<TcpStream>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            request,
            place,
            stream,
            shared,
        }
    }

    /// The request as it is now.
    pub(crate) fn request(&self) -> Request {
        self.shared.record().requests[self.place].clone()
    }

    /// Waits until the request is whole.
    #[track_caller]
    pub(crate) fn whole_request(&self) -> Request {
        self.shared.wait("the request is whole", |record| {
            let request = &record.requests[self.place];
            request.whole.then(|| request.clone())
        })
    }

    /// Waits until so many bytes of the request's body have come.
    #[track_caller]
    pub(crate) fn body_of(&self, bytes: usize) -> Vec<u8> {
        self.shared.wait("the request's body comes", |record| {
            let body = &record.requests[self.place].body;
            (body.len() >= bytes).then(|| body.clone())
        })
    }

    /// Sends these bytes.
    #[track_caller]
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        (&*self.stream).write_all(bytes.as_ref()).unwrap();
    }

    /// Sends these bytes, or as many of them as are taken before the connection ends.
    pub(crate) fn try_send(&self, bytes: &[u8]) {
        // How it ends is told by `end`.
        let _ = (&*self.stream).write_all(bytes);
    }

    /// Sends a chunk of a body.
    #[track_caller]
    pub(crate) fn chunk(&self, data: &str) {
        self.send(format!("{:x}\r\n{data}\r\n", data.len()));
    }

    /// Sends a plain answer.
    #[track_caller]
    pub(crate) fn answer(&self, body: &str) {
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    /// Sends the head of an answer in chunks.
    #[track_caller]
    pub(crate) fn begin(&self) {
        self.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    /// Sends the head of an event stream.
    #[track_caller]
    pub(crate) fn begin_events(&self) {
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    /// Switches to WebSocket.
    #[track_caller]
    pub(crate) fn switch(&self) {
        self.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Own: 1\r\n\r\n");
    }

    /// Switches to WebSocket, with the answer to the request's key and these fields.
    #[track_caller]
    pub(crate) fn accept(&self, fields: &str) {
        let request = self.request();
        let key = request.head.field("sec-websocket-key").unwrap();
        let accept = answer_to(key);
        self.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
        ));
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Waits until tidegate ends the connection. Returns how, and when.
    #[track_caller]
    pub(crate) fn end(&self) -> (End, Instant) {
        self.shared.wait("the upstream connection ends", |record| {
            record.connections[self.request.connection].end
        })
    }

    /// Closes the connection.
    pub(crate) fn close(self) {
        self.shared.end(self.request.connection);
        // Also wakes the thread that reads.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Breaks the connection off.
    pub(crate) fn reset(self) {
        self.shared.end(self.request.connection);
        SockRef::from(&*self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        // Sends nothing, but wakes the thread that reads; the last one to let go of the socket resets it.
        let _ = self.stream.shutdown(Shutdown::Read);
    }
}

/// What an endpoint says to a key (RFC 6455, section 4.2.2).
fn answer_to(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

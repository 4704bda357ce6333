//! A client that sends what it is told and looks at what comes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::message::{Body, Head, find};
use super::wire::Wire;
use super::{End, PATIENCE};

/// A connection to tidegate. What comes is only read when somebody asks for it.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Wire,
    /// Came, and is not taken yet.
    pub(crate) unread: Vec<u8>,
    end: Option<End>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::by(Wire::tcp(address))
    }

    /// Connects to `shop.test` over TLS.
    pub(crate) fn tls(address: SocketAddr, ca: &str) -> Self {
        Self::by(Wire::tls(address, ca, &[]).0)
    }

    /// The same, or nothing when there is no handshake: `shop.test` has another certificate, or none.
    pub(crate) fn try_tls(address: SocketAddr, ca: &str) -> Option<Self> {
        let made = Wire::try_tls(address, ca, &[]);
        made.ok().map(|(stream, _)| Self::by(stream))
    }

    fn by(stream: Wire) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            end: None,
        }
    }

    /// Sends these bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends these bytes, or as many as are taken before the other side is gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        // The answer, or the end, tells more than the error.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends a request with a `Host` and nothing else, and takes the answer.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask(path);
        self.response()
    }

    /// Sends a request with a `Host` and nothing else.
    #[track_caller]
    pub(crate) fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
    }

    /// Sends a request with a body, and takes the answer.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Response {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        self.response()
    }

    /// The next answer, which must be whole. Interim ones (1xx) are answers of their own.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        match self.receive(false) {
            Ok(response) => response,
            Err((end, so_far)) => panic!("no whole answer but {so_far:?} and {end:?}"),
        }
    }

    /// The next answer, if one comes before the connection ends.
    #[track_caller]
    pub(crate) fn try_response(&mut self) -> Option<Response> {
        self.receive(false).ok()
    }

    /// The next answer, to a HEAD.
    #[track_caller]
    pub(crate) fn response_to_head(&mut self) -> Response {
        match self.receive(true) {
            Ok(response) => response,
            Err((end, so_far)) => panic!("no whole answer but {so_far:?} and {end:?}"),
        }
    }

    /// An answer that breaks off: what has come of it, and how it ended.
    #[track_caller]
    pub(crate) fn broken_response(&mut self) -> (End, Response) {
        match self.receive(false) {
            Ok(response) => panic!("the answer is whole: {response:?}"),
            Err((end, so_far)) => (end, so_far),
        }
    }

    /// The head of the next answer; its body stays unread.
    #[track_caller]
    pub(crate) fn response_head(&mut self) -> (u16, Head) {
        loop {
            if let Some(head) = Head::take(&mut self.unread) {
                return (status(&head), head);
            }
            assert!(
                self.read() > 0,
                "no head but {:?} and {:?}",
                self.text(),
                self.end
            );
        }
    }

    #[track_caller]
    fn receive(&mut self, to_head: bool) -> Result<Response, (End, Response)> {
        let mut response = Response {
            status: 0,
            head: Head::default(),
            body: Vec::new(),
            trailers: Vec::new(),
        };
        let mut body: Option<Body> = None;
        loop {
            if body.is_none()
                && let Some(head) = Head::take(&mut self.unread)
            {
                response.status = status(&head);
                body = Some(Body::of_response(&head, response.status, to_head));
                response.head = head;
            }
            if let Some(body) = &mut body {
                body.take(&mut self.unread);
                if body.is_done() {
                    response.body = std::mem::take(&mut body.data);
                    response.trailers = std::mem::take(&mut body.trailers);
                    return Ok(response);
                }
            }
            if self.read() > 0 {
                continue;
            }
            let whole = body.as_ref().is_some_and(Body::ends_with_connection);
            if let Some(body) = body {
                response.body = body.data;
            }
            let end = self.end.unwrap_or(End::Ours);
            return if whole && end == End::Fin {
                Ok(response)
            } else {
                Err((end, response))
            };
        }
    }

    /// Reads until these bytes have come, and takes everything up to their end.
    #[track_caller]
    pub(crate) fn read_to(&mut self, what: &str) -> String {
        loop {
            if let Some(at) = find(&self.unread, what.as_bytes()) {
                let taken: Vec<u8> = self.unread.drain(..at + what.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            assert!(
                self.read() > 0,
                "{what:?} did not come but {:?} and {:?}",
                self.text(),
                self.end
            );
        }
    }

    /// The next line, for as long as there is one; waits for ever.
    pub(super) fn next_line(&mut self) -> Option<String> {
        self.stream.socket().set_read_timeout(None).unwrap();
        loop {
            if let Some(at) = find(&self.unread, b"\n") {
                let line: Vec<u8> = self.unread.drain(..=at).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.read() == 0 {
                return None;
            }
        }
    }

    /// Waits until so many bytes have come, and takes them.
    #[track_caller]
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.read() > 0, "{:?} and {:?}", self.unread, self.end);
        }
        self.unread.drain(..count).collect()
    }

    /// Waits until the other side ends the connection; bytes that come before stay unread.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        while self.read() > 0 {}
        self.end.unwrap_or(End::Ours)
    }

    /// Whether the other side has not ended the connection, as far as the kernel knows now.
    pub(crate) fn is_open(&mut self) -> bool {
        self.stream.socket().set_nonblocking(true).unwrap();
        while self.end.is_none() && self.read() > 0 {}
        self.stream.socket().set_nonblocking(false).unwrap();
        self.end.is_none()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.stream.finish();
    }

    /// Breaks the connection off.
    pub(crate) fn reset(self) {
        SockRef::from(self.stream.socket())
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Where it comes from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.socket().local_addr().unwrap()
    }

    /// Reads what is there; none at the end, or with a socket that does not block.
    #[track_caller]
    fn read(&mut self) -> usize {
        if self.end.is_some() {
            return 0;
        }
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => {
                self.end = Some(End::Fin);
                0
            }
            Ok(read) => {
                self.unread.extend_from_slice(&bytes[..read]);
                read
            }
            // TLS that ends without a word has been cut off.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                ) =>
            {
                self.end = Some(End::Reset);
                0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let socket = self.stream.socket();
                let waited = socket.read_timeout().unwrap().is_some() && !is_nonblocking(socket);
                assert!(
                    !waited,
                    "nothing came within {PATIENCE:?} after {:?}",
                    self.text()
                );
                0
            }
            Err(error) => panic!("read: {error}"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.unread).into_owned()
    }
}

fn is_nonblocking(stream: &TcpStream) -> bool {
    SockRef::from(stream).nonblocking().unwrap()
}

#[track_caller]
fn status(head: &Head) -> u16 {
    let mut words = head.start.split(' ');
    assert_eq!(words.next(), Some("HTTP/1.1"), "{head:?}");
    words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("{head:?}"))
}

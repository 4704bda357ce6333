//! Clients that keep their connections and remember what they saw.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

use super::endpoint::find;

/// What became of a request, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A whole answer.
    Whole(u16),
    /// The connection ended behind the head and before the body's end.
    Cut(u16),
    /// The connection ended without an answer.
    Nothing,
    /// The client went away before the answer's end.
    Left,
}

/// A request and its fate.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) seen: Seen,
    /// The answer said that the connection ends.
    pub(crate) close: bool,
    pub(crate) body: String,
}

const FOR_EVER: Duration = Duration::from_secs(1_000_000);

/// A connection with the proxy.
pub(crate) struct Client {
    stream: DuplexStream,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn over(stream: DuplexStream) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Asks, and reads the answer to its end. A `POST` uploads four chunks over `upload`.
    pub(crate) async fn ask(
        &mut self,
        method: &'static str,
        path: &str,
        upload: Duration,
    ) -> Asked {
        self.ask_for(method, path, upload, FOR_EVER).await
    }

    /// The same, with a client who goes away after so long.
    pub(crate) async fn ask_for(
        &mut self,
        method: &'static str,
        path: &str,
        upload: Duration,
        patience: Duration,
    ) -> Asked {
        let began = Instant::now();
        let answer = timeout(patience, self.exchange(method, path, upload)).await;
        let (seen, close, body) = answer.unwrap_or_else(|_| {
            let (gone, _) = tokio::io::duplex(1);
            self.stream = gone;
            (Seen::Left, true, String::new())
        });
        Asked {
            method,
            path: path.to_owned(),
            began,
            ended: Instant::now(),
            seen,
            close,
            body,
        }
    }

    async fn exchange(
        &mut self,
        method: &'static str,
        path: &str,
        upload: Duration,
    ) -> (Seen, bool, String) {
        const PIECES: u32 = 4;
        let framing = if method == "POST" {
            "transfer-encoding: chunked\r\n"
        } else {
            ""
        };
        let head = format!("{method} /{path} HTTP/1.1\r\nhost: shop.test\r\n{framing}\r\n");
        // Whoever ends the connection meanwhile has said why, or the answer's absence tells.
        let _ = self.stream.write_all(head.as_bytes()).await;
        if method == "POST" {
            for _ in 0..PIECES {
                sleep(upload / PIECES).await;
                let _ = self.stream.write_all(b"4\r\nbody\r\n").await;
            }
            let _ = self.stream.write_all(b"0\r\n\r\n").await;
        }
        let Some(head) = self.take_through(b"\r\n\r\n").await else {
            return (Seen::Nothing, true, String::new());
        };
        let head = head.to_ascii_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or(0);
        let close = head.contains("connection: close");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let body = match length {
            Some(length) => self.take(length).await,
            None => self.chunks().await,
        };
        match body {
            Ok(body) => (Seen::Whole(status), close, body),
            Err(body) => (Seen::Cut(status), close, body),
        }
    }

    async fn chunks(&mut self) -> Result<String, String> {
        let mut body = String::new();
        loop {
            let Some(size) = self.take_through(b"\r\n").await else {
                return Err(body);
            };
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            match self.take(size + 2).await {
                Ok(piece) if size == 0 => {
                    assert_eq!(piece, "\r\n");
                    return Ok(body);
                }
                Ok(piece) => body.push_str(&piece[..size]),
                Err(piece) => return Err(body + &piece),
            }
        }
    }

    /// Whether the proxy has ended the connection.
    pub(crate) async fn is_ended(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.unread);
        tokio::time::timeout(Duration::ZERO, read)
            .await
            .is_ok_and(|read| read.is_ok_and(|read| read == 0))
    }

    async fn take_through(&mut self, what: &[u8]) -> Option<String> {
        loop {
            if let Some(end) = find(&self.unread, what) {
                let taken = self.unread.drain(..end + what.len()).collect();
                return String::from_utf8(taken).ok();
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<String, String> {
        while self.unread.len() < length {
            if self.fill().await == 0 {
                let rest = std::mem::take(&mut self.unread);
                return Err(String::from_utf8(rest).unwrap());
            }
        }
        Ok(String::from_utf8(self.unread.drain(..length).collect()).unwrap())
    }

    async fn fill(&mut self) -> usize {
        self.stream.read_buf(&mut self.unread).await.unwrap_or(0)
    }
}

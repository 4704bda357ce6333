//! Clients that hold one stream each, look at every byte of it, and come back at once when it has ended as it should.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::{Board, CALLS_EACH, CHANNELS, EVENTS, Kind, SOCKETS};

/// What a client must not see.
type Fault = String;

/// Starts them all.
pub(super) fn start(handle: &Handle, address: SocketAddr, board: &Arc<Board>) {
    for _ in 0..SOCKETS {
        let board = board.clone();
        handle.spawn(async move { note(&board, socket(address, &board).await) });
    }
    for _ in 0..EVENTS {
        let board = board.clone();
        handle.spawn(async move { note(&board, events(address, &board).await) });
    }
    for _ in 0..CHANNELS {
        let board = board.clone();
        handle.spawn(async move { note(&board, channel(address, &board).await) });
    }
}

fn note(board: &Board, end: Result<(), Fault>) {
    if let Err(fault) = end {
        board.fault(fault);
    }
}

fn fault<T>(error: impl std::fmt::Debug) -> Result<T, Fault> {
    Err(format!("{error:?}"))
}

/// The messages of one stream.
struct Stream<'a> {
    board: &'a Board,
    kind: Kind,
    endpoint: String,
    count: usize,
}

impl<'a> Stream<'a> {
    fn new(board: &'a Board, kind: Kind) -> Self {
        Self {
            board,
            kind,
            endpoint: String::new(),
            count: 0,
        }
    }

    /// A whole message has come, which must be the next one of the same endpoint.
    fn message(&mut self, message: &[u8]) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(message);
        if self.count == 0 {
            self.endpoint = text.split(' ').next().unwrap_or_default().to_owned();
            self.board.begun(self.kind, &self.endpoint);
        }
        let expected = format!("{} {};", self.endpoint, self.count);
        self.count += 1;
        if text == expected {
            Ok(())
        } else {
            fault(format!("{text:?} and not {expected:?}"))
        }
    }

    /// It has ended; `left` has come of a message.
    fn end(self, left: &[u8]) -> Result<(), Fault> {
        if !left.is_empty() || self.count == 0 {
            return fault(format!(
                "{:?} cut after {} and {left:?}",
                self.kind, self.count
            ));
        }
        self.board.told(self.kind, &self.endpoint);
        Ok(())
    }
}

/// A connection of HTTP/1.
struct Link {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Link {
    async fn connect(address: SocketAddr) -> Result<Self, Fault> {
        let stream = TcpStream::connect(address).await.or_else(fault)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
        })
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(bytes).await.or_else(fault)
    }

    /// Reads more; whether there was more.
    async fn read(&mut self) -> Result<bool, Fault> {
        let read = self.stream.read_buf(&mut self.unread).await;
        Ok(read.or_else(fault)? > 0)
    }

    async fn take(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        while self.unread.len() < count {
            if !self.read().await? {
                return fault(format!("ended with {:?}", self.unread));
            }
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Takes everything to these bytes.
    async fn take_to(&mut self, end: &[u8]) -> Result<String, Fault> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|it| it == end) {
                let taken = self.take(at + end.len()).await?;
                return Ok(String::from_utf8_lossy(&taken).into_owned());
            }
            if !self.read().await? {
                return fault(format!("ended with {:?}", self.unread));
            }
        }
    }

    /// Takes the head of an answer, which must have this status.
    async fn head(&mut self, status: &str) -> Result<(), Fault> {
        let head = self.take_to(b"\r\n\r\n").await?;
        if head.contains(status) {
            Ok(())
        } else {
            fault(head)
        }
    }
}

/// A WebSocket. It ends with a Close that says 1012, between two messages, and nothing comes behind it.
async fn socket(address: SocketAddr, board: &Board) -> Result<(), Fault> {
    loop {
        let mut link = Link::connect(address).await?;
        link.send(SWITCH.as_bytes()).await?;
        link.head(" 101 ").await?;
        let mut stream = Stream::new(board, Kind::Socket);
        let mut message = Vec::new();
        loop {
            let frame = link.take(2).await?;
            let payload = link.take(frame[1].into()).await?;
            message.extend_from_slice(&payload);
            match frame[0] {
                0x01 => {}
                0x80 => stream.message(&std::mem::take(&mut message))?,
                0x88 if payload[..2] == 1012u16.to_be_bytes() => {
                    let left = message.len() - payload.len();
                    stream.end(&message[..left])?;
                    break;
                }
                _ => return fault(format!("{frame:?} {payload:?}")),
            }
        }
        link.send(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF4]).await?;
        if link.read().await? {
            return fault(format!("{:?} behind the Close", link.unread));
        }
    }
}

const SWITCH: &str = "GET /socket HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// An event stream. It ends whole, behind an event, and its connection goes on with the next one.
async fn events(address: SocketAddr, board: &Board) -> Result<(), Fault> {
    let mut link = Link::connect(address).await?;
    loop {
        link.send(b"GET /events HTTP/1.1\r\nHost: s\r\n\r\n")
            .await?;
        link.head(" 200 ").await?;
        let mut stream = Stream::new(board, Kind::Events);
        let mut unread = Vec::new();
        loop {
            let size = link.take_to(b"\r\n").await?;
            let size = usize::from_str_radix(size.trim_end(), 16).or_else(fault)?;
            let chunk = link.take(size + 2).await?;
            unread.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
            while let Some(at) = unread.windows(2).position(|it| it == b"\n\n") {
                let event: Vec<u8> = unread.drain(..at + 2).collect();
                let Some(data) = event[..at].strip_prefix(b"data: ") else {
                    return fault(event);
                };
                stream.message(data)?;
            }
        }
        stream.end(&unread)?;
    }
}

/// A connection of HTTP/2 with several calls.
async fn channel(address: SocketAddr, board: &Arc<Board>) -> Result<(), Fault> {
    let stream = TcpStream::connect(address).await.or_else(fault)?;
    let (send, connection) = h2::client::handshake(stream).await.or_else(fault)?;
    for _ in 0..CALLS_EACH {
        let (send, board) = (send.clone(), board.clone());
        tokio::spawn(async move { note(&board, calls(send, &board).await) });
    }
    match connection.await {
        Ok(()) => fault("the connection was closed"),
        Err(error) => fault(error),
    }
}

/// One call after the other. Each ends with status 14, behind a message.
async fn calls(mut send: SendRequest<Bytes>, board: &Board) -> Result<(), Fault> {
    loop {
        send = send.ready().await.or_else(fault)?;
        let request = Request::post("http://shop.test/calls")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .or_else(fault)?;
        let (response, mut upload) = send.send_request(request, false).or_else(fault)?;
        upload
            .send_data(Bytes::from_static(b"\0\0\0\0\0"), true)
            .or_else(fault)?;
        let mut body = response.await.or_else(fault)?.into_body();
        let mut stream = Stream::new(board, Kind::Call);
        let mut unread = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.or_else(fault)?;
            body.flow_control()
                .release_capacity(data.len())
                .or_else(fault)?;
            unread.extend_from_slice(&data);
            while let Some(length) = unread.get(4).map(|length| usize::from(*length))
                && unread.len() >= 5 + length
            {
                let message: Vec<u8> = unread.drain(..5 + length).collect();
                stream.message(&message[5..])?;
            }
        }
        let trailers = body.trailers().await.or_else(fault)?;
        let status = trailers
            .as_ref()
            .and_then(|trailers| trailers.get("grpc-status"));
        if status.is_none_or(|status| status != "14") {
            return fault(trailers);
        }
        stream.end(&unread)?;
    }
}

//! Endpoints that do what the request's path says, and remember what reached them and when.
//!
//! `/KIND/NUMBER/MS`: `now` answers at once, `later` after so many milliseconds, `drip` sends ten chunks over that time,
//! `events` ten events over that time, `never` nothing, `close` closes without an answer, `break` half of an answer.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tidegate::net::MemoryNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A request that began at an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) method: String,
    /// `KIND/NUMBER/MS`.
    pub(crate) path: String,
    pub(crate) at: Instant,
    /// The connection is told to end with it.
    pub(crate) close: bool,
    pub(crate) fresh: bool,
}

/// A connection, and whether nothing is under way on it.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) open: Cell<bool>,
    pub(crate) idle: Cell<bool>,
}

/// An endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) begun: Rc<RefCell<Vec<Begun>>>,
    pub(crate) wires: Rc<RefCell<Vec<Rc<Wire>>>>,
    accepting: RefCell<Option<JoinHandle<()>>>,
}

impl Endpoint {
    pub(crate) fn listen(net: &MemoryNet, address: SocketAddr) -> Rc<Self> {
        let endpoint = Rc::new(Self {
            address,
            begun: Rc::default(),
            wires: Rc::default(),
            accepting: RefCell::default(),
        });
        endpoint.come_back(net);
        endpoint
    }

    /// Accepts connections, from now on or again.
    pub(crate) fn come_back(&self, net: &MemoryNet) {
        let mut accept = net.listen(self.address);
        let (begun, wires) = (self.begun.clone(), self.wires.clone());
        let task = tokio::task::spawn_local(async move {
            while let Some(stream) = accept.recv().await {
                let wire = Rc::new(Wire::default());
                wires.borrow_mut().push(wire.clone());
                let begun = begun.clone();
                tokio::task::spawn_local(async move {
                    wire.open.set(true);
                    wire.idle.set(true);
                    // A connection that ends in the middle ends.
                    let _ = converse(stream, &begun, &wire).await;
                    wire.open.set(false);
                });
            }
        });
        if let Some(old) = self.accepting.borrow_mut().replace(task) {
            old.abort();
        }
    }

    /// Refuses connections from now on; those that are open go on.
    pub(crate) fn refuse(&self) {
        if let Some(task) = self.accepting.borrow_mut().take() {
            task.abort();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.begun.borrow().len()
    }

    pub(crate) fn idle_wires(&self) -> usize {
        let idle = |wire: &&Rc<Wire>| wire.open.get() && wire.idle.get();
        self.wires.borrow().iter().filter(idle).count()
    }
}

async fn converse(
    mut stream: DuplexStream,
    begun: &RefCell<Vec<Begun>>,
    wire: &Wire,
) -> std::io::Result<()> {
    let mut unread = Vec::new();
    let mut fresh = true;
    loop {
        let Some(head) = head(&mut stream, &mut unread, wire).await? else {
            return Ok(());
        };
        let line = head.lines().next().unwrap_or_default();
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default()[1..].to_owned();
        let close = head.to_ascii_lowercase().contains("connection: close");
        begun.borrow_mut().push(Begun {
            method: method.clone(),
            path: path.clone(),
            at: Instant::now(),
            close,
            fresh,
        });
        fresh = false;
        if head.contains("transfer-encoding: chunked") {
            read_until(&mut stream, &mut unread, b"0\r\n\r\n").await?;
        }
        let mut parts = path.split('/');
        let kind = parts.next().unwrap_or_default().to_owned();
        let ms = parts.nth(1).and_then(|ms| ms.parse().ok()).unwrap_or(0);
        if !answer(&mut stream, &kind, Duration::from_millis(ms)).await? || close {
            return Ok(());
        }
        wire.idle.set(true);
    }
}

/// True when the connection can go on.
async fn answer(stream: &mut DuplexStream, kind: &str, time: Duration) -> std::io::Result<bool> {
    const PIECES: u32 = 10;
    match kind {
        "close" => return Ok(false),
        "never" => {
            // Until tidegate gives up.
            let mut byte = [0];
            let _ = stream.read(&mut byte).await?;
            return Ok(false);
        }
        "break" => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                .await?;
            return Ok(false);
        }
        "drip" | "events" => {
            let media = if kind == "drip" {
                "text/plain"
            } else {
                "text/event-stream"
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            for piece in 0..PIECES {
                sleep(time / PIECES).await;
                let text = format!("data: {piece}\n\n");
                let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                stream.write_all(chunk.as_bytes()).await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        _ => {
            sleep(time).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await?;
        }
    }
    Ok(true)
}

async fn head(
    stream: &mut DuplexStream,
    unread: &mut Vec<u8>,
    wire: &Wire,
) -> std::io::Result<Option<String>> {
    loop {
        if let Some(end) = find(unread, b"\r\n\r\n") {
            let head = unread.drain(..end + 4).collect();
            return Ok(String::from_utf8(head).ok());
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
        wire.idle.set(false);
    }
}

async fn read_until(
    stream: &mut DuplexStream,
    unread: &mut Vec<u8>,
    what: &[u8],
) -> std::io::Result<()> {
    loop {
        if let Some(end) = find(unread, what) {
            unread.drain(..end + what.len());
            return Ok(());
        }
        if stream.read_buf(unread).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|found| found == what)
}

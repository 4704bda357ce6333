//! Endpoints that do what the request's path says, and remember what reached them and when.
//!
//! `/KIND/NUMBER/MS`: `now` answers at once, `later` after so many milliseconds, `drip` sends ten chunks over that time,
//! `events` ten events over that time, `early` answers before the upload is over, `never` sends nothing, `hang` a head and
//! nothing more, `half` the beginning of an event, `bare` ten pieces of a body without a length, `close` closes without an
//! answer, `break` sends half of an answer.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tidegate::net::MemoryNet;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep};

use crate::world::trace;

/// A request that began at an endpoint.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) method: String,
    /// `KIND/NUMBER/MS`.
    pub(crate) path: String,
    pub(crate) at: Instant,
    /// The connection is told to end with it.
    pub(crate) close: bool,
    /// It is the first on its connection.
    pub(crate) fresh: bool,
    /// When its connection came about.
    pub(crate) wired: Instant,
    /// When both its directions were over.
    pub(crate) ended: Cell<Option<Instant>>,
    /// A fault of the endpoint ended it.
    pub(crate) killed: Cell<bool>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) since: Instant,
    pub(crate) open: Cell<bool>,
    /// What is under way on it.
    pub(crate) work: RefCell<Option<Rc<Begun>>>,
    task: RefCell<Option<AbortHandle>>,
}

/// A time in which an endpoint did not do what it should.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) from: Instant,
    /// None while it lasts.
    pub(crate) until: Option<Instant>,
}

/// An endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) begun: Rc<RefCell<Vec<Rc<Begun>>>>,
    pub(crate) wires: Rc<RefCell<Vec<Rc<Wire>>>>,
    pub(crate) faults: RefCell<Vec<Fault>>,
    accepting: RefCell<Option<JoinHandle<()>>>,
}

impl Endpoint {
    pub(crate) fn listen(net: &MemoryNet, address: SocketAddr) -> Rc<Self> {
        let endpoint = Rc::new(Self {
            address,
            begun: Rc::default(),
            wires: Rc::default(),
            faults: RefCell::default(),
            accepting: RefCell::default(),
        });
        endpoint.come_back(net);
        endpoint
    }

    /// Accepts connections, from now on or again.
    pub(crate) fn come_back(&self, net: &MemoryNet) {
        if let Some(fault) = self.faults.borrow_mut().last_mut() {
            fault.until.get_or_insert_with(Instant::now);
        }
        let mut accept = net.listen(self.address);
        let (begun, wires) = (self.begun.clone(), self.wires.clone());
        let task = tokio::task::spawn_local(async move {
            while let Some(stream) = accept.recv().await {
                let wire = Rc::new(Wire {
                    since: Instant::now(),
                    open: Cell::new(true),
                    work: RefCell::default(),
                    task: RefCell::default(),
                });
                wires.borrow_mut().push(wire.clone());
                let (begun, open) = (begun.clone(), Open(wire.clone()));
                let task = tokio::task::spawn_local(async move {
                    // A connection that ends in the middle ends.
                    let _ = converse(stream, &begun, &open.0).await;
                });
                wire.task.replace(Some(task.abort_handle()));
            }
        });
        if let Some(old) = self.accepting.borrow_mut().replace(task) {
            old.abort();
        }
    }

    /// Refuses connections from now on; those that are open go on.
    pub(crate) fn refuse(&self) {
        if let Some(task) = self.accepting.borrow_mut().take() {
            trace(&("refuses", self.address));
            task.abort();
            self.faults.borrow_mut().push(Fault {
                from: Instant::now(),
                until: None,
            });
        }
    }

    /// Closes every connection on which nothing is under way.
    pub(crate) fn hang_up(&self) {
        self.end_wires(|wire| wire.work.borrow().is_none());
    }

    /// Closes every connection.
    pub(crate) fn crash(&self) {
        self.end_wires(|_| true);
    }

    fn end_wires(&self, which: impl Fn(&Wire) -> bool) {
        for wire in self.wires.borrow().iter().filter(|wire| wire.open.get()) {
            if which(wire) {
                if let Some(work) = &*wire.work.borrow() {
                    work.killed.set(true);
                }
                wire.task.borrow().iter().for_each(AbortHandle::abort);
            }
        }
        trace(&("closes connections", self.address));
        let now = Instant::now();
        let mut faults = self.faults.borrow_mut();
        // In front, since the last one may still last.
        let fault = Fault {
            from: now,
            until: Some(now),
        };
        faults.insert(0, fault);
    }

    /// Whether it was at fault at some time of this period.
    pub(crate) fn fails_between(&self, from: Instant, until: Instant) -> bool {
        let overlaps =
            |fault: &Fault| fault.from <= until && fault.until.is_none_or(|end| end >= from);
        self.faults.borrow().iter().any(overlaps)
    }

    /// How many requests began here.
    pub(crate) fn count(&self) -> usize {
        self.begun.borrow().len()
    }

    /// Open connections on which nothing is under way.
    pub(crate) fn idle_wires(&self) -> usize {
        let idle = |wire: &&Rc<Wire>| wire.open.get() && wire.work.borrow().is_none();
        self.wires.borrow().iter().filter(idle).count()
    }

    /// Requests under way.
    pub(crate) fn busy_wires(&self) -> usize {
        let busy = |wire: &&Rc<Wire>| wire.open.get() && wire.work.borrow().is_some();
        self.wires.borrow().iter().filter(busy).count()
    }
}

/// However a connection ends, it is noted.
struct Open(Rc<Wire>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(false);
        self.0.done();
    }
}

impl Wire {
    fn done(&self) {
        if let Some(work) = self.work.borrow_mut().take() {
            work.ended.set(Some(Instant::now()));
        }
    }
}

async fn converse(
    mut stream: DuplexStream,
    begun: &RefCell<Vec<Rc<Begun>>>,
    wire: &Wire,
) -> io::Result<()> {
    let mut unread = Vec::new();
    let mut fresh = true;
    while let Some(head) = head(&mut stream, &mut unread).await? {
        let line = head.lines().next().unwrap_or_default();
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default()[1..].to_owned();
        let close = head.to_ascii_lowercase().contains("connection: close");
        let work = Rc::new(Begun {
            method,
            path: path.clone(),
            at: Instant::now(),
            close,
            fresh,
            wired: wire.since,
            ended: Cell::new(None),
            killed: Cell::new(false),
        });
        begun.borrow_mut().push(work.clone());
        wire.work.replace(Some(work));
        fresh = false;
        let mut parts = path.split('/');
        let kind = parts.next().unwrap_or_default();
        let ms = parts.nth(1).and_then(|ms| ms.parse().ok()).unwrap_or(0);
        let time = Duration::from_millis(ms);
        let upload = head.contains("transfer-encoding: chunked");
        let stays = exchange(&mut stream, &mut unread, kind, time, upload).await?;
        if !stays || close {
            return Ok(());
        }
        wire.done();
    }
    Ok(())
}

/// Takes the request's body and answers, both at once. True when the connection can go on.
async fn exchange(
    stream: &mut DuplexStream,
    unread: &mut Vec<u8>,
    kind: &str,
    time: Duration,
    upload: bool,
) -> io::Result<bool> {
    let (mut read, mut write) = tokio::io::split(stream);
    let (taken, is_taken) = oneshot::channel();
    let answered = Cell::new(false);
    let take = async {
        if upload {
            read_until(&mut read, unread, b"0\r\n\r\n").await?;
        }
        // Whoever answers early waits for it, too; nobody else can have gone.
        let _ = taken.send(());
        if answered.get() {
            std::future::pending::<()>().await;
        }
        let read = read.read_buf(unread).await?;
        assert_eq!(read, 0, "a request behind another that is under way");
        Err(io::ErrorKind::UnexpectedEof.into())
    };
    let give = async {
        if kind == "early" {
            let stays = answer(&mut write, kind, time).await?;
            answered.set(true);
            let _ = is_taken.await;
            return Ok(stays);
        }
        let _ = is_taken.await;
        answer(&mut write, kind, time).await
    };
    tokio::select! {
        biased;
        ended = take => ended,
        given = give => given,
    }
}

async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: &str,
    time: Duration,
) -> io::Result<bool> {
    const PIECES: u32 = 10;
    const CHUNKED: &str = "transfer-encoding: chunked\r\n";
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    match kind {
        "close" => return Ok(false),
        // Until tidegate gives up.
        "never" => std::future::pending::<()>().await,
        "break" => {
            let half = head("content-length: 100\r\n") + "half";
            stream.write_all(half.as_bytes()).await?;
            return Ok(false);
        }
        "hang" => {
            let head = head("content-length: 100\r\n");
            stream.write_all(head.as_bytes()).await?;
            std::future::pending::<()>().await;
        }
        "half" => {
            let fields = format!("content-type: text/event-stream\r\n{CHUNKED}");
            let half = head(&fields) + "4\r\ndata\r\n";
            stream.write_all(half.as_bytes()).await?;
            std::future::pending::<()>().await;
        }
        "drip" | "events" | "bare" => {
            let media = match kind {
                "events" => "text/event-stream",
                _ => "text/plain",
            };
            let framing = match kind {
                "bare" => "connection: close\r\n",
                _ => CHUNKED,
            };
            let head = head(&format!("content-type: {media}\r\n{framing}"));
            stream.write_all(head.as_bytes()).await?;
            for piece in 0..PIECES {
                sleep(time / PIECES).await;
                let text = format!("data: {piece}\n\n");
                let chunk = match kind {
                    "bare" => text,
                    _ => format!("{:x}\r\n{text}\r\n", text.len()),
                };
                stream.write_all(chunk.as_bytes()).await?;
            }
            if kind == "bare" {
                return Ok(false);
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        _ => {
            sleep(time).await;
            let ok = head("content-length: 2\r\n") + "ok";
            stream.write_all(ok.as_bytes()).await?;
        }
    }
    Ok(true)
}

async fn head(stream: &mut DuplexStream, unread: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = find(unread, b"\r\n\r\n") {
            let head = unread.drain(..end + 4).collect();
            return Ok(String::from_utf8(head).ok());
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}

async fn read_until(
    stream: &mut (impl AsyncRead + Unpin),
    unread: &mut Vec<u8>,
    what: &[u8],
) -> io::Result<()> {
    loop {
        if let Some(end) = find(unread, what) {
            unread.drain(..end + what.len());
            return Ok(());
        }
        if stream.read_buf(unread).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|found| found == what)
}

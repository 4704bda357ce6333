//! The clients: keep-alive connections that ask for the same again and again, and look at every answer; or WebSockets that
//! say the same again and again, and look at every echo.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::thread::set_current_timer_slack;
use tokio::time::Instant;

use super::websocket;

/// Clients of one proxy, on the calling thread.
pub(crate) struct Load {
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Those without a request under way.
    idle: Vec<usize>,
    /// Asked one after the other, over and over.
    requests: Vec<Vec<u8>>,
    /// The request to ask next.
    next: usize,
    right: Right,
    sent: u64,
    done: u64,
    waits: Vec<Duration>,
    scratch: Vec<u8>,
}

/// What a right answer is.
enum Right {
    /// 200, with a body of so many bytes.
    Body(usize),
    /// These bytes.
    Echo(Vec<u8>),
}

struct Client {
    stream: TcpStream,
    /// When its request should have been sent, if that is known.
    due: Option<Instant>,
    /// Of a head, or an echo, that is not whole.
    head: Vec<u8>,
    /// Bytes of the body that are still to come; none while the head is.
    left: Option<usize>,
}

const SCRATCH: usize = 64 * 1024;
const EVENTS: usize = 256;
const HEADERS_MAX: usize = 32;

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(10);

impl Load {
    /// Connects so many clients, which will ask for bodies of `size` bytes.
    pub(crate) fn connect(to: SocketAddr, clients: usize, size: usize) -> anyhow::Result<Self> {
        Self::asking(
            to,
            clients,
            vec![request("bench.example.com", size, "")],
            size,
        )
    }

    /// Connects so many clients, whose requests are all answered with bodies of `size` bytes.
    pub(crate) fn asking(
        to: SocketAddr,
        clients: usize,
        requests: Vec<Vec<u8>>,
        size: usize,
    ) -> anyhow::Result<Self> {
        Self::new(to, clients, requests, Right::Body(size))
    }

    /// Opens so many WebSockets, which will say `size` bytes.
    pub(crate) fn tunnels(to: SocketAddr, clients: usize, size: usize) -> anyhow::Result<Self> {
        let said = vec![b'x'; size];
        let (message, echo) = (
            websocket::message(&said, Some(*b"mask")),
            websocket::message(&said, None),
        );
        let load = Self::new(to, clients, vec![message], Right::Echo(echo))?;
        for client in &load.clients {
            upgrade(&client.stream)?;
        }
        Ok(load)
    }

    fn new(
        to: SocketAddr,
        clients: usize,
        requests: Vec<Vec<u8>>,
        right: Right,
    ) -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let connect = |number: usize| -> anyhow::Result<Client> {
            let stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, EventFlags::IN)?;
            Ok(Client {
                stream,
                due: None,
                head: Vec::new(),
                left: None,
            })
        };
        let clients = (0..clients)
            .map(connect)
            .collect::<anyhow::Result<Vec<_>>>()
            .context("cannot connect")?;
        Ok(Self {
            idle: (0..clients.len()).collect(),
            clients,
            requests,
            next: 0,
            right,
            sent: 0,
            done: 0,
            waits: Vec::new(),
            scratch: vec![0; SCRATCH],
            epoll,
        })
    }

    /// Asks for as long as `more` says so, at most `rate` times a second, then waits for the last answers. Returns how many
    /// there were: every one of them whole and right.
    pub(crate) fn run(
        &mut self,
        rate: Option<f64>,
        more: impl FnMut() -> bool,
    ) -> anyhow::Result<u64> {
        self.drive(rate, u64::MAX, more)
    }

    /// Asks so many times, as fast as it goes.
    pub(crate) fn times(&mut self, requests: u64) -> anyhow::Result<u64> {
        let answers = self.drive(None, requests, || true)?;
        ensure!(
            answers == requests,
            "{answers} answers to {requests} requests"
        );
        Ok(answers)
    }

    fn drive(
        &mut self,
        rate: Option<f64>,
        most: u64,
        mut more: impl FnMut() -> bool,
    ) -> anyhow::Result<u64> {
        let start = Instant::now();
        (self.sent, self.done) = (0, 0);
        self.waits.clear();
        let mut answered = start;
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            let asking = self.sent < most && more();
            let wanted = rate.map_or(most, |rate| {
                most.min((start.elapsed().as_secs_f64() * rate) as u64)
            });
            while asking
                && self.sent < wanted
                && let Some(number) = self.idle.pop()
            {
                self.clients[number].due = rate.map(|rate| start + due(self.sent, rate));
                self.ask(number)?;
            }
            if !asking && self.sent == self.done {
                return Ok(self.done);
            }
            events.clear();
            match rate.filter(|_| asking && !self.idle.is_empty()) {
                None => epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&TICK))?,
                Some(rate) => {
                    let left = due(self.sent, rate).saturating_sub(start.elapsed());
                    self.wait_at_most(left)?;
                    epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&NOW))?
                }
            };
            if !events.is_empty() || self.sent == self.done {
                answered = Instant::now();
            }
            ensure!(answered.elapsed() < PATIENCE, "no answer for {PATIENCE:?}");
            for event in &events {
                let number = event.data.u64() as usize;
                if self.hear(number)? {
                    self.done += 1;
                    self.idle.push(number);
                    if let Some(due) = self.clients[number].due.take() {
                        self.waits.push(due.elapsed());
                    }
                }
            }
        }
    }

    /// As [`Load::run`], as fast as it goes, for this long.
    pub(crate) fn saturate(&mut self, time: Duration) -> anyhow::Result<u64> {
        let start = Instant::now();
        self.run(None, || start.elapsed() < time)
    }

    /// Asks `rate` times a second for this long, whether or not the answers keep up with it, then waits for the last of them.
    pub(crate) fn pace(&mut self, rate: f64, time: Duration) -> anyhow::Result<u64> {
        // The kernel lets timers wait for each other; these are to be on time.
        set_current_timer_slack(NonZeroU64::new(1))?;
        let requests = (rate * time.as_secs_f64()) as u64;
        self.drive(Some(rate), requests, || true)
    }

    /// How long each answer took that was asked for at a rate, in the last run: from when its request was due, so that a
    /// request that had to wait for a connection has waited, too.
    pub(crate) fn waits(&self) -> &[Duration] {
        &self.waits
    }

    /// As [`Load::pace`]. Returns how long each answer took from when it was due, in milliseconds.
    pub(crate) fn at_rate(&mut self, rate: f64, time: Duration) -> anyhow::Result<Vec<f64>> {
        self.pace(rate, time)?;
        let waits = self.waits.iter();
        Ok(waits.map(|wait| wait.as_secs_f64() * 1e3).collect())
    }

    /// Waits until a client can be heard, at most so long, or a tick. To wait for the epoll set itself would be by whole
    /// milliseconds, in which several requests are due.
    fn wait_at_most(&self, left: Duration) -> anyhow::Result<()> {
        let left = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(left.subsec_nanos()).min(TICK.tv_nsec),
        };
        poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&left))?;
        Ok(())
    }

    fn ask(&mut self, number: usize) -> anyhow::Result<()> {
        let request = &self.requests[self.next];
        self.next = (self.next + 1) % self.requests.len();
        let client = &mut self.clients[number];
        let written = client.stream.write(request).context("cannot ask")?;
        ensure!(written == request.len(), "a request did not fit");
        self.sent += 1;
        Ok(())
    }

    /// Reads what has come. True when an answer is whole.
    fn hear(&mut self, number: usize) -> anyhow::Result<bool> {
        let client = &mut self.clients[number];
        let read = match client.stream.read(&mut self.scratch) {
            Ok(0) => bail!("a connection was closed"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("cannot read"),
        };
        let came = &self.scratch[..read];
        let size = match &self.right {
            Right::Body(size) => *size,
            Right::Echo(echo) => {
                client.head.extend_from_slice(came);
                ensure!(echo.starts_with(&client.head), "not what was said");
                let whole = client.head.len() == echo.len();
                if whole {
                    client.head.clear();
                }
                return Ok(whole);
            }
        };
        let body = match client.left {
            Some(_) => came.len(),
            None if client.head.is_empty() => match body_after(came, size)? {
                Some(body) => body,
                None => {
                    client.head.extend_from_slice(came);
                    return Ok(false);
                }
            },
            None => {
                client.head.extend_from_slice(came);
                let Some(body) = body_after(&client.head, size)? else {
                    return Ok(false);
                };
                client.head.clear();
                body
            }
        };
        let left = client.left.unwrap_or(size);
        ensure!(body <= left, "an answer is too long by {}", body - left);
        client.left = (body < left).then(|| left - body);
        Ok(client.left.is_none())
    }
}

/// How often a quiet load looks at the clock.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// When a request should be sent, from the start, if so many come before it.
fn due(before: u64, rate: f64) -> Duration {
    Duration::from_secs_f64((before + 1) as f64 / rate)
}

/// Makes a WebSocket of a connection.
fn upgrade(mut stream: &TcpStream) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(websocket::REQUEST)?;
    let mut answer = Vec::new();
    let mut byte = [0];
    // Nobody speaks after the head before the client does, but it may come in pieces.
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(stream.read(&mut byte)? == 1, "closed before its answer");
        answer.push(byte[0]);
    }
    let status = answer.get(..12).unwrap_or_default();
    ensure!(
        status == b"HTTP/1.1 101",
        "no WebSocket: {}",
        String::from_utf8_lossy(&answer)
    );
    stream.set_nonblocking(true)?;
    Ok(())
}

/// How many bytes follow the head, once it is whole; wrong ones are an error.
fn body_after(bytes: &[u8], size: usize) -> anyhow::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = answer.parse(bytes).context("no answer")? else {
        return Ok(None);
    };
    ensure!(answer.code == Some(200), "answered {:?}", answer.code);
    let length = answer
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    ensure!(length == Some(size), "{length:?} bytes instead of {size}");
    Ok(Some(bytes.len() - head))
}

/// A request for so many bytes, with these fields.
pub(crate) fn request(host: &str, size: usize, fields: &str) -> Vec<u8> {
    format!("GET /{size} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tidegate-bench\r\nAccept: */*\r\n{fields}\r\n")
        .into_bytes()
}

//! Clients whose requests are due at fixed moments, and are timed from then: a late answer makes the next ones no less late.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use tokio::time::Instant;

/// Keep-alive clients of one proxy, on the calling thread.
pub(crate) struct Paced {
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Those without a request under way.
    idle: Vec<usize>,
    /// Asked one after the other, over and over.
    requests: Vec<Vec<u8>>,
    /// Bytes of a right answer's body.
    size: usize,
    /// The request to ask next.
    next: usize,
    scratch: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    due: Instant,
}

/// When the next request is due.
enum Pace {
    /// As soon as a client is free.
    Saturating,
    /// So many a second.
    Rate(f64),
}

const SCRATCH: usize = 64 * 1024;
const EVENTS: usize = 256;

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(20);

impl Paced {
    /// Connects so many clients, whose requests are all answered with bodies of `size` bytes.
    pub(crate) fn connect(
        to: SocketAddr,
        clients: usize,
        requests: Vec<Vec<u8>>,
        size: usize,
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
                answer: Vec::new(),
                due: Instant::now(),
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
            size,
            next: 0,
            scratch: vec![0; SCRATCH],
            epoll,
        })
    }

    /// Asks at this rate for so long. Returns for each request how long after the moment it was due it was answered, in
    /// milliseconds: all of them were answered, whole and right.
    pub(crate) fn at_rate(&mut self, rate: f64, time: Duration) -> anyhow::Result<Vec<f64>> {
        let count = (rate * time.as_secs_f64()) as usize;
        self.drive(&Pace::Rate(rate), count, Instant::now() + time * 4)
    }

    /// Asks as fast as it is answered, for so long. Returns the number of answers.
    pub(crate) fn saturate(&mut self, time: Duration) -> anyhow::Result<usize> {
        let took = self.drive(&Pace::Saturating, usize::MAX, Instant::now() + time)?;
        Ok(took.len())
    }

    /// Asks so many times, as fast as it is answered.
    pub(crate) fn times(&mut self, requests: usize) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(3600);
        self.drive(&Pace::Saturating, requests, end)?;
        Ok(())
    }

    fn drive(&mut self, pace: &Pace, most: usize, end: Instant) -> anyhow::Result<Vec<f64>> {
        let start = Instant::now();
        let (mut sent, mut took) = (0, Vec::new());
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let mut heard = start;
        loop {
            let now = Instant::now();
            let asks = sent < most && now < end;
            if !asks && sent == took.len() {
                return Ok(took);
            }
            let due = |sent: usize| match pace {
                Pace::Saturating => now,
                Pace::Rate(rate) => start + Duration::from_secs_f64(sent as f64 / rate),
            };
            while asks
                && sent < most
                && due(sent) <= now
                && let Some(client) = self.idle.pop()
            {
                self.ask(client, due(sent))?;
                sent += 1;
            }
            let wait = if asks && sent < most && !self.idle.is_empty() {
                due(sent).saturating_duration_since(now)
            } else {
                TICK
            };
            events.clear();
            let wait = Timespec {
                tv_sec: wait.as_secs() as i64,
                tv_nsec: i64::from(wait.subsec_nanos()),
            };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
            let now = Instant::now();
            if !events.is_empty() || sent == took.len() {
                heard = now;
            }
            ensure!(now - heard < PATIENCE, "no answer for {PATIENCE:?}");
            for event in &events {
                let client = event.data.u64() as usize;
                if self.hear(client)? {
                    let late = now.saturating_duration_since(self.clients[client].due);
                    took.push(late.as_secs_f64() * 1e3);
                    self.idle.push(client);
                }
            }
        }
    }

    fn ask(&mut self, client: usize, due: Instant) -> anyhow::Result<()> {
        let request = &self.requests[self.next];
        self.next = (self.next + 1) % self.requests.len();
        let client = &mut self.clients[client];
        client.due = due;
        let written = client.stream.write(request).context("cannot ask")?;
        ensure!(written == request.len(), "a request did not fit");
        Ok(())
    }

    /// Reads what has come. True when an answer is whole.
    fn hear(&mut self, client: usize) -> anyhow::Result<bool> {
        let client = &mut self.clients[client];
        let read = match client.stream.read(&mut self.scratch) {
            Ok(0) => bail!("a connection was closed"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("cannot read"),
        };
        client.answer.extend_from_slice(&self.scratch[..read]);
        let Some(head) = client.answer.windows(4).position(|it| it == b"\r\n\r\n") else {
            return Ok(false);
        };
        ensure!(
            client.answer.starts_with(b"HTTP/1.1 200 "),
            "answered {:?}",
            String::from_utf8_lossy(&client.answer[..head])
        );
        let (whole, came) = (head + 4 + self.size, client.answer.len());
        ensure!(came <= whole, "an answer is too long by {}", came - whole);
        if came == whole {
            client.answer.clear();
        }
        Ok(came == whole)
    }
}

/// A request for so many bytes, with these fields.
pub(crate) fn request(host: &str, size: usize, fields: &str) -> Vec<u8> {
    format!("GET /{size} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tidegate-bench\r\nAccept: */*\r\n{fields}\r\n")
        .into_bytes()
}

/// How often a load without anything to ask looks at the clock.
const TICK: Duration = Duration::from_millis(1);

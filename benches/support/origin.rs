//! The endpoints: a thread that answers `GET /SIZE` with so many bytes, sends back what comes through a WebSocket, and does
//! nothing else.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::Context as _;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use socket2::{Domain, Socket, Type};

use super::websocket;

/// Sockets that listen, on one port of every loopback address or on several of one.
pub(crate) struct Origin {
    listeners: Vec<TcpListener>,
}

impl Origin {
    /// So many endpoints, each on a port of its own.
    pub(crate) fn on_ports(count: usize) -> anyhow::Result<Self> {
        let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = (0..count).map(listen).collect::<Result<_, _>>()?;
        Ok(Self { listeners })
    }

    /// One port of every address there is on the loopback interface, and of no other interface: 127.0.0.0/8 is as many
    /// endpoints as a bench can want.
    pub(crate) fn on_loopback() -> anyhow::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket
            .bind_device(Some(b"lo"))
            .context("cannot listen on the loopback interface alone")?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
        socket.listen(4096)?;
        Ok(Self {
            listeners: vec![socket.into()],
        })
    }

    /// Where its sockets listen.
    pub(crate) fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let addresses = self.listeners.iter().map(TcpListener::local_addr);
        Ok(addresses.collect::<Result<_, _>>()?)
    }

    /// Answers from now on, until the process ends, where the calling thread runs.
    pub(crate) fn serve(self) -> anyhow::Result<()> {
        let mut server = Server::new(self.listeners)?;
        thread::Builder::new()
            .name("origin".into())
            .spawn(move || server.run())?;
        Ok(())
    }
}

struct Server {
    epoll: OwnedFd,
    /// By the number that epoll knows them by: listeners first, then connections.
    listeners: Vec<TcpListener>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    answers: HashMap<usize, Vec<u8>>,
    scratch: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// Of a request that is not whole.
    request: Vec<u8>,
    /// Answers, of which the socket has taken the beginning.
    answer: Vec<u8>,
    taken: usize,
    /// It is a WebSocket now.
    tunnel: bool,
    /// It waits until the socket takes more.
    blocked: bool,
}

const SCRATCH: usize = 64 * 1024;
const EVENTS: usize = 256;

impl Server {
    fn new(listeners: Vec<TcpListener>) -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (number, listener) in listeners.iter().enumerate() {
            listener.set_nonblocking(true)?;
            epoll::add(
                &epoll,
                listener,
                EventData::new_u64(number as u64),
                EventFlags::IN,
            )?;
        }
        Ok(Self {
            epoll,
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            answers: HashMap::new(),
            scratch: vec![0; SCRATCH],
        })
    }

    fn run(&mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            // Interrupted by a signal at worst.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), None);
            for event in &events {
                let number = event.data.u64() as usize;
                match number.checked_sub(self.listeners.len()) {
                    None => self.accept(number),
                    Some(index) => self.converse(index),
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) {
        while let Ok((stream, _)) = self.listeners[listener].accept() {
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let data = EventData::new_u64((self.listeners.len() + index) as u64);
            let ready = stream.set_nonblocking(true).is_ok()
                && stream.set_nodelay(true).is_ok()
                && epoll::add(&self.epoll, &stream, data, EventFlags::IN).is_ok();
            if ready {
                self.connections[index] = Some(Connection {
                    stream,
                    request: Vec::new(),
                    answer: Vec::new(),
                    taken: 0,
                    tunnel: false,
                    blocked: false,
                });
            } else {
                self.free.push(index);
            }
        }
    }

    fn converse(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        let alive = connection.write()
            && connection.read(&mut self.scratch, &mut self.answers)
            && connection.write();
        if !alive {
            self.connections[index] = None;
            self.free.push(index);
            return;
        }
        let blocked = !connection.answer.is_empty();
        if blocked != connection.blocked {
            connection.blocked = blocked;
            let interest = if blocked {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            let data = EventData::new_u64((self.listeners.len() + index) as u64);
            // It is registered, so its interest can be changed.
            let _ = epoll::modify(&self.epoll, &connection.stream, data, interest);
        }
    }
}

impl Connection {
    /// Reads what is there, and queues the answers to whole requests. False at the end.
    fn read(&mut self, scratch: &mut [u8], answers: &mut HashMap<usize, Vec<u8>>) -> bool {
        let read = match self.stream.read(scratch) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        self.request.extend_from_slice(&scratch[..read]);
        while !self.tunnel
            && let Some(end) = end_of_head(&self.request)
        {
            let head = &self.request[..end];
            match websocket::key(head) {
                Some(key) => {
                    self.answer.extend_from_slice(&websocket::accept(key));
                    self.tunnel = true;
                }
                None => {
                    let size = size_asked_for(head);
                    let answer = answers.entry(size).or_insert_with(|| answer(size));
                    self.answer.extend_from_slice(answer);
                }
            }
            self.request.drain(..end);
        }
        while self.tunnel
            && let Some((payload, end)) = websocket::first(&self.request)
        {
            self.answer
                .extend_from_slice(&websocket::message(&payload, None));
            self.request.drain(..end);
        }
        true
    }

    fn write(&mut self) -> bool {
        while self.taken < self.answer.len() {
            match self.stream.write(&self.answer[self.taken..]) {
                Ok(written) => self.taken += written,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        self.answer.clear();
        self.taken = 0;
        true
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    if bytes.ends_with(END) {
        // Nearly always there is one request and nothing else; the search is for the rest.
        let inside = &bytes[..bytes.len() - END.len()];
        if !inside.windows(END.len()).any(|window| window == END) {
            return Some(bytes.len());
        }
    }
    let at = bytes.windows(END.len()).position(|window| window == END)?;
    Some(at + END.len())
}

const END: &[u8] = b"\r\n\r\n";

/// The number in `GET /NUMBER`.
fn size_asked_for(head: &[u8]) -> usize {
    let digits = head.iter().skip(b"GET /".len());
    digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |size, digit| size * 10 + usize::from(digit - b'0'))
}

fn answer(size: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sun, 22 Nov 2026 09:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + size, b'x');
    answer
}

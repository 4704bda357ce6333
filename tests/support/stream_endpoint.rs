//! A scripted HTTP/2 endpoint that writes its frames by hand. What is asked for under `/held` it leaves to the test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tokio::time::Instant;

use super::PATIENCE;
use super::stream_client::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};

/// The endpoint.
pub(crate) struct StreamEndpoint {
    name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    held: Receiver<Call>,
}

/// How it behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Its limit of streams.
    pub(crate) streams: u32,
    /// It accepts, and says nothing.
    pub(crate) silent: bool,
    /// It answers no PING.
    pub(crate) dead: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            streams: 100,
            silent: false,
            dead: false,
        }
    }
}

struct Shared {
    name: String,
    manner: Manner,
    record: Mutex<Record>,
    news: Condvar,
    held: Sender<Call>,
}

/// Everything that has come.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) requests: Vec<Asked>,
    pub(crate) connections: Vec<Link>,
    /// What it says of its health (`grpc.health.v1`).
    health: u8,
}

/// A connection.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Bytes that have come.
    pub(crate) bytes: usize,
    pub(crate) pings: usize,
    pub(crate) goaways: usize,
    pub(crate) ended: Option<Instant>,
    window: i64,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) connection: usize,
    pub(crate) stream: u32,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) whole: bool,
    /// It was reset, with this code.
    pub(crate) reset: Option<u32>,
    window: i64,
}

impl Asked {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.field(":path").unwrap_or_default()
    }
}

/// A request that the test answers.
pub(crate) struct Call {
    place: usize,
    connection: usize,
    stream: u32,
    socket: Arc<Mutex<TcpStream>>,
    shared: Arc<Shared>,
}

impl StreamEndpoint {
    /// Listens.
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, Manner::default())
    }

    /// Listens, and behaves like this.
    pub(crate) fn with(name: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (held, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            manner,
            record: Mutex::default(),
            news: Condvar::new(),
            held,
        });
        let known = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = known.clone();
                thread::spawn(move || Talk::begin(stream.unwrap(), shared).run());
            }
        });
        Self {
            name: name.to_owned(),
            address,
            shared,
            held: receiver,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its line in an endpoint file.
    pub(crate) fn line(&self, more: &str) -> String {
        let comma = if more.is_empty() { "" } else { ", " };
        let Self { name, address, .. } = self;
        format!("- {{ address: \"{address}\", id: {name}{comma}{more} }}\n")
    }

    /// The next request whose path begins with `/held`.
    #[track_caller]
    pub(crate) fn held(&self) -> Call {
        let call = self.held.recv_timeout(PATIENCE);
        call.unwrap_or_else(|_| panic!("no held request reached {}", self.name))
    }

    /// Says this of its health from now on (`grpc.health.v1`): 1 is SERVING, 2 NOT_SERVING.
    pub(crate) fn says(&self, status: u8) {
        self.shared.change(|record| record.health = status);
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> usize {
        self.shared.record.lock().unwrap().requests.len()
    }

    /// Every connection so far.
    pub(crate) fn connections(&self) -> Vec<Link> {
        self.shared.record.lock().unwrap().connections.clone()
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.shared.record.lock().unwrap().requests.clone()
    }

    /// Waits until the record says so.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, ask: impl FnMut(&Record) -> Option<T>) -> T {
        self.shared.wait(what, ask)
    }

    /// Waits until a connection has ended; returns when.
    #[track_caller]
    pub(crate) fn closed(&self, connection: usize) -> Instant {
        self.wait("an upstream connection ends", |record| {
            record.connections.get(connection)?.ended
        })
    }
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let answer = change(&mut self.record.lock().unwrap());
        self.news.notify_all();
        answer
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Record) -> Option<T>) -> T {
        let mut record = self.record.lock().unwrap();
        loop {
            if let Some(answer) = ask(&record) {
                return answer;
            }
            let (next, waited) = self.news.wait_timeout(record, PATIENCE).unwrap();
            record = next;
            if waited.timed_out() {
                drop(record);
                panic!("not within {PATIENCE:?}: {what}");
            }
        }
    }
}

impl Call {
    /// The request so far.
    pub(crate) fn request(&self) -> Asked {
        self.shared.record.lock().unwrap().requests[self.place].clone()
    }

    /// The request, once it is whole.
    #[track_caller]
    pub(crate) fn whole(&self) -> Asked {
        self.shared.wait("the request is whole", |record| {
            let request = &record.requests[self.place];
            request.whole.then(|| request.clone())
        })
    }

    /// The code that the request was reset with.
    #[track_caller]
    pub(crate) fn reset_by_peer(&self) -> u32 {
        self.shared.wait("the request is reset", |record| {
            record.requests[self.place].reset
        })
    }

    fn send(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // Whoever is gone needs nothing.
        let _ = self
            .socket
            .lock()
            .unwrap()
            .write_all(&frame(kind, flags, stream, payload));
    }

    /// A head, or trailers.
    pub(crate) fn head(&self, fields: &[(&str, &str)], flags: u8) {
        self.send(HEADERS, END_HEADERS | flags, self.stream, &block(fields));
    }

    /// A piece of a body that fits any window.
    pub(crate) fn data(&self, data: &[u8], flags: u8) {
        self.send(DATA, flags, self.stream, data);
    }

    /// A body of any size, as windows allow.
    #[track_caller]
    pub(crate) fn body(&self, mut body: &[u8]) {
        while !body.is_empty() {
            let room = self.shared.wait("a window opens", |record| {
                let stream = record.requests[self.place].window;
                let room = stream.min(record.connections[self.connection].window);
                usize::try_from(room).ok().filter(|room| *room > 0)
            });
            let (now, rest) = body.split_at(room.min(16 * 1024).min(body.len()));
            self.shared.change(|record| {
                record.requests[self.place].window -= now.len() as i64;
                record.connections[self.connection].window -= now.len() as i64;
            });
            self.data(now, 0);
            body = rest;
        }
    }

    /// A whole answer.
    pub(crate) fn answer(&self, body: &str) {
        self.head(&[(":status", "200")], 0);
        self.data(body.as_bytes(), END_STREAM);
    }

    /// Resets the request.
    pub(crate) fn reset(&self, code: u32) {
        self.send(RST_STREAM, 0, self.stream, &code.to_be_bytes());
    }

    /// Says that streams above `last` are not processed, and no new ones.
    pub(crate) fn goaway(&self, last: u32) {
        let payload = [last.to_be_bytes(), 0u32.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload);
    }

    /// Closes the connection.
    pub(crate) fn close(&self) {
        let _ = self.socket.lock().unwrap().shutdown(Shutdown::Both);
    }
}

/// One connection with tidegate.
struct Talk {
    reading: TcpStream,
    writing: Arc<Mutex<TcpStream>>,
    shared: Arc<Shared>,
    connection: usize,
    decoder: loona_hpack::Decoder<'static>,
    initial: i64,
}

impl Talk {
    fn begin(stream: TcpStream, shared: Arc<Shared>) -> Self {
        stream.set_nodelay(true).unwrap();
        let connection = shared.change(|record| {
            record.connections.push(Link {
                bytes: 0,
                pings: 0,
                goaways: 0,
                ended: None,
                window: 65_535,
            });
            record.connections.len() - 1
        });
        Self {
            reading: stream.try_clone().unwrap(),
            writing: Arc::new(Mutex::new(stream)),
            shared,
            connection,
            decoder: loona_hpack::Decoder::new(),
            initial: 65_535,
        }
    }

    fn run(mut self) {
        if !self.shared.manner.silent {
            let limit = self.shared.manner.streams.to_be_bytes();
            self.write(&frame(SETTINGS, 0, 0, &[&[0, 3], &limit[..]].concat()));
        }
        let mut preface = vec![0; PREFACE.len()];
        if self.read(&mut preface) {
            let mut head = [0; 9];
            while self.read(&mut head) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let mut payload = vec![0; length];
                if !self.read(&mut payload) {
                    break;
                }
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                self.take(head[3], head[4], stream, &payload);
            }
        }
        let connection = self.connection;
        self.shared.change(|record| {
            record.connections[connection].ended = Some(Instant::now());
        });
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.reading.read_exact(buffer).is_err() {
            return false;
        }
        let connection = self.connection;
        self.shared
            .change(|record| record.connections[connection].bytes += buffer.len());
        true
    }

    fn write(&self, bytes: &[u8]) {
        let _ = self.writing.lock().unwrap().write_all(bytes);
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let connection = self.connection;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks(6) {
                    if setting[..2] == [0, 4] {
                        self.initial = u32::from_be_bytes(setting[2..].try_into().unwrap()).into();
                    }
                }
                if !self.shared.manner.silent {
                    self.write(&frame(SETTINGS, ACK, 0, &[]));
                }
            }
            PING if flags & ACK == 0 => {
                self.shared
                    .change(|record| record.connections[connection].pings += 1);
                if !self.shared.manner.dead {
                    self.write(&frame(PING, ACK, 0, payload));
                }
            }
            GOAWAY => self
                .shared
                .change(|record| record.connections[connection].goaways += 1),
            WINDOW_UPDATE => {
                let more = i64::from(number(0));
                self.shared.change(|record| {
                    if stream == 0 {
                        record.connections[connection].window += more;
                    } else if let Some(request) = find(record, connection, stream) {
                        request.window += more;
                    }
                });
            }
            HEADERS => self.head(flags, stream, payload),
            DATA => {
                if !payload.is_empty() {
                    let more = (payload.len() as u32).to_be_bytes();
                    self.write(&frame(WINDOW_UPDATE, 0, 0, &more));
                    if flags & END_STREAM == 0 {
                        self.write(&frame(WINDOW_UPDATE, 0, stream, &more));
                    }
                }
                self.shared.change(|record| {
                    if let Some(request) = find(record, connection, stream) {
                        request.body.extend_from_slice(payload);
                    }
                });
                self.end(flags, stream);
            }
            RST_STREAM => {
                let code = number(0);
                self.shared.change(|record| {
                    if let Some(request) = find(record, connection, stream) {
                        request.reset = Some(code);
                    }
                });
            }
            _ => {}
        }
    }

    fn head(&mut self, flags: u8, stream: u32, payload: &[u8]) {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let fields: Vec<_> = self
            .decoder
            .decode(payload)
            .unwrap()
            .into_iter()
            .map(|(name, value)| (text(name.to_vec()), text(value.to_vec())))
            .collect();
        let (connection, initial) = (self.connection, self.initial);
        let place = self.shared.change(|record| {
            if let Some(request) = find(record, connection, stream) {
                request.trailers = fields;
                return None;
            }
            record.requests.push(Asked {
                connection,
                stream,
                fields,
                body: Vec::new(),
                trailers: Vec::new(),
                whole: false,
                reset: None,
                window: initial,
            });
            Some(record.requests.len() - 1)
        });
        if let Some(place) = place {
            let call = self.call(place, stream);
            if call.request().path().starts_with("/held") {
                // A test that is over does not take it.
                let _ = self.shared.held.send(call);
            }
        }
        self.end(flags, stream);
    }

    fn call(&self, place: usize, stream: u32) -> Call {
        Call {
            place,
            connection: self.connection,
            stream,
            socket: self.writing.clone(),
            shared: self.shared.clone(),
        }
    }

    fn end(&self, flags: u8, stream: u32) {
        if flags & END_STREAM == 0 {
            return;
        }
        let connection = self.connection;
        let place = self.shared.change(|record| {
            find(record, connection, stream)?.whole = true;
            let of = |it: &Asked| it.connection == connection && it.stream == stream;
            record.requests.iter().position(of)
        });
        let Some(place) = place else { return };
        let call = self.call(place, stream);
        let path = call.request().path().to_owned();
        if path == "/grpc.health.v1.Health/Check" {
            let health = self.shared.record.lock().unwrap().health;
            call.head(
                &[(":status", "200"), ("content-type", "application/grpc")],
                0,
            );
            call.data(&[0, 0, 0, 0, 2, 8, health], 0);
            call.head(&[("grpc-status", "0")], END_STREAM);
        } else if !path.starts_with("/held") {
            call.answer(&self.shared.name);
        }
    }
}

fn find(record: &mut Record, connection: usize, stream: u32) -> Option<&mut Asked> {
    let of = |it: &&mut Asked| it.connection == connection && it.stream == stream;
    record.requests.iter_mut().find(of)
}

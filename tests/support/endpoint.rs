//! An endpoint that answers as the test says, and remembers everything that reached it.
//!
//! A request whose path begins with `/held`, and every CONNECT, waits for the test ([`Endpoint::held`]), which answers it in
//! any way it likes. Every other request is answered at once with the endpoint's name, so that a client sees who served it.
//! What follows a request to switch protocols at `/held/tunnel`, or a CONNECT, is its body, to the connection's end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use super::exchange::{Exchange, Request};
use super::message::{Body, Head};
use super::{End, PATIENCE, eventually};

/// A listening endpoint. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    name: String,
    address: SocketAddr,
    socket: Socket,
    shared: Arc<Shared>,
    held: Receiver<Exchange>,
    /// Connections that nobody accepts.
    queue: Vec<TcpStream>,
}

/// What has become of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Bytes that came.
    pub(crate) bytes: usize,
    /// Requests whose head came.
    pub(crate) requests: usize,
    /// How and when it ended.
    pub(crate) end: Option<(End, Instant)>,
}

/// What the threads of an endpoint share.
#[derive(Debug)]
pub(super) struct Shared {
    name: String,
    record: Mutex<Record>,
    news: Condvar,
    held: Sender<Exchange>,
}

/// Everything that reached an endpoint, and how it behaves.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) requests: Vec<Request>,
    pub(super) connections: Vec<Connection>,
    deaf: bool,
    answer: Option<Vec<u8>>,
    health: Health,
}

/// What an endpoint says at `/healthz`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// That it is well.
    #[default]
    Well,
    /// That it is not, by this status.
    Ill(u16),
    /// Nothing.
    Mute,
}

impl Endpoint {
    /// Listens.
    pub(crate) fn start(name: &str) -> Self {
        let endpoint = Self::refusing(name);
        endpoint.listen();
        endpoint
    }

    /// Has a port and refuses every connection, until it listens.
    pub(crate) fn refusing(name: &str) -> Self {
        let socket = own_port();
        let (sender, held) = channel();
        Self {
            name: name.to_owned(),
            address: socket.local_addr().unwrap().as_socket().unwrap(),
            shared: Arc::new(Shared::new(name, sender)),
            socket,
            held,
            queue: Vec::new(),
        }
    }

    /// Has a port and leaves every attempt to connect without an answer, as a dead machine does.
    pub(crate) fn silent(name: &str) -> Self {
        let mut endpoint = Self::refusing(name);
        endpoint.socket.listen(0).unwrap();
        // One fills its queue: from then on the kernel drops what comes.
        endpoint
            .queue
            .push(TcpStream::connect(endpoint.address).unwrap());
        endpoint
    }

    /// Its name, which is its id and the body of its answers.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its line in an endpoint file; `more` is what is said beside address and id.
    pub(crate) fn line(&self, more: &str) -> String {
        self.line_as(&self.name, more)
    }

    /// Its line under another id.
    pub(crate) fn line_as(&self, id: &str, more: &str) -> String {
        let comma = if more.is_empty() { "" } else { ", " };
        format!(
            "- {{ address: \"{}\", id: {id}{comma}{more} }}\n",
            self.address
        )
    }

    /// Accepts connections, from now on or again.
    pub(crate) fn listen(&self) {
        self.socket.listen(BACKLOG).unwrap();
        let listener = TcpListener::from(self.socket.try_clone().unwrap());
        let shared = self.shared.clone();
        thread::spawn(move || {
            // Until it refuses.
            while let Ok((stream, _)) = listener.accept() {
                let shared = shared.clone();
                thread::spawn(move || Conversation::begin(stream, shared).run());
            }
        });
    }

    /// Refuses new connections; those that are there go on.
    pub(crate) fn refuse(&self) {
        // What the kernel has accepted by now is reset.
        self.socket.shutdown(Shutdown::Read).unwrap();
    }

    /// Reads nothing any more, or goes on: what is sent to it piles up.
    pub(crate) fn deaf(&self, deaf: bool) {
        self.shared.change(|record| record.deaf = deaf);
    }

    /// Answers with these bytes from now on, instead of its name.
    pub(crate) fn answer_with(&self, bytes: impl AsRef<[u8]>) {
        self.shared
            .change(|record| record.answer = Some(bytes.as_ref().to_vec()));
    }

    /// Says this at `/healthz` from now on.
    pub(crate) fn is(&self, health: Health) {
        self.shared.change(|record| record.health = health);
    }

    /// How often it was asked for this path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.paths().iter().filter(|own| *own == path).count()
    }

    /// The next request that waits for the test.
    #[track_caller]
    pub(crate) fn held(&self) -> Exchange {
        let Ok(exchange) = self.held.recv_timeout(PATIENCE) else {
            panic!(
                "no held request reached {}, but {:?}",
                self.name,
                self.paths()
            );
        };
        exchange
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.record().requests.clone()
    }

    /// When the last request reached it.
    pub(crate) fn last_at(&self) -> Option<Instant> {
        self.shared.record().requests.last().map(|last| last.at)
    }

    /// The paths of all requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        let record = self.shared.record();
        record
            .requests
            .iter()
            .map(|request| request.path().to_owned())
            .collect()
    }

    /// How many requests have reached it.
    pub(crate) fn count(&self) -> usize {
        self.shared.record().requests.len()
    }

    /// Every connection so far, in order.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.shared.record().connections.clone()
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        let record = self.shared.record();
        record
            .connections
            .iter()
            .filter(|connection| connection.end.is_none())
            .count()
    }

    /// Waits until no connection is open any longer. Returns when the last one ended.
    #[track_caller]
    pub(crate) fn all_closed(&self) -> Instant {
        eventually("every upstream connection is closed", || {
            (self.open() == 0).then_some(())
        });
        let ends = self
            .connections()
            .into_iter()
            .filter_map(|connection| connection.end);
        ends.map(|(_, at)| at).max().unwrap_or_else(Instant::now)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.deaf(false);
        // Not listening is fine, too. Connections end when tidegate does.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn new(name: &str, held: Sender<Exchange>) -> Self {
        Self {
            name: name.to_owned(),
            record: Mutex::default(),
            news: Condvar::new(),
            held,
        }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let answer = change(&mut self.record());
        self.news.notify_all();
        answer
    }

    /// The test ends a connection itself.
    pub(super) fn end(&self, connection: usize) {
        self.change(|record| {
            record.connections[connection].end = Some((End::Ours, Instant::now()))
        });
    }

    /// Waits until the record says so.
    #[track_caller]
    pub(super) fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Record) -> Option<T>) -> T {
        let mut record = self.record();
        loop {
            if let Some(answer) = ask(&record) {
                return answer;
            }
            let (next, waited) = self.news.wait_timeout(record, PATIENCE).unwrap();
            record = next;
            if waited.timed_out() {
                // Not with the lock held, which other threads would find poisoned.
                drop(record);
                panic!("not within {PATIENCE:?}: {what}");
            }
        }
    }
}

/// One connection with tidegate.
struct Conversation {
    stream: Arc<TcpStream>,
    shared: Arc<Shared>,
    /// Its place in the record.
    connection: usize,
    unread: Vec<u8>,
    /// The place of the request under way in the record, and the rest of its body.
    current: Option<(usize, Body)>,
}

impl Conversation {
    fn begin(stream: TcpStream, shared: Arc<Shared>) -> Self {
        stream.set_nodelay(true).unwrap();
        let connection = shared.change(|record| {
            record.connections.push(Connection {
                bytes: 0,
                requests: 0,
                end: None,
            });
            record.connections.len() - 1
        });
        Self {
            stream: Arc::new(stream),
            shared,
            connection,
            unread: Vec::new(),
            current: None,
        }
    }

    fn run(mut self) {
        let mut bytes = [0; 64 * 1024];
        let end = loop {
            self.hear();
            match (&*self.stream).read(&mut bytes) {
                Ok(0) => break End::Fin,
                Ok(read) => self.take(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break End::Reset,
            }
        };
        let connection = self.connection;
        self.shared.change(|record| {
            // The test may have ended it itself.
            let connection = &mut record.connections[connection];
            connection.end.get_or_insert((end, Instant::now()));
        });
    }

    /// Waits while the endpoint is deaf; for ever, if need be.
    fn hear(&self) {
        let record = self.shared.record();
        drop(
            self.shared
                .news
                .wait_while(record, |record| record.deaf)
                .unwrap(),
        );
    }

    fn take(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        self.shared
            .change(|record| record.connections[self.connection].bytes += bytes.len());
        loop {
            if self.current.is_none() {
                let Some(head) = Head::take(&mut self.unread) else {
                    return;
                };
                self.start(head);
            }
            let Some((request, mut body)) = self.current.take() else {
                return;
            };
            body.take(&mut self.unread);
            let whole = body.is_done();
            self.shared.change(|record| {
                let request = &mut record.requests[request];
                request.body.append(&mut body.data);
                request.trailers.append(&mut body.trailers);
                request.whole = whole;
            });
            if !whole {
                self.current = Some((request, body));
                return;
            }
            self.answer(request);
        }
    }

    fn start(&mut self, head: Head) {
        let body = Body::of_request(&head);
        let connection = self.connection;
        let (place, request) = self.shared.change(|record| {
            let about = &mut record.connections[connection];
            about.requests += 1;
            let request = Request {
                head,
                body: Vec::new(),
                trailers: Vec::new(),
                whole: false,
                connection,
                number: about.requests,
                at: Instant::now(),
            };
            record.requests.push(request.clone());
            (record.requests.len() - 1, request)
        });
        self.current = Some((place, body));
        if request.is_held() {
            let (stream, shared) = (self.stream.clone(), self.shared.clone());
            // A test that is over does not take it.
            let _ = self
                .shared
                .held
                .send(Exchange::new(request, place, stream, shared));
        }
    }

    /// Answers a request that nobody holds.
    fn answer(&self, request: usize) {
        let record = self.shared.record();
        let request = &record.requests[request];
        if request.is_held() {
            return;
        }
        let name = &self.shared.name;
        let body = if request.method() == "HEAD" { "" } else { name };
        let usual = || {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                name.len()
            )
            .into()
        };
        let answer = match record.health {
            Health::Ill(status) if request.path() == "/healthz" => {
                format!("HTTP/1.1 {status} Ill\r\nContent-Length: 0\r\n\r\n").into()
            }
            Health::Mute if request.path() == "/healthz" => return,
            _ => record.answer.clone().unwrap_or_else(usual),
        };
        drop(record);
        // Whoever is gone needs none.
        let _ = (&*self.stream).write_all(&answer);
    }
}

/// A socket that keeps its port whatever becomes of it. A port that the kernel chose is given back when the socket stops
/// listening; one that was asked for is not. Asking for one may fail, so it is asked for until it is had.
fn own_port() -> Socket {
    loop {
        let chosen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = chosen.local_addr().unwrap();
        drop(chosen);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Connections that are still open must not keep it from listening again.
        socket.set_reuse_address(true).unwrap();
        if socket.bind(&address.into()).is_ok() {
            return socket;
        }
    }
}

const BACKLOG: i32 = 1024;

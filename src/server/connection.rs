//! One downstream connection: hyper's protocol or `http2`'s, our time, and a close that destroys nothing.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::lines::Behind;
use super::listener::{Entry, earlier};
use super::wire::{Phase, Watched};
use super::{Plan, http2};
use crate::clock::Task;
use crate::net::Stream;
use crate::proxy::{Body, Downstream, Failure, Inbound, Pins, Refusal, Tunnel};

/// A connection, as its listener knows it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) watched: Rc<Watched>,
    /// Of its requests, one after the other; over HTTP/2 each stream has its own, and this is the connection's.
    pub(super) downstream: Rc<Downstream>,
    /// Its place among the listener's.
    pub(super) index: Cell<usize>,
    /// When it is closed if it is idle, because we leave.
    pub(super) close_at: Cell<Option<Instant>>,
    /// When it is closed if it stays idle.
    idle_until: Cell<Instant>,
    /// When its end is announced, whether it is idle or not: by GOAWAY, or with the next response.
    pub(super) end_at: Cell<Option<Instant>>,
    pub(super) forced: Cell<bool>,
    /// There is something new to look at.
    pub(super) told: Cell<bool>,
    /// Over HTTP/2.
    pub(super) streams: http2::Streams,
    /// How its end came about, if we have announced it.
    pub(super) how: Cell<Option<&'static str>>,
    pub(super) keep_alive: Duration,
    pub(super) header: Duration,
    body: Duration,
}

/// Why a connection is over, if nobody but us says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Its protocol is done with it: an announced close, or the client's.
    Done,
    /// hyper has refused what came, and said so.
    Refused(Refusal),
    /// Broken: a body that broke off, or a client that went.
    Broken,
    /// Idle for too long, or idle while we leave.
    Idle,
    /// A head that does not come to an end.
    SlowHead,
    /// The client takes nothing any more, or gives no sign of life.
    Stalled,
    /// The end of our own time.
    Forced,
}

/// What came of a conversation by HTTP/1.
enum Turn {
    /// The client speaks HTTP/2.
    Http2,
    /// The client has said something, by HTTP/1 as far as is known.
    Heard,
    /// Nothing has come for a while.
    Rest,
    /// It is over.
    Over(Over),
}

/// So long after a response what hyper needs of a connection stays for the next request: some 14 KiB.
const REST: Duration = Duration::from_secs(1);

/// How long a close waits for the client's, so that the response in flight is not destroyed by a reset (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// The same for an idle connection of a process that leaves.
const IDLE_LINGER: Duration = Duration::from_millis(100);

/// What is read and thrown away meanwhile.
const LINGER_BYTES: usize = 64 * 1024;

impl Connection {
    pub(super) fn new(
        entry: &Entry,
        stream: Stream,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Rc<Self> {
        let (now, timeouts) = (Instant::now(), &entry.settings.timeouts);
        let task = entry.proxy.clock().task();
        task.limit(Some(now + timeouts.header));
        // Spread: what came together, after a restart perhaps, does not go together.
        let age = timeouts.max_connection_age;
        let end_at = (!age.is_zero()).then(|| now + age.mul_f64(0.9 + 0.2 * entry.proxy.random()));
        let unclear = entry.settings.http2 && entry.settings.tls.is_none();
        let downstream = Downstream {
            client,
            local,
            entrance: entry.entrance.clone(),
            pins: Pins::new(task.clone()),
            task,
            reset: Cell::new(false),
            uploading: Cell::new(false),
            tails: Cell::new(0),
            flaw: Cell::new(None),
            tunnel: RefCell::default(),
        };
        Rc::new(Self {
            watched: Watched::new(stream, unclear),
            downstream: Rc::new(downstream),
            index: Cell::new(0),
            close_at: Cell::new(None),
            idle_until: Cell::new(now),
            end_at: Cell::new(end_at),
            forced: Cell::new(false),
            told: Cell::new(false),
            streams: http2::Streams::new(now),
            how: Cell::new(None),
            keep_alive: timeouts.keep_alive,
            header: timeouts.header,
            body: timeouts.body,
        })
    }

    /// We leave: when it is idle, it is closed from a moment of the plan on; an HTTP/2 client is told at another, idle or
    /// not. `random` is a number from 0 to 1.
    pub(super) fn leave(&self, plan: &Plan, random: f64) {
        let close_at = plan.idle_moment(random);
        self.close_at.set(Some(close_at));
        match self.watched.phase.get() {
            Phase::New | Phase::Idle => self.close_idle_at(close_at),
            Phase::Streams => self.announce_end_at(plan.goaway_moment(Instant::now(), random)),
            Phase::Head | Phase::Busy => {}
        }
    }

    /// Its end is announced from this moment on: with the next response, or by GOAWAY.
    pub(super) fn announce_end_at(&self, at: Instant) {
        self.end_at.set(Some(earlier(at, self.end_at.get())));
        self.told.set(true);
        self.task().wake();
    }

    /// When its end is announced.
    pub(super) fn end_at(&self) -> Option<Instant> {
        self.end_at.get()
    }

    /// It ends now.
    pub(super) fn force(&self) {
        self.forced.set(true);
        self.told.set(true);
        self.task().wake();
        self.streams.wake();
    }

    pub(super) fn task(&self) -> &Rc<Task> {
        &self.downstream.task
    }

    /// It is idle, and closed at this moment if it still is.
    pub(super) fn close_idle_at(&self, at: Instant) {
        self.idle_until.set(at);
        self.task().limit(Some(at));
    }

    /// A response has ended; what comes next is another request, or nothing.
    fn idle(&self) {
        self.watched.phase.set(Phase::Idle);
        let now = self.task().now();
        self.close_idle_at(earlier(now + self.keep_alive, self.close_at.get()));
        self.task()
            .limit(Some(earlier(now + REST, Some(self.idle_until.get()))));
    }

    /// Whether it has been idle for long enough that it need not keep what the next request would need.
    fn may_rest(&self) -> bool {
        let until = self.idle_until.get();
        if self.watched.phase.get() != Phase::Idle
            || !self.task().is_expired()
            || until <= self.task().now()
        {
            return false;
        }
        self.task().limit(Some(until));
        self.downstream.tails.get() == 0
    }

    /// A client that is slow but takes something is not idle: its time begins anew when, at its end, something has been
    /// handed over since the last time. One that takes nothing is given up by the second end.
    fn renew(&self) {
        if self.task().is_expired() && self.watched.blocked.get() && self.watched.wrote.take() {
            self.task().limit(Some(Instant::now() + self.body));
        }
    }

    /// What its time limits say, now that hyper has nothing to do.
    fn look(&self, head_seen: &mut bool) -> Option<Over> {
        if self.forced.get() {
            return Some(Over::Forced);
        }
        self.follow_pins();
        let phase = self.watched.phase.get();
        if phase != Phase::Head {
            *head_seen = false;
        } else if !*head_seen {
            *head_seen = true;
            self.task().limit(Some(Instant::now() + self.header));
        }
        if !self.task().is_expired() {
            return None;
        }
        match phase {
            Phase::Head => Some(Over::SlowHead),
            // The request has not taken notice of its limit: it waits for the client to take something.
            Phase::Busy | Phase::Streams => Some(Over::Stalled),
            // One more look: a request that is on its way already is served, not closed upon (P11).
            Phase::New | Phase::Idle if self.watched.is_quiet() => Some(Over::Idle),
            Phase::New | Phase::Idle => {
                self.task().limit(Some(Instant::now() + self.header));
                None
            }
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(entry: Rc<Entry>, connection: Rc<Connection>) {
    let mut turn = match connection.watched.stream.borrow() {
        stream if stream.protocol() == Some(b"h2") => Turn::Http2,
        stream if stream.holds_nothing() => Turn::Rest,
        // The first request may have come along with the handshake.
        _ => Turn::Heard,
    };
    let over = loop {
        // Boxed, as the close is: each is many times what an idle connection is made of.
        turn = match turn {
            Turn::Over(over) => break over,
            Turn::Http2 => Turn::Over(Box::pin(http2::converse(&entry, &connection)).await),
            Turn::Heard => Box::pin(converse(&entry, &connection)).await,
            Turn::Rest => rest(&entry, &connection)
                .await
                .map_or(Turn::Heard, Turn::Over),
        };
    };
    Box::pin(close(&entry, &connection, over)).await;
}

/// Waits for a request, without anything that would read it. None once something has come.
async fn rest(entry: &Entry, connection: &Connection) -> Option<Over> {
    let mut head_seen = false;
    std::future::poll_fn(|cx| {
        entry.proxy.clock().turn();
        connection.task().register(cx.waker());
        if connection.watched.poll_readable(cx).is_ready() {
            return Poll::Ready(None);
        }
        connection
            .look(&mut head_seen)
            .map_or(Poll::Pending, |over| Poll::Ready(Some(over)))
    })
    .await
}

/// Requests and responses over HTTP/1, until one side has enough or nothing comes for a while.
async fn converse(entry: &Rc<Entry>, connection: &Rc<Connection>) -> Turn {
    let service = service_fn(|request| answer(entry.clone(), connection.clone(), request));
    let limits = &entry.settings.limits;
    let mut builder = http1::Builder::new();
    // Time is kept here, by the worker's clock.
    builder
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes as usize);
    if limits.headers != HYPER_HEADERS {
        builder.max_headers(limits.headers as usize);
    }
    let mut http = builder.serve_connection(TokioIo::new(connection.watched.wire()), service);
    let mut head_seen = false;
    let clock = entry.proxy.clock();
    let turn = std::future::poll_fn(|cx| {
        clock.turn();
        connection.task().register(cx.waker());
        connection.renew();
        if let Poll::Ready(done) = Pin::new(&mut http).poll(cx) {
            return Poll::Ready(Turn::Over(match done {
                Ok(()) => Over::Done,
                Err(error) => Refusal::of(&error).map_or(Over::Broken, Over::Refused),
            }));
        }
        if connection.watched.begins_as_http2() {
            return Poll::Ready(Turn::Http2);
        }
        if connection.may_rest() {
            return Poll::Ready(Turn::Rest);
        }
        match connection.look(&mut head_seen) {
            Some(over) => Poll::Ready(Turn::Over(over)),
            None => Poll::Pending,
        }
    })
    .await;
    let tunnel = connection.downstream.tunnel.take();
    match (turn, tunnel) {
        // A switch of protocols has been answered, and hyper is done.
        (Turn::Over(Over::Done), Some(tunnel)) => {
            let early = http.into_parts().read_buf;
            Turn::Over(Box::pin(relay(connection, tunnel, early)).await)
        }
        (Turn::Rest, _) => {
            connection.watched.put_back(&http.into_parts().read_buf);
            Turn::Rest
        }
        (turn, _) => turn,
    }
}

/// Passes bytes on between the client and an endpoint, until both have enough.
async fn relay(connection: &Connection, mut tunnel: Box<Tunnel>, early: Bytes) -> Over {
    connection.watched.phase.set(Phase::Busy);
    // Nothing else comes by this connection: the tunnel keeps its place, and gives it back before its client is done.
    connection.downstream.pins.release();
    tunnel.begin(&early);
    drop(early);
    std::future::poll_fn(|cx| {
        if connection.forced.get() {
            // The connection ends by force, however the tunnel would.
            let _ = tunnel.cut();
            return Poll::Ready(Over::Forced);
        }
        let mut stream = connection.watched.stream.borrow_mut();
        let over = tunnel.poll(cx, &mut *stream);
        if tunnel.is_client_done() {
            connection.watched.ended.set(true);
        }
        over.map(|_| Over::Done)
    })
    .await
}

/// What hyper parses without an allocation.
const HYPER_HEADERS: u32 = 100;

async fn answer(
    entry: Rc<Entry>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Tracked>, Infallible> {
    connection.watched.phase.set(Phase::Busy);
    let flaw = flaw(&entry, &connection, request.headers());
    connection.downstream.flaw.set(flaw);
    let request = request.map(Inbound::Http1);
    let mut response = entry.proxy.handle(request, &connection.downstream).await;
    if connection.task().is_expired() {
        // What is left is to hand the answer over.
        connection
            .task()
            .limit(Some(Instant::now() + entry.settings.timeouts.body));
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS && announces_end(&entry, &connection) {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        connection.how.set(Some("announced"));
    }
    Ok(response.map(|body| Tracked { body, connection }))
}

/// What is wrong with the bytes of a head that hyper has taken.
fn flaw(entry: &Entry, connection: &Connection, head: &HeaderMap) -> Option<Failure> {
    const LINES: Failure = Failure::BadRequest("a line ends without CR LF, or a chunk is none");
    let mut lines = connection.watched.lines.borrow_mut();
    let seen = lines.goes_on_with(Behind::of(head));
    if seen.bare || lines.is_broken() {
        // Chunks that came with the head are handed over already.
        return Some(LINES);
    }
    // hyper may read twice as much at a time as it is told to.
    let most = entry.settings.limits.header_bytes as usize;
    (seen.bytes > most).then_some(Failure::HeadTooLarge)
}

/// Whether the response that comes now is the connection's last.
fn announces_end(entry: &Entry, connection: &Connection) -> bool {
    let leaves = entry
        .leaving()
        .is_some_and(|plan| plan.announces(Instant::now(), entry.proxy.random()));
    leaves
        || connection
            .end_at()
            .is_some_and(|end_at| end_at <= Instant::now())
        || connection.downstream.pins.moment().is_some()
}

/// A response's body that tells its connection when it ends.
struct Tracked {
    body: Body,
    connection: Rc<Connection>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.connection.idle();
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Closes a connection in the way its end asks for.
#[expect(
    clippy::await_holding_refcell_ref,
    reason = "hyper's end is gone: nobody else can borrow the stream"
)]
async fn close(entry: &Entry, connection: &Connection, over: Over) {
    connection.downstream.pins.release();
    let metrics = entry.proxy.metrics().shared();
    let mut stream = connection.watched.stream.borrow_mut();
    if connection.downstream.reset.get() {
        stream.reset_on_close();
        return;
    }
    match over {
        Over::Done | Over::Broken => {
            if let Some(how) = connection.how.get() {
                metrics.downstream_closed(entry.name(), how);
            }
        }
        Over::Refused(refusal) => entry.proxy.refused(&connection.downstream, refusal),
        Over::Idle => metrics.downstream_closed(entry.name(), "idle"),
        Over::SlowHead => {
            entry
                .proxy
                .refused(&connection.downstream, Refusal::SlowHead);
            if connection.watched.phase.get() != Phase::Streams {
                // Whoever is too slow to ask may be gone.
                let _ = tokio::time::timeout(LINGER, stream.write_all(SLOW_HEAD)).await;
            }
        }
        Over::Stalled | Over::Forced => {
            metrics.downstream_closed(entry.name(), "forced");
            return;
        }
    }
    if !connection.watched.ended.get() {
        // Nothing is on its way to an idle client: while we leave, it need not be waited for.
        let limit = if over == Over::Idle && entry.leaving().is_some() {
            IDLE_LINGER
        } else {
            LINGER
        };
        // A client that does not follow within this time is left behind.
        let _ = tokio::time::timeout(limit, linger(&mut stream)).await;
    }
}

const SLOW_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 29\r\n\
    connection: close\r\n\r\n408 the request took too long";

/// Says that nothing more comes, and waits for the client to say so, too: closing over unread bytes would send a reset,
/// which can destroy the response on its way.
async fn linger(stream: &mut Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES;
    let mut waste = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut waste).await
        && left > 0
    {
        left = left.saturating_sub(read);
    }
}

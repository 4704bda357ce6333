//! One downstream connection: hyper's protocol, our time, and a close that destroys nothing.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::listener::{Entry, earlier};
use super::wire::{Phase, Watched};
use crate::clock::Task;
use crate::net::Stream;
use crate::proxy::{Body, Downstream, Refusal};

/// A connection, as its listener knows it.
#[derive(Debug)]
pub(super) struct Connection {
    watched: Rc<Watched>,
    downstream: Rc<Downstream>,
    /// Its place among the listener's.
    pub(super) index: Cell<usize>,
    /// When it is closed if it is idle, because we leave.
    close_at: Cell<Option<Instant>>,
    forced: Cell<bool>,
    /// The last response has announced the close.
    announced: Cell<bool>,
    keep_alive: Duration,
    header: Duration,
    body: Duration,
}

/// Why a connection is over, if nobody but us says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// hyper is done with it: an announced close, or the client's.
    Done,
    /// hyper has refused what came, and said so.
    Refused(Refusal),
    /// Broken: a body that broke off, or a client that went.
    Broken,
    /// Idle for too long, or idle while we leave.
    Idle,
    /// A head that does not come to an end.
    SlowHead,
    /// The client takes nothing any more.
    Stalled,
    /// The end of our own time.
    Forced,
}

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
        let task = entry.proxy.clock().task();
        task.limit(Some(Instant::now() + entry.settings.timeouts.header));
        let downstream = Downstream {
            client,
            local,
            entrance: entry.entrance.clone(),
            task,
            reset: Cell::new(false),
            uploading: Cell::new(false),
            bare_lines: Cell::new(false),
        };
        Rc::new(Self {
            watched: Watched::new(stream),
            downstream: Rc::new(downstream),
            index: Cell::new(0),
            close_at: Cell::new(None),
            forced: Cell::new(false),
            announced: Cell::new(false),
            keep_alive: entry.settings.timeouts.keep_alive,
            header: entry.settings.timeouts.header,
            body: entry.settings.timeouts.body,
        })
    }

    /// We leave: when it is idle, it is closed from this moment on.
    pub(super) fn leave(&self, close_at: Instant) {
        self.close_at.set(Some(close_at));
        if matches!(self.watched.phase.get(), Phase::New | Phase::Idle) {
            self.task().limit(Some(close_at));
        }
    }

    /// It ends now.
    pub(super) fn force(&self) {
        self.forced.set(true);
        self.task().wake();
    }

    fn task(&self) -> &Rc<Task> {
        &self.downstream.task
    }

    /// A response has ended; what comes next is another request, or nothing.
    fn idle(&self) {
        self.watched.phase.set(Phase::Idle);
        self.task().limit(Some(earlier(
            Instant::now() + self.keep_alive,
            self.close_at.get(),
        )));
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
            Phase::Busy => Some(Over::Stalled),
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
    let over = converse(&entry, &connection).await;
    close(&entry, &connection, over).await;
    entry.closed(&connection);
}

/// Requests and responses, until one side has enough.
async fn converse(entry: &Rc<Entry>, connection: &Rc<Connection>) -> Over {
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
    let mut http =
        std::pin::pin!(builder.serve_connection(TokioIo::new(connection.watched.wire()), service));
    let mut head_seen = false;
    std::future::poll_fn(move |cx| {
        connection.task().register(cx.waker());
        connection.renew();
        if let Poll::Ready(done) = http.as_mut().poll(cx) {
            return Poll::Ready(match done {
                Ok(()) => Over::Done,
                Err(error) => Refusal::of(&error).map_or(Over::Broken, Over::Refused),
            });
        }
        match connection.look(&mut head_seen) {
            Some(over) => Poll::Ready(over),
            None => Poll::Pending,
        }
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
    let is_bare = connection.watched.lines.borrow().has_bare();
    connection.downstream.bare_lines.set(is_bare);
    let mut response = entry.proxy.handle(request, &connection.downstream).await;
    if connection.task().is_expired() {
        // What is left is to hand the answer over.
        connection
            .task()
            .limit(Some(Instant::now() + entry.settings.timeouts.body));
    }
    if let Some(plan) = entry.leaving()
        && plan.announces(Instant::now(), entry.proxy.random())
    {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        connection.announced.set(true);
    }
    Ok(response.map(|body| Tracked { body, connection }))
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
    let metrics = entry.proxy.metrics().shared();
    let mut stream = connection.watched.stream.borrow_mut();
    if connection.downstream.reset.get() {
        stream.reset_on_close();
        return;
    }
    match over {
        Over::Done | Over::Broken if connection.announced.get() => {
            metrics.downstream_closed(entry.name(), "announced")
        }
        Over::Done | Over::Broken => {}
        Over::Refused(refusal) => entry.proxy.refused(&connection.downstream, refusal),
        Over::Idle => metrics.downstream_closed(entry.name(), "idle"),
        Over::SlowHead => {
            entry
                .proxy
                .refused(&connection.downstream, Refusal::SlowHead);
            // Whoever is too slow to ask may be gone.
            let _ = tokio::time::timeout(LINGER, stream.write_all(SLOW_HEAD)).await;
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

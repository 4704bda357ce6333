//! One downstream connection: the protocol of `http1` or `http2`, our time, and a close that destroys nothing.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::listener::{Entry, earlier};
use super::wire::{Phase, Watched};
use super::{Plan, http1, http2};
use crate::clock::Task;
use crate::net::Stream;
use crate::proxy::{Downstream, Pins, Refusal};

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
    /// Whoever reads an upload behind its answer wakes the connection at its end.
    pub(super) waits: Cell<bool>,
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
    /// What came is no request.
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
pub(super) enum Turn {
    /// The client speaks HTTP/2.
    Http2,
    /// The client has said something, by HTTP/1 as far as is known.
    Heard,
    /// Nothing has come for a while.
    Rest,
    /// It is over.
    Over(Over),
}

/// So long after a response what a request needs of a connection stays for the next one.
const REST: Duration = Duration::from_secs(1);

/// How long a close waits for the client's, so that the response in flight is not destroyed by a reset (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// The same for an idle connection of a process that leaves.
const IDLE_LINGER: Duration = Duration::from_millis(100);

/// How long a client may take to take what ends an event stream well, by either protocol.
pub(super) const LAST_WAIT: Duration = Duration::from_secs(2);

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
            waits: Cell::new(false),
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
    pub(super) fn idle(&self) {
        self.watched.phase.set(Phase::Idle);
        let now = self.task().now();
        self.close_idle_at(earlier(now + self.keep_alive, self.close_at.get()));
        self.task()
            .limit(Some(earlier(now + REST, Some(self.idle_until.get()))));
    }

    /// Whether it has been idle for long enough that it need not keep what the next request would need.
    pub(super) fn may_rest(&self) -> bool {
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
    pub(super) fn renew(&self) {
        if self.task().is_expired() && self.watched.blocked.get() && self.watched.wrote.take() {
            self.task().limit(Some(Instant::now() + self.body));
        }
    }

    /// What its time limits say, now that there is nothing else to do.
    pub(super) fn look(&self, head_seen: &mut bool) -> Option<Over> {
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

impl Connection {
    /// Whether the response that comes now is its last.
    pub(super) fn announces_end(&self, entry: &Entry) -> bool {
        let leaves = entry
            .leaving()
            .is_some_and(|plan| plan.announces(Instant::now(), entry.proxy.random()));
        leaves
            || self.end_at().is_some_and(|end_at| end_at <= Instant::now())
            || self.downstream.pins.moment().is_some()
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(entry: Rc<Entry>, connection: Rc<Connection>) {
    let mut turn = match connection.watched.stream.borrow() {
        stream if stream.chose_http2() => Turn::Http2,
        _ => Turn::Rest,
    };
    let over = loop {
        // Boxed, as the close is: each is many times what an idle connection is made of.
        turn = match turn {
            Turn::Over(over) => break over,
            Turn::Http2 => Turn::Over(Box::pin(http2::converse(&entry, &connection)).await),
            Turn::Heard => Box::pin(http1::converse(&entry, &connection)).await,
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

/// Closes a connection in the way its end asks for.
#[expect(
    clippy::await_holding_refcell_ref,
    reason = "nobody else borrows the stream any more: an upload that is still read has been told"
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
        Over::Refused(refusal) => refuse(entry, connection, &mut stream, refusal).await,
        Over::Idle => metrics.downstream_closed(entry.name(), "idle"),
        Over::SlowHead => refuse(entry, connection, &mut stream, Refusal::SlowHead).await,
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

/// Answers what never became a request.
async fn refuse(entry: &Entry, connection: &Connection, stream: &mut Stream, refusal: Refusal) {
    entry.proxy.refused(&connection.downstream, refusal);
    if connection.watched.phase.get() == Phase::Streams {
        // Over HTTP/2 that has been said in frames.
        return;
    }
    let (status, why) = refusal.status();
    let (code, phrase) = (
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
    );
    let date = entry.dates.now();
    let answer = format!(
        "HTTP/1.1 {code} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ndate: {}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{code} {why}\n",
        date.to_str().unwrap_or_default(),
        why.len() + 5,
    );
    // Whoever is too slow to ask may be gone.
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await
    };
    let _ = tokio::time::timeout(LINGER, told).await;
}

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

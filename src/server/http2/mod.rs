//! One downstream HTTP/2 connection: its streams, its time, and its leaving.
//!
//! h2 owns the frames; each stream is a request of its own (`stream`), with a task, limits and a place in flight of its own.
//! A server library would stand between the two and choose how a stream ends; here the end of each kind is ours to choose
//! (P5).
//!
//! ```text
//! preface ── open ──────────────── announced ──────────────── closing ── over
//!    │        │ streams come and go    │ GOAWAY(2^31−1), PING;    │ GOAWAY(last), flushed
//!    │        │ idle, aged, leaving ───┘ new ones are served      │
//!    └ header │ PING when it is silent   until the PING's answer, └ nothing came back: without it
//!      limit  │                          then GOAWAY(last)
//! ```

mod frames;
mod stream;
mod streams;
mod wire;

use frames::{Frames, Resets};
pub(super) use streams::Streams;

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use tokio::time::Instant;
use tracing::debug;

use super::Limits;
use super::connection::{Connection, Over};
use super::listener::Entry;
use crate::proxy::Refusal;
use streams::Place;
use wire::{Seen, Wire};

/// A connection at work.
struct Conversation<'c> {
    entry: &'c Rc<Entry>,
    connection: &'c Rc<Connection>,
    seen: Rc<Seen>,
    http: h2::server::Connection<Wire, Bytes>,
    ping: Option<PingPong>,
    silence: Silence,
    /// Since when the head of a request is under way.
    head_since: Option<Instant>,
    stage: Stage,
    /// When it was found that it is to end by force.
    forced: Option<Instant>,
}

/// How far its end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not.
    Open,
    /// The client has been told; what it still opens is served.
    Announced(Instant),
    /// Nothing more is served, and the last frames are written.
    Closing(Instant),
}

/// How long nothing has come from a client that has streams open.
struct Silence {
    every: Duration,
    since: Instant,
    asked: bool,
}

/// What a look at the time leads to.
enum Next {
    Wait,
    /// There is something to write.
    Write,
    Over(Over),
}

/// How long the answer to a PING is waited for, with nothing else to wait for; and the last frames to be taken.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How long the last frames may take of a connection that ends by force.
const FORCED_WAIT: Duration = Duration::from_millis(100);

/// What may wait to be written for one stream: what its client's window lets through besides is none of our memory.
const SEND_BUFFER: usize = 64 * 1024;

/// Speaks HTTP/2 until one side has enough.
pub(super) async fn converse(entry: &Rc<Entry>, connection: &Rc<Connection>) -> Over {
    let now = Instant::now();
    let (wire, seen) = Wire::new(connection.watched.clone());
    connection.task().limit(Some(now + connection.header));
    if let Some(plan) = entry.leaving() {
        connection.announce_end_at(plan.goaway_moment(now, entry.proxy.random()));
    }
    let mut http = match preface(entry, connection, wire).await {
        Ok(http) => http,
        Err(over) => return over,
    };
    let ping = http.ping_pong();
    let now = Instant::now();
    connection.streams.idle_since(now);
    connection.told.set(true);
    let mut conversation = Conversation {
        entry,
        connection,
        seen,
        http,
        ping,
        silence: Silence {
            every: entry.settings.timeouts.ping,
            since: now,
            asked: false,
        },
        head_since: None,
        stage: Stage::Open,
        forced: None,
    };
    std::future::poll_fn(|cx| conversation.poll(cx)).await
}

/// Waits for the client's preface, within the time of a head.
async fn preface(
    entry: &Rc<Entry>,
    connection: &Connection,
    wire: Wire,
) -> Result<h2::server::Connection<Wire, Bytes>, Over> {
    let mut handshake = pin!(builder(&entry.settings.limits).handshake(wire));
    std::future::poll_fn(|cx| {
        connection.task().register(cx.waker());
        if let Poll::Ready(done) = handshake.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(|error| {
                debug!(listener = %entry.name(), %error, "no HTTP/2 after all");
                Over::Broken
            }));
        }
        if connection.forced.get() {
            Poll::Ready(Err(Over::Forced))
        } else if connection.task().is_expired() {
            Poll::Ready(Err(Over::SlowHead))
        } else {
            Poll::Pending
        }
    })
    .await
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_pending_accept_reset_streams(limits.resets as usize)
        .max_local_error_reset_streams(Some(limits.stream_errors as usize))
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

impl Conversation<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        let over = self.converse(cx);
        self.seen.take_resets(|reason| {
            let metrics = self.entry.proxy.metrics().shared();
            metrics.http2_reset(self.entry.name(), reason);
        });
        over
    }

    fn converse(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        self.connection.task().register(cx.waker());
        loop {
            match self.http.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    debug!(listener = %self.entry.name(), %error, "HTTP/2 connection broken");
                    return Poll::Ready(if error.is_library() {
                        Over::Refused(Refusal::Frames)
                    } else {
                        Over::Broken
                    });
                }
                Poll::Ready(None) if self.connection.forced.get() => {
                    return Poll::Ready(Over::Forced);
                }
                Poll::Ready(None) => return Poll::Ready(Over::Done),
                Poll::Pending => match self.look_about(cx) {
                    Next::Wait => return Poll::Pending,
                    Next::Write => {}
                    Next::Over(over) => return Poll::Ready(over),
                },
            }
        }
    }

    /// A stream is a request.
    fn begin(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let Some(place) = Place::take(self.entry, self.connection) else {
            // Nothing has been done with it: the client may send it again.
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        };
        // Boxed: on its way into a task, and out of it when it is over, a future is moved half a dozen times, and this one is
        // kilobytes.
        self.entry
            .spawn(Box::pin(stream::serve(place, request, respond)));
    }

    /// Looks at the time, now that h2 has nothing to do; but only where there is something new.
    fn look_about(&mut self, cx: &mut Context<'_>) -> Next {
        let in_head = self.seen.in_head();
        if !in_head && self.head_since.is_some() {
            self.head_since = None;
        }
        let begins = in_head && self.head_since.is_none();
        self.connection.follow_pins();
        let (task, forced) = (self.connection.task(), self.connection.forced.get());
        if task.is_expired() || self.connection.told.take() || forced || begins {
            self.look(cx)
        } else {
            Next::Wait
        }
    }

    /// What its time limits say.
    fn look(&mut self, cx: &mut Context<'_>) -> Next {
        let (task, now) = (self.connection.task(), Instant::now());
        if self.seen.in_head() {
            let since = *self.head_since.get_or_insert(now);
            if now >= since + self.connection.header {
                return Next::Over(Over::SlowHead);
            }
        }
        let busy = self.http.has_streams();
        if busy {
            self.connection.streams.idle_since(now);
        }
        let next = self.advance(now, busy);
        if !matches!(next, Next::Wait) {
            // There is another look once this is written.
            self.connection.told.set(true);
            return next;
        }
        let next = self.listen(cx, now, busy);
        if matches!(next, Next::Wait) {
            task.limit(Some(self.next_look(now)));
        }
        next
    }

    /// Takes its end a step further, where it is time.
    fn advance(&mut self, now: Instant, busy: bool) -> Next {
        let connection = self.connection;
        let idle_since = connection.streams.since();
        if connection.forced.get() {
            // Its streams reset themselves, which is written in time or not at all.
            let since = *self.forced.get_or_insert(now);
            return match self.stage {
                _ if now >= since + FORCED_WAIT => Next::Over(Over::Forced),
                Stage::Open | Stage::Announced(_) if !busy => self.shut(now),
                _ => Next::Wait,
            };
        }
        match self.stage {
            Stage::Open if connection.end_at().is_some_and(|end_at| end_at <= now) => {
                self.announce("goaway", now)
            }
            Stage::Open if !busy && now >= idle_since + connection.keep_alive => {
                self.announce("idle", now)
            }
            Stage::Announced(since) if !busy && now >= since.max(idle_since) + ANSWER_WAIT => {
                self.shut(now)
            }
            Stage::Closing(since) if now >= since + ANSWER_WAIT => Next::Over(Over::Stalled),
            _ => Next::Wait,
        }
    }

    fn announce(&mut self, how: &'static str, now: Instant) -> Next {
        self.stage = Stage::Announced(now);
        self.connection.how.set(Some(how));
        self.http.graceful_shutdown();
        Next::Write
    }

    fn shut(&mut self, now: Instant) -> Next {
        self.stage = Stage::Closing(now);
        self.http.abrupt_shutdown(Reason::NO_ERROR);
        Next::Write
    }

    /// Asks a client that has long been silent whether it is there; a dead one would hold its streams for ever.
    fn listen(&mut self, cx: &mut Context<'_>, now: Instant, busy: bool) -> Next {
        let (silence, Some(ping)) = (&mut self.silence, &mut self.ping) else {
            return Next::Wait;
        };
        if self.seen.take_heard() || !busy || silence.every.is_zero() {
            silence.since = now;
            if std::mem::take(&mut silence.asked) {
                // The answer is taken, or the next question could not be asked.
                let _ = ping.poll_pong(cx);
            }
            return Next::Wait;
        }
        if silence.asked && now >= silence.since + silence.every * 2 {
            return Next::Over(Over::Stalled);
        }
        if !silence.asked && now >= silence.since + silence.every {
            silence.asked = true;
            // Fails only while an earlier one is under way, which is as good.
            let _ = ping.send_ping(Ping::opaque());
            self.connection.told.set(true);
            return Next::Write;
        }
        Next::Wait
    }

    fn next_look(&self, now: Instant) -> Instant {
        let connection = self.connection;
        if let Some(since) = self.forced {
            return since + FORCED_WAIT;
        }
        let mut next = match self.stage {
            Stage::Open => (connection.streams.since() + connection.keep_alive)
                .min(connection.end_at().unwrap_or(now + FAR)),
            Stage::Announced(_) | Stage::Closing(_) => now + ANSWER_WAIT,
        };
        if let Some(since) = self.head_since {
            next = next.min(since + connection.header);
        }
        let silence = &self.silence;
        if !silence.every.is_zero() {
            // Also while it is idle: a stream may open at any time, and does not call for a look.
            let asked = 1 + u32::from(silence.asked);
            next = next.min(silence.since + silence.every * asked);
        }
        next
    }
}

/// Later than any limit that matters.
const FAR: Duration = Duration::from_secs(3600);

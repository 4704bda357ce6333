//! One downstream HTTP/2 connection (RFC 9113): its streams, its time, and its leaving.
//!
//! tidegate reads HTTP/2 itself. A library's streams would be handles on a state that it shares with us, each with heads taken
//! apart into a map and put together again, and the ends of a connection would be its own to choose; with h2 that was nearly
//! half of the instructions of a small request. It also does not tell what we have to know: whether a head is under way, which
//! streams it has reset. Here the connection's task reads frames (`frames`, `heads`) and writes what has been said
//! (`outbox`); each stream is a request of its own (`stream`), with a task, limits and a place in flight of its own, and
//! says what it has to say into the same buffer (`shared`). So what many streams say in one turn goes out by one call.
//!
//! ```text
//! preface ── open ──────────────── announced ──────────── last ─────────── closing ── over
//!    │        │ streams come and go    │ GOAWAY(2^31−1), PING;  │ GOAWAY(last);   │ flushed
//!    │        │ idle, aged, leaving ───┘ new ones are served    │ what is open    │
//!    └ header │ PING when it is silent   until the PING's ──────┘ goes on         │
//!      limit  │                          answer; none came: GOAWAY(last) ─────────┘
//! ```

mod byte_stream;
mod frames;
mod heads;
mod incoming;
mod outbox;
mod reply;
mod request;
mod shared;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod time;

pub(super) use streams::Streams;

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Buf as _;
use tokio::time::Instant;
use tracing::debug;

use super::Limits;
use super::connection::{Connection, Over};
use super::http1::PREFACE;
use super::listener::Entry;
use super::wire::Phase;
use crate::http2::frame::{Reason, WINDOW, kind, setting};
use crate::http2::hpack::Decoder;
use crate::proxy::Refusal;
use frames::{Taken, Wrong};
use heads::Block;
use shared::{Shared, Windows};
use time::{Next, Silence};

/// A connection at work.
struct Conversation<'c> {
    entry: &'c Rc<Entry>,
    connection: &'c Rc<Connection>,
    shared: Rc<Shared>,
    decoder: Decoder,
    /// A field block that has begun and is not over.
    block: Option<Block>,
    /// The client has sent its settings.
    has_settings: bool,
    /// The highest stream that has begun.
    last: u32,
    /// Streams that we have reset for the client's errors.
    errors: u32,
    silence: Silence,
    /// Something has come since this was last taken back.
    heard: bool,
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
    /// The client knows which stream was its last; those that are open go on.
    Last,
    /// Nothing more is served, and the last frames are written.
    Closing(Instant, Over),
}

/// A client that leaves more than this lying is not listened to until it takes it.
const OUT_MAX: usize = 128 * 1024;

/// Bytes of fields that a client may have us remember: what every client may use without asking.
const TABLE: usize = 4096;

/// Speaks HTTP/2 until one side has enough.
pub(super) async fn converse(entry: &Rc<Entry>, connection: &Rc<Connection>) -> Over {
    let now = Instant::now();
    connection.watched.phase.set(Phase::Streams);
    connection.task().limit(Some(now + connection.header));
    if let Some(plan) = entry.leaving() {
        connection.announce_end_at(plan.goaway_moment(now, entry.proxy.random()));
    }
    let limits = &entry.settings.limits;
    let windows = Windows {
        stream: limits.stream_window,
        connection: limits.connection_window.max(WINDOW),
    };
    let mut conversation = Conversation {
        entry,
        connection,
        shared: Shared::new(connection.task().clone(), windows, limits.streams),
        decoder: Decoder::new(TABLE),
        block: None,
        has_settings: false,
        last: 0,
        errors: 0,
        silence: Silence {
            every: entry.settings.timeouts.ping,
            since: now,
            asked: false,
        },
        heard: false,
        head_since: None,
        stage: Stage::Open,
        forced: None,
    };
    conversation.greet(limits, windows);
    if let Err(over) = std::future::poll_fn(|cx| conversation.poll_preface(cx)).await {
        return over;
    }
    let now = Instant::now();
    connection.streams.idle_since(now);
    conversation.silence.since = now;
    connection.told.set(true);
    std::future::poll_fn(|cx| conversation.poll(cx)).await
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        self.shared.close_all();
        self.count_resets();
    }
}

impl Conversation<'_> {
    /// Our settings come first.
    fn greet(&self, limits: &Limits, windows: Windows) {
        let mut payload = Vec::new();
        for (name, value) in [
            (setting::MAX_CONCURRENT_STREAMS, limits.streams),
            (setting::INITIAL_WINDOW_SIZE, limits.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, limits.header_bytes),
            (setting::ENABLE_CONNECT_PROTOCOL, 1),
        ] {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut state = self.shared.state();
        state.out.frame(kind::SETTINGS, 0, 0, &payload);
        let more = windows.connection - WINDOW;
        if more > 0 {
            state.incoming += i64::from(more);
            state
                .out
                .frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }

    /// Waits for the client's preface, within the time of a head.
    fn poll_preface(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let connection = self.connection;
        connection.task().register(cx.waker());
        loop {
            if self.poll_flush(cx) == Poll::Ready(false) {
                return Poll::Ready(Err(Over::Broken));
            }
            let mut intake = connection.watched.intake.borrow_mut();
            let read = &mut intake.inbox.bytes;
            if read.starts_with(PREFACE) {
                read.advance(PREFACE.len());
                return Poll::Ready(Ok(()));
            }
            if !PREFACE.starts_with(read) {
                debug!(listener = %self.entry.name(), "no HTTP/2 after all");
                return Poll::Ready(Err(Over::Broken));
            }
            match connection.watched.poll_fill(&mut intake, cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Err(Over::Broken)),
                Poll::Pending if connection.forced.get() => return Poll::Ready(Err(Over::Forced)),
                Poll::Pending if connection.task().is_expired() => {
                    return Poll::Ready(Err(Over::SlowHead));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        // The streams that begin now read the same time.
        self.entry.proxy.clock().turn();
        self.connection.task().register(cx.waker());
        self.shared.begin_look();
        loop {
            if let Poll::Ready(over) = self.poll_frames(cx) {
                return Poll::Ready(over);
            }
            match self.look_about() {
                Next::Wait => break,
                Next::Write => {}
                Next::Over(over) => return Poll::Ready(over),
            }
        }
        if self.shared.end_look() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads, serves and writes as long as there is something.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        loop {
            let mut more = false;
            if !matches!(self.stage, Stage::Closing(..)) {
                match self.take_frames() {
                    Ok(Taken::All) => {}
                    Ok(Taken::UntilWritten) => more = true,
                    Err(wrong) => self.fail(wrong),
                }
                if self.stage == Stage::Last && self.shared.streams() == 0 {
                    self.close(self.done());
                }
            }
            self.count_resets();
            let flushed = self.poll_flush(cx);
            match (flushed, self.stage) {
                (Poll::Ready(false), _) => return Poll::Ready(Over::Broken),
                (Poll::Ready(true), Stage::Closing(_, over)) => return Poll::Ready(over),
                (Poll::Pending, Stage::Closing(..)) => return Poll::Pending,
                _ => self.shared.wake_waiting(),
            }
            if self.shared.state().out.len() > OUT_MAX {
                return Poll::Pending;
            }
            if more {
                continue;
            }
            let watched = &self.connection.watched;
            let mut intake = watched.intake.borrow_mut();
            match watched.poll_fill(&mut intake, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(true) => self.heard = true,
                Poll::Ready(false)
                    if intake.inbox.bytes.is_empty() && self.shared.streams() == 0 =>
                {
                    // What was said last is still to be written.
                    drop(intake);
                    self.close(self.done());
                }
                Poll::Ready(false) => return Poll::Ready(Over::Broken),
            }
        }
    }

    /// Writes what has been said. False when nobody takes it any more.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let flushed = self
            .shared
            .state()
            .out
            .poll_flush(cx, &self.connection.watched);
        flushed.map(|flushed| flushed.is_ok())
    }

    /// A client has broken a rule that nothing can go on without.
    fn fail(&mut self, wrong: Wrong) {
        let (reason, why) = match wrong {
            Wrong::Connection(reason, why) => (reason, why),
            Wrong::Stream(_, reason) => (reason, ""),
        };
        debug!(listener = %self.entry.name(), reason = reason.name(), why, "HTTP/2 connection broken");
        self.say_goaway(self.last, reason);
        self.shared.close_all();
        self.close(Over::Refused(Refusal::Frames));
    }

    /// Nothing more is served: what has been said is written, in a limited time.
    fn close(&mut self, over: Over) {
        self.stage = Stage::Closing(Instant::now(), over);
        self.block = None;
        self.connection.told.set(true);
    }

    fn say_goaway(&self, last: u32, reason: Reason) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&last.to_be_bytes());
        payload[4..].copy_from_slice(&reason.0.to_be_bytes());
        self.shared.state().out.frame(kind::GOAWAY, 0, 0, &payload);
    }

    /// Says which stream was the last that is served.
    fn say_last(&mut self) {
        self.say_goaway(self.last, Reason::NO_ERROR);
        self.stage = Stage::Last;
    }

    fn is_last_said(&self) -> bool {
        !matches!(self.stage, Stage::Open | Stage::Announced(_))
    }

    fn count_resets(&self) {
        let mut state = self.shared.state();
        for reason in state.resets.drain(..) {
            let metrics = self.entry.proxy.metrics().shared();
            metrics.http2_reset(self.entry.name(), reason.name());
        }
    }

    fn done(&self) -> Over {
        if self.connection.forced.get() {
            Over::Forced
        } else {
            Over::Done
        }
    }
}

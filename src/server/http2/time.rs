//! A connection's time: when it is idle, slow, silent, of age, or ours is over, and what follows from that step by step.

use std::time::Duration;

use tokio::time::Instant;

use super::frames::LEAVING;
use super::{Conversation, OUT_MAX, Stage};
use crate::http2::frame::{FrameHead, HEAD, MOST, Reason, kind};
use crate::server::connection::Over;

/// How long nothing has come from a client that has streams open.
pub(super) struct Silence {
    pub(super) every: Duration,
    pub(super) since: Instant,
    pub(super) asked: bool,
}

/// What a look at the time leads to.
pub(super) enum Next {
    Wait,
    /// There is something to write.
    Write,
    Over(Over),
}

/// How long the answer to a PING is waited for, with nothing else to wait for; and the last frames to be taken.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How long the last frames may take of a connection that ends by force.
const FORCED_WAIT: Duration = Duration::from_millis(100);

/// What we ask by a PING whether a client is there.
const THERE: [u8; 8] = *b"there?..";

/// Later than any limit that matters.
const FAR: Duration = Duration::from_secs(3600);

impl Conversation<'_> {
    /// Looks at the time, now that there is nothing to read; but only where there is something new.
    pub(super) fn look_about(&mut self) -> Next {
        let in_head = self.in_head();
        if !in_head && self.head_since.is_some() {
            self.head_since = None;
        }
        let begins = in_head && self.head_since.is_none();
        self.connection.follow_pins();
        let (task, forced) = (self.connection.task(), self.connection.forced.get());
        if task.is_expired() || self.connection.told.take() || forced || begins {
            self.look(in_head)
        } else {
            Next::Wait
        }
    }

    /// What its time limits say.
    fn look(&mut self, in_head: bool) -> Next {
        let (task, now) = (self.connection.task(), Instant::now());
        if in_head {
            let since = *self.head_since.get_or_insert(now);
            if now >= since + self.connection.header {
                return Next::Over(Over::SlowHead);
            }
        }
        let busy = self.shared.streams() > 0;
        if busy {
            self.connection.streams.idle_since(now);
        } else {
            self.shared.state().out.shrink();
            self.connection.watched.intake.borrow_mut().inbox.shrink();
        }
        let next = self.advance(now, busy);
        if !matches!(next, Next::Wait) {
            // There is another look once this is written.
            self.connection.told.set(true);
            return next;
        }
        let next = self.listen(now, busy);
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
                Stage::Closing(..) => Next::Wait,
                _ if !busy => self.shut(),
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
                self.shut()
            }
            Stage::Closing(since, over) if now >= since + ANSWER_WAIT => Next::Over(match over {
                Over::Refused(_) => over,
                _ => Over::Stalled,
            }),
            _ => Next::Wait,
        }
    }

    fn announce(&mut self, how: &'static str, now: Instant) -> Next {
        self.stage = Stage::Announced(now);
        self.connection.how.set(Some(how));
        self.say_goaway(MOST, Reason::NO_ERROR);
        self.shared.state().out.frame(kind::PING, 0, 0, &LEAVING);
        Next::Write
    }

    fn shut(&mut self) -> Next {
        if !self.is_last_said() {
            self.say_last();
        }
        self.close(self.done());
        Next::Write
    }

    /// Asks a client that has long been silent whether it is there; a dead one would hold its streams for ever.
    fn listen(&mut self, now: Instant, busy: bool) -> Next {
        let silence = &mut self.silence;
        if std::mem::take(&mut self.heard) || !busy || silence.every.is_zero() {
            (silence.since, silence.asked) = (now, false);
            return Next::Wait;
        }
        if silence.asked && now >= silence.since + silence.every * 2 {
            return Next::Over(Over::Stalled);
        }
        if !silence.asked && now >= silence.since + silence.every {
            silence.asked = true;
            self.shared.state().out.frame(kind::PING, 0, 0, &THERE);
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
            Stage::Announced(_) | Stage::Last | Stage::Closing(..) => now + ANSWER_WAIT,
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

    /// Whether the head of a request has begun and is not all there, although we listen.
    fn in_head(&self) -> bool {
        if self.shared.state().out.len() > OUT_MAX {
            return false;
        }
        let intake = self.connection.watched.intake.borrow();
        let read = &intake.inbox.bytes;
        self.block.is_some()
            || match FrameHead::read(read) {
                None => !read.is_empty(),
                Some(head) if read.len() >= HEAD + head.length => false,
                Some(head) => matches!(head.kind, kind::HEADERS | kind::CONTINUATION),
            }
    }
}

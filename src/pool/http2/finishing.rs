//! Streams whose exchange is over, but for the endpoint's own word that they are.
//!
//! A body of a length is whole with its last byte, and nobody waits for more: the request's place is given back. The
//! endpoint may say END_STREAM in a frame of its own that comes later. Resetting the stream before would look to it like a
//! client that has gone, so such a stream is kept for a while, by its connection alone.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::RecvStream;
use tokio::time::{Instant, Sleep};

/// Such streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Finishing {
    /// Each with the moment at which it is reset; the first is the earliest.
    streams: RefCell<VecDeque<(RecvStream, Instant)>>,
}

/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(1);

impl Finishing {
    pub(super) fn add(&self, stream: RecvStream) {
        let until = Instant::now() + PATIENCE;
        self.streams.borrow_mut().push_back((stream, until));
    }

    /// How many there are. Each is one of those that the endpoint allows.
    pub(super) fn count(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Forgets those that have ended, and resets those that have not in time. Whether there were any; `timer` wakes for the
    /// next.
    pub(super) fn poll(&self, cx: &mut Context<'_>, timer: &mut Option<Pin<Box<Sleep>>>) -> bool {
        let mut streams = self.streams.borrow_mut();
        let before = streams.len();
        if before == 0 {
            return false;
        }
        let now = Instant::now();
        streams.retain_mut(|(stream, until)| *until > now && poll_end(stream, cx).is_pending());
        if let Some((_, until)) = streams.front() {
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(*until)));
            timer.as_mut().reset(*until);
            // It is not over, or the first stream would be.
            let _ = timer.as_mut().poll(cx);
        } else {
            *timer = None;
        }
        streams.len() < before
    }

    /// Forgets all: the connection is gone.
    pub(super) fn clear(&self) {
        self.streams.borrow_mut().clear();
    }
}

/// Waits for the end of a stream. What comes before it, behind a body that is whole, is wrong and not waited for.
fn poll_end(stream: &mut RecvStream, cx: &mut Context<'_>) -> Poll<()> {
    while let Some(data) = ready!(stream.poll_data(cx)) {
        if data.is_ok_and(|data| data.is_empty()) {
            continue;
        }
        return Poll::Ready(());
    }
    stream.poll_trailers(cx).map(drop)
}

//! What has been read of a stream and not been taken yet.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::spare;
use crate::net::Stream;

/// A buffer that grows with what comes, so that a large body costs few calls and a small one little memory.
#[derive(Debug)]
pub struct Inbox {
    /// What has come.
    pub bytes: BytesMut,
    /// How much is asked for in one read.
    ask: usize,
}

const ASK_MIN: usize = 4 * 1024;
const ASK_MAX: usize = 256 * 1024;

/// A buffer up to this size stays with an idle connection for a moment. A larger one is soon somebody else's.
const KEPT_MAX: usize = 4 * 1024;

impl Default for Inbox {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            ask: ASK_MIN,
        }
    }
}

impl Inbox {
    /// Reads more, but no more than `most` at a time. Zero is the end, however it came about: a reset tells no more than a
    /// close. `is_first`: nothing has come of this message yet.
    pub fn poll_fill(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        most: usize,
        is_first: bool,
    ) -> Poll<usize> {
        let ask = self.ask.min(most);
        if !self.bytes.try_reclaim(ask) {
            if self.bytes.is_empty() {
                // What waits needs no buffer, and one that has just been written out is still in the processor's caches.
                ready!(stream.poll_readable(cx));
                // Growing it would make it as much larger as has been taken off its front.
                self.bytes = spare::take(ask);
            } else {
                self.bytes.reserve(ask);
            }
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let stream = Pin::new(stream);
        let read = ready!(tokio_util::io::poll_read_buf(stream, cx, &mut self.bytes)).unwrap_or(0);
        if read == room && self.ask < ASK_MAX {
            self.ask = (self.ask * 2).min(ASK_MAX);
        } else if is_first && read < self.ask / 4 && self.ask > ASK_MIN {
            // Only the first read tells: the last one of a large body is small, too.
            self.ask /= 2;
        }
        Poll::Ready(read)
    }

    /// Takes so much off the front. A large buffer goes along with the last of what is in it: it can be used anew as soon as that
    /// has been written out ([`give`](super::give)), by whoever reads next.
    pub fn take(&mut self, size: usize) -> Bytes {
        if size == self.bytes.len() && self.ask > KEPT_MAX {
            std::mem::take(&mut self.bytes).freeze()
        } else {
            self.bytes.split_to(size).freeze()
        }
    }

    /// Nothing is asked for, perhaps for long.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Nothing is asked for, for a moment at least: a large buffer is let go.
    pub fn shrink(&mut self) {
        if self.ask > KEPT_MAX && self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}

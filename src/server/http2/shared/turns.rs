//! Turns of streams that wait for what all of them share: the connection's window, and room among what is to be written.
//!
//! They take turns of a frame each, in the order in which they began to wait. As many turns are given as there is room for; one
//! that is not used, since its stream has gone or has nothing to say any more, is given to another the next time that the
//! connection looks. So nobody waits for somebody who does not come.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Stream;
use crate::http2::frame::PAYLOAD_MAX;

/// Who waits, and whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    waiting: VecDeque<Rc<Stream>>,
    /// Turns that were given in this epoch and not used yet.
    given: usize,
    /// Begins anew whenever the connection looks: whoever was given a turn has run by then.
    epoch: u64,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            given: 0,
            epoch: 1,
        }
    }

    /// Turns that were given and not used are over.
    pub(super) fn begin_epoch(&mut self) {
        (self.given, self.epoch) = (0, self.epoch + 1);
    }

    /// Whether anybody waits who has not been given a turn.
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it is this stream's turn, which it has to use now.
    pub(super) fn take(&mut self, stream: &Stream) -> bool {
        let has_turn = stream.turn.take() == self.epoch;
        if has_turn {
            self.given -= 1;
        }
        has_turn
    }

    /// Whether a stream without a turn has to wait for others.
    pub(super) fn has_others(&self) -> bool {
        self.given > 0 || self.is_awaited()
    }

    /// A stream waits; `first`: before all others.
    pub(super) fn wait(&mut self, stream: &Rc<Stream>, first: bool) {
        if stream.waits.replace(true) {
            return;
        }
        if first {
            self.waiting.push_front(stream.clone());
        } else {
            self.waiting.push_back(stream.clone());
        }
    }

    /// A stream waits no longer, and has no turn.
    pub(super) fn leave(&mut self, stream: &Stream) {
        self.take(stream);
        if stream.waits.take() {
            self.waiting.retain(|waiting| waiting.id != stream.id);
        }
    }

    /// Gives turns to as many as there is room for. They are to be woken.
    pub(super) fn give(&mut self, room: usize) -> Vec<Rc<Stream>> {
        let mut woken = Vec::new();
        while self.given * PAYLOAD_MAX < room
            && let Some(stream) = self.waiting.pop_front()
        {
            stream.waits.set(false);
            stream.turn.set(self.epoch);
            self.given += 1;
            woken.push(stream);
        }
        woken
    }
}

//! What the task of a connection and those of its streams share: the open streams, the windows, and what is to be written.
//!
//! * Here: how streams begin and end, and what is given back to their client.
//! * `sending`: what streams send.
//! * `turns`: who may send next.

mod sending;
#[cfg(test)]
mod tests;
mod turns;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::incoming::Incoming;
use super::outbox::Outbox;
use crate::clock::Task;
use crate::http2::frame::{PAYLOAD_MAX, Reason, WINDOW, kind};
use crate::http2::hpack::Encoder;
use turns::Turns;

/// A connection, as its streams know it.
#[derive(Debug)]
pub(super) struct Shared {
    /// The connection's own task.
    task: Rc<Task>,
    /// It has been woken and has not looked since.
    woken: Cell<bool>,
    state: RefCell<State>,
    settings: Windows,
    /// Streams that were reset before anybody looked at them, and are still to be dropped.
    pub(super) unseen: Cell<u32>,
}

/// What we let a client send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub(super) stream: u32,
    pub(super) connection: u32,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) out: Outbox,
    pub(super) encoder: Encoder,
    /// The open streams, in the order of their numbers.
    open: Vec<Rc<Stream>>,
    /// What the client lets us send, on all streams together.
    pub(super) window: i64,
    /// The same of a new stream.
    pub(super) peer_window: u32,
    /// Bytes of the longest payload that the client takes.
    pub(super) peer_payload: usize,
    turns: Turns,
    /// What the client may still send, on all streams together.
    pub(super) incoming: i64,
    /// What was taken of that, and the client has not been told.
    taken: u32,
    /// What a new stream of the client's may send: changes once it has taken notice of our settings.
    pub(super) stream_window: u32,
    /// Streams that we have reset lately: what is still on its way for them is no mistake.
    reset: VecDeque<u32>,
    /// So many of them are remembered.
    reset_max: usize,
    /// Why we have reset streams, until it is counted.
    pub(super) resets: Vec<Reason>,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// What works on it.
    pub(super) task: Rc<Task>,
    pub(super) incoming: RefCell<Incoming>,
    /// What the client lets us send.
    window: Cell<i64>,
    /// It is among those that wait for the connection.
    waits: Cell<bool>,
    /// The epoch in which it was given a turn.
    turn: Cell<u64>,
    /// We have sent all.
    pub(super) ended: Cell<bool>,
    /// It was reset by either side, or is gone with its connection.
    gone: Cell<bool>,
    /// Its task has begun.
    pub(super) seen: Cell<bool>,
    /// It is counted among those that were reset before that.
    pub(super) unseen: Cell<bool>,
}

impl Shared {
    pub(super) fn new(task: Rc<Task>, settings: Windows, streams: u32) -> Rc<Self> {
        Rc::new(Self {
            task,
            woken: Cell::new(false),
            // All that are open may be reset at once, and as many again before the client knows.
            state: RefCell::new(State::new(2 * streams as usize)),
            settings,
            unseen: Cell::new(0),
        })
    }

    /// The state, for as long as nobody is woken.
    pub(super) fn state(&self) -> std::cell::RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Has the connection look, once.
    pub(super) fn wake(&self) {
        if !self.woken.replace(true) {
            self.task.wake();
        }
    }

    /// The connection begins to look, and need not be woken meanwhile.
    pub(super) fn begin_look(&self) {
        self.woken.set(true);
        self.state.borrow_mut().turns.begin_epoch();
    }

    /// The connection has looked. True when it has to look again once those have run that it has woken.
    pub(super) fn end_look(&self) -> bool {
        self.woken.set(false);
        let state = self.state.borrow();
        state.turns.is_awaited() && state.capacity() > 0
    }

    /// The stream of this number, if it is open.
    pub(super) fn find(&self, id: u32) -> Option<Rc<Stream>> {
        let state = self.state.borrow();
        let index = state.position(id)?;
        state.open.get(index).cloned()
    }

    /// A stream begins.
    pub(super) fn open(
        &self,
        id: u32,
        task: Rc<Task>,
        ended: bool,
        left: Option<u64>,
    ) -> Rc<Stream> {
        let mut state = self.state.borrow_mut();
        let stream = Rc::new(Stream {
            id,
            task,
            incoming: RefCell::new(Incoming::new(state.stream_window, left, ended)),
            window: Cell::new(state.peer_window.into()),
            waits: Cell::new(false),
            turn: Cell::new(0),
            ended: Cell::new(false),
            gone: Cell::new(false),
            seen: Cell::new(false),
            unseen: Cell::new(false),
        });
        state.open.push(stream.clone());
        stream
    }

    /// How many streams are open.
    pub(super) fn streams(&self) -> usize {
        self.state.borrow().open.len()
    }

    /// So many bytes of a client's have been passed on, or thrown away: it may send as much again.
    pub(super) fn release(&self, stream: Option<&Stream>, size: usize) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if let Some(stream) = stream {
            let credit = stream
                .incoming
                .borrow_mut()
                .take_credit(size, state.stream_window);
            if let Some(credit) = credit.filter(|_| !stream.is_gone()) {
                state
                    .out
                    .frame(kind::WINDOW_UPDATE, 0, stream.id, &credit.to_be_bytes());
                self.wake();
            }
        }
        state.taken += size as u32;
        if state.taken >= self.settings.connection / 2 {
            let credit = std::mem::take(&mut state.taken);
            state.incoming += i64::from(credit);
            state
                .out
                .frame(kind::WINDOW_UPDATE, 0, 0, &credit.to_be_bytes());
            self.wake();
        }
    }

    /// Nobody will read the body of a stream any more.
    pub(super) fn forget(&self, stream: &Stream) {
        let mut incoming = stream.incoming.borrow_mut();
        incoming.forgotten = true;
        let wasted = incoming.waste();
        drop(incoming);
        if wasted > 0 {
            self.release(None, wasted);
        }
        self.settle(stream);
    }

    /// Resets a stream, unless it is over.
    pub(super) fn reset(&self, stream: &Stream, reason: Reason) {
        let mut state = self.state.borrow_mut();
        if !stream.is_gone() && state.position(stream.id).is_some() {
            state.say_reset(stream.id, reason);
            self.wake();
        }
        drop(state);
        self.close(stream);
    }

    /// A stream ends before its time: whoever works on it is told.
    pub(super) fn close(&self, stream: &Stream) {
        if stream.gone.replace(true) {
            return;
        }
        let mut incoming = stream.incoming.borrow_mut();
        let wasted = incoming.waste();
        incoming.wake();
        drop(incoming);
        stream.task.wake();
        let mut state = self.state.borrow_mut();
        state.remove(stream.id);
        state.turns.leave(stream);
        drop(state);
        if wasted > 0 {
            self.release(None, wasted);
        }
        self.look_about();
    }

    /// The connection is over, and its streams with it.
    pub(super) fn close_all(&self) {
        let open = std::mem::take(&mut self.state.borrow_mut().open);
        for stream in open {
            self.close(&stream);
        }
    }

    /// Forgets a stream that is over on both sides.
    pub(super) fn settle(&self, stream: &Stream) {
        if !stream.ended.get() || stream.is_gone() {
            return;
        }
        let incoming = stream.incoming.borrow();
        if !incoming.ended && !incoming.forgotten {
            return;
        }
        let mut state = self.state.borrow_mut();
        if !state.remove(stream.id) {
            return;
        }
        if !incoming.ended {
            // It has its answer, and need not send the rest (RFC 9113, section 8.1).
            state.say_reset(stream.id, Reason::NO_ERROR);
            self.wake();
        }
        drop(state);
        self.look_about();
    }

    /// The last stream has gone: the connection may have to end.
    fn look_about(&self) {
        if self.state.borrow().open.is_empty() {
            self.wake();
        }
    }

    /// Our settings hold from now on: what the client may send on open streams changes with them.
    pub(super) fn settings_hold(&self) {
        let mut state = self.state.borrow_mut();
        let by = i64::from(self.settings.stream) - i64::from(state.stream_window);
        state.stream_window = self.settings.stream;
        for stream in &state.open {
            stream.incoming.borrow_mut().window += by;
        }
    }
}

impl State {
    fn new(reset_max: usize) -> Self {
        Self {
            out: Outbox::default(),
            encoder: Encoder::new(),
            open: Vec::new(),
            window: WINDOW.into(),
            peer_window: WINDOW,
            peer_payload: PAYLOAD_MAX,
            turns: Turns::new(),
            incoming: WINDOW.into(),
            taken: 0,
            stream_window: WINDOW,
            reset: VecDeque::new(),
            reset_max,
            resets: Vec::new(),
        }
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.open.binary_search_by_key(&id, |stream| stream.id).ok()
    }

    fn remove(&mut self, id: u32) -> bool {
        let position = self.position(id);
        if let Some(index) = position {
            self.open.remove(index);
        }
        position.is_some()
    }

    /// Writes that a stream is reset.
    pub(super) fn say_reset(&mut self, id: u32, reason: Reason) {
        if self.reset.len() >= self.reset_max {
            self.reset.pop_front();
        }
        self.reset.push_back(id);
        self.resets.push(reason);
        self.out
            .frame(kind::RST_STREAM, 0, id, &reason.0.to_be_bytes());
    }

    /// Whether we have reset this stream lately.
    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.reset.contains(&id)
    }
}

impl Stream {
    /// Whether it was reset by either side, or is gone with its connection.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.get()
    }
}

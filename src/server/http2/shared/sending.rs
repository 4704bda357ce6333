//! What streams send: each as much as its client's windows, the room for what waits, and the other streams allow.

use std::rc::Rc;
use std::task::Poll;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Shared, State, Stream};
use crate::http2::frame::{FrameHead, MOST, PAYLOAD_MAX, flag, kind};
use crate::http2::hpack::Encoder;
use crate::server::http2::outbox::Outbox;

/// What may wait to be written before bodies have to wait. The client's windows may let through more, but that would be our
/// memory.
pub(super) const ROOM: usize = 64 * 1024;

impl Shared {
    /// How much of a body a stream may send now, at most a frame; its task is woken then. None when it is gone.
    pub(in crate::server::http2) fn poll_capacity(
        &self,
        stream: &Rc<Stream>,
    ) -> Poll<Option<usize>> {
        if stream.is_gone() {
            return Poll::Ready(None);
        }
        let mut state = self.state.borrow_mut();
        if stream.window.get() <= 0 {
            // Woken by its own window.
            return Poll::Pending;
        }
        let has_turn = state.turns.take(stream);
        let capacity = state.capacity().min(stream.window.get());
        if capacity <= 0 || !has_turn && state.turns.has_others() {
            state.turns.wait(stream, has_turn);
            return Poll::Pending;
        }
        Poll::Ready(Some(capacity as usize))
    }

    /// Sends a piece of a body, no longer than [`poll_capacity`](Self::poll_capacity) allows.
    pub(in crate::server::http2) fn send(&self, stream: &Stream, data: Bytes, is_last: bool) {
        let size = data.len();
        self.send_data(stream, size, is_last, |out, head| out.data(head, data));
    }

    /// The same for what somebody else goes on to use.
    pub(in crate::server::http2) fn send_copied(
        &self,
        stream: &Stream,
        data: &[u8],
        is_last: bool,
    ) {
        self.send_data(stream, data.len(), is_last, |out, head| {
            out.copied(head, data)
        });
    }

    fn send_data(
        &self,
        stream: &Stream,
        size: usize,
        is_last: bool,
        write: impl FnOnce(&mut Outbox, FrameHead),
    ) {
        if stream.is_gone() || stream.ended.get() {
            return;
        }
        let mut state = self.state.borrow_mut();
        stream.window.set(stream.window.get() - size as i64);
        state.window -= size as i64;
        let head = FrameHead {
            length: size,
            kind: kind::DATA,
            flags: if is_last { flag::END_STREAM } else { 0 },
            stream: stream.id,
        };
        write(&mut state.out, head);
        drop(state);
        self.sent(stream, is_last);
    }

    /// Sends fields: `write` writes them.
    pub(in crate::server::http2) fn send_fields(
        &self,
        stream: &Stream,
        is_last: bool,
        write: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) {
        if stream.is_gone() || stream.ended.get() {
            return;
        }
        self.state
            .borrow_mut()
            .put_fields(stream.id, is_last, write);
        self.sent(stream, is_last);
    }

    fn sent(&self, stream: &Stream, is_last: bool) {
        self.wake();
        if is_last {
            stream.ended.set(true);
            self.state.borrow_mut().turns.leave(stream);
            self.settle(stream);
        }
    }

    /// The client lets us send more on a stream. False when that is more than there can be.
    pub(in crate::server::http2) fn widen(&self, stream: &Stream, by: i64) -> bool {
        let before = stream.window.get();
        let window = before + by;
        stream.window.set(window);
        if before <= 0 && window > 0 {
            stream.task.wake();
        }
        window <= MOST.into()
    }

    /// The client lets us send more on all new and open streams, or less. False when that is more than there can be.
    pub(in crate::server::http2) fn widen_all(&self, window: u32) -> bool {
        let mut state = self.state.borrow_mut();
        let by = i64::from(window) - i64::from(state.peer_window);
        state.peer_window = window;
        state.open.iter().all(|stream| self.widen(stream, by))
    }

    /// There may be capacity again: as many are woken of those that wait for it as can use it, a frame each.
    pub(in crate::server::http2) fn wake_waiting(&self) {
        let mut state = self.state.borrow_mut();
        let room = state.room();
        let woken = state.turns.give(room);
        drop(state);
        for stream in woken {
            stream.task.wake();
        }
    }
}

impl State {
    /// What all streams together may send now.
    fn room(&self) -> usize {
        let room = ROOM.saturating_sub(self.out.len());
        usize::try_from(self.window).map_or(0, |window| window.min(room))
    }

    /// What a stream may send of that, in one frame.
    pub(super) fn capacity(&self) -> i64 {
        self.room().min(PAYLOAD_MAX) as i64
    }

    /// Writes fields as a frame, or as many as the client wants them to be.
    fn put_fields(
        &mut self,
        id: u32,
        is_last: bool,
        write: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) {
        let most = self.peer_payload;
        let out = self.out.tail();
        let begin = out.len();
        let mut head = FrameHead {
            length: 0,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS | if is_last { flag::END_STREAM } else { 0 },
            stream: id,
        };
        out.put_slice(&head.bytes());
        write(&mut self.encoder, out);
        let behind = begin + head.bytes().len();
        head.length = out.len() - behind;
        if head.length <= most {
            out[begin..behind].copy_from_slice(&head.bytes());
            return;
        }
        // Rare: so many fields that they are moved once more.
        let mut rest = out.split_off(behind);
        out.truncate(begin);
        head.flags &= !flag::END_HEADERS;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(most));
            if rest.is_empty() {
                head.flags |= flag::END_HEADERS;
            }
            head.length = piece.len();
            out.put_slice(&head.bytes());
            out.put_slice(&piece);
            (head.kind, head.flags) = (kind::CONTINUATION, 0);
        }
    }
}

//! What a client sends on a stream: the body of a request, bounded by windows (RFC 9113, section 5.2).

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

use super::shared::{Shared, Stream};
use crate::proxy::BrokenOff;

/// What has come of a body and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pieces: VecDeque<BytesMut>,
    /// Bytes in them.
    queued: usize,
    /// What the client may still send.
    pub(super) window: i64,
    /// What was taken, and the client has not been told that it may send again.
    taken: u32,
    /// What is still to come of a body whose length is known.
    pub(super) left: Option<u64>,
    /// All has come.
    pub(super) ended: bool,
    trailers: Option<HeaderMap>,
    /// Nobody will read it any more.
    pub(super) forgotten: bool,
    /// Whoever waits for more of it. Not the stream's own task, when an upload goes on behind its answer.
    reader: Option<Waker>,
}

/// Shorter pieces are copied: each of the others keeps all of what was read along with it.
const COPY_MAX: usize = 8 * 1024;

impl Incoming {
    /// Of a client that may send so much, and says how much it will if it knows. `ended`: nothing.
    pub(super) fn new(window: u32, left: Option<u64>, ended: bool) -> Self {
        Self {
            window: window.into(),
            left,
            ended,
            ..Self::default()
        }
    }

    /// Keeps a piece of the body: so many bytes off the front of what was read.
    pub(super) fn keep(&mut self, read: &mut BytesMut, length: usize) {
        if length == 0 {
            return;
        }
        self.queued += length;
        match self.pieces.back_mut() {
            _ if length > COPY_MAX => self.pieces.push_back(read.split_to(length)),
            Some(last) if last.len() + length <= COPY_MAX => {
                last.extend_from_slice(&read[..length]);
                read.advance(length);
            }
            _ => {
                self.pieces.push_back(BytesMut::from(&read[..length]));
                read.advance(length);
            }
        }
        self.wake();
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, trailers: Option<HeaderMap>) {
        (self.ended, self.trailers) = (true, trailers);
        self.wake();
    }

    /// Takes what nobody will read. Returns its size.
    pub(super) fn waste(&mut self) -> usize {
        self.pieces.clear();
        std::mem::take(&mut self.queued)
    }

    pub(super) fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Takes a piece of at most so many bytes.
    fn take(&mut self, most: usize) -> Option<Bytes> {
        let first = self.pieces.front_mut()?;
        let piece = if first.len() > most {
            first.split_to(most).freeze()
        } else {
            self.pieces.pop_front()?.freeze()
        };
        self.queued -= piece.len();
        Some(piece)
    }

    /// What was taken, once it is worth to be told: half of a window of this size.
    pub(super) fn take_credit(&mut self, taken: usize, window: u32) -> Option<u32> {
        self.taken += taken as u32;
        if self.ended || self.taken < window / 2 {
            return None;
        }
        self.window += i64::from(self.taken);
        Some(std::mem::take(&mut self.taken))
    }

    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(known) if known.will_wake(cx.waker()) => {}
            known => *known = Some(cx.waker().clone()),
        }
    }
}

/// A body, read by whoever passes it on. Dropping it says that nobody will.
#[derive(Debug)]
pub(super) struct Upload {
    shared: Rc<Shared>,
    stream: Rc<Stream>,
}

/// The next of a body.
pub(super) enum Next {
    Data(Bytes),
    End(Option<HeaderMap>),
}

impl Upload {
    pub(super) fn new(shared: Rc<Shared>, stream: Rc<Stream>) -> Self {
        Self { shared, stream }
    }

    /// The next piece, of at most so many bytes. Its client may send as much again once it is [released](Self::release).
    pub(super) fn poll_next(
        &self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Result<Next, BrokenOff>> {
        let mut incoming = self.stream.incoming.borrow_mut();
        if self.stream.is_gone() {
            return Poll::Ready(Err(BrokenOff::Gone));
        }
        if let Some(piece) = incoming.take(most) {
            return Poll::Ready(Ok(Next::Data(piece)));
        }
        if incoming.ended {
            return Poll::Ready(Ok(Next::End(incoming.trailers.take())));
        }
        incoming.wait(cx);
        Poll::Pending
    }

    /// So many bytes have been passed on.
    pub(super) fn release(&self, size: usize) {
        self.shared.release(Some(&self.stream), size);
    }

    /// The last of what was taken, behind which no more is read.
    pub(super) fn release_last(&self, size: usize) {
        self.shared.release(None, size);
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.poll_next(cx, usize::MAX).map(|next| match next {
            Ok(Next::Data(data)) => {
                // Whoever asks for the next has passed on the one before.
                self.release(data.len());
                Some(Ok(Frame::data(data)))
            }
            Ok(Next::End(trailers)) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(broken) => Some(Err(broken)),
        })
    }

    fn is_end_stream(&self) -> bool {
        let incoming = self.stream.incoming.borrow();
        incoming.ended && incoming.queued == 0 && incoming.trailers.is_none()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.shared.forget(&self.stream);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What was kept of pieces of these sizes, as it is taken.
    fn kept(sizes: &[usize]) -> (usize, Vec<Bytes>) {
        let mut incoming = Incoming::new(1 << 20, None, false);
        let mut read = BytesMut::new();
        for (n, size) in sizes.iter().enumerate() {
            read.resize(*size, n as u8);
            incoming.keep(&mut read, *size);
            assert!(read.is_empty());
        }
        let pieces = incoming.pieces.len();
        (
            pieces,
            std::iter::from_fn(|| incoming.take(usize::MAX)).collect(),
        )
    }

    #[test]
    fn keeps_what_came_in_few_pieces() {
        let (pieces, taken) = kept(&[1; 10_000]);
        assert_eq!(pieces, 10_000_usize.div_ceil(COPY_MAX));
        let all: Vec<u8> = taken.concat();
        assert!(all.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        // Long ones stay where they are; nothing is no piece.
        assert_eq!(kept(&[0, COPY_MAX + 1, 0, COPY_MAX + 1, 5, 6]).0, 3);
    }

    #[test]
    fn gives_no_more_than_is_asked_for() {
        let mut incoming = Incoming::new(100, None, false);
        incoming.keep(&mut BytesMut::from(&b"0123456789"[..]), 10);
        assert_eq!(incoming.take(4).as_deref(), Some(&b"0123"[..]));
        assert_eq!(incoming.take(usize::MAX).as_deref(), Some(&b"456789"[..]));
        assert_eq!((incoming.take(1), incoming.queued), (None, 0));
    }

    #[test]
    fn tells_of_room_once_it_is_worth_it() {
        let mut incoming = Incoming::new(100, None, false);
        incoming.window = 0;
        assert_eq!(incoming.take_credit(49, 100), None);
        assert_eq!(incoming.take_credit(1, 100), Some(50));
        assert_eq!((incoming.window, incoming.take_credit(10, 100)), (50, None));
        incoming.end(None);
        assert_eq!(incoming.take_credit(1000, 100), None, "nothing more comes");
    }

    #[test]
    fn a_reader_is_woken_by_what_comes() {
        let mut incoming = Incoming::new(100, None, false);
        let cx = Context::from_waker(Waker::noop());
        for come in [
            |incoming: &mut Incoming| incoming.keep(&mut BytesMut::from("x"), 1),
            |incoming: &mut Incoming| incoming.end(None),
        ] {
            incoming.wait(&cx);
            come(&mut incoming);
            assert!(incoming.reader.is_none());
        }
    }
}

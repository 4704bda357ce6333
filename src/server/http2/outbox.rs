//! What is to be written to a client, in the order in which it was said.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::http1::give;
use crate::http2::frame::{FrameHead, put_frame};
use crate::server::wire::Watched;

/// Frames on their way out.
///
/// Heads and short payloads are copied one behind the other, so that most of what many streams have to say goes out by one
/// call; long payloads are written from where they are.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// What comes first: turns of copied bytes and long payloads.
    pieces: VecDeque<Bytes>,
    /// What comes behind them.
    tail: BytesMut,
    /// Bytes in the pieces.
    queued: usize,
}

/// Payloads up to this size are copied.
const COPY_MAX: usize = 4 * 1024;

/// So many pieces are written by one call.
const PIECES: usize = 16;

/// What a buffer of an idle connection may hold.
const KEPT_MAX: usize = 4 * 1024;

impl Outbox {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.queued + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where frames are written to.
    pub(super) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// A whole frame with a short payload.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        put_frame(&mut self.tail, kind, flags, stream, payload);
    }

    /// A frame with a payload that is copied.
    pub(super) fn copied(&mut self, head: FrameHead, payload: &[u8]) {
        self.tail.put_slice(&head.bytes());
        self.tail.put_slice(payload);
    }

    /// A frame with a payload that is copied only if it is short.
    pub(super) fn data(&mut self, head: FrameHead, payload: Bytes) {
        if payload.len() <= COPY_MAX {
            self.copied(head, &payload);
            return;
        }
        self.tail.put_slice(&head.bytes());
        let before = self.tail.split().freeze();
        self.queued += before.len() + payload.len();
        self.pieces.push_back(before);
        self.pieces.push_back(payload);
    }

    /// Writes all of it, as far as the client takes it.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        watched: &Watched,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = if self.pieces.is_empty() {
                ready!(watched.poll_write(cx, &self.tail, &[]))?
            } else {
                ready!(self.poll_write_pieces(cx, watched))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
        }
        watched.poll_flush(cx)
    }

    fn poll_write_pieces(
        &self,
        cx: &mut Context<'_>,
        watched: &Watched,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let all = self.pieces.iter().map(|piece| &**piece);
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(all.chain([&*self.tail])) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        watched.poll_write_vectored(cx, &slices[..used])
    }

    fn written(&mut self, mut size: usize) {
        while let Some(first) = self.pieces.front_mut() {
            let taken = size.min(first.len());
            first.advance(taken);
            self.queued -= taken;
            size -= taken;
            if !first.is_empty() {
                return;
            }
            if let Some(piece) = self.pieces.pop_front() {
                give(piece);
            }
        }
        if size == self.tail.len() {
            // Its room is used anew, where advancing would give it up.
            self.tail.clear();
        } else {
            self.tail.advance(size);
        }
    }

    /// Nothing is to be written for a while: room for much is let go.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.tail.capacity() > KEPT_MAX {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::http2::frame::{HEAD, kind};

    fn head(length: usize) -> FrameHead {
        FrameHead {
            length,
            kind: kind::DATA,
            flags: 0,
            stream: 1,
        }
    }

    #[tokio::test]
    async fn writes_in_the_order_in_which_it_was_said() {
        // The other side takes little at a time, so that pieces are cut wherever they can be.
        for room in [7, 64, 5000, 1 << 20] {
            let (near, mut far) = tokio::io::duplex(room);
            let watched = Watched::new(near.into(), false);
            let (mut out, mut expected) = (Outbox::default(), Vec::new());
            for size in [0, 1, COPY_MAX, COPY_MAX + 1, 10, 16_384, COPY_MAX + 7, 3] {
                let data: Vec<u8> = (0..size).map(|n| (n * 7 + size) as u8).collect();
                out.data(head(size), data.clone().into());
                out.frame(kind::PING, 0, 0, b"12345678");
                expected.extend(head(size).bytes());
                expected.extend(data);
                put_frame(&mut expected, kind::PING, 0, 0, b"12345678");
                assert_eq!(out.len(), expected.len());
            }
            let flushed = async {
                std::future::poll_fn(|cx| out.poll_flush(cx, &watched))
                    .await
                    .unwrap();
                assert!(out.is_empty());
                drop(watched);
            };
            let mut written = Vec::new();
            let (read, ()) = tokio::join!(far.read_to_end(&mut written), flushed);
            assert_eq!(read.unwrap(), expected.len());
            assert!(written == expected, "with room for {room} bytes");
        }
    }

    #[tokio::test]
    async fn uses_its_room_anew_and_lets_go_of_much() {
        let (near, _far) = tokio::io::duplex(1 << 20);
        let watched = Watched::new(near.into(), false);
        let mut out = Outbox::default();
        let mut places = Vec::new();
        for _ in 0..100 {
            out.data(head(1000), Bytes::from_static(&[b'x'; 1000]));
            places.push(out.tail.as_ptr() as usize);
            std::future::poll_fn(|cx| out.poll_flush(cx, &watched))
                .await
                .unwrap();
        }
        places.dedup();
        assert!(places.len() == 1, "{places:?}");
        for _ in 0..10 {
            out.copied(head(1000), &[b'x'; 1000]);
        }
        out.shrink();
        assert_eq!(out.len(), 10 * (HEAD + 1000), "what waits is kept");
        std::future::poll_fn(|cx| out.poll_flush(cx, &watched))
            .await
            .unwrap();
        out.shrink();
        assert_eq!(out.tail.capacity(), 0);
    }
}

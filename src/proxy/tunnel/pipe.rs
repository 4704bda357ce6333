//! One direction of a tunnel: what one side has sent and the other has not taken yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ending::Frames;

/// One direction.
#[derive(Debug)]
pub(super) struct Pipe {
    /// What was read and not taken by the other side.
    pub(super) held: BytesMut,
    /// Bytes that were taken.
    pub(super) passed: u64,
    /// Its source has said that nothing more comes ...
    pub(super) ended: bool,
    /// ... and its sink knows.
    shut: bool,
    /// The sink may keep bytes back until it is flushed.
    unflushed: bool,
    /// Where it could be stopped, in a WebSocket.
    pub(super) frames: Frames,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Self {
            held: BytesMut::new(),
            passed: 0,
            ended: false,
            shut: false,
            unflushed: false,
            frames: Frames::new(),
        }
    }

    /// Came before there was a tunnel.
    pub(super) fn hold(&mut self, early: &[u8]) {
        self.frames.feed(early);
        self.held.extend_from_slice(early);
    }

    /// Hands over what is held.
    pub(super) fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let taken = ready!(Pin::new(&mut *sink).poll_write(cx, &self.held))?;
            self.note_taken(taken)?;
            self.held.advance(taken);
        }
        if self.held.capacity() > 0 {
            self.held = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Hands a piece over, and holds what is not taken.
    pub(super) fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut (impl AsyncWrite + Unpin),
        mut piece: &[u8],
    ) -> io::Result<Poll<()>> {
        while !piece.is_empty() {
            match Pin::new(&mut *sink).poll_write(cx, piece) {
                Poll::Ready(taken) => {
                    let taken = taken?;
                    self.note_taken(taken)?;
                    piece = &piece[taken..];
                }
                Poll::Pending => {
                    self.held.extend_from_slice(piece);
                    return Ok(Poll::Pending);
                }
            }
        }
        Ok(Poll::Ready(()))
    }

    fn note_taken(&mut self, taken: usize) -> io::Result<()> {
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.passed += taken as u64;
        Ok(())
    }

    /// Nothing more is there for now: what the sink keeps back goes out.
    pub(super) fn poll_settle(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<()> {
        if self.unflushed && Pin::new(sink).poll_flush(cx).is_ready() {
            self.unflushed = false;
        }
        Poll::Pending
    }

    /// Whether its sink knows that nothing more comes.
    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Tells the sink that nothing more comes. A sink that is gone need not be told.
    pub(super) fn poll_shut(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<()> {
        if !self.shut {
            let _ = ready!(Pin::new(sink).poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(())
    }
}

pub(super) fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    scratch: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(scratch);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

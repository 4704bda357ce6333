//! Whether an endpoint still lives: when nothing comes for a while it is asked (PING), and given up when it stays silent.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::net::Stream;

/// Whether anything has come since it was last asked.
pub(super) type Heard = Cell<bool>;

/// A stream that notes when something comes.
#[derive(Debug)]
pub(in crate::pool) struct Listened {
    stream: Stream,
    heard: Rc<Heard>,
}

impl Listened {
    pub(super) fn new(stream: Stream) -> (Self, Rc<Heard>) {
        let heard = Rc::new(Heard::new(true));
        let listened = Self {
            stream,
            heard: heard.clone(),
        };
        (listened, heard)
    }
}

impl AsyncRead for Listened {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let listened = self.get_mut();
        let read = Pin::new(&mut listened.stream).poll_read(cx, buf);
        if read.is_ready() {
            listened.heard.set(true);
        }
        read
    }
}

impl AsyncWrite for Listened {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Asks for signs of life.
pub(super) struct Pulse {
    every: Duration,
    pings: PingPong,
    heard: Rc<Heard>,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    /// Answers in a row with nothing else between them.
    alone: u32,
}

/// gRPC servers close on a client that asks more often than each five minutes without anything else going on, but forgive
/// it twice.
const FORGIVEN: u32 = 2;
const PATIENT: Duration = Duration::from_secs(5 * 60);

impl Pulse {
    pub(super) fn new(every: Duration, pings: PingPong, heard: Rc<Heard>) -> Self {
        Self {
            every,
            pings,
            heard,
            timer: Box::pin(tokio::time::sleep(every)),
            waiting: false,
            alone: 0,
        }
    }

    /// Ready when the endpoint is given up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting
            && let Poll::Ready(Ok(_)) = self.pings.poll_pong(cx)
        {
            self.waiting = false;
            self.alone += 1;
            self.heard.set(false);
            self.rest();
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.heard.take() {
                self.alone = 0;
            } else if self.waiting {
                return Poll::Ready(());
            } else {
                // Fails only while one is under way.
                self.waiting = self.pings.send_ping(Ping::opaque()).is_ok();
            }
            self.rest();
        }
        Poll::Pending
    }

    fn rest(&mut self) {
        let pause = if self.alone > FORGIVEN && !self.waiting {
            self.every.max(PATIENT)
        } else {
            self.every
        };
        self.timer.as_mut().reset(Instant::now() + pause);
    }
}

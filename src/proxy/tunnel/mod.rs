//! A tunnel: bytes between a client and an endpoint, both ways, until each side has said that it is done.
//!
//! It holds its place in flight, and its connection's permit, for as long as it lasts (law 4). Nothing is kept for one that
//! is silent and nothing is allocated for a piece that passes: all tunnels of a worker read to the same memory, and only
//! what the other side does not take at once is kept. splice(2) would not even do that, but a drain has to know a WebSocket's
//! frames, and a bare relay gains nothing sure by it: for 1 MiB at a time, on one to sixty-four connections, it takes 0.9 to
//! 1.5 times the processor time of reads and writes in pieces of a good size, and the same for small messages.
//!
//! A tunnel never ends by itself, so a drain ends it at a moment of its own (P5). A WebSocket's client is told by a Close,
//! between two messages if there is such a place in time; what it says to that still reaches the endpoint. Of other
//! protocols nothing is known: they see a half-close, and then a close.

mod ending;
mod pipe;

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::account::Account;
use super::admit::Attempt;
use super::inbound::Inbound;
use super::{Downstream, Proxy};
use crate::net::Stream;
use crate::pool::{Kind, Permit};
use crate::snapshot::ServiceSettings;
use ending::Ending;
use pipe::{Pipe, poll_read};

/// Both ends of a tunnel; the client's is lent to it by whoever polls: a connection, or a stream of one.
#[derive(Debug)]
pub struct Tunnel {
    origin: Origin,
    account: Account,
    upstream: Option<(Stream, Permit)>,
    /// What the request came by.
    incoming: Inbound,
    /// Given back before the end when only the client's part of a Close is waited for.
    attempt: Option<Attempt>,
    up: Pipe,
    down: Pipe,
    ending: Ending,
    /// When it has been silent for too long.
    idle_at: Option<Instant>,
}

/// Where a tunnel comes from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) proxy: Rc<Proxy>,
    pub(super) downstream: Rc<Downstream>,
    pub(super) settings: Arc<ServiceSettings>,
    pub(super) is_websocket: bool,
}

/// How a tunnel leaves its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// In order: it has everything, and nothing more comes.
    Orderly,
    /// Cut off: that must not look like an end of its own.
    Broken,
}

/// Why it is over: code and reason for the log, none when both sides were done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Over(Option<(&'static str, &'static str)>);

/// What tunnels read at once: less than 64 KiB less its headers, so that a piece leaves as one packet, and not as one and a
/// crumb. The loopback's largest segment is 65,483 bytes, and what the kernel hands to a device at once is hardly less.
pub(super) const SCRATCH: usize = 60 * 1024;

/// How long the endpoint may take to close its end, so that no reset destroys what was sent to it last.
const LINGER: Duration = Duration::from_secs(1);

const CLOSED: Over = Over(Some((
    "drain_tunnel_closed",
    "the tunnel was closed for the endpoint's drain",
)));
const CUT: Over = Over(Some((
    "drain_tunnel_cut",
    "the tunnel was cut for the endpoint's drain",
)));
const IDLE: Over = Over(Some(("idle_timeout", "nothing came for too long")));
const CLIENT_BROKE: Over = Over(Some(("client_closed", "the client broke the tunnel off")));
const ENDPOINT_BROKE: Over = Over(Some((
    "upstream_closed",
    "the endpoint broke the tunnel off",
)));
const DONE: Over = Over(None);

impl Tunnel {
    /// `early` came from the endpoint behind its answer.
    pub(super) fn new(
        origin: Origin,
        upstream: (Stream, Permit),
        early: &[u8],
        attempt: Attempt,
        mut account: Account,
    ) -> Self {
        attempt.slot().is_endless(attempt.ticket(), Kind::Tunnel);
        account.keep();
        let mut tunnel = Self {
            origin,
            account,
            upstream: Some(upstream),
            incoming: Inbound::None,
            attempt: Some(attempt),
            up: Pipe::new(),
            down: Pipe::new(),
            ending: Ending::No,
            idle_at: None,
        };
        tunnel.down.hold(early);
        tunnel.note_life();
        tunnel
    }

    /// What the client's request came by is kept for whoever polls: its body is the client's end.
    pub(super) fn keep(&mut self, incoming: Inbound) {
        self.incoming = incoming;
    }

    /// What was kept, once.
    pub fn take_incoming(&mut self) -> Inbound {
        std::mem::replace(&mut self.incoming, Inbound::None)
    }

    /// The client's end is here, with what came behind its request. From here on it is polled.
    pub fn begin(&mut self, early: &[u8]) {
        self.up.hold(early);
    }

    /// Whether the client has said that nothing more comes.
    #[must_use]
    pub fn is_client_done(&self) -> bool {
        self.up.ended
    }

    /// Passes on what comes, until it is over.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Poll<Parting> {
        let task = self.origin.downstream.task.clone();
        task.register(cx.waker());
        let over = self.poll_over(cx, client);
        self.account.bytes_in = self.up.passed;
        self.account.bytes_out = self.down.passed;
        match over {
            Poll::Ready(over) => Poll::Ready(self.end(over)),
            Poll::Pending => {
                task.limit(self.next_look());
                Poll::Pending
            }
        }
    }

    /// Our own time is over: it ends here.
    pub fn cut(&mut self) -> Parting {
        let told = matches!(self.ending, Ending::Told { .. });
        self.end(if told { CLOSED } else { CUT })
    }

    /// The client is gone: it ends here.
    pub fn abandon(&mut self) {
        self.end(self.broken_by_client());
    }

    fn poll_over(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Poll<Over> {
        if let Some(over) = self.look(Instant::now()) {
            return Poll::Ready(over);
        }
        let scratch = self.origin.proxy.clone();
        let scratch = &mut **scratch.scratch.borrow_mut();
        let down = self.poll_down(cx, client, scratch);
        if let Poll::Ready(Err(over)) = down {
            return Poll::Ready(over);
        }
        let up = self.poll_up(cx, client, scratch);
        match (self.ending, up) {
            (_, Poll::Ready(Err(over))) => Poll::Ready(over),
            // The client has answered the Close, or has gone without one: nothing more is waited for.
            (Ending::Told { .. }, up) if self.down.held.is_empty() => {
                let answered = self.up.frames.is_closed() && self.up.held.is_empty();
                if answered || up.is_ready() {
                    Poll::Ready(CLOSED)
                } else {
                    Poll::Pending
                }
            }
            (Ending::HalfClosed { .. }, Poll::Ready(_)) if down.is_ready() => Poll::Ready(CUT),
            (Ending::No | Ending::Boundary { .. }, Poll::Ready(_)) if down.is_ready() => {
                Poll::Ready(DONE)
            }
            _ => Poll::Pending,
        }
    }

    /// From the endpoint to the client. Ready when nothing more follows.
    fn poll_down(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        scratch: &mut [u8],
    ) -> Poll<Result<(), Over>> {
        loop {
            ready!(self.down.poll_push(cx, client)).map_err(|_| self.broken_by_client())?;
            if self.down.ended {
                return self.down.poll_shut(cx, client).map(Ok);
            }
            let Some((upstream, _)) = &mut self.upstream else {
                return self.down.poll_settle(cx, client).map(Ok);
            };
            let Poll::Ready(read) = poll_read(upstream, cx, scratch) else {
                return self.down.poll_settle(cx, client).map(Ok);
            };
            let Ok(read) = read else {
                if matches!(self.ending, Ending::Told { .. }) {
                    self.upstream = None;
                    continue;
                }
                self.origin.downstream.reset.set(true);
                return Poll::Ready(Err(ENDPOINT_BROKE));
            };
            self.note_life();
            if matches!(self.ending, Ending::Told { .. }) {
                // Nothing more from the endpoint after the Close.
                if read == 0 {
                    self.upstream = None;
                }
                continue;
            }
            let piece = self.take_down(&scratch[..read]);
            let pushed = self.down.poll_pass(cx, client, piece);
            if pushed.map_err(|_| self.broken_by_client())?.is_ready() && read == 0 {
                self.down.ended = true;
            }
            if self.is_at_boundary(Instant::now()) {
                self.tell(Instant::now());
            }
        }
    }

    /// As much of what has come as is passed on.
    fn take_down<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        if !self.origin.is_websocket {
            return piece;
        }
        let Ending::Boundary { patience, .. } = self.ending else {
            self.down.frames.feed(piece);
            return piece;
        };
        let mut ahead = self.down.frames.clone();
        let scan = ahead.feed(piece);
        let first = if Instant::now() < patience {
            scan.message
        } else {
            scan.frame
        };
        let passed = &piece[..first.unwrap_or(piece.len())];
        self.down.frames.feed(passed);
        passed
    }

    /// From the client to the endpoint. Ready when nothing more follows.
    fn poll_up(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        scratch: &mut [u8],
    ) -> Poll<Result<(), Over>> {
        loop {
            if let Some((upstream, _)) = &mut self.upstream {
                let pushed = ready!(self.up.poll_push(cx, upstream));
                if pushed.is_err() {
                    self.lose_endpoint()?;
                } else if self.up.ended {
                    return self.up.poll_shut(cx, upstream).map(Ok);
                }
            }
            if self.up.ended {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(read) = poll_read(client, cx, scratch) else {
                return match &mut self.upstream {
                    Some((upstream, _)) => self.up.poll_settle(cx, upstream).map(Ok),
                    None => Poll::Pending,
                };
            };
            let read = read.map_err(|_| self.broken_by_client())?;
            self.note_life();
            let piece = &scratch[..read];
            if self.origin.is_websocket {
                self.up.frames.feed(piece);
            }
            self.up.ended = read == 0;
            if let Some((upstream, _)) = &mut self.upstream
                && self.up.poll_pass(cx, upstream, piece).is_err()
            {
                self.lose_endpoint()?;
            }
        }
    }

    /// The endpoint takes nothing any more. While the client is on its way out that matters to nobody.
    fn lose_endpoint(&mut self) -> Result<(), Over> {
        if matches!(self.ending, Ending::Told { .. }) {
            self.upstream = None;
            self.up.held.clear();
            return Ok(());
        }
        self.origin.downstream.reset.set(true);
        Err(ENDPOINT_BROKE)
    }

    fn broken_by_client(&self) -> Over {
        match self.ending {
            Ending::Told { .. } => CLOSED,
            Ending::HalfClosed { .. } => CUT,
            _ => CLIENT_BROKE,
        }
    }

    /// Something has come.
    fn note_life(&mut self) {
        let idle = self.origin.settings.timeouts.tunnel_idle;
        self.idle_at = (!idle.is_zero()).then(|| Instant::now() + idle);
    }

    fn end(&mut self, over: Over) -> Parting {
        self.account.ended(over.0);
        self.attempt = None;
        self.let_endpoint_go(over);
        let orderly = matches!(over, DONE | CLOSED | IDLE) && self.down.held.is_empty();
        if orderly || self.down.is_shut() {
            Parting::Orderly
        } else {
            Parting::Broken
        }
    }

    fn let_endpoint_go(&mut self, Over(why): Over) {
        let Some((mut stream, permit)) = self.upstream.take() else {
            return;
        };
        if why.is_some() && self.up.passed > 0 && !self.origin.downstream.reset.get() {
            self.origin.proxy.tails().spawn_local(async move {
                // An endpoint that does not follow is left behind.
                let _ = tokio::time::timeout(LINGER, linger(&mut stream)).await;
                drop(permit);
            });
        }
    }
}

/// Says that nothing more comes, and waits for the other side to say so, too.
async fn linger(stream: &mut Stream) {
    let mut waste = [0; 1024];
    if stream.shutdown().await.is_ok() {
        while let Ok(1..) = stream.read(&mut waste).await {}
    }
}

//! A tunnel: bytes between a client and an endpoint, both ways, until each side has said that it is done.
//!
//! It holds its place in flight, and its connection's permit, for as long as it lasts (law 4). Nothing is kept for one that
//! is silent and nothing is allocated for a piece that passes: all tunnels of a worker read to the same memory, and only
//! what the other side does not take at once is kept.
//!
//! A tunnel never ends by itself, so a drain ends it at a moment of its own (P5). A WebSocket's client is told by a Close,
//! between two messages if there is such a place in time; what it says to that still reaches the endpoint. Of other
//! protocols nothing is known: they see a half-close, and then a close.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::account::Account;
use super::admit::Attempt;
use super::{Downstream, Proxy};
use crate::ending::{Frames, close_frame};
use crate::endpoint::Work;
use crate::net::Stream;
use crate::pool::{Kind, Permit, Signal};
use crate::snapshot::ServiceSettings;

/// Both ends of a switched connection; the client's stream is lent by its connection.
#[derive(Debug)]
pub struct Tunnel {
    origin: Origin,
    account: Account,
    upstream: Option<(Stream, Permit)>,
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

/// One direction.
#[derive(Debug)]
struct Pipe {
    /// What was read and not taken by the other side.
    held: BytesMut,
    /// Bytes that were taken.
    passed: u64,
    /// Its source has said that nothing more comes ...
    ended: bool,
    /// ... and its sink knows.
    shut: bool,
    /// The sink may keep bytes back until it is flushed.
    unflushed: bool,
    /// Where it could be stopped, in a WebSocket.
    frames: Frames,
}

/// How far its end by a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not begun.
    No,
    /// It ends at the next boundary: of a message until `patience`, of a frame from then on, and none later than `latest`.
    Boundary {
        patience: Instant,
        latest: Option<Instant>,
    },
    /// The client has been told, and may answer until then.
    Told { until: Instant },
    /// The same where there are no frames.
    HalfClosed { until: Instant },
}

/// Why it is over: code and reason for the log, none when both sides were done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Over(Option<(&'static str, &'static str)>);

/// What tunnels read at once.
pub(super) const SCRATCH: usize = 64 * 1024;

/// A boundary between messages is waited for so long, before one between frames will do.
const MESSAGE_WAIT: Duration = Duration::from_secs(1);

/// How long any boundary is waited for once the deadline has come (P5).
const BOUNDARY_WAIT: Duration = Duration::from_secs(2);

/// How long the client may take to answer a Close (P5).
const ECHO_WAIT: Duration = Duration::from_secs(5);

/// How long a half-closed tunnel stays so, before it is closed.
const HALF_CLOSE_WAIT: Duration = Duration::from_millis(200);

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

/// What a client is told with the code.
const CLOSE_REASON: &str = "the endpoint is leaving, please reconnect";

impl Tunnel {
    /// `early` came from the endpoint behind its answer.
    pub(super) fn new(
        origin: Origin,
        upstream: (Stream, Permit),
        early: &[u8],
        attempt: Attempt,
        account: Account,
    ) -> Self {
        attempt.slot().is_endless(attempt.ticket(), Kind::Tunnel);
        let mut tunnel = Self {
            origin,
            account,
            upstream: Some(upstream),
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
    pub fn poll(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<()> {
        let task = self.origin.downstream.task.clone();
        task.register(cx.waker());
        let over = self.poll_over(cx, client);
        self.account.bytes_in = self.up.passed;
        self.account.bytes_out = self.down.passed;
        match over {
            Poll::Ready(over) => {
                self.end(over);
                Poll::Ready(())
            }
            Poll::Pending => {
                task.limit(self.next_look());
                Poll::Pending
            }
        }
    }

    /// Our own time is over: it ends here.
    pub fn cut(&mut self) {
        let told = matches!(self.ending, Ending::Told { .. });
        self.end(if told { CLOSED } else { CUT });
    }

    fn poll_over(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<Over> {
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
        client: &mut Stream,
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
        client: &mut Stream,
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

    /// What the drain and the time say.
    fn look(&mut self, now: Instant) -> Option<Over> {
        let ticket = self.attempt.as_ref().map(Attempt::ticket);
        let cut = ticket.is_some_and(|ticket| ticket.signal() == Signal::Cut);
        let moment = ticket.and_then(|ticket| ticket.moment());
        let due = cut || moment.is_some_and(|moment| moment <= now);
        match self.ending {
            Ending::No if due => self.begin_ending(now, cut),
            Ending::Boundary { patience, latest } if cut && latest.is_none() => {
                self.ending = Ending::Boundary {
                    patience,
                    latest: Some(now + BOUNDARY_WAIT),
                };
            }
            Ending::Boundary {
                latest: Some(latest),
                ..
            } if latest <= now && !self.is_at_boundary(now) => {
                self.count_cut();
                return Some(CUT);
            }
            Ending::Told { until } if until <= now && self.down.held.is_empty() => {
                return Some(CLOSED);
            }
            Ending::Told { until } if until <= now => {
                self.count_cut();
                return Some(CUT);
            }
            Ending::HalfClosed { until } if until <= now => return Some(CUT),
            _ => {}
        }
        if self.is_at_boundary(now) {
            self.tell(now);
        }
        if cut && matches!(self.ending, Ending::Told { .. }) {
            // The endpoint's part is over; what is left is the client's (P5).
            self.attempt = None;
        }
        self.idle_at
            .is_some_and(|idle_at| idle_at <= now)
            .then_some(IDLE)
    }

    fn begin_ending(&mut self, now: Instant, cut: bool) {
        self.ending = if self.origin.is_websocket {
            Ending::Boundary {
                patience: now + MESSAGE_WAIT,
                latest: cut.then(|| now + BOUNDARY_WAIT),
            }
        } else {
            self.count_cut();
            self.down.ended = true;
            Ending::HalfClosed {
                until: now + HALF_CLOSE_WAIT,
            }
        };
    }

    fn is_at_boundary(&self, now: Instant) -> bool {
        let Ending::Boundary { patience, .. } = self.ending else {
            return false;
        };
        let frames = &self.down.frames;
        frames.is_between_messages()
            || frames.is_between_frames() && patience <= now
            || self.down.ended
    }

    /// Tells the client, once what came before has been handed over. An endpoint that has said Close itself has told it.
    fn tell(&mut self, now: Instant) {
        if !self.down.frames.is_closed() && !self.down.ended {
            let code = self.origin.settings.drain.websocket_close.code();
            let close = close_frame(code, CLOSE_REASON);
            self.down.held.extend_from_slice(&close);
        }
        self.ending = Ending::Told {
            until: now + ECHO_WAIT,
        };
        if let Some(attempt) = &self.attempt {
            attempt.ticket().end_well();
        }
    }

    fn count_cut(&self) {
        if let Some(attempt) = &self.attempt {
            attempt.endpoint().count_cut(Work::Tunnel);
        }
    }

    /// Something has come.
    fn note_life(&mut self) {
        let idle = self.origin.settings.timeouts.tunnel_idle;
        self.idle_at = (!idle.is_zero()).then(|| Instant::now() + idle);
    }

    /// When time alone may change something.
    fn next_look(&self) -> Option<Instant> {
        let moment = || self.attempt.as_ref().and_then(|it| it.ticket().moment());
        let own = match self.ending {
            Ending::No => moment(),
            Ending::Boundary { patience, latest } => {
                let patience = (patience > Instant::now()).then_some(patience);
                patience.min(latest).or(patience).or(latest)
            }
            Ending::Told { until } | Ending::HalfClosed { until } => Some(until),
        };
        match (own, self.idle_at) {
            (Some(own), Some(idle)) => Some(own.min(idle)),
            (own, idle) => own.or(idle),
        }
    }

    fn end(&mut self, Over(why): Over) {
        self.account.ended(why);
        self.attempt = None;
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

impl Pipe {
    fn new() -> Self {
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
    fn hold(&mut self, early: &[u8]) {
        self.frames.feed(early);
        self.held.extend_from_slice(early);
    }

    /// Hands over what is held.
    fn poll_push(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Poll<io::Result<()>> {
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
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Stream,
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
    fn poll_settle(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Poll<()> {
        if self.unflushed && Pin::new(sink).poll_flush(cx).is_ready() {
            self.unflushed = false;
        }
        Poll::Pending
    }

    /// Tells the sink that nothing more comes. A sink that is gone need not be told.
    fn poll_shut(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Poll<()> {
        if !self.shut {
            let _ = ready!(Pin::new(sink).poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(())
    }
}

fn poll_read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    scratch: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(scratch);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

//! A scripted endpoint on a real socket.
//!
//! It does what the path of a request asks ([`Script`](super::script::Script)), and every answer says who gave it, on which connection and in which
//! phase of its life, so that a failure can be attributed from outside, through any proxy. It notes when each request
//! arrived, because "no new work after the drain was acknowledged" (P1) is judged here, where the work would arrive.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::answer;
use super::ledger::Ledger;
use super::script::SETTLE;

/// How far an endpoint's life is, by its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Serves.
    Running,
    /// Was told to leave, and serves on.
    Draining,
    /// Finishes what it has.
    Stopped,
}

impl Phase {
    /// As in `x-phase`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// A request reached the endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// When its head was read.
    pub(super) at: Instant,
    /// The number its client gave it just before it was written; none if it did not come from the load.
    pub(super) number: Option<u64>,
}

/// A moment, on both of the clocks there are: the time, and how many requests had been written by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// The time.
    pub(super) at: Instant,
    /// The number that the next request will get.
    pub(super) number: u64,
}

/// What can be seen of an endpoint from outside; also after its end.
#[derive(Debug)]
pub(super) struct Face {
    /// Its id.
    pub(super) id: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
    ledger: Arc<Ledger>,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    phase: Phase,
    requests: u64,
    in_flight: u64,
    connections: u64,
    arrivals: VecDeque<Arrival>,
}

/// An endpoint. Dropping it stops it without waiting for anything.
#[derive(Debug)]
pub(super) struct Upstream {
    face: Arc<Face>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Upstream {
    /// Starts to listen and serve, on a free port unless told where.
    pub(super) async fn start(
        id: String,
        at: Option<SocketAddr>,
        ledger: Arc<Ledger>,
    ) -> io::Result<Self> {
        let listener =
            TcpListener::bind(at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
        let face = Arc::new(Face {
            id,
            address: listener.local_addr()?,
            ledger,
            record: Mutex::new(Record {
                phase: Phase::Running,
                requests: 0,
                in_flight: 0,
                connections: 0,
                arrivals: VecDeque::new(),
            }),
        });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(
            listener,
            Arc::clone(&face),
            stop.clone(),
            tasks.clone(),
        ));
        Ok(Self { face, stop, tasks })
    }

    /// What can be seen of it.
    pub(super) const fn face(&self) -> &Arc<Face> {
        &self.face
    }

    /// It was told to leave: from now on its answers say so.
    pub(super) fn leave(&self) {
        self.face.record().phase = Phase::Draining;
    }

    /// Returns when everything that was written to it before this call has been read and noted.
    ///
    /// A request that was admitted before a drain may still lie in a socket when the acknowledgement is read. The accept
    /// queue is emptied in order and sockets are read as they become readable, so by the time a new connection has been
    /// answered all earlier ones have been looked at.
    pub(super) async fn settle(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.face.address).await?;
        let request = format!("GET {SETTLE} HTTP/1.1\r\nhost: settle\r\nconnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await?;
        Ok(())
    }

    /// Finishes what is in flight, closes the listener and idle connections, and returns when all is closed or after
    /// `limit`, when the rest is dropped. Whether it ended by itself.
    pub(super) async fn stop(self, limit: Duration) -> bool {
        self.face.record().phase = Phase::Stopped;
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Face {
    /// Its phase.
    pub(super) fn phase(&self) -> Phase {
        self.record().phase
    }

    /// Requests that arrived so far.
    pub(super) fn requests(&self) -> u64 {
        self.record().requests
    }

    /// Requests that are not yet answered to the end.
    pub(super) fn in_flight(&self) -> u64 {
        self.record().in_flight
    }

    /// Requests that arrived from `told` on and were not too late.
    pub(super) fn in_between(&self, told: Instant, acknowledged: Option<(Mark, Instant)>) -> u64 {
        self.count(|arrival| {
            arrival.at >= told
                && !acknowledged.is_some_and(|(mark, settled)| arrival.is_late(mark, settled))
        })
    }

    /// Requests that must not have arrived: they were written by their client after the drain was acknowledged, or they
    /// arrived after everything that was on its way by then had settled.
    pub(super) fn late(&self, acknowledged: Mark, settled: Instant) -> u64 {
        self.count(|arrival| arrival.is_late(acknowledged, settled))
    }

    fn count(&self, wanted: impl Fn(&Arrival) -> bool) -> u64 {
        self.record()
            .arrivals
            .iter()
            .filter(|arrival| wanted(arrival))
            .count() as u64
    }

    /// A request arrived; it is in flight until what is returned is dropped.
    pub(super) fn arrive(
        self: &Arc<Self>,
        number: Option<u64>,
        unrepeatable: bool,
    ) -> (Phase, Work) {
        if let Some(number) = number
            && unrepeatable
        {
            self.ledger.arrived(number);
        }
        let mut record = self.record();
        record.requests += 1;
        record.in_flight += 1;
        if record.arrivals.len() == ARRIVALS_MAX {
            record.arrivals.pop_front();
        }
        record.arrivals.push_back(Arrival {
            at: Instant::now(),
            number,
        });
        (record.phase, Work(Arc::clone(self)))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request counts as in flight for as long as this lives.
#[derive(Debug)]
pub(super) struct Work(Arc<Face>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.record().in_flight -= 1;
    }
}

impl Arrival {
    fn is_late(&self, acknowledged: Mark, settled: Instant) -> bool {
        self.at > settled
            || self
                .number
                .is_some_and(|number| number >= acknowledged.number)
    }
}

async fn accept(
    listener: TcpListener,
    face: Arc<Face>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve(stream, Arc::clone(&face), stop.clone()));
            }
            // Out of file descriptors, or a client that is gone already: others may be luckier.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    // Whoever is in the accept queue believes to be connected; a closed listener would reset them.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        tasks.spawn(serve(stream, Arc::clone(&face), stop.clone()));
    }
}

async fn serve(stream: TcpStream, face: Arc<Face>, stop: CancellationToken) {
    // Only latency would suffer.
    let _ = stream.set_nodelay(true);
    let connection = {
        let mut record = face.record();
        record.connections += 1;
        record.connections
    };
    let nth = AtomicU64::new(0);
    let answer = service_fn(|request| {
        // A count, read by nobody else.
        let nth = nth.fetch_add(1, Ordering::Relaxed) + 1;
        answer(Arc::clone(&face), connection, nth, request)
    });
    let mut builder = http1::Builder::new();
    // An idle connection is the proxy's to close: what it does with one is what is rehearsed.
    builder.header_read_timeout(None);
    let mut exchange = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        biased;
        ended = exchange.as_mut() => ended,
        () = stop.cancelled() => {
            exchange.as_mut().graceful_shutdown();
            exchange.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(endpoint = face.id, %error, "connection ended");
    }
}

/// The number that the load gives to each request, in the order in which they are written.
pub(super) const NUMBER: &str = "x-rehearse-number";
/// Who answered.
pub(super) const ENDPOINT: &str = "x-endpoint";
/// In which phase.
pub(super) const PHASE: &str = "x-phase";
/// How long the body of the answer will be.
pub(super) const BYTES: &str = "x-bytes";
/// How long the body of the request was.
pub(super) const RECEIVED: &str = "x-received";

/// Late arrivals are looked for among the last ones; an endpoint that leaves has far fewer of them.
const ARRIVALS_MAX: usize = 65_536;
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;

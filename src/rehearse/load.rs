//! Open-loop clients: requests start on schedule, however long earlier ones take.
//!
//! A closed loop hides every stall, because it stops asking while it waits. Here a stall is seen by as many requests as
//! fall due while it lasts. Nothing is ever sent twice. What the schedule could not keep is counted and reported.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::{Board, lock};
use super::client::{Connection, Unanswered};
use super::mix;
use super::report::Failure;
use super::tally::{Class, Outcome, Stage};
use super::upstream::{BYTES, ENDPOINT, PHASE, RECEIVED};

/// What is asked of the clients.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Where they connect.
    pub(super) target: SocketAddr,
    /// Requests a second.
    pub(super) rate: u32,
    /// Requests under way at most; more are not started, and counted as missed.
    pub(super) in_flight_max: usize,
    /// A request that takes longer has failed.
    pub(super) timeout: Duration,
    /// The one class there is, instead of the usual mix.
    pub(super) only: Option<Class>,
}

impl Settings {
    /// The usual ones.
    pub(super) fn new(target: SocketAddr, rate: u32) -> Self {
        Self {
            target,
            rate,
            // A tenth of all take a second; ten times that is a proxy in trouble.
            in_flight_max: (rate as usize).max(256),
            timeout: Duration::from_secs(30),
            only: None,
        }
    }
}

/// The clients.
#[derive(Debug)]
pub(super) struct Load {
    settings: Settings,
    board: Arc<Board>,
    /// Idle connections; the one used last is used next.
    busy: Mutex<Vec<Connection>>,
    /// Idle connections that are left alone, and used at random.
    resting: Mutex<Vec<Connection>>,
    /// Whoever drives connections and requests.
    tasks: TaskTracker,
}

/// How far a request is.
#[derive(Debug)]
struct Progress {
    stage: Stage,
    reused: bool,
    status: Option<u16>,
    endpoint: Option<String>,
    phase: Option<String>,
}

/// Why a request failed.
#[derive(Debug)]
struct Fault {
    /// A kind that says more than the stage alone.
    kind: Option<&'static str>,
    /// In words.
    error: String,
    /// The connection ended, rather than anything else.
    closed: bool,
}

impl Load {
    /// Clients that have not begun.
    pub(super) fn new(settings: Settings, board: Arc<Board>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            board,
            busy: Mutex::default(),
            resting: Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Sends requests on schedule until told to stop, then waits for those under way and closes every connection.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let requests = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.settings.in_flight_max));
        let period = Duration::from_secs(1) / self.settings.rate.max(1);
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(due) => {}
            }
            match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let load = Arc::clone(&self);
                    requests.spawn(async move {
                        load.request(due).await;
                        drop(place);
                    });
                }
                Err(_) => self.board.tally().missed += 1,
            }
            due += period;
        }
        requests.close();
        requests.wait().await;
        lock(&self.busy).clear();
        lock(&self.resting).clear();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// One request, from its moment in the schedule to its entry in the books.
    async fn request(&self, due: Instant) {
        let _under_way = self.board.under_way();
        let class = self.settings.only.unwrap_or_else(mix::any);
        let mut since = Instant::now();
        if since - due > LATE {
            self.board.tally().late_starts += 1;
            // Whoever would have sent it then has been waiting since then.
            since = due;
        }
        let draining = self.board.is_draining();
        let mut progress = Progress {
            stage: Stage::NotConnected,
            reused: false,
            status: None,
            endpoint: None,
            phase: None,
        };
        let attempt = Box::pin(self.attempt(class, &mut progress));
        let ended = timeout(self.settings.timeout, attempt).await;
        let outcome = match ended {
            Ok(Ok(())) => Outcome::Served,
            Ok(Err(fault)) if fault.closed && progress.is_race() => Outcome::Raced,
            Ok(Err(fault)) => Outcome::Failed(progress.failure(class, fault)),
            Err(_) => Outcome::Failed(progress.failure(
                class,
                Fault {
                    kind: Some("timeout"),
                    error: "took too long".into(),
                    closed: false,
                },
            )),
        };
        let draining = draining || self.board.is_draining();
        self.board
            .tally()
            .record(class, outcome, since.elapsed(), draining);
    }

    async fn attempt(&self, class: Class, progress: &mut Progress) -> Result<(), Fault> {
        let (mut connection, response) = self.exchange(class, progress).await?;
        progress.stage = Stage::Head;
        progress.status = Some(response.status().as_u16());
        progress.endpoint = header(&response, ENDPOINT).map(Into::into);
        progress.phase = header(&response, PHASE).map(Into::into);
        let expected = header(&response, BYTES).and_then(|value| value.parse::<u64>().ok());
        let received = header(&response, RECEIVED).and_then(|value| value.parse::<u64>().ok());
        let is_ok = response.status().is_success();
        if is_ok {
            progress.stage = Stage::MidBody;
        }
        let bytes = read(response.into_body()).await?;
        if !is_ok {
            return Err(Fault::new("was answered with an error"));
        }
        if expected.is_some_and(|expected| expected != bytes) {
            return Err(Fault::new("the response is too short, and looks whole"));
        }
        if received.is_some_and(|received| received != class.body_bytes()) {
            progress.stage = Stage::Head;
            return Err(Fault {
                kind: Some("short_request"),
                ..Fault::new("the request arrived incomplete, and looked whole")
            });
        }
        if connection.is_kept().await {
            self.keep(class, connection);
        }
        Ok(())
    }

    /// Sends the request on a kept connection or, when there is none that is still open, on a new one.
    async fn exchange(
        &self,
        class: Class,
        progress: &mut Progress,
    ) -> Result<(Connection, Response<Incoming>), Fault> {
        let mut kept = self.take(class);
        let mut request = None;
        loop {
            progress.stage = Stage::NotConnected;
            progress.reused = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::open(self.settings.target, &self.tasks)
                    .await
                    .map_err(|error| Fault::new(&error.to_string()))?,
            };
            let next = match request.take() {
                Some(unsent) => unsent,
                None => class
                    .request(self.settings.target, self.board.number())
                    .map_err(|error| Fault::new(&error.to_string()))?,
            };
            progress.stage = Stage::Sent;
            match connection.send(next).await {
                Ok(response) => return Ok((connection, response)),
                Err(Unanswered::Unsent(unsent)) if progress.reused => {
                    // It was closed while idle, and nothing was written on it: as if it had been found closed.
                    self.board.tally().reopened += 1;
                    request = Some(*unsent);
                }
                Err(Unanswered::Unsent(_)) => {
                    progress.stage = Stage::NotConnected;
                    return Err(Fault::new("a new connection was closed at once"));
                }
                Err(Unanswered::Sent(error)) => return Err(Fault::of(&error)),
            }
        }
    }

    fn take(&self, class: Class) -> Option<Connection> {
        let mut closed = 0;
        let found = if class == Class::Idle {
            let mut resting = lock(&self.resting);
            let before = resting.len();
            resting.retain(Connection::is_ready);
            closed += before - resting.len();
            // Until there are enough, each of these requests brings one more.
            (resting.len() >= RESTING).then(|| {
                let any = fastrand::usize(..resting.len());
                resting.swap_remove(any)
            })
        } else {
            let mut busy = lock(&self.busy);
            loop {
                match busy.pop() {
                    Some(connection) if connection.is_ready() => break Some(connection),
                    Some(_) => closed += 1,
                    None => break None,
                }
            }
        };
        if closed > 0 {
            self.board.tally().reopened += closed as u64;
        }
        found
    }

    fn keep(&self, class: Class, connection: Connection) {
        let kept = if class == Class::Idle {
            &self.resting
        } else {
            &self.busy
        };
        let mut kept = lock(kept);
        if kept.len() < KEPT_MAX {
            kept.push(connection);
        }
    }
}

impl Progress {
    /// Written on a reused connection, and no answer.
    fn is_race(&self) -> bool {
        self.reused && self.stage == Stage::Sent
    }

    fn failure(self, class: Class, fault: Fault) -> Failure {
        let mut kind = self.stage.as_str().to_owned();
        if self.stage == Stage::Head
            && let Some(status) = self.status
        {
            kind = format!("{kind}_{status}");
        }
        if let Some(more) = fault.kind {
            kind = format!("{kind}_{more}");
        }
        Failure {
            class: class.as_str(),
            stage: self.stage.as_str(),
            kind,
            status: self.status,
            reused: self.reused,
            endpoint: self.endpoint,
            phase: self.phase,
            error: fault.error,
        }
    }
}

impl Fault {
    fn new(error: &str) -> Self {
        Self {
            kind: None,
            error: error.into(),
            closed: false,
        }
    }

    fn of(error: &hyper::Error) -> Self {
        Self {
            closed: !error.is_parse() && !error.is_user(),
            // hyper's own words are few; the cause has the rest.
            ..Self::new(&match std::error::Error::source(error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            })
        }
    }
}

async fn read(mut body: Incoming) -> Result<u64, Fault> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::of(&error))?;
        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
    Ok(bytes)
}

fn header<'a>(response: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// A start this long after its moment is a late one.
const LATE: Duration = Duration::from_millis(10);
/// Connections that rest at a time: at 200 requests a second each rests for about three seconds between two uses.
const RESTING: usize = 64;
const KEPT_MAX: usize = 1024;

#[cfg(test)]
mod tests;

//! The request path: what happens between a request's head and the end of its response.
//!
//! A request's life on one page is [`Proxy::handle`]. Everything here belongs to one worker: plain cells, no locks, and no
//! atomic on the way but the gate's.

mod account;
mod admit;
mod answer;
mod body;
mod change;
mod choice;
mod exchange;
mod failure;
mod flow;
mod handshake;
mod headers;
mod inbound;
mod inspect;
mod line;
mod pin;
mod present;
mod redirect;
mod refusal;
mod retry;
mod routing;
mod stream_head;
#[cfg(test)]
mod tests;
mod times;
mod tunnel;
mod upgrade;
mod upload;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{SET_COOKIE, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

pub use answer::Answer;
pub use body::{Body, Broken};
pub use failure::Failure;
pub use headers::takes_trailers;
pub use inbound::{BrokenOff, Inbound};
pub use pin::Pins;
pub use refusal::Refusal;
pub use tunnel::{Parting, Tunnel};

use crate::clock::{Clock, Task};
use crate::ending::{Grpc, Kind};
use crate::net::Network;
use crate::pool::Pool;
use crate::pool::h1::Length;
use crate::snapshot::{Reader, Service};
use crate::telemetry::{WorkerLog, WorkerMetrics};
use admit::Attempt;
use exchange::Answered;
use flow::Flow;
use present::Present;

/// One worker's proxy.
#[derive(Debug)]
pub struct Proxy {
    settings: Settings,
    pool: Rc<Pool>,
    clock: Rc<Clock>,
    reader: RefCell<Reader>,
    rng: RefCell<fastrand::Rng>,
    metrics: WorkerMetrics,
    log: Rc<WorkerLog>,
    sample: Cell<f64>,
    /// The other workers, to be asked for room under a limit.
    neighbours: Vec<mpsc::Sender<Plea>>,
    /// Uploads that go on after their response has ended.
    tails: TaskTracker,
    /// Where tunnels read to, one after the other.
    scratch: RefCell<Box<[u8]>>,
    /// Our own end has come: nobody need wait for a connection any more.
    over: Cell<bool>,
}

/// What is fixed for a worker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its number.
    pub worker: usize,
    /// Whether metrics name endpoints.
    pub per_endpoint_metrics: bool,
    /// The share of successful requests without a retry that is logged.
    pub access_log_sample: f64,
    /// Where its dice begin.
    pub seed: u64,
}

/// What a worker shares or is given.
#[derive(Debug)]
pub struct Belongings {
    /// Its upstream connections.
    pub pool: Rc<Pool>,
    /// Its time limits.
    pub clock: Rc<Clock>,
    /// The routes.
    pub reader: Reader,
    /// Its counters.
    pub metrics: WorkerMetrics,
    /// Where its records go.
    pub log: Rc<WorkerLog>,
    /// The other workers.
    pub neighbours: Vec<mpsc::Sender<Plea>>,
}

/// A worker asks another for room: close an idle connection of this service, somebody waits here.
#[derive(Debug, Clone)]
pub struct Plea {
    /// The service.
    pub service: Arc<Service>,
}

/// What the proxy is told of the connection that a request came by, and what it asks of it.
#[derive(Debug)]
pub struct Downstream {
    /// Who.
    pub client: SocketAddr,
    /// Where they came in.
    pub local: SocketAddr,
    /// By which listener.
    pub entrance: Rc<Entrance>,
    /// The task that works on its requests, one after the other.
    pub task: Rc<Task>,
    /// The endpoints that the connection is pinned to.
    pub pins: Rc<Pins>,
    /// Set to have it reset when it ends: an incomplete body must not look whole.
    pub reset: Cell<bool>,
    /// Set while nobody but the client can bring the request on: a stalled one is then the client's fault.
    pub uploading: Cell<bool>,
    /// Uploads that go on after their response has ended: the connection is not idle, though its next request may come.
    pub tails: Cell<u32>,
    /// What is wrong with the bytes that the request came in, though it could be made out.
    pub flaw: Cell<Option<Failure>>,
    /// What its bytes are for, once a switch of protocols has been answered.
    pub tunnel: RefCell<Option<Box<Tunnel>>>,
}

/// What the proxy needs of a listener.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// Its name.
    pub listener: Arc<str>,
    /// Whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<Network>,
    /// Whether responses tell the endpoint.
    pub debug_headers: bool,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// How long an upload may stall.
    pub body_timeout: Duration,
    /// How long a whole upload may take; zero bounds nothing.
    pub request_timeout: Duration,
    /// How long a target may be.
    pub target_bytes_max: usize,
    /// What becomes of field names with an underscore.
    pub underscores: Underscores,
}

/// What becomes of a request's fields whose name has an underscore. Many endpoints cannot tell it from a hyphen (CGI and
/// its heirs turn both into `_`), so that `X_Forwarded_For` may be taken there for the field that only a proxy may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underscores {
    /// The request is refused with 400.
    #[default]
    Reject,
    /// The field is left out.
    Drop,
    /// The field is passed on.
    Pass,
}

impl Proxy {
    /// A proxy for one worker.
    #[must_use]
    pub fn new(settings: Settings, parts: Belongings) -> Rc<Self> {
        Rc::new(Self {
            pool: parts.pool,
            clock: parts.clock,
            reader: RefCell::new(parts.reader),
            rng: RefCell::new(fastrand::Rng::with_seed(settings.seed)),
            metrics: parts.metrics,
            log: parts.log,
            sample: Cell::new(settings.access_log_sample),
            neighbours: parts.neighbours,
            tails: TaskTracker::new(),
            scratch: RefCell::new(vec![0; tunnel::SCRATCH].into()),
            over: Cell::new(false),
            settings,
        })
    }

    /// Its upstream connections.
    #[must_use]
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Its time limits.
    #[must_use]
    pub fn clock(&self) -> &Rc<Clock> {
        &self.clock
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Uploads that go on after their response has ended.
    #[must_use]
    pub fn tails(&self) -> &TaskTracker {
        &self.tails
    }

    /// Our own end has come: everything in flight is ended (P11). Returns how much that is.
    pub fn cut(&self) -> usize {
        self.over.set(true);
        self.pool.cut_all()
    }

    /// A number from 0 to 1.
    #[must_use]
    pub fn random(&self) -> f64 {
        self.rng.borrow_mut().f64()
    }

    /// Changes the share of successes that is logged.
    pub fn sample(&self, share: f64) {
        self.sample.set(share);
    }

    /// Answers a request: check it, route it, send it to an endpoint, pass the answer on.
    pub async fn handle(
        self: &Rc<Self>,
        parts: &Parts,
        incoming: Inbound,
        downstream: &Rc<Downstream>,
    ) -> Answer {
        let mut flow = match self.take_up(parts, incoming, downstream) {
            Ok(flow) => flow,
            Err(answer) => return *answer,
        };
        match self.forward(&mut flow).await {
            Ok((answered, attempt)) => self.respond(flow, answered, attempt),
            Err(failure) => {
                let goes_on = flow.upload.goes_on();
                let mut answer = failure.respond(flow.account, parts);
                // The rest of it is read by nobody: over HTTP/1 that ends the connection, which is better known before.
                answer.close |= goes_on;
                answer
            }
        }
    }

    /// Sends a request until an endpoint answers, or nothing more may be tried (P10).
    async fn forward(self: &Rc<Self>, flow: &mut Flow<'_>) -> Result<(Answered, Attempt), Failure> {
        let mut reroutes = 0;
        loop {
            flow.time_attempt(false);
            let attempt = match self.admit(flow).await {
                Err(Failure::NoEndpoint) if reroutes < REROUTES_MAX && self.route_anew(flow) => {
                    reroutes += 1;
                    continue;
                }
                admitted => admitted?,
            };
            let failed = match self.exchange(flow, attempt).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            };
            self.may_try_again(flow, failed)?;
        }
    }

    /// Passes an answer on.
    fn respond(
        self: &Rc<Self>,
        flow: Flow<'_>,
        mut answered: Answered,
        attempt: Attempt,
    ) -> Answer {
        if let Some(wish) = flow.wish.clone() {
            let head = &mut answered.head;
            match wish.is_granted(head.status, head.fields.map()) {
                Ok(true) => return self.open(flow, &wish, answered, attempt),
                Ok(false) => {}
                Err(failure) => return failure.respond(flow.account, flow.parts),
            }
        }
        attempt.prove_pin();
        let cookie = choice::binding(&flow, &attempt);
        let endpoint = attempt.endpoint().clone();
        let mut account = flow.account;
        endpoint
            .load()
            .note(self.clock.now().saturating_duration_since(flow.started));
        account.answered(answered.head.status);
        let mut answer = Answer::new(answered.head.status, answered.head.fields, Body::empty());
        let is_over = flow.upload.is_over();
        let whole = is_over.then(|| answered.connection.take_whole()).flatten();
        // How it can end is as the endpoint says, whatever the route makes of its fields. What has announced its length can only
        // end there.
        let kind = match answered.head.length {
            Length::Sized(_) | Length::None => Kind::Body,
            Length::Chunked | Length::UntilClose => {
                ending_of(flow.parts, flow.target.present(), answer.fields.map())
            }
        };
        if let Some(change) = &flow.change {
            change.answer(answer.fields.map());
        }
        if flow.downstream.entrance.debug_headers {
            headers::add_debug(answer.fields.map(), &endpoint, account.attempts());
        }
        if let Some(cookie) = cookie {
            answer.fields.map().append(SET_COOKIE, cookie);
        }
        // What came early was for a tunnel, and must not be taken for a request.
        answer.close = flow.parts.method == Method::CONNECT;
        if let Some(data) = whole {
            // Nothing more can happen to it, so nothing needs to be kept for it.
            account.bytes_in = flow.upload.received();
            account.bytes_out = data.len() as u64;
            account.ended(None);
            if flow.upload.is_whole() {
                attempt.done(answered.connection, self.clock.now());
            }
            answer.body = Body::whole(data);
            return answer;
        }
        let passing = body::Passing {
            proxy: self.clone(),
            downstream: flow.downstream.clone(),
            settings: flow.settings,
            length: answered.head.length,
            kind,
            trailers: flow.parts.version == http::Version::HTTP_2,
            http10: flow.parts.version == http::Version::HTTP_10,
            until: flow.times.until(),
        };
        if passing.kind == Kind::Grpc(Grpc::Plain) && flow.parts.version == http::Version::HTTP_11 {
            // HTTP/1 says before a body what may come behind it.
            let fields = HeaderValue::from_static("grpc-status, grpc-message");
            answer.fields.map().entry(TRAILER).or_insert(fields);
        }
        answer.body = Body::passing(passing, answered.connection, attempt, flow.upload, account);
        answer
    }
}

/// Where a response can end before its time. Without its trailers a gRPC response would only look whole.
fn ending_of(parts: &Parts, present: Present, response: &HeaderMap) -> Kind {
    let has_trailers = match parts.version {
        http::Version::HTTP_2 => true,
        http::Version::HTTP_11 => present.te && headers::takes_trailers(&parts.headers),
        _ => false,
    };
    match Kind::of(&parts.method, response) {
        Kind::Grpc(Grpc::Plain) if !has_trailers => Kind::Body,
        kind => kind,
    }
}

/// How often a request that found no endpoint is routed anew: each time the routes may have changed once more.
const REROUTES_MAX: u32 = 2;

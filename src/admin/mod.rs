//! The admin side: API, probes, metrics and the dashboard, on a listener of their own.
//!
//! It is borrowed: an axum router with tower layers (house, section 8), on the one runtime that the writer has, too. So
//! nothing here may block or be slow: what could be large is turned into text on another thread. The only way to the truth
//! is `control::Handle`; the only state of its own is in the connections. Who may ask what is decided in `guard`.

mod admission;
pub mod api;
mod calls;
mod dashboard;
mod events;
mod guard;
pub mod hook_client;
mod listen;
mod query;
mod rate;
pub mod replicas;
mod serve;
mod shape;
mod spare;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{any, get};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tower_http::timeout::TimeoutLayer;

pub use admission::Admissions;
pub use listen::{BindError, Listener, Owners, SocketFile, bind};
pub use rate::Rates;
pub use serve::{Until, serve};

use crate::control::Handle;
use crate::discovery::KubernetesService;
use crate::net::Address;

/// How the admin side listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub address: Address,
    /// Who may ask there, where that is a socket in the file system.
    pub socket: SocketFile,
    /// A file with the token that changing calls need.
    pub token_file: Option<PathBuf>,
    /// Whether metrics name endpoints.
    pub per_endpoint_metrics: bool,
    /// A second listener, for probes, metrics and the hook only.
    pub probes_address: Option<SocketAddr>,
    /// Calls a second, of the API and of hooks; more are answered 429. Probes and metrics are not counted.
    pub calls_per_second: u32,
    /// Further names accepted in `Host`.
    pub hosts: Vec<String>,
    /// A file with the token that the hook needs.
    pub hook_token_file: Option<PathBuf>,
    /// Where the other replicas are.
    pub peers: Peers,
    /// For how long the webhook keeps a pod from being deleted; none: there is no webhook.
    pub webhook: Option<Duration>,
}

/// Where the other replicas are (P15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Their admin sides, or their listeners for probes.
    List(Vec<SocketAddr>),
    /// What a service in Kubernetes has: their own, without a cluster address.
    Kubernetes(KubernetesService),
}

/// Another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it answers.
    pub address: SocketAddr,
    /// Whether it is known to carry traffic. One that is not, and where nobody listens, has no say.
    pub is_ready: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9901)).into(),
            socket: SocketFile::default(),
            token_file: None,
            per_endpoint_metrics: false,
            probes_address: None,
            calls_per_second: 2000,
            hosts: Vec::new(),
            hook_token_file: None,
            peers: Peers::List(Vec::new()),
            webhook: None,
        }
    }
}

/// Everything that the calls need; cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// The way to the writer.
    pub handle: Handle,
    /// What the probes answer from.
    pub probes: Arc<Probes>,
    /// The settings in force: a reload may change the names and the token's file.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>,
    /// The answer of `/api/v1/config`.
    pub config: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// The other replicas as they are now, or why they are not known.
    pub others: Arc<dyn Fn() -> Result<Vec<Peer>, String> + Send + Sync>,
    /// The pods that the webhook keeps from going.
    pub admissions: Admissions,
    /// What is left of the calls of this second.
    pub rates: Rates,
}

impl fmt::Debug for Admin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Admin")
            .field("probes", &self.probes)
            .field("settings", &*self.settings.borrow())
            .finish_non_exhaustive()
    }
}

/// What the process says of itself. Each flag stands alone and orders nothing: relaxed access is enough.
#[derive(Debug)]
pub struct Probes {
    /// The threads run; `/healthz`.
    pub alive: AtomicBool,
    /// Every listener accepts; `/readyz`.
    pub accepting: AtomicBool,
    /// A shutdown has begun; `/lbz`.
    pub leaving: AtomicBool,
    /// What a cluster's objects add to the config is not known yet, and why; `/readyz`.
    waiting: Mutex<Option<String>>,
    /// Every source has delivered once. A source that comes later makes nobody unready: one object in a cluster, or a line in
    /// a file, would take all replicas away at once (P9).
    complete: AtomicBool,
}

impl Probes {
    /// What `/readyz` waits for besides sources, or that it waits no more.
    pub fn wait_for(&self, what: Option<String>) {
        if let Ok(mut waiting) = self.waiting.lock() {
            *waiting = what;
        }
    }

    /// Whether it waits for something besides sources.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting().is_some()
    }

    fn waiting(&self) -> Option<String> {
        self.waiting.lock().ok()?.clone()
    }
}

impl Default for Probes {
    /// Alive, but not accepting yet.
    fn default() -> Self {
        Self {
            alive: AtomicBool::new(true),
            accepting: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            waiting: Mutex::default(),
            complete: AtomicBool::new(false),
        }
    }
}

/// Everything, for the listener at `admin.address`.
pub fn router(admin: &Admin) -> Router {
    let reads = Router::new()
        .route("/api/v1/services", get(calls::services))
        .route("/api/v1/services/{service}", get(calls::service))
        .route("/api/v1/drains", get(calls::drains))
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/config", get(calls::config))
        .route_layer(from_fn(query::none))
        .route("/", get(dashboard::page))
        .route("/dashboard.js", get(dashboard::script))
        .route("/dashboard.css", get(dashboard::style))
        .route_layer(in_time());
    let changes = Router::new()
        // An id may hold slashes, so the call finds its end itself.
        .route(
            "/api/v1/services/{service}/endpoints/{*rest}",
            any(calls::endpoint),
        )
        .route_layer(from_fn_with_state(admin.clone(), guard::token))
        .route_layer(from_fn(guard::origin));
    let routes = probes_and_hook(admin)
        .merge(reads)
        .merge(changes)
        .fallback(calls::unknown)
        .layer(from_fn(guard::take_body))
        .layer(from_fn_with_state(admin.clone(), rate::bound))
        .layer(from_fn_with_state(admin.clone(), guard::host));
    finish(routes, admin)
}

/// Only the probes, the metrics and the hook, for the listener at `admin.probes_address`: kubelets, scrapers and balancers
/// reach it by whatever name they like, so `Host` is not looked at.
pub fn probes_router(admin: &Admin) -> Router {
    let routes = probes_and_hook(admin)
        .fallback(calls::unknown)
        .layer(from_fn(guard::take_body))
        .layer(from_fn_with_state(admin.clone(), rate::bound));
    finish(routes, admin)
}

fn probes_and_hook(admin: &Admin) -> Router<Admin> {
    let probes = Router::new()
        .route("/healthz", get(calls::healthz))
        .route("/readyz", get(calls::readyz))
        .route("/lbz", get(calls::lbz))
        .route("/metrics", get(calls::metrics))
        .route_layer(in_time());
    // A GET that changes something, because a kubelet's hook can do nothing else; a HEAD must not.
    let hook = Router::new()
        .route(
            "/drain",
            get(calls::hook).post(calls::hook).head(calls::head_of_hook),
        )
        .route_layer(from_fn_with_state(admin.clone(), guard::hook_token))
        // The API server has no token; what it may do is what whoever deletes pods may do anyway.
        .route("/admission", any(admission::admission))
        .route_layer(from_fn(guard::origin));
    probes.merge(hook)
}

fn finish(routes: Router<Admin>, admin: &Admin) -> Router {
    // A router of its own around the other: axum adds `Allow` to a refusal outside all layers of a route.
    Router::new()
        .fallback_service(routes.with_state(admin.clone()))
        .layer(map_response(guard::explain))
}

fn in_time() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, ANSWER_MAX)
}

/// A call that does not wait for a drain is answered within this.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;

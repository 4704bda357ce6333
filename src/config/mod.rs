//! The config: the file, checked and turned into everyone's settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::ServiceName;
use crate::route::Matcher;
use crate::snapshot::ServiceSettings;
use crate::{admin, discovery, server};

/// A checked config, in our types.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// The listeners.
    pub listeners: Vec<server::Settings>,
    /// The routes, in the order of the file.
    pub routes: Vec<Route>,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// The admin side.
    pub admin: admin::Settings,
    /// tidegate's own end.
    pub shutdown: Shutdown,
    /// The share of successful requests without a retry that is logged.
    pub access_log_sample: f64,
    /// Where an operator's drains are kept (P16).
    pub state_dir: Option<PathBuf>,
    /// Whether the config is read again when its file changes.
    pub reload_on_change: bool,
    /// Worker threads; none means one for each core.
    pub workers: Option<usize>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What it asks of a request.
    pub matcher: Matcher,
    /// Where it leads; always one of the services.
    pub service: ServiceName,
}

/// A service and its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// What is configured of it.
    pub settings: Arc<ServiceSettings>,
    /// Where its endpoints are watched.
    pub source: discovery::Settings,
}

/// tidegate's own end: one budget, from which everything else follows (P11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// Still accepting, closings announced, `/lbz` failing.
    pub wait_period: Duration,
    /// All over this long after the signal, the wait period included.
    pub grace_period: Duration,
}

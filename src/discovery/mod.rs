//! What is known of endpoints: sources, and what they say.
//!
//! A source says *all* it knows of a service at once, never a difference, so that a lost or repeated message cannot hurt.
//! "I cannot see" is a fault and never an empty set: silence is not news (law 6, P9).

pub mod file;
mod fixed;
mod observation;
pub(crate) mod slices;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::endpoint::{EndpointKey, ServiceName};

pub use file::File;
pub use fixed::Fixed;
pub use observation::Observation;
pub(crate) use observation::share;

/// Where a service's endpoints are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// Listed in the config.
    List(Vec<SocketAddr>),
    /// A file that is watched, in tidegate's own format or as Kubernetes `EndpointSlice` documents.
    File {
        /// The file.
        path: PathBuf,
        /// Which port of an `EndpointSlice` with several.
        port: Option<Port>,
    },
    /// The endpoint slices of a service in Kubernetes.
    Kubernetes(KubernetesService),
}

/// A service in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesService {
    /// Where it is.
    pub namespace: String,
    /// Its name there.
    pub service: String,
    /// Which port of one with several.
    pub port: Option<Port>,
    /// Whether its pods are watched, too: they tell of their end earlier, and when it is.
    pub pods: bool,
}

/// A port of an `EndpointSlice`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// By the name it has in the Service.
    Name(String),
    /// By its number.
    Number(u16),
}

/// What a source says of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its identity: a pod's uid, an id, or else the address (P8).
    pub key: EndpointKey,
    /// Where it listens.
    pub address: SocketAddr,
    /// `namespace/name` of its pod, where there is one.
    pub pod: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Its share of new work; 0 takes none.
    pub weight: u32,
    /// What the source says of it.
    pub state: ObservedState,
    /// Its own drain timeout.
    pub drain_timeout: Option<Duration>,
    /// Draining can never be taken back for this key: a pod's uid (P8).
    pub latched: bool,
    /// What its pod says of its own end, where pods are watched.
    pub pod_end: Option<PodEnd>,
}

/// The end of a pod that is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodEnd {
    /// When it was asked to go, to the second.
    pub asked: Option<SystemTime>,
    /// When it is killed: the end of its grace period.
    pub killed: Option<SystemTime>,
    /// Whether the service's slices say that it terminates, too.
    pub in_slices: bool,
}

/// What a source says of an endpoint's readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObservedState {
    /// Takes new work.
    Ready,
    /// Takes none for now.
    NotReady,
    /// Is on its way out. `serving` says whether it can still answer when nobody else can (P7).
    Draining {
        /// Still answers.
        serving: bool,
    },
    /// Takes new work when nobody else can: it was ready, and is missing in a list (P9). No source says so.
    Suspect,
}

/// A source: spawned once per configured service.
pub trait Source: Send {
    /// The word of the interface: `file`, `list`, ...
    fn kind(&self) -> &'static str;

    /// Watches until told to stop, and tells `out` what it sees.
    fn run(self: Box<Self>, out: Observer, stop: CancellationToken) -> BoxFuture<'static, ()>;
}

/// Where a source tells what it sees.
#[derive(Debug, Clone)]
pub struct Observer {
    service: ServiceName,
    /// Tells this source from an earlier one of the same service, whose late words are ignored.
    generation: u64,
    out: mpsc::Sender<News>,
}

/// What a source has to tell.
#[derive(Debug)]
pub struct News {
    /// Of which service.
    pub service: ServiceName,
    /// Of which of its sources.
    pub generation: u64,
    /// What.
    pub what: Heard,
}

/// The kinds of news.
#[derive(Debug)]
pub enum Heard {
    /// The full set.
    Observation(Arc<Observation>),
    /// The full set, after what happened meanwhile was not seen: what is missing may only be missing in a list (P9).
    Relist(Arc<Observation>),
    /// Looked again, and nothing has changed: the set is as fresh as now.
    Same,
    /// Cannot see; the last good set stays (P9). The text says what and where, one line.
    Fault(String),
}

impl Observer {
    /// An observer that tells `out`.
    #[must_use]
    pub fn new(service: ServiceName, generation: u64, out: mpsc::Sender<News>) -> Self {
        Self {
            service,
            generation,
            out,
        }
    }

    /// The service this is about.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Tells; waits while the writer is busy. Nothing happens once the writer is gone.
    pub async fn tell(&self, what: Heard) {
        let news = News {
            service: self.service.clone(),
            generation: self.generation,
            what,
        };
        // An error means that the process is leaving; there is nobody left to tell.
        let _ = self.out.send(news).await;
    }
}

//! The one writer: only it admits, drains, buries and publishes (law 9).
//!
//! All that can happen meets in one loop: what sources observe, what operators ask for, the edges that gates tell, what
//! workers confirm, and deadlines. So there is an order of events, and no two of them can disagree about the truth. An
//! update always goes the same way: **admit, publish, drain** — new lives first, so that there is always somewhere to go;
//! then the snapshot; then the gates close, which is the moment from which nothing starts any more (P1).
//!
//! * `reconcile`: what has changed and what follows, pure.
//! * `registry`: every service, endpoint and life.
//! * `checks`: what health checks take out of rotation.
//! * `suspects`: what a list may only have missed (P9).
//! * `keep`: what an operator has said, on the disk (P16).
//! * `elder`: the process before this one, while it still finishes: an answer speaks for both.
//! * `shown`: what is shown of services and drains, by both.
//! * `writer`: the loop.
//! * `apply`: one step of a service; `telling`: what is told of it.
//! * `drains`: the course of a drain; `waiters`: who waits for it; `reports`: what is left of it.
//! * `requests`: what is asked; `views`: what is shown then.

mod apply;
mod checks;
mod drains;
mod elder;
mod handle;
mod keep;
mod pods;
mod reconcile;
mod registry;
mod reload;
mod reports;
mod requests;
mod shown;
mod sources;
mod suspects;
mod telling;
mod view;
mod views;
mod waiters;
mod writer;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use elder::{Elder, ElderAnswer, ElderAsk, ElderWish, ElderWord, elder};
#[cfg(test)]
pub(crate) use handle::Request;
pub use handle::{
    DrainAnswer, DrainRequest, Handle, HandleError, Legacy, PodAnswer, PodName, PodRequest, Totals,
    UndrainAnswer,
};
pub use view::{
    DrainView, DrainsView, EndpointView, Event, EventKind, Holder, Reason, RunningDrain,
    ServiceView, State,
};
pub use writer::{BuildSource, Inbox, Writer, channel};

use crate::discovery;
use crate::endpoint::{EndpointId, ServiceName};
use crate::route::{Action, Matcher};
use crate::snapshot::{Drafts, ServiceSettings};

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// These endpoints drain: their gates are closed. Close what is idle (P4), give back what has not been written (P1),
    /// then drop the confirmation.
    Drain {
        /// Which.
        orders: Arc<[Order]>,
        /// To be dropped when done.
        confirm: Confirm,
    },
    /// The window of a running drain has changed.
    Window(Order),
    /// Their deadline has come: end what is in flight, each kind in its own way (P5).
    Cut(Arc<[EndpointId]>),
    /// What holds this drain up?
    Holders {
        /// Which.
        endpoint: EndpointId,
        /// The oldest first, ten at the most.
        answer: oneshot::Sender<Vec<Holder>>,
    },
}

/// One endpoint's drain, as workers need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which.
    pub endpoint: EndpointId,
    /// When it began.
    pub since: Instant,
    /// When what is left is cut; none when the deadline has been lifted.
    pub deadline: Option<Instant>,
}

/// A worker's word that a command is carried out: given by dropping it, so that a worker that is gone has confirmed too.
#[derive(Debug, Clone)]
pub struct Confirm {
    _shared: Arc<Confirmation>,
}

#[derive(Debug)]
struct Confirmation {
    batch: u64,
    told: mpsc::UnboundedSender<u64>,
}

impl Drop for Confirmation {
    fn drop(&mut self) {
        // An error means that the writer is gone, and with it everyone who waits.
        let _ = self.told.send(self.batch);
    }
}

/// What shall be: every service and route of a config. Made ready on any thread; the writer only carries it out.
#[derive(Debug)]
pub struct Desired {
    /// The services, in the order of the config.
    services: Vec<DesiredService>,
    /// Their names.
    configured: HashSet<ServiceName>,
    /// The services that some route leads to.
    routed: HashSet<ServiceName>,
    routes: Arc<Drafts>,
}

impl Desired {
    /// These services and routes.
    #[must_use]
    pub fn new(services: Vec<DesiredService>, routes: Vec<(Matcher, Action)>) -> Self {
        let led = routes.iter().flat_map(|(_, action)| action.services());
        Self {
            configured: (services.iter().map(|it| it.settings.name.clone())).collect(),
            services,
            routed: led.cloned().collect(),
            routes: Arc::new(Drafts::of(routes)),
        }
    }
}

/// One service of a config.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredService {
    /// What is configured of it.
    pub settings: Arc<ServiceSettings>,
    /// Where its endpoints are watched.
    pub source: discovery::Settings,
}

/// What the writer needs besides its inbox.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a reload waits for the first sets of new services before it routes to them.
    pub first_set: Duration,
    /// Drain reports that are kept.
    pub reports: usize,
    /// Where operators' drains are kept; none keeps them in memory only.
    pub state_dir: Option<PathBuf>,
    /// The drains that the process before this one knew, as it [hands them over](Handle::hand_over).
    pub inherited: Option<serde_json::Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            first_set: Duration::from_secs(5),
            reports: 1000,
            state_dir: None,
            inherited: None,
        }
    }
}

//! How others talk to the writer: questions and requests, answered by the one loop that owns the truth.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::Desired;
use super::view::{DrainsView, Event, EventKind, ServiceView, State};
use crate::drain::{Cut, LimitedBy};
use crate::endpoint::{EndpointKey, ServiceName};

/// A way to the writer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
}

/// A drain that somebody asks for.
#[derive(Debug, Clone)]
pub struct DrainRequest {
    /// The service.
    pub service: String,
    /// An id, or an address when only one id has it.
    pub endpoint: String,
    /// Shorter than what is configured, or it changes nothing.
    pub timeout: Option<Duration>,
    /// Answer when the drain is over or, in fallback, when its timeout is.
    pub wait: bool,
}

/// How a drain stands when it is answered.
#[derive(Debug, Clone)]
pub struct DrainAnswer {
    /// The service.
    pub service: ServiceName,
    /// The endpoint.
    pub key: EndpointKey,
    /// Its state.
    pub state: State,
    /// Nothing is in flight and nothing will start.
    pub drained: bool,
    /// `fallback` (nothing is promised yet), or the cause.
    pub reason: &'static str,
    /// In flight now.
    pub in_flight: u64,
    /// Cut so far.
    pub cut: Cut,
    /// When what is left is cut.
    pub deadline: Option<SystemTime>,
    /// What set the deadline.
    pub limited_by: Option<LimitedBy>,
}

/// What became of an undrain.
#[derive(Debug, Clone)]
pub struct UndrainAnswer {
    /// The service.
    pub service: ServiceName,
    /// The endpoint.
    pub key: EndpointKey,
    /// Its newest life's state.
    pub state: State,
}

/// Which pod a hook is about.
#[derive(Debug, Clone)]
pub enum PodName {
    /// `namespace/name`.
    Name(String),
    /// By its address.
    Address(IpAddr),
}

/// What a hook is told.
#[derive(Debug, Clone)]
pub struct PodAnswer {
    /// It is safe to stop.
    pub drained: bool,
    /// Why not, or why at once.
    pub reason: String,
    /// One for each endpoint that the pod serves.
    pub endpoints: Vec<DrainAnswer>,
}

/// Why a request was refused.
#[derive(Debug, Clone, Error)]
pub enum HandleError {
    /// No such service.
    #[error("there is no service {0:?}")]
    NoService(String),
    /// No such endpoint.
    #[error("service {service:?} has no endpoint {endpoint:?}")]
    NoEndpoint {
        /// The service.
        service: String,
        /// What was asked for.
        endpoint: String,
    },
    /// An address that several ids have.
    #[error("{address} is the address of several endpoints: {}; name one by its id", ids.join(", "))]
    Ambiguous {
        /// The address.
        address: String,
        /// The ids.
        ids: Vec<String>,
    },
    /// An undrain of what the source drains.
    #[error("{0} is drained by its source; put it back there")]
    DrainedBySource(String),
    /// The process is leaving.
    #[error("tidegate is leaving")]
    Leaving,
}

/// What the loop is asked.
#[derive(Debug)]
pub(crate) enum Request {
    Services(oneshot::Sender<Vec<ServiceView>>),
    Service(String, oneshot::Sender<Option<ServiceView>>),
    Drain(
        DrainRequest,
        oneshot::Sender<Result<DrainAnswer, HandleError>>,
    ),
    Undrain {
        service: String,
        endpoint: String,
        answer: oneshot::Sender<Result<UndrainAnswer, HandleError>>,
    },
    DrainPod {
        pod: PodName,
        limit: Duration,
        answer: oneshot::Sender<PodAnswer>,
    },
    Drains(oneshot::Sender<DrainsView>),
    Ready(oneshot::Sender<Vec<ServiceName>>),
    Totals(oneshot::Sender<Vec<Totals>>),
    Reload(Desired, oneshot::Sender<()>),
}

/// A service in numbers, for metrics.
#[derive(Debug, Clone)]
pub struct Totals {
    /// The service.
    pub service: ServiceName,
    /// How many endpoints are in each state, in the order of [`State::ALL`].
    pub states: [u64; 5],
    /// Work in flight.
    pub in_flight: u64,
    /// How old the newest confirmation of the set is.
    pub source_age: Option<Duration>,
}

impl Handle {
    /// A handle whose requests a test answers itself.
    #[cfg(test)]
    pub(crate) fn scripted() -> (Self, mpsc::Receiver<Request>) {
        let (requests, asked) = mpsc::channel(16);
        let (events, _) = broadcast::channel(16);
        (Self { requests, events }, asked)
    }

    /// Every service.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn services(&self) -> Result<Vec<ServiceView>, HandleError> {
        self.ask(Request::Services).await
    }

    /// One service.
    ///
    /// # Errors
    /// [`HandleError::NoService`], [`HandleError::Leaving`].
    pub async fn service(&self, name: &str) -> Result<ServiceView, HandleError> {
        self.ask(|answer| Request::Service(name.into(), answer))
            .await?
            .ok_or_else(|| HandleError::NoService(name.into()))
    }

    /// Drains an endpoint. The answer means P1, unless its reason is `fallback`.
    ///
    /// # Errors
    /// [`HandleError::NoService`], [`HandleError::NoEndpoint`], [`HandleError::Ambiguous`], [`HandleError::Leaving`].
    pub async fn drain(&self, request: DrainRequest) -> Result<DrainAnswer, HandleError> {
        self.ask(|answer| Request::Drain(request, answer)).await?
    }

    /// Puts an endpoint back that an operator drained.
    ///
    /// # Errors
    /// As for a drain, and [`HandleError::DrainedBySource`].
    pub async fn undrain(
        &self,
        service: &str,
        endpoint: &str,
    ) -> Result<UndrainAnswer, HandleError> {
        self.ask(|answer| Request::Undrain {
            service: service.into(),
            endpoint: endpoint.into(),
            answer,
        })
        .await?
    }

    /// Drains a pod wherever it serves and answers when it is safe to stop it, or when `limit` is over.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn drain_pod(&self, pod: PodName, limit: Duration) -> Result<PodAnswer, HandleError> {
        self.ask(|answer| Request::DrainPod { pod, limit, answer })
            .await
    }

    /// The drains under way and those that are over.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn drains(&self) -> Result<DrainsView, HandleError> {
        self.ask(Request::Drains).await
    }

    /// The services whose sources have not delivered their first set.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn waiting_for(&self) -> Result<Vec<ServiceName>, HandleError> {
        self.ask(Request::Ready).await
    }

    /// Every service in numbers.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn totals(&self) -> Result<Vec<Totals>, HandleError> {
        self.ask(Request::Totals).await
    }

    /// Makes the services and routes those of a config; answers when they are in force.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn reload(&self, desired: Desired) -> Result<(), HandleError> {
        self.ask(|answer| Request::Reload(desired, answer)).await
    }

    /// What happens from now on. A listener that falls behind loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Tells the listeners something that the writer does not know of.
    pub fn tell(&self, kind: EventKind) {
        // An error only means that nobody listens.
        let _ = self.events.send(Arc::new(Event {
            time: SystemTime::now(),
            kind,
        }));
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, HandleError> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(request(answer))
            .await
            .map_err(|_| HandleError::Leaving)?;
        answered.await.map_err(|_| HandleError::Leaving)
    }
}

//! How others talk to the writer: questions and requests, answered by the one loop that owns the truth.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::Desired;
use super::elder::{Elder, ElderWish};
use super::view::{DrainsView, Event, EventKind, ServiceView, State};
use crate::drain::{Cause, Cut, LimitedBy, Report};
use crate::endpoint::{EndpointKey, ServiceName};
use crate::telemetry::Gone;

/// A way to the writer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    /// The process before this one.
    pub(super) elder: Option<Elder>,
    /// Passes on what the process after this one asks.
    pub(super) relays: bool,
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

/// A pod that is to be drained wherever it serves.
#[derive(Debug, Clone)]
pub struct PodRequest {
    /// Which.
    pub pod: PodName,
    /// Who asks: its hook, or the webhook.
    pub cause: Cause,
    /// For how long the answer may wait.
    pub limit: Duration,
    /// The endpoints of the pod that other replicas know. One that is not known here yet is noted: it drains as soon as
    /// it is seen (P15).
    pub elsewhere: Vec<EndpointKey>,
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
    DrainPod(PodRequest, oneshot::Sender<PodAnswer>),
    Drains(oneshot::Sender<DrainsView>),
    Ready(oneshot::Sender<Vec<ServiceName>>),
    Totals(oneshot::Sender<Vec<Totals>>),
    /// Whose series may go.
    Gone(oneshot::Sender<Gone>),
    Reload(Arc<Desired>, oneshot::Sender<()>),
    /// What the process after this one is to know.
    Tell(oneshot::Sender<Value>),
    HandOver(oneshot::Sender<Legacy>),
    GoOn,
    Inherit(Value, Vec<Report>, oneshot::Sender<()>),
    /// A drain of the process before this one is over.
    Adopt(Box<Report>),
    /// Asked by the process after this one.
    Relayed(Box<Self>),
}

/// What a process leaves to the one that follows it.
#[derive(Debug)]
pub struct Legacy {
    /// Every drain that was asked for, as it stands.
    pub drains: Value,
    /// The reports of drains that are over, the newest first.
    pub reports: Vec<Arc<Report>>,
    /// Those of drains that end from now on.
    pub ends: mpsc::UnboundedReceiver<Arc<Report>>,
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
        let handle = Self {
            requests,
            events,
            elder: None,
            relays: false,
        };
        (handle, asked)
    }

    /// The same, whose answers speak for the process before this one as well.
    #[must_use]
    pub fn with_elder(self, elder: Elder) -> Self {
        Self {
            elder: Some(elder),
            ..self
        }
    }

    /// The same, whose answers speak for this process alone.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self {
            elder: None,
            ..self.clone()
        }
    }

    /// The same, for what the process after this one asks.
    #[must_use]
    pub fn relay(&self) -> Self {
        Self {
            relays: true,
            ..self.clone()
        }
    }

    /// Drains an endpoint. The answer means P1, unless its reason is `fallback`.
    ///
    /// # Errors
    /// [`HandleError::NoService`], [`HandleError::NoEndpoint`], [`HandleError::Ambiguous`], [`HandleError::Leaving`].
    pub async fn drain(&self, request: DrainRequest) -> Result<DrainAnswer, HandleError> {
        let Some(elder) = &self.elder else {
            return self.ask(|answer| Request::Drain(request, answer)).await?;
        };
        let wish = ElderWish::Drain(request.clone());
        let own = self.ask(|answer| Request::Drain(request, answer));
        let (own, word) = tokio::join!(own, elder.ask(wish));
        let mut answer = own??;
        if let Some(word) = word {
            word.add_to(&mut answer);
        }
        Ok(answer)
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
        if let Some(elder) = &self.elder {
            let (service, endpoint) = (service.into(), endpoint.into());
            elder.ask(ElderWish::Undrain { service, endpoint }).await;
        }
        self.ask(|answer| Request::Undrain {
            service: service.into(),
            endpoint: endpoint.into(),
            answer,
        })
        .await?
    }

    /// Drains a pod wherever it serves and answers when it is safe to stop it, or when the limit is over.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn drain_pod(&self, request: PodRequest) -> Result<PodAnswer, HandleError> {
        let Some(elder) = &self.elder else {
            return self.ask(|answer| Request::DrainPod(request, answer)).await;
        };
        let wish = ElderWish::DrainPod(request.pod.clone(), request.limit);
        let own = self.ask(|answer| Request::DrainPod(request, answer));
        let (own, word) = tokio::join!(own, elder.ask(wish));
        let mut answer = own?;
        if let Some(word) = word {
            word.add_to_pod(&mut answer);
        }
        Ok(answer)
    }

    /// The services whose sources have not delivered their first set.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn waiting_for(&self) -> Result<Vec<ServiceName>, HandleError> {
        self.ask(Request::Ready).await
    }

    /// What has gone since this was last asked, for whoever keeps the metrics (P12).
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn gone(&self) -> Result<Gone, HandleError> {
        self.ask(Request::Gone).await
    }

    /// Makes the services and routes those of a config; answers when they are in force.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn reload(&self, desired: Arc<Desired>) -> Result<(), HandleError> {
        self.ask(|answer| Request::Reload(desired, answer)).await
    }

    /// Every drain that was asked for, for a process that is to follow.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn told(&self) -> Result<Value, HandleError> {
        self.ask(Request::Tell).await
    }

    /// The same as they stand now, and the reports; from here on only that process may ask for more, by a
    /// [relay](Self::relay).
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn hand_over(&self) -> Result<Legacy, HandleError> {
        self.ask(Request::HandOver).await
    }

    /// Nobody follows after all.
    pub async fn go_on(&self) {
        // An error means that we leave, with or without a successor.
        let _ = self.requests.send(Request::GoOn).await;
    }

    /// Takes the drains that were asked for in the process before this one, as they stand now, and the reports of those that
    /// are over, the newest first.
    ///
    /// # Errors
    /// [`HandleError::Leaving`].
    pub async fn inherit(&self, drains: Value, reports: Vec<Report>) -> Result<(), HandleError> {
        self.ask(|answer| Request::Inherit(drains, reports, answer))
            .await
    }

    /// A drain of the process before this one is over: it is counted and shown here.
    pub async fn adopt(&self, report: Report) {
        // An error means that we leave.
        let _ = self.requests.send(Request::Adopt(Box::new(report))).await;
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

    pub(super) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, HandleError> {
        let (answer, answered) = oneshot::channel();
        let mut request = request(answer);
        if self.relays {
            request = Request::Relayed(Box::new(request));
        }
        self.requests
            .send(request)
            .await
            .map_err(|_| HandleError::Leaving)?;
        answered.await.map_err(|_| HandleError::Leaving)
    }
}

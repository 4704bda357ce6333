//! The process before this one, after an upgrade, while it finishes what it has: answers about drains speak for both.
//!
//! It still serves connections of its own, so a drain that only this process knew would not be one, and what is shown of
//! endpoints and drains would leave out half. When it is gone, so is its work; the reports of its drains come here as they end.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::handle::{DrainAnswer, DrainRequest, PodAnswer, PodName};
use super::view::{EndpointView, RunningDrain, State};
use crate::drain::Cut;
use crate::endpoint::ServiceName;

/// A way to it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Elder {
    asks: mpsc::Sender<ElderAsk>,
}

/// What it is asked, and where its word goes. Dropped unanswered: it has nothing to do with that, or is gone.
#[derive(Debug)]
pub struct ElderAsk {
    /// What.
    pub wish: ElderWish,
    /// Its word.
    pub answer: oneshot::Sender<ElderAnswer>,
}

/// What the process before this one is asked to do as well.
#[derive(Debug, Clone)]
pub enum ElderWish {
    /// Drain an endpoint.
    Drain(DrainRequest),
    /// Put it back.
    Undrain {
        /// The service.
        service: String,
        /// The endpoint.
        endpoint: String,
    },
    /// Drain a pod, and answer within this.
    DrainPod(PodName, Duration),
    /// Tell what it has in flight and connected.
    Lives,
    /// Tell its running drains.
    Running,
}

/// What it says.
#[derive(Debug, Clone)]
pub enum ElderAnswer {
    /// How a drain stands.
    Drain(ElderWord),
    /// Lives with work or connections.
    Lives(Vec<(ServiceName, EndpointView)>),
    /// Its running drains.
    Running(Vec<RunningDrain>),
}

/// How a drain stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElderWord {
    /// Nothing is in flight and nothing will start.
    pub drained: bool,
    /// It serves as the fallback: nothing is promised yet.
    pub fallback: bool,
    /// In flight now.
    pub in_flight: u64,
    /// Cut so far.
    pub cut: Cut,
}

/// A way to the process before this one, and where its asks arrive.
#[must_use]
pub fn elder() -> (Elder, mpsc::Receiver<ElderAsk>) {
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    (Elder { asks }, asked)
}

impl Elder {
    /// How a drain stands there, which it is asked for as well. None when it has nothing to do with that, or is gone.
    pub(super) async fn ask(&self, wish: ElderWish) -> Option<ElderWord> {
        match self.answer(wish).await? {
            Some(ElderAnswer::Drain(word)) => Some(word),
            Some(_) => None,
            None => {
                warn!("the process before this one does not answer; it counts as not drained");
                Some(ElderWord::UNKNOWN)
            }
        }
    }

    /// What it has in flight and connected.
    pub(super) async fn lives(&self) -> Vec<(ServiceName, EndpointView)> {
        match self.answer(ElderWish::Lives).await.flatten() {
            Some(ElderAnswer::Lives(lives)) => lives,
            _ => Vec::new(),
        }
    }

    /// Its running drains.
    pub(super) async fn running(&self) -> Vec<RunningDrain> {
        match self.answer(ElderWish::Running).await.flatten() {
            Some(ElderAnswer::Running(running)) => running,
            _ => Vec::new(),
        }
    }

    /// None when it is gone or drops the question, an empty answer when it takes too long.
    async fn answer(&self, wish: ElderWish) -> Option<Option<ElderAnswer>> {
        let patience = match &wish {
            // It has a deadline of its own, and its end is an answer.
            ElderWish::Drain(request) if request.wait => None,
            ElderWish::Drain(_) | ElderWish::Undrain { .. } => Some(PATIENCE),
            ElderWish::Lives | ElderWish::Running => Some(PATIENCE),
            ElderWish::DrainPod(_, limit) => Some(*limit),
        };
        let (answer, answered) = oneshot::channel();
        self.asks.send(ElderAsk { wish, answer }).await.ok()?;
        let Some(patience) = patience else {
            return answered.await.ok().map(Some);
        };
        match tokio::time::timeout(patience, answered).await {
            Ok(answer) => answer.ok().map(Some),
            Err(_) => Some(None),
        }
    }
}

impl ElderWord {
    const UNKNOWN: Self = Self {
        drained: false,
        fallback: false,
        in_flight: 0,
        cut: Cut {
            request: 0,
            stream: 0,
            tunnel: 0,
        },
    };

    /// What both say together.
    pub(super) fn add_to(self, answer: &mut DrainAnswer) {
        answer.in_flight += self.in_flight;
        answer.cut.request += self.cut.request;
        answer.cut.stream += self.cut.stream;
        answer.cut.tunnel += self.cut.tunnel;
        if answer.drained && !self.drained {
            answer.drained = false;
            answer.state = State::Draining;
        }
        if self.fallback {
            answer.reason = "fallback";
        }
    }

    /// What both say together of a pod.
    pub(super) fn add_to_pod(self, answer: &mut PodAnswer) {
        if answer.drained && !self.drained {
            answer.drained = false;
            answer.reason = "the process before an upgrade still has work there".into();
        }
    }
}

/// For an answer that waits for nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks that may wait; more wait at their caller.
const ASKS_MAX: usize = 64;

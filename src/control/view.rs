//! What the writer shows of itself: services, endpoints, drains and events, as plain values.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::drain::{Cause, Cut, Report};
use crate::endpoint::{EndpointId, EndpointKey, ServiceName};

/// The state of an endpoint's life, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// In rotation.
    Ready,
    /// Out of rotation, reversibly.
    NotReady,
    /// Missing in a list, and used when nobody else can serve (P9).
    Suspect,
    /// On its way out; with the reason `fallback` still serving (P7).
    Draining,
    /// Out, with nothing in flight.
    Drained,
    /// Buried.
    Gone,
}

impl State {
    /// All of them, as metrics need them.
    pub const ALL: [Self; 5] = [
        Self::Ready,
        Self::NotReady,
        Self::Suspect,
        Self::Draining,
        Self::Drained,
    ];

    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Suspect => "suspect",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Gone => "gone",
        }
    }
}

/// Why an endpoint is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Draining, and still serving because nobody else can (P7).
    Fallback,
    /// Draining because of this.
    Drain(Cause),
    /// Ready, with a share that still grows.
    SlowStart,
    /// It fails its health check; or it refuses connections, and others are preferred for a while.
    Unhealthy,
}

impl Reason {
    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            // The webhook is one of those who hook in; the report says which.
            Self::Drain(Cause::Webhook) => Cause::Hook.as_str(),
            Self::Drain(cause) => cause.as_str(),
            Self::SlowStart => "slow_start",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A service as it stands.
#[derive(Debug, Clone)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Its source's kind.
    pub source: &'static str,
    /// Whether the source can see.
    pub source_up: bool,
    /// What is wrong with the source.
    pub source_fault: Option<String>,
    /// How old the newest confirmation of the set is; none before the first set.
    pub source_age: Option<Duration>,
    /// Every life, in the order of the source, those that left it last.
    pub endpoints: Vec<EndpointView>,
}

/// A life as it stands.
#[derive(Debug, Clone)]
pub struct EndpointView {
    /// Its identity.
    pub key: EndpointKey,
    /// Which of its lives.
    pub life: EndpointId,
    /// Its address.
    pub address: SocketAddr,
    /// `namespace/name` of its pod.
    pub pod: Option<Arc<str>>,
    /// Its state.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// Its share of new work.
    pub weight: u32,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Work in flight.
    pub in_flight: u64,
    /// Open upstream connections, idle ones included.
    pub connections: u32,
    /// Its drain, running or over.
    pub drain: Option<DrainView>,
}

/// A drain as it stands.
#[derive(Debug, Clone)]
pub struct DrainView {
    /// When it was asked for, or in force.
    pub since: SystemTime,
    /// When what is left is cut; none while it serves as the fallback, or once lifted.
    pub deadline: Option<SystemTime>,
    /// Time left until then.
    pub left: Option<Duration>,
    /// What was cut so far.
    pub cut: Cut,
    /// Who asked.
    pub cause: Cause,
}

/// Something that holds a drain up.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The route it came by, as `host/path`.
    pub route: Arc<str>,
    /// `request`, `stream`, `tunnel`.
    pub kind: &'static str,
    /// Since it started.
    pub age: Duration,
}

/// A running drain and what holds it.
#[derive(Debug, Clone)]
pub struct RunningDrain {
    /// Its report so far.
    pub report: Report,
    /// In flight now.
    pub in_flight: u64,
    /// The ten oldest in flight.
    pub holders: Vec<Holder>,
}

/// All drains that are known.
#[derive(Debug, Clone, Default)]
pub struct DrainsView {
    /// Under way, the oldest first.
    pub running: Vec<RunningDrain>,
    /// Over: the last thousand, the newest first.
    pub done: Vec<Arc<Report>>,
}

/// Something that happened, for whoever listens.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub time: SystemTime,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// A life changed its state. With `to` draining, P1 holds from now on (unless the reason is fallback).
    State {
        /// Its service.
        service: ServiceName,
        /// Its identity.
        key: EndpointKey,
        /// The state before; none for a new life.
        from: Option<State>,
        /// The state now.
        to: State,
        /// Why.
        reason: Option<Reason>,
    },
    /// A drain began: the gate is closed and every worker has confirmed.
    DrainStart(Arc<Report>),
    /// A drain is over.
    DrainEnd(Arc<Report>),
    /// A source lost or regained its sight.
    Source {
        /// Its service.
        service: ServiceName,
        /// `up` or `down`.
        to: &'static str,
        /// What is wrong.
        reason: Option<String>,
    },
    /// The config was read again.
    Config {
        /// `success` or `error`.
        to: &'static str,
        /// What is wrong.
        reason: Option<String>,
    },
}

//! The shapes of the API: what the calls answer with and the command line reads back.
//!
//! Names are those of the interface, every field is always there, and what is empty is null, so that whoever reads them
//! need not guess. Text that the writer shares is shared here too: a service may have thousands of endpoints.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Every service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// In the order of the config.
    pub services: Vec<Service>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// Its source's kind.
    pub source: Cow<'static, str>,
    /// Whether the source can see.
    pub source_up: bool,
    /// What is wrong with the source.
    pub source_fault: Option<String>,
    /// How old the newest confirmation of the set is; null before the first set.
    pub source_age_ms: Option<u64>,
    /// Every life: an id that has two appears twice.
    pub endpoints: Vec<Endpoint>,
}

/// A life of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The endpoint as its source knows it.
    pub id: Arc<str>,
    /// Its address.
    pub address: SocketAddr,
    /// `namespace/name` of its pod.
    pub pod: Option<Arc<str>>,
    /// `ready`, `not_ready`, `draining`, `drained`.
    pub state: Cow<'static, str>,
    /// Why.
    pub reason: Option<Cow<'static, str>>,
    /// Its share of new work.
    pub weight: u32,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Work in flight.
    pub in_flight: u64,
    /// Open upstream connections.
    pub connections: u32,
    /// Its drain, running or over.
    pub drain: Option<Drain>,
}

/// The drain of a life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// When it began.
    pub since: String,
    /// For how long it has been known.
    pub age_ms: u64,
    /// When what is left is cut; null in fallback and once lifted.
    pub deadline: Option<String>,
    /// Time left until then.
    pub left_ms: Option<u64>,
    /// What was cut so far.
    pub cut: Cut,
    /// Who asked for it.
    pub reason: Cow<'static, str>,
}

/// What was cut, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Requests.
    pub request: u64,
    /// Event streams and gRPC streams.
    pub stream: u64,
    /// WebSockets and other tunnels.
    pub tunnel: u64,
}

impl Cut {
    /// All kinds together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.request + self.stream + self.tunnel
    }
}

/// What a drain is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAnswer {
    /// The service.
    pub service: Arc<str>,
    /// The endpoint.
    pub id: Arc<str>,
    /// Its state.
    pub state: Cow<'static, str>,
    /// Nothing is in flight and nothing will start.
    pub drained: bool,
    /// `fallback`: nothing is promised yet. Else who asked for the drain.
    pub reason: Option<Cow<'static, str>>,
    /// In flight now.
    pub in_flight: u64,
    /// Cut so far.
    pub cut: Cut,
    /// When what is left is cut.
    pub deadline: Option<String>,
    /// `operator`, `endpoint`, `service`, `pod`.
    pub limited_by: Option<Cow<'static, str>>,
}

/// What an undrain is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndrainAnswer {
    /// The service.
    pub service: Arc<str>,
    /// The endpoint.
    pub id: Arc<str>,
    /// The state of its newest life.
    pub state: Cow<'static, str>,
}

/// What a pod's hook is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookAnswer {
    /// It is safe to stop.
    pub drained: bool,
    /// Why not, or why at once.
    pub reason: Option<String>,
    /// What each replica of tidegate says.
    pub replicas: Vec<Replica>,
}

impl HookAnswer {
    /// Whether nobody knows an endpoint of that pod.
    #[must_use]
    pub fn serves_nothing(&self) -> bool {
        self.endpoints().next().is_none()
    }

    /// The ids of its endpoints, by whichever replica knows them; one may come several times.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        let all = self.replicas.iter().flat_map(|one| &one.endpoints);
        all.map(|endpoint| &*endpoint.id)
    }
}

/// What one replica says of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// `self`, or the replica's address.
    pub replica: Cow<'static, str>,
    /// Nothing of the pod is in flight there and nothing will start.
    pub drained: bool,
    /// Why not, or why at once.
    pub reason: Option<String>,
    /// One for each endpoint that the pod serves.
    pub endpoints: Vec<DrainAnswer>,
}

/// All drains that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drains {
    /// Under way, the oldest first.
    pub running: Vec<RunningDrain>,
    /// Over: the last thousand, the newest first.
    pub drains: Vec<Report>,
}

/// A drain under way and what holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningDrain {
    /// Its report so far.
    #[serde(flatten)]
    pub report: Report,
    /// Since it began.
    pub age_ms: u64,
    /// Time left until the deadline.
    pub left_ms: Option<u64>,
    /// In flight now.
    pub in_flight: u64,
    /// The ten oldest in flight.
    pub held_by: Vec<Holder>,
}

/// Something that holds a drain up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The route it came by.
    pub route: Arc<str>,
    /// `request`, `stream`, `tunnel`.
    pub kind: Cow<'static, str>,
    /// Since it started.
    pub age_ms: u64,
}

/// What one drain did (P13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The service.
    pub service: Arc<str>,
    /// The endpoint.
    pub id: Arc<str>,
    /// Its address.
    pub address: SocketAddr,
    /// Its pod.
    pub pod: Option<Arc<str>>,
    /// Who told us first.
    pub cause: Cow<'static, str>,
    /// Everyone who told us, and when.
    pub seen: BTreeMap<Cow<'static, str>, String>,
    /// When the drain began.
    pub since: String,
    /// When what is left is cut.
    pub deadline: Option<String>,
    /// What set the deadline.
    pub limited_by: Cow<'static, str>,
    /// In flight when the drain began.
    pub in_flight_at_start: u64,
    /// Ended by itself.
    pub finished: u64,
    /// Given back unsent, and sent elsewhere.
    pub retried: u64,
    /// Ended by tidegate at the deadline.
    pub cut: Cut,
    /// Started although the drain was known.
    pub started_after: StartedAfter,
    /// When the last work ended; null while the drain runs.
    pub ended: Option<String>,
    /// `clean`, `cut`, `cancelled`; null while the drain runs.
    pub outcome: Option<Cow<'static, str>>,
    /// From the beginning to the last work's end.
    pub duration_ms: Option<u64>,
}

/// Requests that started after a drain was known, by the reason that allowed it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedAfter {
    /// No ready endpoint was left (P7).
    pub fallback: u64,
    /// An explicit affinity asked for it.
    pub affinity: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: String,
    /// `state`, `drain_start`, `drain_end`, `source`, `config`.
    pub event: Cow<'static, str>,
    /// The service it is about.
    pub service: Option<Arc<str>>,
    /// The endpoint's id.
    pub endpoint: Option<Arc<str>>,
    /// The state before.
    pub from: Option<Cow<'static, str>>,
    /// The state now; `up` or `down` of a source, `success` or `error` of a reload.
    pub to: Option<Cow<'static, str>>,
    /// Why.
    pub reason: Option<Cow<'static, str>>,
    /// The report of a drain.
    pub report: Option<Report>,
}

/// What every refusal carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong and what to do.
    pub error: String,
    /// The ids that share the address that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
}

//! An endpoint's life, in two halves, as a channel has them.
//!
//! A [`Life`] is the owner's half: it is unique, cannot be cloned, and only it can drain. The writer in `control` keeps
//! it (law 9). An [`Endpoint`] is the half that everyone shares: work enters through its gate and holds an [`InFlight`]
//! until both its directions have ended (law 4).
//!
//! The address and the names are those of this one life. What comes back begins another life under the same key, so a
//! pool, a count or a deadline can never be mistaken for its predecessor's (P8).

mod ejection;
mod in_flight;
mod key;
mod load;
mod member;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::mpsc;

pub use ejection::Ejection;
pub use in_flight::{Admission, InFlight};
pub use key::{EndpointId, EndpointKey, ServiceName};
pub use load::Load;
pub use member::{Member, Ramp};

use crate::gate::{Edge, Gate, Phase, Refused};

/// What is known of an endpoint when its life begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The service it serves.
    pub service: ServiceName,
    /// Its identity at its source.
    pub key: EndpointKey,
    /// Where it listens.
    pub address: SocketAddr,
    /// `namespace/name` of its pod.
    pub pod: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
}

/// Where the edge to drained is told: once in each life, so the channel needs no bound.
pub type Edges = mpsc::UnboundedSender<EndpointId>;

/// The owner's half of a life.
#[derive(Debug)]
pub struct Life {
    endpoint: Arc<Endpoint>,
}

/// The shared half of a life.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    about: About,
    gate: Gate,
    edges: Edges,
    connections: AtomicU32,
    load: Load,
    ejection: Ejection,
    tally: Tally,
}

/// What is counted for the drain's report; touched only in its exceptional moments.
#[derive(Debug, Default)]
struct Tally {
    cut_request: AtomicU64,
    cut_stream: AtomicU64,
    cut_tunnel: AtomicU64,
    given_back: AtomicU64,
    fallback: AtomicU64,
    affinity: AtomicU64,
}

/// The kinds of work, as a report counts what was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A request and its response.
    Request,
    /// A stream of events or messages.
    Stream,
    /// A tunnel.
    Tunnel,
}

impl Life {
    /// A new life, with an open gate. Its end is told to `edges`.
    #[must_use]
    pub fn begin(about: About, edges: Edges) -> Self {
        let endpoint = Endpoint {
            id: EndpointId::next(),
            about,
            gate: Gate::new(),
            edges,
            connections: AtomicU32::new(0),
            load: Load::default(),
            ejection: Ejection::new(),
            tally: Tally::default(),
        };
        Self {
            endpoint: Arc::new(endpoint),
        }
    }

    /// The shared half.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Closes the gate (law 1) and says how many were inside. Draining twice changes nothing.
    pub fn drain(&self) -> u64 {
        let (edge, inside) = self.endpoint.gate.close();
        self.endpoint.tell(edge);
        inside
    }

    /// Closes the gate to all but sessions, until [`Life::drain`]; says how many were inside.
    pub fn narrow(&self) -> u64 {
        self.endpoint.gate.narrow()
    }

    /// Ends a drained life. `Err` gives it back when it is not drained.
    ///
    /// # Errors
    /// The life itself, while work is in flight or the gate is open.
    pub fn bury(self) -> Result<(), Self> {
        if self.endpoint.gate.bury() {
            Ok(())
        } else {
            Err(self)
        }
    }
}

impl Endpoint {
    /// Which life this is.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// What is known of it.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Takes a place in flight. `admission` tells why the caller comes here.
    ///
    /// # Errors
    /// [`Refused::Draining`] once the drain began, whatever snapshot the caller holds (law 5).
    pub fn acquire(self: &Arc<Self>, admission: Admission) -> Result<InFlight, Refused> {
        self.gate.enter()?;
        Ok(self.admitted(admission))
    }

    /// The same for a session that belongs here: it is admitted also while the endpoint drains and is kept open to its
    /// sessions (P14).
    ///
    /// # Errors
    /// [`Refused::Draining`] once it is closed to them, too.
    pub fn acquire_session(self: &Arc<Self>, admission: Admission) -> Result<InFlight, Refused> {
        let narrow = self.gate.enter_session()?;
        Ok(self.admitted(if narrow {
            Admission::Affinity
        } else {
            admission
        }))
    }

    fn admitted(self: &Arc<Self>, admission: Admission) -> InFlight {
        InFlight::new(self.clone(), admission)
    }

    /// Notes a request that starts although the drain is known: it has a connection, and is about to be written.
    pub fn count_start(&self, admission: Admission) {
        match admission {
            Admission::Ready | Admission::Suspect => {}
            Admission::Fallback => count(&self.tally.fallback),
            Admission::Affinity => count(&self.tally.affinity),
        }
    }

    /// Notes that a request was called back before a byte was written.
    pub fn count_given_back(&self) {
        count(&self.tally.given_back);
    }

    /// Notes that a request did not start after all: not a byte of it was written.
    pub fn count_unstarted(&self, admission: Admission) {
        let started = match admission {
            Admission::Ready | Admission::Suspect => return,
            Admission::Fallback => &self.tally.fallback,
            Admission::Affinity => &self.tally.affinity,
        };
        started.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where this life stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.gate.phase()
    }

    /// The number in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.gate.in_flight()
    }

    /// Its latency, as far as it is known.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// What is held against it for connections that it refused.
    #[must_use]
    pub fn ejection(&self) -> &Ejection {
        &self.ejection
    }

    /// Counts one more upstream connection, unless `max` are open already.
    #[must_use]
    pub fn connect(&self, max: u32) -> bool {
        // Relaxed: only the count itself matters, and read-modify-writes of one word are totally ordered.
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < max).then_some(open + 1)
            })
            .is_ok()
    }

    /// Counts one less upstream connection.
    pub fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Open upstream connections, idle ones included.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Notes that work was cut at the deadline.
    pub fn count_cut(&self, work: Work) {
        count(match work {
            Work::Request => &self.tally.cut_request,
            Work::Stream => &self.tally.cut_stream,
            Work::Tunnel => &self.tally.cut_tunnel,
        });
    }

    /// What was cut so far: requests, streams, tunnels.
    #[must_use]
    pub fn cut(&self) -> (u64, u64, u64) {
        (
            read(&self.tally.cut_request),
            read(&self.tally.cut_stream),
            read(&self.tally.cut_tunnel),
        )
    }

    /// Places that were given back before a byte was written, because of the drain.
    #[must_use]
    pub fn given_back(&self) -> u64 {
        read(&self.tally.given_back)
    }

    /// Requests that started here in the fallback (P7).
    #[must_use]
    pub fn started_in_fallback(&self) -> u64 {
        read(&self.tally.fallback)
    }

    /// Requests that started here after the drain was known, by affinity (P14).
    #[must_use]
    pub fn started_by_affinity(&self) -> u64 {
        read(&self.tally.affinity)
    }

    fn leave(&self) {
        let edge = self.gate.leave();
        self.tell(edge);
    }

    fn tell(&self, edge: Edge) {
        if edge == Edge::Idle {
            // An error means that the writer is gone, and with it everyone who could ask.
            let _ = self.edges.send(self.id);
        }
    }
}

// Relaxed throughout: these are read after the edge to drained, which the gate orders after every leave.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> (Life, mpsc::UnboundedReceiver<EndpointId>) {
        let (edges, told) = mpsc::unbounded_channel();
        let about = About {
            service: "web".into(),
            key: "web-1".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 9001)),
            pod: None,
            zone: None,
        };
        (Life::begin(about, edges), told)
    }

    #[test]
    fn refuses_after_drain_and_tells_the_edge_once() {
        let (life, mut told) = life();
        let endpoint = life.endpoint().clone();
        let first = endpoint.acquire(Admission::Ready).unwrap();
        let second = endpoint.acquire(Admission::Ready).unwrap();
        assert_eq!(life.drain(), 2);
        assert!(endpoint.acquire(Admission::Ready).is_err(), "P1");
        drop(first);
        assert!(told.try_recv().is_err());
        drop(second);
        assert_eq!(told.try_recv(), Ok(endpoint.id()));
        assert_eq!(life.drain(), 0);
        assert!(told.try_recv().is_err(), "law 2");
        assert!(life.bury().is_ok());
        assert_eq!(endpoint.phase(), Phase::Gone);
    }

    #[test]
    fn cannot_be_buried_with_work_inside() {
        let (life, _told) = life();
        let place = life.endpoint().acquire(Admission::Ready).unwrap();
        life.drain();
        let life = life.bury().unwrap_err();
        drop(place);
        assert!(life.bury().is_ok());
    }

    #[test]
    fn counts_what_was_given_back_and_what_has_started() {
        let (life, _told) = life();
        let endpoint = life.endpoint();
        endpoint.acquire(Admission::Fallback).unwrap().give_back();
        assert_eq!(
            (endpoint.given_back(), endpoint.started_in_fallback()),
            (1, 0)
        );
        let place = endpoint.acquire(Admission::Fallback).unwrap();
        endpoint.count_start(place.admission());
        assert_eq!(endpoint.started_in_fallback(), 1);
        endpoint.count_unstarted(place.admission());
        assert_eq!(endpoint.started_in_fallback(), 0);
    }

    #[test]
    fn bounds_connections() {
        let (life, _told) = life();
        assert!(life.endpoint().connect(1));
        assert!(!life.endpoint().connect(1));
        life.endpoint().disconnect();
        assert!(life.endpoint().connect(1));
    }
}

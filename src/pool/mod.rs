//! A worker's upstream connections: one [`Slot`] for each endpoint's life, nothing shared and nothing locked.
//!
//! A slot ends with its life. When an endpoint drains, its idle connections are closed at once and none is ever checked
//! out again (P4), requests that have not been written are called back (P1), and at the deadline those in flight are told
//! (P5). The pool only tells them: each ends its own exchange and gives its place back by dropping it (law 7).

mod bell;
mod connection;
mod dial;
pub mod h1;
mod http2;
mod slot;
mod streams;
#[cfg(test)]
mod tests;
mod ticket;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use connection::Connection;
pub use dial::{Dial, NotOpened};
pub use http2::Exchange;
pub use slot::{Checkout, Permit, Slot};
pub use ticket::{Kind, Signal, Ticket};

use crate::control::{Holder, Order};
use crate::endpoint::{Endpoint, EndpointId};
use crate::net::Dialer;
use crate::snapshot::Service;
use crate::telemetry::Metrics;

/// All upstream connections of one worker.
#[derive(Debug)]
pub struct Pool {
    worker: usize,
    slots: RefCell<HashMap<EndpointId, Rc<Slot>, BuildHasherDefault<IdHasher>>>,
    dialer: Dialer,
    metrics: Arc<Metrics>,
    /// Who has rung: where an idle connection has something to say.
    rung: RefCell<Option<UnboundedReceiver<EndpointId>>>,
    ring: UnboundedSender<EndpointId>,
    connections: Cell<u64>,
    rng: RefCell<fastrand::Rng>,
    /// What opens and drives connections that requests share.
    drivers: TaskTracker,
}

/// Endpoint ids are unique numbers: there is nothing to hash.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Spread over all bits, since the map takes its buckets from the low and its tags from the high ones.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Idle connections and busy ones of a service, as a worker sees them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Census {
    /// Waiting for work.
    pub idle: u64,
    /// Checked out, or being opened.
    pub busy: u64,
}

/// A burst of closing connections is looked at together.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);

/// How often idle connections are looked at for their age.
const AGE_PAUSE: Duration = Duration::from_secs(1);

/// Endpoints that are looked at before others have their turn: a fraction of a millisecond.
const AGED_AT_ONCE: usize = 128;
const RUNG_MAX: usize = 128;

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(worker: usize, dialer: Dialer, metrics: Arc<Metrics>, seed: u64) -> Rc<Self> {
        let (ring, rung) = unbounded_channel();
        Rc::new(Self {
            worker,
            slots: RefCell::default(),
            dialer,
            metrics,
            rung: RefCell::new(Some(rung)),
            ring,
            connections: Cell::new(0),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            drivers: TaskTracker::new(),
        })
    }

    /// The worker's number.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// How connections are opened.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The counters for what is rare.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// A number for a new connection: unique in the process, telling its worker.
    #[must_use]
    pub fn next_connection(&self) -> u64 {
        let next = self.connections.get() + 1;
        self.connections.set(next);
        next * 1000 + self.worker as u64
    }

    /// The slot of an endpoint, for a request that holds a place there.
    #[must_use]
    pub fn slot(self: &Rc<Self>, endpoint: &Arc<Endpoint>, service: &Arc<Service>) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots
            .entry(endpoint.id())
            .or_insert_with(|| Slot::new(self, endpoint.clone(), service.clone()));
        slot.clone()
    }

    /// Endpoints drain: what is idle is closed, what is unwritten is called back, streams learn their moment.
    pub fn drain(&self, orders: &[Order]) {
        for order in orders {
            let slot = self.slots.borrow().get(&order.endpoint).cloned();
            if let Some(slot) = slot {
                let evicted = slot.drain(*order, &mut self.rng.borrow_mut());
                if evicted > 0 {
                    self.metrics
                        .idle_evicted(slot.service().name().as_str(), "draining", evicted);
                }
                self.forget_if_done(&slot);
            }
        }
    }

    /// The window of a running drain has changed.
    pub fn window(&self, order: Order) {
        let slot = self.slots.borrow().get(&order.endpoint).cloned();
        if let Some(slot) = slot {
            slot.drain(order, &mut self.rng.borrow_mut());
        }
    }

    /// The deadline of these endpoints has come (P5).
    pub fn cut(&self, endpoints: &[EndpointId]) {
        for endpoint in endpoints {
            let slot = self.slots.borrow().get(endpoint).cloned();
            if let Some(slot) = slot {
                slot.cut();
            }
        }
    }

    /// Our own end has come: everything in flight is ended, and who waits is woken. Returns how much that is.
    pub fn cut_all(&self) -> usize {
        let slots: Vec<_> = self.slots.borrow().values().cloned().collect();
        let cut = slots.iter().map(|slot| slot.cut()).sum();
        slots
            .iter()
            .for_each(|slot| slot.service().waiting().ring_all());
        cut
    }

    /// Closes what is left, and waits until it is.
    pub async fn end(&self) {
        let slots: Vec<_> = self.slots.borrow().values().cloned().collect();
        for slot in slots {
            slot.close_shared();
        }
        self.drivers.close();
        self.drivers.wait().await;
    }

    /// Our own end comes: event streams everywhere learn their moment, as in a drain of each endpoint.
    pub fn leave(&self, since: Instant, deadline: Instant) {
        for slot in self.slots_in_order() {
            slot.leave(since, deadline, &mut self.rng.borrow_mut());
        }
    }

    /// What holds an endpoint's drain up, the oldest first.
    #[must_use]
    pub fn holders(&self, endpoint: EndpointId, now: Instant, max: usize) -> Vec<Holder> {
        self.slots
            .borrow()
            .get(&endpoint)
            .map(|slot| slot.holders(now, max))
            .unwrap_or_default()
    }

    /// Closes one idle connection of a service, so that another worker may open one.
    pub fn relinquish(&self, service: &Service) {
        let of_service = |slot: &Rc<Slot>| std::ptr::eq(&**slot.service(), service);
        for slot in self.slots_in_order().into_iter().filter(of_service) {
            if slot.evict_one() {
                self.metrics
                    .idle_evicted(service.name().as_str(), "limit", 1);
                return;
            }
        }
    }

    /// The oldest endpoints first: where an order shows, it is the same in every run.
    fn slots_in_order(&self) -> Vec<Rc<Slot>> {
        let mut slots: Vec<_> = self.slots.borrow().values().cloned().collect();
        slots.sort_by_key(|slot| slot.endpoint().id());
        slots
    }

    /// Connections by service.
    #[must_use]
    pub fn census(&self) -> HashMap<Arc<str>, Census> {
        let mut all: HashMap<Arc<str>, Census> = HashMap::new();
        for slot in self.slots.borrow().values() {
            let census = all.entry(slot.service().name().shared()).or_default();
            let idle = slot.idle_count() as u64;
            census.idle += idle;
            census.busy += u64::from(slot.open_count()).saturating_sub(idle);
        }
        all
    }

    /// Closes idle connections that have ended or grown too old, for as long as it is polled.
    pub async fn watch_idle(self: Rc<Self>) {
        let Some(mut rung) = self.rung.take() else {
            return;
        };
        let mut which = Vec::new();
        let mut age_at = Instant::now() + AGE_PAUSE;
        loop {
            tokio::select! {
                biased;
                _ = rung.recv_many(&mut which, RUNG_MAX) => {
                    self.look_at(which.drain(..));
                    tokio::time::sleep(SWEEP_PAUSE).await;
                }
                () = tokio::time::sleep_until(age_at) => {
                    self.age().await;
                    age_at = Instant::now() + AGE_PAUSE;
                }
            }
        }
    }

    /// Looks at all idle connections, a few at a time, so that no request waits for all of it.
    async fn age(&self) {
        let all: Vec<_> = self.slots.borrow().keys().copied().collect();
        for some in all.chunks(AGED_AT_ONCE) {
            self.look_at(some.iter().copied());
            tokio::task::yield_now().await;
        }
    }

    /// Looks at the idle connections to these endpoints.
    fn look_at(&self, which: impl Iterator<Item = EndpointId>) {
        let now = Instant::now();
        for endpoint in which {
            // It may be gone since.
            let Some(slot) = self.slots.borrow().get(&endpoint).cloned() else {
                continue;
            };
            let (ended, aged) = slot.sweep(now);
            let service = slot.service().name().as_str();
            if ended > 0 {
                self.metrics.idle_evicted(service, "closed", ended);
            }
            if aged > 0 {
                self.metrics.idle_evicted(service, "timeout", aged);
            }
        }
    }

    /// A slot goes with its life (P12): when it drains and nothing of it is in flight here.
    fn forget_if_done(&self, slot: &Slot) {
        if slot.is_done() {
            self.slots.borrow_mut().remove(&slot.endpoint().id());
        }
    }
}

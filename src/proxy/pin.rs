//! Client connections that stay on one endpoint (`affinity: connection`), as behind an L4 balancer.
//!
//! A pin holds a place in flight of its own, and upstream connections outside the pool, until the client's connection
//! ends: so an endpoint is not drained before its pinned connections are gone (P14). Requests ride on the pin's place. When
//! the endpoint drains, the pin learns the moment at which an idle connection is closed; a request that comes before still
//! goes there, and its response is the connection's last. At the deadline the pin is let go, whatever the client does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::admit::Seat;
use crate::clock::Task;
use crate::endpoint::{Admission, Endpoint, EndpointId, InFlight};
use crate::pool::{Checkout, Connection, Signal, Slot, Ticket};
use crate::snapshot::Service;

/// The endpoints that one downstream connection is pinned to: one for each service that it has used.
#[derive(Debug)]
pub struct Pins {
    /// What works on the connection itself.
    task: Rc<Task>,
    pins: RefCell<Vec<Rc<Pin>>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Pin {
    // Dropped in this order: first it is no longer told anything, then its connections close, then the place is given back.
    seat: Seat,
    service: Arc<Service>,
    #[expect(clippy::vec_box, reason = "boxed as they travel from hand to hand")]
    connections: RefCell<Vec<Box<Connection>>>,
    /// The endpoint has answered: from now on the client belongs there.
    proven: Cell<bool>,
    _place: InFlight,
}

impl Pins {
    /// None yet, of the connection that this task works on.
    #[must_use]
    pub fn new(task: Rc<Task>) -> Rc<Self> {
        Rc::new(Self {
            task,
            pins: RefCell::default(),
        })
    }

    /// When the connection is to be closed if it is idle, because an endpoint that it is pinned to drains. Its next response
    /// is then its last.
    #[must_use]
    pub fn moment(&self) -> Option<Instant> {
        let pins = self.pins.borrow();
        pins.iter().filter_map(|pin| pin.seat.ticket.moment()).min()
    }

    /// Whether the deadline of such an endpoint has come (P5): then the pins are let go.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let pins = self.pins.borrow();
        pins.iter()
            .any(|pin| pin.seat.ticket.signal() == Signal::Cut)
    }

    /// Lets all of them go. What is in flight keeps the place until it ends.
    pub fn release(&self) {
        // Dropped outside the borrow: a drop reaches the pool, and others by it.
        let pins = self.pins.take();
        drop(pins);
    }

    pub(super) fn find(&self, service: &Arc<Service>) -> Option<Rc<Pin>> {
        let pins = self.pins.borrow();
        pins.iter()
            .find(|pin| Arc::ptr_eq(&pin.service, service))
            .cloned()
    }

    /// Pins the connection where a request has just been admitted.
    pub(super) fn add(
        &self,
        place: InFlight,
        slot: Rc<Slot>,
        service: &Arc<Service>,
        route: &Arc<str>,
    ) -> Rc<Pin> {
        let ticket = Ticket::pin(self.task.clone(), route.clone(), Instant::now());
        let ticket = Rc::new(ticket);
        slot.enter(&ticket);
        let pin = Rc::new(Pin {
            seat: Seat { slot, ticket },
            service: service.clone(),
            connections: RefCell::default(),
            proven: Cell::new(false),
            _place: place,
        });
        self.pins.borrow_mut().push(pin.clone());
        pin
    }

    /// The connection belongs there no longer: the endpoint cannot be reached.
    pub(super) fn remove(&self, endpoint: EndpointId) {
        let (gone, kept) = self
            .pins
            .take()
            .into_iter()
            .partition::<Vec<_>, _>(|pin| pin.endpoint().id() == endpoint);
        *self.pins.borrow_mut() = kept;
        drop(gone);
    }
}

impl Pin {
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.seat.slot.endpoint()
    }

    pub(super) fn slot(&self) -> &Rc<Slot> {
        &self.seat.slot
    }

    /// How a request is admitted that comes now, to a service that admits others so.
    pub(super) fn admission(&self, others: Admission) -> Admission {
        if self.seat.ticket.moment().is_some()
            || self.endpoint().phase() != crate::gate::Phase::Ready
        {
            Admission::Affinity
        } else {
            others
        }
    }

    pub(super) fn prove(&self) {
        self.proven.set(true);
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven.get()
    }

    /// A connection of its own, or the right to open one.
    pub(super) fn checkout(&self, now: Instant, fresh: bool) -> Checkout {
        while !fresh && let Some(mut connection) = self.take() {
            if connection.is_quiet() && connection.is_idle_alive() {
                return Checkout::Reuse(connection);
            }
        }
        // Streams are shared by all: a connection of its own would be one for each client.
        let fresh = fresh || self.slot().dials_alone();
        self.slot().checkout(now, fresh, true)
    }

    /// Not borrowed while one is dropped: its permit's drop wakes others.
    fn take(&self) -> Option<Box<Connection>> {
        self.connections.borrow_mut().pop()
    }

    /// Takes a connection back whose exchange has ended whole.
    pub(super) fn checkin(&self, connection: Box<Connection>) {
        if connection.is_kept() && self.seat.ticket.signal() < Signal::End {
            self.connections.borrow_mut().push(connection);
        }
    }
}

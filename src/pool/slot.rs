//! A worker's connections to one endpoint, and the requests it has in flight there.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Context;

use tokio::time::Instant;

use super::bell::Bell;
use super::dial::Dial;
use super::http2::Shared;
use super::ticket::{Kind, Signal, Ticket};
use super::{Connection, Pool, h1};
use crate::control::{Holder, Order};
use crate::drain::{latest_stream_moment, spread_moment, stream_moment};
use crate::endpoint::Endpoint;
use crate::snapshot::{Protocol, Service};

/// One endpoint's life, as one worker deals with it.
#[derive(Debug)]
pub struct Slot {
    pub(super) pool: Weak<Pool>,
    endpoint: Arc<Endpoint>,
    pub(super) service: Arc<Service>,
    /// Rung by those that are idle.
    bell: Arc<Bell>,
    /// The latest used last: it is warm, and the others may grow old.
    idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections that take streams, the latest opened last.
    pub(super) shared: RefCell<Vec<Rc<Shared>>>,
    /// The connection to share that is being opened.
    pub(super) dial: RefCell<Option<Rc<Dial>>>,
    pub(super) language: Cell<Language>,
    /// The log has been told that the endpoint speaks another language.
    pub(super) complained: Cell<bool>,
    tickets: RefCell<Vec<Rc<Ticket>>>,
    open: Cell<u32>,
    pub(super) drain: Cell<Option<Window>>,
}

/// A connection that waits for work. Boxed, as it travels from hand to hand.
#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    expires: Instant,
}

/// What the endpoint speaks, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Http1,
    Http2,
    /// ALPN will tell.
    Unknown,
}

/// The window in which streams that never end are ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    since: Instant,
    deadline: Option<Instant>,
}

/// What a checkout found.
#[derive(Debug)]
pub enum Checkout {
    /// An idle connection, or a stream of one that is shared.
    Reuse(Box<Connection>),
    /// None is idle; this permits to open one.
    Open(Permit),
    /// One is being opened, to be shared.
    Wait(Rc<Dial>),
    /// As many are open as may be, on all workers.
    Full,
}

/// The right to have one connection open. Dropping it tells those who wait.
#[derive(Debug)]
pub struct Permit {
    slot: Rc<Slot>,
}

impl Slot {
    pub(super) fn new(pool: &Rc<Pool>, endpoint: Arc<Endpoint>, service: Arc<Service>) -> Rc<Self> {
        let settings = service.settings();
        let language = match settings.protocol {
            Protocol::Http2 => Language::Http2,
            Protocol::Auto if settings.tls.is_some() => Language::Unknown,
            Protocol::Http1 | Protocol::Auto => Language::Http1,
        };
        Rc::new(Self {
            pool: Rc::downgrade(pool),
            bell: Bell::new(endpoint.id(), pool.ring.clone()),
            endpoint,
            service,
            idle: RefCell::default(),
            shared: RefCell::default(),
            dial: RefCell::default(),
            language: Cell::new(language),
            complained: Cell::new(false),
            tickets: RefCell::default(),
            open: Cell::new(0),
            drain: Cell::new(None),
        })
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Its service.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Registers a request, or a pin, that holds a place here.
    pub fn enter(&self, ticket: &Rc<Ticket>) {
        let mut tickets = self.tickets.borrow_mut();
        ticket.index.set(tickets.len());
        tickets.push(ticket.clone());
        drop(tickets);
        if let (Some(window), Some(pool)) = (self.drain.get(), self.pool.upgrade()) {
            // It was admitted before the gate closed and comes here after the drain did.
            self.tell(ticket, window, &mut pool.rng.borrow_mut());
        }
    }

    /// A request has ended here.
    pub fn leave_ticket(&self, ticket: &Ticket) {
        let mut tickets = self.tickets.borrow_mut();
        let index = ticket.index.get();
        if index < tickets.len() {
            tickets.swap_remove(index);
            if let Some(moved) = tickets.get(index) {
                moved.index.set(index);
            }
        }
        drop(tickets);
        if let (Some(_), Some(pool)) = (self.drain.get(), self.pool.upgrade()) {
            pool.forget_if_done(self);
        }
    }

    /// A request has turned out to be endless. In a drain it learns its moment at once.
    pub fn is_endless(&self, ticket: &Ticket, kind: Kind) {
        debug_assert!(kind.is_endless());
        ticket.set_kind(kind);
        if let (Some(window), Some(pool)) = (self.drain.get(), self.pool.upgrade()) {
            ticket.set_moment(window.moment(ticket, &mut pool.rng.borrow_mut()));
        }
    }

    /// A connection, if there is one or may be one. `fresh` asks for a new one (a retry, P10); `quiet` has the kernel asked
    /// whether a reused one has been closed this moment, for requests that cannot be sent twice.
    #[must_use]
    pub fn checkout(self: &Rc<Self>, now: Instant, fresh: bool, quiet: bool) -> Checkout {
        if self.language.get() != Language::Http1 {
            return self.checkout_stream(fresh);
        }
        let mut idle = self.idle.borrow_mut();
        if fresh {
            if self.permit_in(&self.service.settings().limits) {
                return Checkout::Open(Permit { slot: self.clone() });
            }
            // At the limit an idle one makes room.
            drop(idle.pop());
        }
        while !fresh && let Some(mut next) = idle.pop() {
            let alive = next.expires > now
                && next.connection.is_idle_alive()
                && (!quiet || next.connection.is_quiet());
            if alive {
                return Checkout::Reuse(next.connection);
            }
        }
        drop(idle);
        if self.permit_in(&self.service.settings().limits) {
            Checkout::Open(Permit { slot: self.clone() })
        } else {
            Checkout::Full
        }
    }

    /// The right to open one more, if it may be.
    pub(super) fn permit(self: &Rc<Self>) -> Option<Permit> {
        self.permit_in(&self.service.settings().limits)
            .then(|| Permit { slot: self.clone() })
    }

    fn permit_in(&self, limits: &crate::snapshot::Limits) -> bool {
        let permitted = self.endpoint.connect(limits.connections_per_endpoint);
        if permitted {
            self.open.set(self.open.get() + 1);
        }
        permitted
    }

    /// Takes a connection back whose exchange has ended whole. It is kept for the next request, unless the endpoint drains
    /// or somebody on another worker has a better use for its place.
    pub fn checkin(self: &Rc<Self>, mut connection: Box<Connection>, now: Instant) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let room = self.service.waiting();
        let here = room.waits_at(pool.worker());
        if self.drain.get().is_some() || !room.stays(pool.worker()) {
            return;
        }
        let expires =
            now + connection.keep_alive(self.service.settings().timeouts.upstream_keep_alive);
        let rests = |connection: &mut h1::Connection| {
            connection.rest(&mut Context::from_waker(&self.bell.waker()))
        };
        // A stream ends here, and makes room by itself.
        if !connection.http1().is_some_and(rests) {
            return;
        }
        self.idle.borrow_mut().push(Idle {
            connection,
            expires,
        });
        if here {
            room.ring(pool.worker());
        }
    }

    pub(super) fn drain(&self, order: Order, rng: &mut fastrand::Rng) -> u64 {
        let window = Window {
            since: order.since,
            deadline: order.deadline,
        };
        self.drain.set(Some(window));
        // Dropped outside the borrow: a permit's drop comes back here.
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        let evicted = idle.len() as u64 + self.close_shared();
        drop(idle);
        self.tell_tickets(window, rng);
        evicted
    }

    pub(super) fn leave(&self, since: Instant, deadline: Instant, rng: &mut fastrand::Rng) {
        if self.drain.get().is_none() {
            let window = Window {
                since,
                deadline: Some(deadline),
            };
            for ticket in self
                .all_tickets()
                .iter()
                .filter(|ticket| ticket.kind().is_endless())
            {
                ticket.set_moment(window.moment(ticket, rng));
            }
        }
    }

    fn tell_tickets(&self, window: Window, rng: &mut fastrand::Rng) {
        for ticket in self.all_tickets() {
            self.tell(&ticket, window, rng);
        }
    }

    fn tell(&self, ticket: &Ticket, window: Window, rng: &mut fastrand::Rng) {
        match ticket.kind() {
            Kind::Pin => {
                let known = ticket.moment();
                ticket.set_moment(known.or_else(|| Some(self.pin_moment(window, rng))));
                ticket.tell(Signal::End);
                return;
            }
            Kind::Events | Kind::Tunnel => ticket.set_moment(window.moment(ticket, rng)),
            Kind::Request => {}
        }
        if !ticket.is_written() {
            ticket.tell(Signal::Recall);
        }
    }

    /// When a pinned connection is closed if it is idle: within the grace, at a random moment of its last part.
    fn pin_moment(&self, window: Window, rng: &mut fastrand::Rng) -> Instant {
        let drain = &self.service.settings().drain;
        spread_moment(
            window.since,
            window.since + drain.idle_grace,
            drain.spread,
            rng.f64(),
        )
    }

    pub(super) fn cut(&self) -> usize {
        let tickets = self.all_tickets();
        tickets.iter().for_each(|ticket| ticket.tell(Signal::Cut));
        tickets.iter().filter(|ticket| !ticket.ends_well()).count()
    }

    fn all_tickets(&self) -> Vec<Rc<Ticket>> {
        self.tickets.borrow().clone()
    }

    pub(super) fn holders(&self, now: Instant, max: usize) -> Vec<Holder> {
        let mut tickets = self.all_tickets();
        tickets.sort_by_key(|ticket| ticket.started());
        tickets
            .iter()
            .take(max)
            .map(|ticket| ticket.holder(now))
            .collect()
    }

    pub(super) fn evict_one(&self) -> bool {
        let oldest = {
            let mut idle = self.idle.borrow_mut();
            (!idle.is_empty()).then(|| idle.remove(0))
        };
        oldest.is_some() || self.evict_oldest_shared()
    }

    /// Closes what has ended or is too old, and makes the rest small. Tells how many there were of both.
    pub(super) fn sweep(&self, now: Instant) -> (u64, u64) {
        self.bell.answer();
        let waker = self.bell.waker();
        let mut kept = Vec::new();
        let (mut ended, mut aged) = (0, 0);
        for mut idle in self.idle.take() {
            if idle.expires <= now {
                aged += 1;
                continue;
            }
            let parks =
                |connection: &mut h1::Connection| connection.park(&mut Context::from_waker(&waker));
            if idle.connection.http1().is_some_and(parks) {
                kept.push(idle);
            } else {
                ended += 1;
            }
        }
        *self.idle.borrow_mut() = kept;
        if !self.shared.borrow().is_empty() {
            let keep_alive = self.service.settings().timeouts.upstream_keep_alive;
            let drains = self.drain.get().is_some();
            aged += self.evict_shared(|it| drains || it.idle_since() + keep_alive <= now);
        }
        (ended, aged)
    }

    pub(super) fn idle_count(&self) -> usize {
        let shared = self.shared.borrow();
        self.idle.borrow().len() + shared.iter().filter(|it| it.is_idle()).count()
    }

    pub(super) fn open_count(&self) -> u32 {
        self.open.get()
    }

    pub(super) fn is_done(&self) -> bool {
        self.drain.get().is_some() && self.tickets.borrow().is_empty() && self.open.get() == 0
    }
}

impl Window {
    /// The moment at which a stream is to end. One that it knows already stays, unless the window has become too short.
    fn moment(self, ticket: &Ticket, rng: &mut fastrand::Rng) -> Option<Instant> {
        let deadline = self.deadline?;
        let latest = latest_stream_moment(self.since, deadline);
        let known = ticket.moment().filter(|known| *known <= latest);
        Some(
            known.unwrap_or_else(|| stream_moment(self.since, deadline, Instant::now(), rng.f64())),
        )
    }
}

impl Permit {
    /// The slot it belongs to.
    #[must_use]
    pub fn slot(&self) -> &Rc<Slot> {
        &self.slot
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let slot = &self.slot;
        slot.open.set(slot.open.get() - 1);
        slot.endpoint.disconnect();
        let Some(pool) = slot.pool.upgrade() else {
            return;
        };
        let room = slot.service.waiting();
        if !room.is_empty() {
            room.ring_elsewhere(pool.worker());
        }
        if slot.drain.get().is_some() {
            pool.forget_if_done(slot);
        }
    }
}

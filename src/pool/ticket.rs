//! A request in flight, as the pool knows it: what it can be told, and what is shown of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Task;
use crate::control::Holder;

/// What a request is told by the drain of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Nothing.
    None,
    /// Not a byte was written: give the place back and pick again (P1).
    Recall,
    /// What never ends by itself: end well at the next boundary.
    End,
    /// The deadline has come (P5).
    Cut,
}

/// What kind of work it is, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request and its response.
    Request,
    /// Server-sent events that can end after any event.
    Events,
    /// Bytes both ways, which end when both sides say so.
    Tunnel,
    /// A client's connection that stays on the endpoint.
    Pin,
}

impl Kind {
    /// Whether it may go on for ever, so that a drain gives it a moment to end at.
    #[must_use]
    pub const fn is_endless(self) -> bool {
        matches!(self, Self::Events | Self::Tunnel)
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct Ticket {
    task: RefCell<Rc<Task>>,
    route: Arc<str>,
    started: Instant,
    signal: Cell<Signal>,
    written: Cell<bool>,
    kind: Cell<Kind>,
    /// It belongs here although the endpoint drains: it is not called back.
    stays: Cell<bool>,
    /// When endless work is to end.
    moment: Cell<Option<Instant>>,
    /// It has been told its end in words, and is not cut by the deadline.
    well: Cell<bool>,
    pub(super) index: Cell<usize>,
}

impl Ticket {
    /// A request that has a place and nothing else yet.
    #[must_use]
    pub fn new(task: Rc<Task>, route: Arc<str>, started: Instant) -> Self {
        Self {
            task: RefCell::new(task),
            route,
            started,
            signal: Cell::new(Signal::None),
            written: Cell::new(false),
            kind: Cell::new(Kind::Request),
            stays: Cell::new(false),
            moment: Cell::new(None),
            well: Cell::new(false),
            index: Cell::new(usize::MAX),
        }
    }

    /// A client's connection that stays here.
    #[must_use]
    pub fn pin(task: Rc<Task>, route: Arc<str>, started: Instant) -> Self {
        let pin = Self::new(task, route, started);
        pin.kind.set(Kind::Pin);
        pin.stay();
        pin
    }

    /// It is not called back: it belongs here, although the endpoint drains (P14).
    pub fn stay(&self) {
        self.stays.set(true);
    }

    /// Another task works on it from now on.
    pub fn move_to(&self, task: Rc<Task>) {
        *self.task.borrow_mut() = task;
    }

    fn wake(&self) {
        self.task.borrow().wake();
    }

    /// What it has been told, the strongest first.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.signal.get()
    }

    /// The first byte goes out: from here on it cannot be called back.
    pub fn write(&self) {
        self.written.set(true);
    }

    /// What kind of work it has turned out to be.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind.get()
    }

    /// When endless work is to end, or an idle pinned connection.
    #[must_use]
    pub fn moment(&self) -> Option<Instant> {
        self.moment.get()
    }

    /// Its client has been told that it ends: the deadline cuts nothing any more.
    pub fn end_well(&self) {
        self.well.set(true);
    }

    pub(super) fn ends_well(&self) -> bool {
        self.well.get()
    }

    pub(super) fn set_kind(&self, kind: Kind) {
        self.kind.set(kind);
    }

    pub(super) fn set_moment(&self, moment: Option<Instant>) {
        self.moment.set(moment);
        self.wake();
    }

    pub(super) fn is_written(&self) -> bool {
        self.written.get()
    }

    pub(super) fn tell(&self, signal: Signal) {
        let ignores = signal == Signal::Recall && self.stays.get();
        if signal > self.signal.get() && !ignores {
            self.signal.set(signal);
            self.wake();
        }
    }

    pub(super) fn holder(&self, now: Instant) -> Holder {
        let kind = match self.kind.get() {
            Kind::Request => "request",
            Kind::Events => "stream",
            Kind::Tunnel => "tunnel",
            Kind::Pin => "pin",
        };
        let age: Duration = now.saturating_duration_since(self.started);
        Holder {
            route: self.route.clone(),
            kind,
            age,
        }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }
}

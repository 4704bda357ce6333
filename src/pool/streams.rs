//! A slot's HTTP/2 connections: who gets a stream, and which connection ends when.

use std::rc::Rc;

use super::dial::Dial;
use super::http2::Shared;
use super::slot::{Checkout, Language, Slot};
use super::{Connection, Exchange};

impl Slot {
    /// A stream; or a connection that is being opened, or may be. `fresh` asks for another connection than there is.
    pub(super) fn checkout_stream(self: &Rc<Self>, fresh: bool) -> Checkout {
        let reuse = |exchange| Checkout::Reuse(Box::new(Connection::Http2(exchange)));
        if !fresh && let Some(exchange) = self.open_stream() {
            return reuse(exchange);
        }
        if let Some(dial) = self.dial.borrow().clone() {
            return Checkout::Wait(dial);
        }
        if let Some(permit) = self.permit() {
            return Checkout::Open(permit);
        }
        self.open_stream().map_or(Checkout::Full, reuse)
    }

    /// The latest connection first: a retry finds the one that it asked for, and the others may grow old.
    fn open_stream(&self) -> Option<Exchange> {
        self.shared.borrow().iter().rev().find_map(Shared::open)
    }

    /// Whether each request opens a connection of its own.
    #[must_use]
    pub fn dials_alone(&self) -> bool {
        self.language.get() == Language::Http1
    }

    /// What the endpoint has turned out to speak.
    pub(super) fn speaks(&self, http2: bool) {
        self.complained.set(false);
        self.language.set(if http2 {
            Language::Http2
        } else {
            Language::Http1
        });
    }

    /// Whether the log knows already that the endpoint speaks another language. Now it does.
    pub(super) fn is_complained_of(&self) -> bool {
        self.complained.replace(true)
    }

    /// A connection is being opened for all.
    pub(super) fn dials(&self, dial: &Rc<Dial>) {
        *self.dial.borrow_mut() = Some(dial.clone());
    }

    /// It is opened, or will not be.
    pub(super) fn dialled(&self, dial: &Rc<Dial>) {
        let mut known = self.dial.borrow_mut();
        if known.as_ref().is_some_and(|known| Rc::ptr_eq(known, dial)) {
            *known = None;
        }
    }

    /// A connection that takes streams from now on. While the endpoint drains these are its sessions' (P14), and it ends
    /// with the last of them.
    pub(super) fn share(&self, shared: Rc<Shared>) {
        self.shared.borrow_mut().push(shared);
    }

    /// No stream begins any more: what is idle is closed, the rest ends with its last stream. Returns how many were idle.
    pub(super) fn close_shared(&self) -> u64 {
        if let Some(dial) = self.dial.borrow_mut().take() {
            dial.cancel();
        }
        let mut evicted = 0;
        for shared in self.shared.take() {
            if shared.is_idle() {
                evicted += 1;
                shared.close();
            } else {
                shared.retire();
            }
        }
        evicted
    }

    /// Closes idle ones; returns how many.
    pub(super) fn evict_shared(&self, is_due: impl Fn(&Shared) -> bool) -> u64 {
        let mut due = Vec::new();
        self.shared.borrow_mut().retain(|shared| {
            let goes = shared.is_idle() && is_due(shared);
            if goes {
                due.push(shared.clone());
            }
            !goes
        });
        due.iter().for_each(|shared| shared.close());
        due.len() as u64
    }

    /// Closes the idle one that was opened first.
    pub(super) fn evict_oldest_shared(&self) -> bool {
        let oldest = {
            let mut all = self.shared.borrow_mut();
            let place = all.iter().position(|shared| shared.is_idle());
            place.map(|place| all.remove(place))
        };
        oldest.inspect(|shared| shared.close()).is_some()
    }

    /// A stream has ended: there is room for another, here, or for a connection elsewhere.
    pub(super) fn stream_ended(&self, shared: &Rc<Shared>) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        if self.drain.get().is_some() && shared.is_idle() {
            self.shared
                .borrow_mut()
                .retain(|known| !Rc::ptr_eq(known, shared));
            shared.retire();
        }
        let room = self.service.waiting();
        if shared.is_retired() || room.is_empty() {
            return;
        }
        if room.waits_at(pool.worker()) {
            room.ring(pool.worker());
        } else if shared.is_idle() {
            self.shared
                .borrow_mut()
                .retain(|known| !Rc::ptr_eq(known, shared));
            shared.close();
        }
    }

    /// A connection has ended by itself.
    pub(super) fn connection_ended(&self, shared: &Rc<Shared>) {
        let was_idle = {
            let mut all = self.shared.borrow_mut();
            let before = all.len();
            all.retain(|known| !Rc::ptr_eq(known, shared));
            all.len() < before && shared.is_idle()
        };
        if let (true, Some(pool)) = (was_idle, self.pool.upgrade()) {
            pool.metrics
                .idle_evicted(self.service.name().as_str(), "closed", 1);
        }
    }
}

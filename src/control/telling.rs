//! What is told of endpoints as it happens, in an order that holds for each of them.

use std::sync::Arc;
use std::time::SystemTime;

use tracing::info;

use super::view::{Event, EventKind, Reason, State};
use super::writer::Writer;
use crate::endpoint::{EndpointKey, ServiceName};

impl Writer {
    pub(super) fn tell(&self, kind: EventKind) {
        // An error only means that nobody listens.
        let _ = self.events.send(Arc::new(Event {
            time: SystemTime::now(),
            kind,
        }));
    }

    /// Tells a change, unless the drain of an earlier life of the same id is still to be told.
    pub(super) fn tell_in_order(
        &mut self,
        service: ServiceName,
        key: EndpointKey,
        from: Option<State>,
    ) {
        let is_held = self
            .held
            .iter()
            .any(|held| *held == (service.clone(), key.clone()));
        if is_held {
            // What holds then is told with it.
            return;
        }
        if self.has_untold_drain(&service, &key) {
            self.held.push((service, key));
        } else {
            self.tell_state(&service, &key, from);
        }
    }

    /// A drain of this id has been told: what was held back for it follows.
    pub(super) fn tell_held(&mut self, service: &ServiceName, key: &EndpointKey) {
        let held = self
            .held
            .iter()
            .position(|(of, held)| of == service && held == key);
        if let Some(place) = held
            && !self.has_untold_drain(service, key)
        {
            self.held.swap_remove(place);
            self.tell_state(service, key, None);
        }
    }

    /// Whether a gate of an earlier life is closed and not every worker has confirmed.
    fn has_untold_drain(&self, service: &ServiceName, key: &EndpointKey) -> bool {
        let entry = self
            .services
            .get(service)
            .and_then(|record| record.entries.get(key));
        entry.is_some_and(|entry| {
            let mut drains = entry.older.iter().filter_map(|life| life.drain.as_ref());
            drains.any(|drain| drain.closed.is_some() && !drain.confirmed)
        })
    }

    /// Tells the state of an endpoint's newest life, and logs it.
    pub(super) fn tell_state(&self, service: &ServiceName, key: &EndpointKey, from: Option<State>) {
        let newest = self
            .services
            .get(service)
            .and_then(|record| record.entries.get(key))
            .and_then(|e| e.newest.as_ref());
        if let Some(newest) = newest {
            self.tell_change(service, key, from, newest.state(), newest.reason());
        }
    }

    pub(super) fn tell_change(
        &self,
        service: &ServiceName,
        key: &EndpointKey,
        from: Option<State>,
        to: State,
        reason: Option<Reason>,
    ) {
        let why = reason.map_or("", Reason::as_str);
        info!(%service, endpoint = %key, from = from.map_or("", State::as_str), to = to.as_str(), reason = why, "endpoint");
        self.tell(EventKind::State {
            service: service.clone(),
            key: key.clone(),
            from,
            to,
            reason,
        });
    }
}

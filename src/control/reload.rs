//! A new config: services and routes that come, change and go.
//!
//! New before old here, too: the sources of new services deliver their first sets before anything is routed to them, and
//! only then do the services that lost their routes drain (P8).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::registry::{Record, Uids};
use super::writer::Writer;
use super::{Desired, DesiredService};
use crate::endpoint::{EndpointKey, ServiceName};
use crate::snapshot::Service;

/// A reload that waits for first sets.
#[derive(Debug)]
pub(super) struct Reload {
    desired: Desired,
    pub(super) until: Instant,
    answer: Option<oneshot::Sender<()>>,
}

impl Writer {
    /// Takes up a config. One that is still waiting is put in force as it is, before the next.
    pub(super) fn begin_reload(&mut self, desired: Desired, answer: Option<oneshot::Sender<()>>) {
        if let Some(earlier) = self.reload.take() {
            self.finish_reload(earlier);
        }
        let first = self.services.is_empty();
        for service in &desired.services {
            self.admit_service(service);
        }
        // At the start nothing is routed yet, so there is nothing to wait for.
        let wait = if first {
            std::time::Duration::ZERO
        } else {
            self.settings.first_set
        };
        self.reload = Some(Reload {
            desired,
            until: Instant::now() + wait,
            answer,
        });
    }

    /// Puts a waiting config in force once its new services have their first sets, or have not for too long.
    pub(super) fn settle_reload(&mut self, now: Instant) {
        let waits = |reload: &Reload| {
            let unseen = |service: &DesiredService| {
                self.services
                    .get(&service.settings.name)
                    .is_some_and(|record| {
                        record.source.fresh.is_none() && record.source.fault.is_none()
                    })
            };
            now < reload.until && reload.desired.services.iter().any(unseen)
        };
        if self.reload.as_ref().is_some_and(|reload| !waits(reload))
            && let Some(reload) = self.reload.take()
        {
            self.finish_reload(reload);
        }
    }

    /// A service that is new, or that has changed; nothing is routed to it by this.
    fn admit_service(&mut self, desired: &DesiredService) {
        let name = desired.settings.name.clone();
        if !self.services.contains_key(&name) {
            let source = self.start_source(&name, &desired.source);
            let service = Arc::new(Service::new(desired.settings.clone(), self.workers.len()));
            let record = Record {
                service,
                source,
                // Until the routes are in force, it is as good as routed: its endpoints may begin.
                routed: true,
                configured: true,
                observed: Arc::default(),
                suspects: Default::default(),
                entries: HashMap::default(),
                ready: 0,
                sound: 0,
                terminated: Uids::default(),
            };
            self.services.insert(name, record);
            return;
        }
        let returns = self
            .services
            .get(&name)
            .is_some_and(|record| !record.configured);
        let differs = self
            .services
            .get(&name)
            .is_some_and(|record| record.source.settings != desired.source);
        if returns || differs {
            let fresh = self.start_source(&name, &desired.source);
            if let Some(record) = self.services.get_mut(&name) {
                let old = std::mem::replace(&mut record.source, fresh);
                old.stop.cancel();
                // What the old source said stays until the new one has spoken; a service that returns has nothing.
                record.source.fresh = old.fresh.filter(|_| !returns);
            }
        }
        let Some(record) = self.services.get_mut(&name) else {
            return;
        };
        record.configured = true;
        if desired.settings.health.is_none() {
            record.stop_checks();
        }
        // What TLS is made of is read again by the newest settings alone, even when they say the same.
        if desired.settings.tls.is_some() || *record.service.settings() != *desired.settings {
            let tiers = record.tiers();
            record.service.publish(desired.settings.clone(), tiers);
        }
        let all: Vec<EndpointKey> = record.entries.keys().cloned().collect();
        self.apply(&name, all, None);
    }

    /// Publishes the routes, then drains what they no longer lead to.
    fn finish_reload(&mut self, reload: Reload) {
        let routed: HashSet<&ServiceName> = reload
            .desired
            .routes
            .iter()
            .flat_map(|(_, action)| action.services())
            .collect();
        let configured: HashSet<&ServiceName> = reload
            .desired
            .services
            .iter()
            .map(|service| &service.settings.name)
            .collect();
        self.come_back(&routed, &configured);
        let find =
            |name: &ServiceName| self.services.get(name).map(|record| record.service.clone());
        self.publisher.publish(&reload.desired.routes, find);
        let leaving: Vec<ServiceName> = self
            .services
            .keys()
            .filter(|name| !(routed.contains(name) && configured.contains(name)))
            .cloned()
            .collect();
        for name in leaving {
            let Some(record) = self.services.get_mut(&name) else {
                continue;
            };
            record.routed = routed.contains(&name);
            record.configured = configured.contains(&name);
            if record.configured {
                warn!(service = %name, "no route leads to this service");
            } else {
                record.source.stop.cancel();
                record.observed = Arc::default();
                record
                    .entries
                    .values_mut()
                    .for_each(|entry| entry.listed = None);
            }
            self.apply_all(&name);
        }
        self.keep_configured();
        if let Some(answer) = reload.answer {
            // Whoever asked may have gone; the config is in force.
            let _ = answer.send(());
        }
    }

    /// Services that are routed again begin new lives before the routes lead there.
    fn come_back(&mut self, routed: &HashSet<&ServiceName>, configured: &HashSet<&ServiceName>) {
        let back: Vec<ServiceName> = self
            .services
            .iter()
            .filter(|(name, record)| {
                routed.contains(name)
                    && configured.contains(name)
                    && !(record.routed && record.configured)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in back {
            if let Some(record) = self.services.get_mut(&name) {
                (record.routed, record.configured) = (true, true);
            }
            self.apply_all(&name);
        }
    }

    fn apply_all(&mut self, name: &ServiceName) {
        let Some(record) = self.services.get(name) else {
            return;
        };
        if record.is_over() {
            // It never had an endpoint, or none is left: nothing has to drain.
            if let Some(record) = self.services.remove(name) {
                record.source.stop.cancel();
            }
            self.metrics.forget_service(name.as_str());
            return;
        }
        let all: Vec<EndpointKey> = record.entries.keys().cloned().collect();
        self.apply(name, all, None);
    }
}

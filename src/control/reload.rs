//! A new config: services and routes that come, change and go.
//!
//! New before old here, too: the sources of new services deliver their first sets before anything is routed to them, and
//! only then do the services that lost their routes drain (P8).
//!
//! A config may have ten thousand services and routes, and whoever wants a drain meanwhile must not wait for all of them (P2).
//! So a reload is carried out in slices; between two of them the loop hears everybody else. That is as good as one piece:
//! each service is brought to its new settings by itself, the routes change all at once, and what nobody leads to any more
//! leaves after that.

use std::collections::HashMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::registry::{Record, Uids};
use super::writer::Writer;
use super::{Desired, DesiredService};
use crate::endpoint::{EndpointKey, ServiceName};
use crate::snapshot::{Routes, Service, Tiers};

/// A reload under way.
#[derive(Debug)]
pub(super) struct Reload {
    desired: Arc<Desired>,
    stage: Stage,
    /// How long it waits for first sets.
    until: Instant,
    /// Services without a first set.
    unseen: Vec<ServiceName>,
    /// Services that nothing led to, and that the new routes may lead to.
    back: Vec<ServiceName>,
    /// How many others have been heard since its last slice.
    passed_over: usize,
    answer: Option<oneshot::Sender<()>>,
}

/// How far it has come.
#[derive(Debug)]
enum Stage {
    /// Services are admitted; so many have been.
    Admit(usize),
    /// Until the new services have their first sets, or have not for too long.
    Wait,
    /// Services that are led to again begin new lives.
    Return,
    /// Routes are led to their services.
    Lead(Routes),
    /// The routes are in force. What they no longer lead to leaves; all up to this one have been looked at.
    Leave(Option<ServiceName>),
}

/// How many services, routes or endpoints a slice looks at: a fraction of a millisecond's work.
const SLICE: usize = 64;

/// So many others may come before a slice, which must come at last.
const PASSED_OVER_MAX: usize = 256;

impl Writer {
    /// Takes up a config. One that is still under way is put in force as it is, before the next.
    pub(super) fn begin_reload(
        &mut self,
        desired: Arc<Desired>,
        answer: Option<oneshot::Sender<()>>,
    ) {
        let now = Instant::now();
        if let Some(earlier) = &mut self.reload {
            earlier.until = now;
        }
        while self.reload.is_some() {
            self.step_reload(now);
        }
        // At the start nothing is routed yet, so there is nothing to wait for.
        let wait = if self.services.is_empty() {
            std::time::Duration::ZERO
        } else {
            self.settings.first_set
        };
        self.reload = Some(Reload {
            desired,
            stage: Stage::Admit(0),
            until: now + wait,
            unseen: Vec::new(),
            back: Vec::new(),
            passed_over: 0,
            answer,
        });
    }

    /// Carries out the next slice of a reload, if nobody else wants something, or somebody always does.
    pub(super) fn go_on_with_reload(&mut self, is_quiet: bool) {
        let Some(reload) = &mut self.reload else {
            return;
        };
        reload.passed_over += 1;
        if is_quiet || !reload.is_under_way() || reload.passed_over > PASSED_OVER_MAX {
            reload.passed_over = 0;
            self.step_reload(Instant::now());
        }
    }

    fn step_reload(&mut self, now: Instant) {
        let Some(mut reload) = self.reload.take() else {
            return;
        };
        let stage = std::mem::replace(&mut reload.stage, Stage::Wait);
        let next = match stage {
            Stage::Admit(from) => Some(self.admit_services(&mut reload, from, now)),
            Stage::Wait => Some(self.wait_for_first_sets(&mut reload, now)),
            Stage::Return => Some(self.come_back(&mut reload)),
            Stage::Lead(routes) => Some(self.lead(routes)),
            Stage::Leave(after) => self.leave(&reload.desired, after).map(Stage::Leave),
        };
        match next {
            Some(stage) => self.reload = Some(Reload { stage, ..reload }),
            None => self.finish_reload(reload),
        }
    }

    fn admit_services(&mut self, reload: &mut Reload, from: usize, now: Instant) -> Stage {
        let desired = reload.desired.clone();
        let (mut at, mut cost) = (from, 0);
        while let Some(service) = desired.services.get(at) {
            if cost >= SLICE {
                return Stage::Admit(at);
            }
            cost += self.admit_service(service, reload);
            at += 1;
        }
        // There may be nothing to wait for, and then nothing would wake it.
        self.wait_for_first_sets(reload, now)
    }

    fn wait_for_first_sets(&self, reload: &mut Reload, now: Instant) -> Stage {
        let is_seen = |name: &ServiceName| {
            let record = self.services.get(name);
            record.is_none_or(|record| !record.is_unseen())
        };
        while reload.unseen.last().is_some_and(is_seen) {
            reload.unseen.pop();
        }
        if reload.unseen.is_empty() || now >= reload.until {
            Stage::Return
        } else {
            Stage::Wait
        }
    }

    /// A service that is new, or that may have changed; nothing is routed to it by this. Returns how much was looked at.
    fn admit_service(&mut self, desired: &DesiredService, reload: &mut Reload) -> usize {
        let name = desired.settings.name.clone();
        let Some(record) = self.services.get_mut(&name) else {
            let source = self.start_source(&name, &desired.source);
            reload.unseen.push(name.clone());
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
                tiers: Tiers::default(),
                ready: 0,
                sound: 0,
                terminated: Uids::default(),
            };
            self.services.insert(name, record);
            return 1;
        };
        if !(record.routed && record.configured) && reload.desired.routed.contains(&name) {
            reload.back.push(name.clone());
        }
        let returns = !record.configured;
        if returns || record.source.settings != desired.source {
            self.change_source(&name, desired, returns);
        }
        let Some(record) = self.services.get_mut(&name) else {
            return 1;
        };
        record.configured = true;
        if record.is_unseen() {
            reload.unseen.push(name.clone());
        }
        let differs = *record.service.settings() != *desired.settings;
        if desired.settings.health.is_none() && differs {
            record.stop_checks();
        }
        // What TLS is made of is read again by the newest settings alone, even when they say the same.
        if differs || desired.settings.tls.is_some() {
            let settings = desired.settings.clone();
            self.spent
                .push(record.service.publish(settings, &record.tiers));
        }
        if !(differs || returns) {
            return 1;
        }
        let all: Vec<EndpointKey> = record.entries.keys().cloned().collect();
        let looked_at = all.len();
        self.apply(&name, all, None);
        1 + looked_at
    }

    fn change_source(&mut self, name: &ServiceName, desired: &DesiredService, returns: bool) {
        let fresh = self.start_source(name, &desired.source);
        if let Some(record) = self.services.get_mut(name) {
            let old = std::mem::replace(&mut record.source, fresh);
            old.stop.cancel();
            // What the old source said stays until the new one has spoken; a service that returns has nothing.
            record.source.fresh = old.fresh.filter(|_| !returns);
        }
    }

    /// Services that are routed again begin new lives before the routes lead there.
    fn come_back(&mut self, reload: &mut Reload) -> Stage {
        let mut cost = 0;
        while let Some(name) = reload.back.pop() {
            if let Some(record) = self.services.get_mut(&name) {
                (record.routed, record.configured) = (true, true);
            }
            cost += self.apply_all(&name);
            if cost >= SLICE {
                return Stage::Return;
            }
        }
        Stage::Lead(Routes::begin(reload.desired.routes.clone()))
    }

    /// Leads the next routes to their services; once all are led they are published.
    fn lead(&mut self, mut routes: Routes) -> Stage {
        let find = |name: &ServiceName| {
            let record = self.services.get(name);
            record.map(|record| record.service.clone())
        };
        if !routes.lead(SLICE, find) {
            return Stage::Lead(routes);
        }
        self.publisher.publish(routes);
        Stage::Leave(None)
    }

    /// Drains what the routes no longer lead to, from the service after this one on. None once all have been looked at.
    fn leave(
        &mut self,
        desired: &Desired,
        mut after: Option<ServiceName>,
    ) -> Option<Option<ServiceName>> {
        let mut cost = 0;
        while cost < SLICE {
            let from = after.as_ref().map_or(Unbounded, Excluded);
            let (name, _) = self.services.range((from, Unbounded)).next()?;
            let name = name.clone();
            cost += 1;
            let stands = (
                desired.routed.contains(&name),
                desired.configured.contains(&name),
            );
            if stands != (true, true) {
                cost += self.let_go(&name, stands);
            }
            after = Some(name);
        }
        Some(after)
    }

    fn let_go(&mut self, name: &ServiceName, (routed, configured): (bool, bool)) -> usize {
        let Some(record) = self.services.get_mut(name) else {
            return 0;
        };
        if configured {
            warn!(service = %name, "no route leads to this service");
        }
        if (record.routed, record.configured) == (routed, configured) {
            return 0;
        }
        (record.routed, record.configured) = (routed, configured);
        if !configured {
            record.source.stop.cancel();
            record.observed = Arc::default();
            record
                .entries
                .values_mut()
                .for_each(|entry| entry.listed = None);
        }
        self.apply_all(name)
    }

    fn finish_reload(&mut self, reload: Reload) {
        self.keep_configured();
        if let Some(answer) = reload.answer {
            // Whoever asked may have gone; the config is in force.
            let _ = answer.send(());
        }
    }

    /// Brings all endpoints of a service to what is wanted of them. Returns how many there are.
    fn apply_all(&mut self, name: &ServiceName) -> usize {
        let Some(record) = self.services.get(name) else {
            return 0;
        };
        if record.is_over() {
            // It never had an endpoint, or none is left: nothing has to drain.
            if let Some(record) = self.services.remove(name) {
                record.source.stop.cancel();
            }
            self.gone.service(name.as_str());
            return 1;
        }
        let all: Vec<EndpointKey> = record.entries.keys().cloned().collect();
        let looked_at = all.len();
        self.apply(name, all, None);
        looked_at
    }
}

impl Reload {
    /// Whether there is something to do for it now.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.stage, Stage::Wait)
    }

    /// When it goes on at the latest, while it waits.
    pub(super) fn until(&self) -> Option<Instant> {
        matches!(self.stage, Stage::Wait).then_some(self.until)
    }
}

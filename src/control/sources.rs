//! Sources: started, stopped, and listened to.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::reconcile::diff;
use super::registry::{Asked, Entry, Source};
use super::view::EventKind;
use super::writer::Writer;
use crate::discovery::{Heard, News, Observation, Observed, ObservedState, Observer, Settings};
use crate::drain::Cause;
use crate::endpoint::{EndpointKey, ServiceName};

impl Writer {
    /// Starts watching. Late words of an earlier source of the same service are ignored.
    pub(super) fn start_source(&mut self, service: &ServiceName, settings: &Settings) -> Source {
        let generation = self.next_generation();
        let stop = CancellationToken::new();
        let source = (self.build)(settings);
        let kind = source.kind();
        let observer = Observer::new(service.clone(), generation, self.news.clone());
        self.sources.spawn_local(source.run(observer, stop.clone()));
        self.metrics.source_up(service.as_str(), kind, false);
        Source {
            settings: settings.clone(),
            kind,
            generation,
            stop,
            fault: None,
            has_told: false,
            fresh: None,
        }
    }

    pub(super) fn heard(&mut self, news: News) {
        let Some(record) = self.services.get_mut(&news.service) else {
            return;
        };
        if record.source.generation != news.generation {
            return;
        }
        match news.what {
            Heard::Observation(set) => self.hears_set(&news.service, set, false),
            Heard::Relist(set) => self.hears_set(&news.service, set, true),
            Heard::Same => self.source_sees(&news.service, "same"),
            Heard::Fault(fault) => self.source_fails(&news.service, fault),
        }
    }

    /// A full set: those that it may only have missed are added to it (P9).
    fn hears_set(&mut self, service: &ServiceName, set: Arc<Observation>, is_relist: bool) {
        self.source_sees(service, "success");
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        // The first set of a source is not compared with what another one said.
        let has_told = std::mem::replace(&mut record.source.has_told, true);
        let is_relist = is_relist && has_told;
        let known = &record.observed;
        let missing = record.suspects.hear(known, set, is_relist, Instant::now());
        if missing > 0 {
            warn!(%service, source = record.source.kind, endpoints = missing,
                "a new list misses most endpoints; they are kept for a while, last in order");
        }
        let set = record.suspects.with(Instant::now());
        if record.suspects.until().is_some() {
            self.suspected.insert(service.clone());
        }
        self.observed(service, &set);
    }

    /// What is still missing is gone now.
    pub(super) fn suspects_due(&mut self, now: Instant) {
        for service in std::mem::take(&mut self.suspected) {
            let Some(record) = self.services.get_mut(&service) else {
                continue;
            };
            let is_due = record.suspects.until().is_some_and(|until| until <= now);
            let set = is_due.then(|| record.suspects.with(now));
            if record.suspects.until().is_some() {
                self.suspected.insert(service.clone());
            }
            if let Some(set) = set {
                self.observed(&service, &set);
            }
        }
    }

    /// The source sees; what it saw is as fresh as now. The age of the first set is noted by `observed`.
    fn source_sees(&mut self, service: &ServiceName, result: &str) {
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let source = &mut record.source;
        self.metrics
            .source_update(service.as_str(), source.kind, result);
        self.metrics.source_up(service.as_str(), source.kind, true);
        let recovered = source.fault.take();
        if source.fresh.is_some() {
            source.fresh = Some(Instant::now());
        }
        if recovered.is_some() {
            info!(%service, source = source.kind, "the source sees again");
            self.tell(EventKind::Source {
                service: service.clone(),
                to: "up",
                reason: None,
            });
        }
    }

    /// The source cannot see: nothing changes but what is told about it (P9).
    fn source_fails(&mut self, service: &ServiceName, fault: String) {
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let source = &mut record.source;
        self.metrics
            .source_update(service.as_str(), source.kind, "error");
        self.metrics.source_up(service.as_str(), source.kind, false);
        if source.fresh.is_some() {
            warn!(%service, source = source.kind, error = %fault, "the source cannot see; the last good set stays");
        } else {
            warn!(%service, source = source.kind, error = %fault, "the source cannot see, and never could");
        }
        source.fault = Some(fault.clone());
        self.tell(EventKind::Source {
            service: service.clone(),
            to: "down",
            reason: Some(fault),
        });
    }

    /// A full set: what has changed is brought to what is wanted (P2).
    fn observed(&mut self, service: &ServiceName, observation: &Arc<Observation>) {
        let began = Instant::now();
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let found = diff(&record.observed, observation);
        // Dropped at the end, once gates are closed: that takes as long as it has endpoints (P2).
        let _before = std::mem::replace(&mut record.observed, observation.clone());
        let mut dirty = Vec::with_capacity(found.changed.len() + found.removed.len());
        for observed in found.changed {
            dirty.push(self.list(service, observed));
        }
        for key in found.removed {
            self.unlist(service, &key);
            dirty.push(key);
        }
        if !dirty.is_empty() {
            self.apply(service, dirty.clone(), None);
            self.metrics
                .applied(self.closed_at.saturating_duration_since(began));
            self.shorten_own(service, &dirty);
        }
        let first = self.services.get_mut(service).is_some_and(|record| {
            let before = record.source.fresh.replace(Instant::now());
            before.is_none()
        });
        self.keep_listed(service, first);
    }

    fn list(&mut self, service: &ServiceName, observed: Arc<Observed>) -> EndpointKey {
        let key = observed.key.clone();
        let Some(record) = self.services.get_mut(service) else {
            return key;
        };
        let terminating =
            observed.latched && matches!(observed.state, ObservedState::Draining { .. });
        let terminated = terminating || (observed.latched && record.terminated.contains(&key));
        match record.entries.get_mut(&key) {
            None => {
                let mut entry = Entry::new(observed, terminated);
                self.recall(service, &mut entry, &key);
                if entry.asked.is_none() && self.expected.contains(&key) {
                    entry.asked = Some(Box::new(Asked {
                        cause: Cause::Hook,
                        timeout: None,
                        at: SystemTime::now(),
                    }));
                }
                if let Some(record) = self.services.get_mut(service) {
                    record.entries.insert(key.clone(), entry);
                }
            }
            Some(entry) => {
                entry.own_timeout = observed.drain_timeout;
                let lags = entry.hear_of_its_end(observed.pod_end, SystemTime::now());
                for (teller, lag) in lags {
                    self.metrics.detection_lag(teller, lag);
                }
                let was = entry.listed.replace(observed);
                entry.terminated |= terminated;
                if was.is_none() {
                    // It was asked for after the id had left, of a life that ends (P16).
                    entry.asked = None;
                }
                let left =
                    was.is_none_or(|was| matches!(was.state, ObservedState::Draining { .. }));
                let back = entry
                    .listed
                    .as_ref()
                    .is_some_and(|now| !matches!(now.state, ObservedState::Draining { .. }));
                // What was promised of the old life is no promise of the one that begins now (P8).
                if left && back && entry.asked.is_none() && !entry.terminated {
                    entry.settled = false;
                }
            }
        }
        key
    }

    fn unlist(&mut self, service: &ServiceName, key: &EndpointKey) {
        if let Some(entry) = self
            .services
            .get_mut(service)
            .and_then(|record| record.entries.get_mut(key))
        {
            entry.listed = None;
            // An operator's drain ends when its id leaves the source (P16).
            entry.asked = None;
        }
        self.keep_no_more(service, key);
    }

    /// A drain timeout that the source has shortened since shortens a drain under way.
    fn shorten_own(&mut self, service: &ServiceName, keys: &[EndpointKey]) {
        use crate::drain::{Deadline, LimitedBy};
        for key in keys {
            let Some(entry) = self
                .services
                .get(service)
                .and_then(|record| record.entries.get(key))
            else {
                continue;
            };
            let own = entry.own_timeout;
            let pod = entry.pod_deadline(Instant::now());
            let closed = entry
                .newest
                .as_ref()
                .and_then(|newest| newest.drain.as_ref())
                .and_then(|drain| drain.closed);
            if let (Some(own), Some(closed)) = (own, closed) {
                self.shorten(
                    service,
                    key,
                    Deadline {
                        at: closed + own,
                        limited_by: LimitedBy::Endpoint,
                    },
                );
            }
            if let Some(pod) = pod {
                self.shorten(service, key, pod);
                self.pod_deadlines
                    .insert((pod.at, service.clone(), key.clone()));
            }
        }
    }

    /// Pods whose time is over serve nobody any more, not even as the fallback (P7). What drains proper has the plan's
    /// deadline, which is the same.
    pub(super) fn pods_due(&mut self, now: Instant) {
        while let Some((at, service, key)) = self.pod_deadlines.pop_first() {
            if at > now {
                self.pod_deadlines.insert((at, service, key));
                return;
            }
            let record = self.services.get_mut(&service);
            if let Some(entry) = record.and_then(|record| record.entries.get_mut(&key)) {
                entry.out_of_time = true;
                self.apply(&service, vec![key], None);
            }
        }
    }
}

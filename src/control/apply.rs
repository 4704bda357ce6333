//! A step of one service: admit, publish, drain.

use std::time::SystemTime;

use tokio::time::Instant;
use tracing::warn;

use super::reconcile::{Standing, Step, Want, judged, step};
use super::registry::{Entry, LifeRecord, Record};
use super::writer::Writer;
use crate::endpoint::{About, EndpointId, EndpointKey, Life, ServiceName};

impl Writer {
    /// Brings endpoints of one service to what is wanted of them: admit, publish, drain.
    ///
    /// `lifted`: an operator has put this endpoint back, so its old life has no deadline any more.
    pub(super) fn apply(
        &mut self,
        service: &ServiceName,
        mut dirty: Vec<EndpointKey>,
        lifted: Option<&EndpointKey>,
    ) {
        let now = Now::new();
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let (was_ready, was_spared) = (record.ready > 0, record.spares_failing());
        for key in &dirty {
            refresh(record, key, now.wall);
        }
        let anyone_ready = record.ready > 0;
        if anyone_ready != was_ready {
            let leaving = record
                .entries
                .iter()
                .filter(|(_, entry)| matches!(entry.want, Want::Leave { .. }));
            dirty.extend(leaving.map(|(key, _)| key.clone()));
        }
        if record.spares_failing() != was_spared {
            dirty.extend(record.failing());
            if !was_spared {
                warn!(%service, "every endpoint fails its health check: all are used as if none did");
            }
        }
        let mut closing = Vec::new();
        let mut publish = false;
        for key in &dirty {
            self.admit(service, key, anyone_ready, &now, &mut closing);
            let record = self.services.get_mut(service);
            publish |= record.is_some_and(|record| record.enroll(key));
        }
        if publish {
            self.publish(service);
        }
        let shutting = std::mem::take(&mut self.shutting);
        let shut: Vec<_> = shutting
            .into_iter()
            .filter_map(|life| self.shut(life))
            .collect();
        self.tell_workers(shut);
        self.close(service, closing, lifted, &now);
        self.closed_at = Instant::now();
        self.check(service, &dirty);
        for (service, key, from) in std::mem::take(&mut self.untold) {
            self.tell_in_order(service, key, from);
        }
        for key in &dirty {
            self.sweep(service, key);
        }
    }

    /// The admitting half of a step.
    fn admit(
        &mut self,
        service: &ServiceName,
        key: &EndpointKey,
        anyone_ready: bool,
        now: &Now,
        closing: &mut Vec<(EndpointKey, EndpointId)>,
    ) {
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let first_set = record.source.fresh.is_none();
        let keeps = record
            .entries
            .get(key)
            .is_some_and(|entry| record.keeps(entry));
        let is_spared = record.spares_failing();
        let Some(entry) = record.entries.get_mut(key) else {
            return;
        };
        let is_failing = entry.is_failing();
        let standing = entry.newest.as_ref().map(|newest| newest.standing);
        let want = judged(entry.want, is_failing, is_spared);
        let mut step = step(want, standing, anyone_ready);
        if moved(entry) && !matches!(step, Step::Close) && standing != Some(Standing::Closed) {
            // The same identity at another address: nothing of the old life's connections fits the new one.
            step = Step::Begin(match step {
                Step::Begin(next) | Step::Move(next) => next,
                Step::Keep | Step::Close => standing.unwrap_or(Standing::NotReady),
            });
        }
        let weight = entry.listed.as_ref().map(|listed| listed.weight);
        match step {
            Step::Keep => {
                let Some(newest) = entry.newest.as_mut() else {
                    return;
                };
                newest.weight = weight.unwrap_or(newest.weight);
                if newest.kept && !keeps {
                    self.shutting.push(newest.life.endpoint().id());
                }
            }
            Step::Close => {
                let Some(newest) = entry.newest.as_mut() else {
                    return;
                };
                newest.left = Some(newest.state());
                newest.standing = Standing::Closed;
                newest.kept = keeps;
                closing.push((key.clone(), newest.life.endpoint().id()));
            }
            Step::Move(standing) => {
                let Some(newest) = entry.newest.as_mut() else {
                    return;
                };
                let from = newest.state();
                newest.standing = standing;
                newest.weight = weight.unwrap_or(newest.weight);
                newest.ready_since = (standing == Standing::Ready).then_some(now.mono);
                if standing == Standing::Fallback {
                    entry.begin_fallback(now.wall);
                }
                self.untold.push((service.clone(), key.clone(), Some(from)));
            }
            Step::Begin(standing) => {
                if let Some(mut old) = entry.newest.take() {
                    if old.standing != Standing::Closed {
                        old.left = Some(old.state());
                        old.standing = Standing::Closed;
                        closing.push((key.clone(), old.life.endpoint().id()));
                    } else if old.kept {
                        // Its sessions go to the new life.
                        self.shutting.push(old.life.endpoint().id());
                    }
                    entry.older.push(old);
                }
                let Some(listed) = entry.listed.clone() else {
                    return;
                };
                let about = About {
                    service: service.clone(),
                    key: key.clone(),
                    address: listed.address,
                    pod: listed.pod.clone(),
                    zone: listed.zone.clone(),
                };
                let life = Life::begin(about, self.edges.clone());
                let id = life.endpoint().id();
                self.lives.insert(id, (service.clone(), key.clone()));
                entry.newest = Some(LifeRecord {
                    life,
                    standing,
                    weight: listed.weight,
                    ready_since: (standing == Standing::Ready && !first_set).then_some(now.mono),
                    drain: None,
                    left: None,
                    kept: false,
                    check: None,
                });
                if standing == Standing::Closed {
                    closing.push((key.clone(), id));
                    return;
                }
                if standing == Standing::Fallback {
                    entry.begin_fallback(now.wall);
                }
                self.untold.push((service.clone(), key.clone(), None));
            }
        }
    }

    /// Swaps the pointer that workers choose by.
    pub(super) fn publish(&mut self, service: &ServiceName) {
        if let Some(record) = self.services.get(service) {
            let settings = record.service.settings();
            self.spent
                .push(record.service.publish(settings, &record.tiers));
            record.service.waiting().ring_all();
        }
    }

    /// Closes gates, notes deadlines, and tells the workers.
    fn close(
        &mut self,
        service: &ServiceName,
        closing: Vec<(EndpointKey, EndpointId)>,
        lifted: Option<&EndpointKey>,
        now: &Now,
    ) {
        let mut orders = Vec::with_capacity(closing.len());
        for (key, life) in closing {
            orders.extend(self.begin_drain(service, &key, life, lifted == Some(&key), now));
        }
        self.tell_workers(orders);
    }
}

/// The moment something happens, on both clocks.
pub(super) struct Now {
    pub(super) mono: Instant,
    pub(super) wall: SystemTime,
}

impl Now {
    pub(super) fn new() -> Self {
        Self {
            mono: Instant::now(),
            wall: SystemTime::now(),
        }
    }
}

/// Brings what is wanted of an entry up to date, and the count of those that are ready.
fn refresh(record: &mut Record, key: &EndpointKey, now: SystemTime) {
    let Some(entry) = record.entries.get(key) else {
        return;
    };
    let want = record.want(entry);
    let causes = record.causes(entry);
    let counts = |want: Want, entry: &Entry| {
        usize::from(
            want == Want::Ready
                && entry
                    .listed
                    .as_ref()
                    .is_some_and(|listed| listed.weight > 0),
        )
    };
    let Some(entry) = record.entries.get_mut(key) else {
        return;
    };
    record.ready -= usize::from(entry.counted);
    record.sound -= usize::from(entry.sound);
    entry.want = want;
    entry.counted = counts(want, entry) == 1;
    entry.sound = entry.counted && !entry.is_failing();
    record.ready += usize::from(entry.counted);
    record.sound += usize::from(entry.sound);
    entry.note(&causes, now);
}

/// Whether the source now has another address for the newest life.
pub(super) fn moved(entry: &Entry) -> bool {
    match (&entry.newest, &entry.listed) {
        (Some(newest), Some(listed)) => newest.life.endpoint().about().address != listed.address,
        _ => false,
    }
}

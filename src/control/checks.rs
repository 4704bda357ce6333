//! Health checks: begun and ended with lives, and what follows from what they say.
//!
//! A check only takes away. A failing endpoint that its source lists as ready is wanted as `not_ready`: out of rotation,
//! with its work in flight, its idle connections, and no deadline. If all that could serve fail, the fault is more likely
//! one of the check than of each of them, and all are used as if none failed (P7).

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::apply::moved;
use super::reconcile::Standing;
use super::registry::{Entry, LifeRecord, Record};
use super::writer::Writer;
use crate::endpoint::{EndpointKey, ServiceName};
use crate::health::{Check, Subject, Verdict};
use crate::net::Dialer;
use crate::snapshot::HealthCheck;

/// A life's check, and what it has said last.
#[derive(Debug)]
pub(super) struct Checked {
    check: Check,
    failing: bool,
}

impl Writer {
    /// Brings the checks of these endpoints' lives to what is configured: only who is not on the way out is checked.
    pub(super) fn check(&mut self, service: &ServiceName, keys: &[EndpointKey]) {
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let settings = record.service.settings();
        for key in keys {
            let Some(entry) = record.entries.get_mut(key) else {
                continue;
            };
            entry.older.iter_mut().for_each(|life| life.check = None);
            let Some(newest) = entry.newest.as_mut() else {
                continue;
            };
            let stays = !matches!(newest.standing, Standing::Fallback | Standing::Closed);
            let Some(wanted) = settings.health.as_ref().filter(|_| stays) else {
                newest.check = None;
                continue;
            };
            if newest.is_checked_by(wanted) {
                continue;
            }
            // What another check has found out holds until this one knows better.
            let failing = newest.is_failing();
            self.generations += 1;
            let subject = Subject {
                service: record.service.clone(),
                endpoint: newest.life.endpoint().clone(),
                number: self.generations,
                failing,
                dialer: Dialer::default(),
                verdicts: self.verdicts.clone(),
                metrics: self.metrics.clone(),
            };
            let check = Check::begin(subject, wanted.clone(), &self.sources);
            newest.check = Some(Box::new(Checked { check, failing }));
        }
    }

    /// Checks say otherwise than before.
    pub(super) fn judged(&mut self, verdicts: Vec<Verdict>) {
        let mut dirty: BTreeMap<ServiceName, Vec<EndpointKey>> = BTreeMap::new();
        for verdict in verdicts {
            if let Some((service, key)) = self.note_verdict(&verdict) {
                dirty.entry(service).or_default().push(key);
            }
        }
        for (service, keys) in dirty {
            self.apply(&service, keys, None);
        }
    }

    /// Whose verdict it is; none when that check has ended.
    fn note_verdict(&mut self, verdict: &Verdict) -> Option<(ServiceName, EndpointKey)> {
        let (service, key) = self.lives.get(&verdict.life)?.clone();
        let entry = self.services.get_mut(&service)?.entries.get_mut(&key)?;
        let checked = entry.newest.as_mut()?.check.as_mut()?;
        if checked.check.number() != verdict.check {
            return None;
        }
        checked.failing = verdict.fault.is_some();
        match &verdict.fault {
            Some(error) => warn!(%service, endpoint = %key, error, "the health check fails"),
            None => info!(%service, endpoint = %key, "the health check passes again"),
        }
        Some((service, key))
    }
}

impl Record {
    /// Whether all that could serve fail their checks, and so are used all the same (P7).
    pub(super) fn spares_failing(&self) -> bool {
        self.ready > 0 && self.sound == 0
    }

    /// The endpoints whose checks fail.
    pub(super) fn failing(&self) -> Vec<EndpointKey> {
        let failing = self.entries.iter().filter(|(_, entry)| entry.is_failing());
        failing.map(|(key, _)| key.clone()).collect()
    }

    /// Ends every check, and forgets what they have found.
    pub(super) fn stop_checks(&mut self) {
        for newest in self
            .entries
            .values_mut()
            .filter_map(|entry| entry.newest.as_mut())
        {
            newest.check = None;
        }
    }
}

impl Entry {
    /// Whether its check fails. What was found at another address says nothing.
    pub(super) fn is_failing(&self) -> bool {
        self.newest.as_ref().is_some_and(LifeRecord::is_failing) && !moved(self)
    }
}

impl LifeRecord {
    pub(super) fn is_failing(&self) -> bool {
        self.check.as_ref().is_some_and(|checked| checked.failing)
    }

    fn is_checked_by(&self, settings: &HealthCheck) -> bool {
        let checked = self.check.as_ref();
        checked.is_some_and(|checked| checked.check.settings() == settings)
    }
}

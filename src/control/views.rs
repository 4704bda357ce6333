//! What the writer shows when it is asked.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Command;
use super::handle::Totals;
use super::registry::{Entry, LifeRecord, Record};
use super::view::{DrainView, DrainsView, EndpointView, Reason, RunningDrain, ServiceView, State};
use super::writer::Writer;
use crate::endpoint::{EndpointKey, ServiceName};

impl Writer {
    pub(super) fn service_view(&self, record: &Record, now: Instant) -> ServiceView {
        let listed = record.observed.endpoints().map(|observed| &observed.key);
        let mut left: Vec<_> = record
            .entries
            .iter()
            .filter(|(_, entry)| entry.listed.is_none())
            .map(|(key, _)| key)
            .collect();
        left.sort();
        let entries = listed
            .chain(left)
            .filter_map(|key| record.entries.get(key).map(|entry| (key, entry)));
        let mut endpoints = Vec::with_capacity(record.entries.len());
        for (key, entry) in entries {
            endpoints.extend(self.endpoint_views(key, entry, record, now));
        }
        ServiceView {
            name: record.service.name().clone(),
            source: record.source.kind,
            source_up: record.source.fault.is_none() && record.source.fresh.is_some(),
            source_fault: record.source.fault.clone(),
            source_age: record
                .source
                .fresh
                .map(|fresh| now.saturating_duration_since(fresh)),
            endpoints,
        }
    }

    /// All lives of one endpoint. Its attributes are what the source says now, of the newest; the others keep theirs.
    fn endpoint_views(
        &self,
        key: &EndpointKey,
        entry: &Entry,
        record: &Record,
        now: Instant,
    ) -> Vec<EndpointView> {
        let mut views: Vec<_> = entry
            .lives()
            .map(|life| self.endpoint_view(key, life, record, now))
            .collect();
        if let (Some(newest), Some(listed)) = (views.first_mut(), &entry.listed) {
            newest.pod.clone_from(&listed.pod);
            newest.zone.clone_from(&listed.zone);
        }
        views
    }

    fn endpoint_view(
        &self,
        key: &EndpointKey,
        life: &LifeRecord,
        record: &Record,
        now: Instant,
    ) -> EndpointView {
        let endpoint = life.life.endpoint();
        let about = endpoint.about();
        let over = record.service.settings().slow_start;
        let ramping = life.state() == State::Ready
            && life.ready_since.is_some_and(|since| now < since + over);
        let ejected = life.state() == State::Ready && endpoint.ejection().is_out(now);
        let aside = match (ejected, ramping) {
            (true, _) => Some(Reason::Unhealthy),
            (false, true) => Some(Reason::SlowStart),
            (false, false) => None,
        };
        let drain = life.report_now().map(|report| DrainView {
            since: report.since,
            deadline: report.deadline,
            left: match report.ended {
                Some(_) => None,
                None => self
                    .plan
                    .deadline(endpoint.id())
                    .map(|deadline| deadline.at.saturating_duration_since(now)),
            },
            cut: report.counts.cut,
            cause: report.cause,
        });
        EndpointView {
            key: key.clone(),
            life: endpoint.id(),
            address: about.address,
            pod: about.pod.clone(),
            state: life.state(),
            reason: life.reason().or(aside),
            weight: life.weight,
            zone: about.zone.clone(),
            in_flight: endpoint.in_flight(),
            connections: endpoint.connections(),
            drain,
        }
    }

    /// All drains; what holds the running ones is asked of the workers, beside the loop.
    pub(super) fn drains(&self, answer: oneshot::Sender<DrainsView>) {
        let lives = self
            .services
            .values()
            .flat_map(|record| record.entries.values())
            .flat_map(|entry| entry.lives());
        let mut running: Vec<RunningDrain> = lives
            .filter(|life| life.drain.as_ref().is_some_and(|drain| !drain.is_over()))
            .filter_map(|life| {
                let in_flight = life.life.endpoint().in_flight();
                Some(RunningDrain {
                    report: life.report_now()?,
                    in_flight,
                    holders: Vec::new(),
                })
            })
            .collect();
        running.sort_by_key(|drain| drain.report.since);
        let done = self.reports.iter().cloned().collect();
        let workers = self.workers.clone();
        self.sources.spawn_local(async move {
            for drain in running
                .iter_mut()
                .filter(|drain| drain.in_flight > 0)
                .take(HELD_MAX)
            {
                drain.holders = holders(&workers, drain.report.life).await;
            }
            let _ = answer.send(DrainsView { running, done });
        });
    }
}

/// Running drains whose holders are looked up for one answer, and holders that are named for each.
const HELD_MAX: usize = 100;
const HOLDERS_MAX: usize = 10;

async fn holders(
    workers: &[tokio::sync::mpsc::Sender<Command>],
    endpoint: crate::endpoint::EndpointId,
) -> Vec<super::Holder> {
    let mut asked = Vec::new();
    for worker in workers {
        let (answer, answered) = oneshot::channel();
        if worker
            .send(Command::Holders { endpoint, answer })
            .await
            .is_ok()
        {
            asked.push(answered);
        }
    }
    let mut all = Vec::new();
    for answered in asked {
        all.extend(answered.await.unwrap_or_default());
    }
    all.sort_by_key(|holder| std::cmp::Reverse(holder.age));
    all.truncate(HOLDERS_MAX);
    all
}

pub(super) fn totals(service: &ServiceName, record: &Record, now: Instant) -> Totals {
    let mut states = [0; 5];
    let mut in_flight = 0;
    for life in record.entries.values().flat_map(|entry| entry.lives()) {
        let state = life.state();
        if let Some(place) = State::ALL.iter().position(|known| *known == state) {
            states[place] += 1;
        }
        in_flight += life.life.endpoint().in_flight();
    }
    let source_age = record
        .source
        .fresh
        .map(|fresh| now.saturating_duration_since(fresh));
    Totals {
        service: service.clone(),
        states,
        in_flight,
        source_age,
    }
}

//! The course of a drain: it begins, is announced, ends in a report, and answers whoever waits for it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::Order;
use super::apply::Now;
use super::reconcile::Standing;
use super::registry::{Drain, Entry, LifeRecord};
use super::view::{EventKind, Reason, State};
use super::writer::Writer;
use crate::drain::{Counts, Cut, Deadline, LimitedBy, Outcome, Report, StartedAfter};
use crate::endpoint::{EndpointId, EndpointKey, Life, ServiceName};

impl Entry {
    /// The newest life drains, but its drain proper has to wait because it still serves (P7).
    pub(super) fn begin_fallback(&mut self, now: SystemTime) {
        let drain = self
            .newest
            .as_ref()
            .map(|newest| Drain::new(self, &newest.life, now));
        if let Some(newest) = self.newest.as_mut() {
            newest.drain = drain.map(Box::new);
        }
    }
}

impl Drain {
    fn new(entry: &Entry, life: &Life, now: SystemTime) -> Self {
        let endpoint = life.endpoint();
        let about = endpoint.about();
        let report = Report {
            service: about.service.clone(),
            key: about.key.clone(),
            life: endpoint.id(),
            address: about.address,
            pod: about.pod.clone(),
            cause: entry.cause(),
            seen: entry.seen.clone(),
            since: now,
            deadline: None,
            limited_by: LimitedBy::Service,
            in_flight_at_start: 0,
            counts: Counts::default(),
            ended: None,
            took: None,
            outcome: None,
        };
        Self {
            report,
            closed: None,
            confirmed: false,
            cancelled: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.report.ended.is_some()
    }
}

impl LifeRecord {
    pub(super) fn state(&self) -> State {
        match self.standing {
            Standing::Ready => State::Ready,
            Standing::NotReady => State::NotReady,
            Standing::Suspect => State::Suspect,
            Standing::Fallback => State::Draining,
            Standing::Closed if self.drain.as_ref().is_some_and(|drain| drain.is_over()) => {
                State::Drained
            }
            Standing::Closed => State::Draining,
        }
    }

    pub(super) fn reason(&self) -> Option<Reason> {
        match (self.standing, &self.drain) {
            (Standing::Fallback, _) => Some(Reason::Fallback),
            (Standing::Closed, Some(drain)) => Some(Reason::Drain(drain.report.cause)),
            _ if self.is_failing() => Some(Reason::Unhealthy),
            _ => None,
        }
    }

    /// The report as it would read now.
    pub(super) fn report_now(&self) -> Option<Report> {
        let mut report = self.drain.as_ref()?.report.clone();
        if report.ended.is_none() {
            report.counts = self.counts(&report);
        }
        Some(report)
    }

    /// What has become of the work so far. Exact once nothing is in flight any more.
    fn counts(&self, report: &Report) -> Counts {
        let endpoint = self.life.endpoint();
        let (request, stream, tunnel) = endpoint.cut();
        let cut = Cut {
            request,
            stream,
            tunnel,
        };
        let retried = endpoint.given_back();
        let left = endpoint.in_flight() + retried + cut.total();
        let finished = match self.drain.as_ref().and_then(|drain| drain.closed) {
            Some(_) => report.in_flight_at_start.saturating_sub(left),
            None => 0,
        };
        let started_after = StartedAfter {
            fallback: endpoint.started_in_fallback(),
            affinity: endpoint.started_by_affinity(),
        };
        Counts {
            finished,
            retried,
            cut,
            started_after,
        }
    }
}

impl Writer {
    /// Closes the gate of one life. `lifted`: without a deadline.
    pub(super) fn begin_drain(
        &mut self,
        service: &ServiceName,
        key: &EndpointKey,
        life: EndpointId,
        lifted: bool,
        now: &Now,
    ) -> Option<Order> {
        let record = self.services.get_mut(service)?;
        let timeout = record.service.settings().drain.timeout;
        let entry = record.entries.get_mut(key)?;
        let own = entry.own_timeout;
        let asked = entry.asked.as_ref().and_then(|asked| asked.timeout);
        let pod = entry.pod_deadline(now.mono);
        let fresh = entry
            .life_mut(life)
            .is_some_and(|record| record.drain.is_none());
        if fresh {
            let drain = entry
                .lives()
                .find(|r| r.life.endpoint().id() == life)
                .map(|r| Drain::new(entry, &r.life, now.wall));
            if let Some(record) = entry.life_mut(life) {
                record.drain = drain.map(Box::new);
            }
        }
        let record = entry.life_mut(life)?;
        let drain = record.drain.as_mut()?;
        let deadline = (!lifted).then(|| {
            let deadline = Deadline::of(now.mono, asked, own, timeout);
            let deadline = pod.map_or(deadline, |pod| deadline.or_earlier(pod));
            self.plan.begin(life, deadline)
        });
        drain.closed = Some(now.mono);
        drain.cancelled = lifted;
        drain.report.since = now.wall;
        drain.report.deadline = deadline.map(|deadline| now.wall + (deadline.at - now.mono));
        drain.report.limited_by =
            deadline.map_or(LimitedBy::Service, |deadline| deadline.limited_by);
        // The moment from which nothing starts here any more (P1), but sessions that it is kept open to (P14).
        drain.report.in_flight_at_start = if record.kept {
            record.life.narrow()
        } else {
            record.life.drain()
        };
        Some(Order {
            endpoint: life,
            since: now.mono,
            deadline: deadline.map(|deadline| deadline.at),
        })
    }

    /// Closes a gate that was kept open to its sessions to them, too. The workers are to be told.
    pub(super) fn shut(&mut self, life: EndpointId) -> Option<Order> {
        let (service, key) = self.lives.get(&life)?;
        let record = self.services.get_mut(service)?;
        let shut = record.entries.get_mut(key)?.life_mut(life)?;
        if !std::mem::take(&mut shut.kept) {
            return None;
        }
        shut.life.drain();
        let since = shut.drain.as_ref()?.closed?;
        record.enroll(key);
        let deadline = self.plan.deadline(life);
        Some(Order {
            endpoint: life,
            since,
            deadline: deadline.map(|deadline| deadline.at),
        })
    }

    /// Shortens the deadline of a running drain, if it does.
    pub(super) fn shorten(&mut self, service: &ServiceName, key: &EndpointKey, deadline: Deadline) {
        let Some(entry) = self
            .services
            .get_mut(service)
            .and_then(|record| record.entries.get_mut(key))
        else {
            return;
        };
        let Some(record) = entry.newest.as_mut() else {
            return;
        };
        let life = record.life.endpoint().id();
        let Some(drain) = record
            .drain
            .as_mut()
            .filter(|drain| drain.closed.is_some() && !drain.is_over())
        else {
            return;
        };
        let Some(before) = self
            .plan
            .deadline(life)
            .filter(|before| deadline.at < before.at)
        else {
            return;
        };
        let in_force = self.plan.begin(life, deadline);
        debug_assert!(in_force.at <= before.at);
        drain.report.deadline =
            Some(SystemTime::now() + in_force.at.saturating_duration_since(Instant::now()));
        drain.report.limited_by = in_force.limited_by;
        let since = drain.closed.unwrap_or(in_force.at);
        self.order(Order {
            endpoint: life,
            since,
            deadline: Some(in_force.at),
        });
    }

    /// Takes the deadline from the running drains that an operator's word has put back: the newest, and older ones that
    /// somebody had asked for. Those lives may finish what they have.
    pub(super) fn lift(&mut self, service: &ServiceName, key: &EndpointKey) {
        let Some(entry) = self
            .services
            .get_mut(service)
            .and_then(|record| record.entries.get_mut(key))
        else {
            return;
        };
        let asked = |record: &&mut LifeRecord| {
            let drain = record.drain.as_ref();
            drain.is_some_and(|drain| drain.report.cause.is_asked())
        };
        let older = entry.older.iter_mut().filter(asked);
        let mut orders = Vec::new();
        for record in entry.newest.iter_mut().chain(older) {
            let life = record.life.endpoint().id();
            let Some(drain) = record.drain.as_mut().filter(|drain| !drain.is_over()) else {
                continue;
            };
            let Some(since) = drain.closed else { continue };
            drain.cancelled = true;
            drain.report.deadline = None;
            self.plan.end(life);
            orders.push(Order {
                endpoint: life,
                since,
                deadline: None,
            });
        }
        for order in orders {
            self.order(order);
        }
    }

    /// Every worker has confirmed a drain: now it is told (P1).
    pub(super) fn announce_drain(&mut self, life: EndpointId) {
        let Some((service, key)) = self.lives.get(&life).cloned() else {
            return;
        };
        let Some(entry) = self
            .services
            .get_mut(&service)
            .and_then(|record| record.entries.get_mut(&key))
        else {
            return;
        };
        let Some(record) = entry.life_mut(life) else {
            return;
        };
        let Some(drain) = record.drain.as_mut().filter(|drain| !drain.confirmed) else {
            return;
        };
        drain.confirmed = true;
        let report = Arc::new(drain.report.clone());
        let (left, reason) = (record.left, Reason::Drain(report.cause));
        self.tell_change(&service, &key, left, State::Draining, Some(reason));
        self.tell(EventKind::DrainStart(report));
        self.tell_held(&service, &key);
    }

    /// A gate is closed and empty (P6).
    pub(super) fn drained(&mut self, life: EndpointId) {
        let now = Now::new();
        // Closed and empty means that every place has been given back, so P1 holds whoever has confirmed.
        self.announce_drain(life);
        self.plan.end(life);
        let Some((service, key)) = self.lives.get(&life).cloned() else {
            return;
        };
        let Some(entry) = self
            .services
            .get_mut(&service)
            .and_then(|record| record.entries.get_mut(&key))
        else {
            return;
        };
        let Some(record) = entry.life_mut(life) else {
            return;
        };
        let Some(mut report) = record.report_now() else {
            return;
        };
        let Some(drain) = record.drain.as_mut() else {
            return;
        };
        let took = drain
            .closed
            .map(|closed| now.mono.saturating_duration_since(closed));
        report.ended = Some(now.wall);
        report.took = took;
        report.outcome = Some(match () {
            () if drain.cancelled => Outcome::Cancelled,
            () if report.counts.cut.total() > 0 => Outcome::Cut,
            () => Outcome::Clean,
        });
        drain.report = report.clone();
        let report = Arc::new(report);
        let reason = Reason::Drain(report.cause);
        // The report first: whoever sees `drained` finds it.
        self.keep(report.clone());
        self.tell(EventKind::DrainEnd(report));
        self.tell_change(
            &service,
            &key,
            Some(State::Draining),
            State::Drained,
            Some(reason),
        );
        self.sweep(&service, &key);
    }

    /// Buries what nobody needs any more, so that nothing is left behind (P12).
    pub(super) fn sweep(&mut self, service: &ServiceName, key: &EndpointKey) {
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let Some(entry) = record.entries.get_mut(key) else {
            return;
        };
        let over = |record: &LifeRecord| record.drain.as_ref().is_some_and(|drain| drain.is_over());
        let (done, older) = std::mem::take(&mut entry.older).into_iter().partition(over);
        entry.older = older;
        let mut gone: Vec<LifeRecord> = done;
        let listed = entry.listed.is_some() && record.configured;
        if !listed && entry.newest.as_ref().is_some_and(over) {
            gone.extend(entry.newest.take());
            // Where it stood it would be held, and looked at, for ever (P12).
            debug_assert!(!record.tiers.has(service, key), "{key} is a member");
        }
        let empty = !listed && entry.newest.is_none() && entry.older.is_empty();
        if empty {
            if entry.terminated {
                record.terminated.insert(key.clone());
            }
            if entry.counted {
                record.ready -= 1;
            }
            record.entries.remove(key);
            if self.metrics.names_endpoints() {
                self.gone.endpoint(service.as_str(), key.as_str());
            }
        }
        for record in gone {
            let reason = record.reason();
            self.lives.remove(&record.life.endpoint().id());
            if let Err(life) = record.life.bury() {
                // Only a drain that is over gets here, and that means closed and empty.
                debug_assert!(false, "buried with work inside: {life:?}");
            }
            self.tell_change(service, key, Some(State::Drained), State::Gone, reason);
        }
        if self
            .services
            .get(service)
            .is_some_and(super::registry::Record::is_over)
        {
            if let Some(record) = self.services.remove(service) {
                record.source.stop.cancel();
            }
            self.gone.service(service.as_str());
        }
    }
}

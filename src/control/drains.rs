//! The course of a drain: it begins, is announced, ends in a report, and answers whoever waits for it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::info;

use super::Order;
use super::handle::{DrainAnswer, HandleError, PodAnswer};
use super::reconcile::Standing;
use super::registry::{Drain, Entry, LifeRecord};
use super::view::{EventKind, Reason, State};
use super::writer::{Now, Writer};
use crate::drain::{Cause, Counts, Cut, Deadline, LimitedBy, Outcome, Report, StartedAfter};
use crate::endpoint::{EndpointId, EndpointKey, Life, ServiceName};

/// Somebody who waits for a drain.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) targets: Vec<(ServiceName, EndpointKey)>,
    /// Until the drain is over, not only until it holds.
    pub(super) to_the_end: bool,
    /// When its patience is over; none: never, or it is over already.
    pub(super) until: Option<Instant>,
    /// Its patience is over: a fallback answers it now, a drain proper still when it ends.
    pub(super) is_late: bool,
    pub(super) answer: Answer,
}

/// Who is answered.
#[derive(Debug)]
pub(super) enum Answer {
    Drain(oneshot::Sender<Result<DrainAnswer, HandleError>>),
    Pod(oneshot::Sender<PodAnswer>),
}

/// How one endpoint stands for somebody who waits.
enum Progress {
    /// Still serving because nobody else can.
    Fallback,
    /// The gate is closed; not every worker has confirmed.
    Closing,
    /// P1 holds.
    Draining,
    /// It is over, or the endpoint is back in rotation.
    Over,
}

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

    /// A drain of the process before this one is over. Its log has told so; nobody scrapes or asks it any more.
    pub(super) fn adopt(&mut self, report: Report) {
        let report = Arc::new(report);
        self.count(report.clone());
        self.tell(EventKind::DrainEnd(report));
    }

    fn keep(&mut self, report: Arc<Report>) {
        let outcome = report.outcome.unwrap_or(Outcome::Clean);
        let took = report.took.unwrap_or_default();
        let counts = report.counts;
        info!(
            service = %report.service,
            endpoint = %report.key,
            address = %report.address,
            pod = report.pod.as_deref().unwrap_or(""),
            cause = report.cause.as_str(),
            outcome = outcome.as_str(),
            took_ms = took.as_secs_f64() * 1000.0,
            in_flight_at_start = report.in_flight_at_start,
            finished = counts.finished,
            retried = counts.retried,
            cut_request = counts.cut.request,
            cut_stream = counts.cut.stream,
            cut_tunnel = counts.cut.tunnel,
            started_after_fallback = counts.started_after.fallback,
            started_after_affinity = counts.started_after.affinity,
            "drain over"
        );
        self.count(report);
    }

    fn count(&mut self, report: Arc<Report>) {
        // A service that is no more has no series, either.
        if self.services.contains_key(&report.service) {
            let outcome = report.outcome.unwrap_or(Outcome::Clean);
            let cut = report.counts.cut;
            let cut = [
                ("request", cut.request),
                ("stream", cut.stream),
                ("tunnel", cut.tunnel),
            ];
            let took = report.took.unwrap_or_default();
            self.metrics
                .drain_ended(report.service.as_str(), outcome.as_str(), took, &cut);
        }
        if let Some(heir) = &self.heir {
            // An error means that it is gone.
            let _ = heir.send(report.clone());
        }
        self.reports.push_front(report);
        self.reports.truncate(self.settings.reports);
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

    /// Answers everyone whose drain has come far enough, or whose patience is over.
    pub(super) fn settle_waiters(&mut self, now: Instant) {
        if self.waiters.is_empty() {
            return;
        }
        for mut waiter in std::mem::take(&mut self.waiters) {
            if waiter.until.is_some_and(|until| until <= now) {
                // Not waited for again: it may be over long before the drain is.
                waiter.until = None;
                waiter.is_late = true;
            }
            if self.is_settled(&waiter) {
                self.answer(waiter);
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    fn is_settled(&self, waiter: &Waiter) -> bool {
        let late = waiter.is_late;
        waiter.targets.iter().all(|(service, key)| {
            match self.progress(service, key, &waiter.answer) {
                Progress::Over => true,
                Progress::Draining => {
                    !waiter.to_the_end || (late && matches!(waiter.answer, Answer::Pod(_)))
                }
                // A fallback acknowledges nothing; who waits is told so when the time is up (P7).
                Progress::Fallback => !waiter.to_the_end || late,
                Progress::Closing => late && matches!(waiter.answer, Answer::Pod(_)),
            }
        })
    }

    /// An operator's drain is one of the newest life. A pod is drained when each of its lives is.
    fn progress(&self, service: &ServiceName, key: &EndpointKey, asked: &Answer) -> Progress {
        let entry = self
            .services
            .get(service)
            .and_then(|record| record.entries.get(key));
        let Some(entry) = entry else {
            return Progress::Over;
        };
        let older = matches!(asked, Answer::Pod(_)) && !entry.older.is_empty();
        let Some(newest) = &entry.newest else {
            return if older {
                Progress::Draining
            } else {
                Progress::Over
            };
        };
        match (newest.standing, &newest.drain) {
            (Standing::Fallback, _) => Progress::Fallback,
            (Standing::Closed, Some(drain)) if drain.is_over() && older => Progress::Draining,
            (Standing::Closed, Some(drain)) if drain.is_over() => Progress::Over,
            (Standing::Closed, Some(drain)) if drain.confirmed => Progress::Draining,
            (Standing::Closed, _) => Progress::Closing,
            (Standing::Ready | Standing::NotReady | Standing::Suspect, _) => Progress::Over,
        }
    }

    fn answer(&mut self, waiter: Waiter) {
        let all_lives = matches!(waiter.answer, Answer::Pod(_));
        let mut answers: Vec<_> = waiter
            .targets
            .iter()
            .map(|(service, key)| self.drain_answer(service, key, all_lives))
            .collect();
        for answer in answers.iter().filter(|answer| answer.drained) {
            self.promise(&answer.service, &answer.key);
        }
        // Who asked may have gone; the drain goes on all the same.
        match waiter.answer {
            Answer::Drain(to) => {
                if let Some(answer) = answers.pop() {
                    let _ = to.send(Ok(answer));
                }
            }
            Answer::Pod(to) => {
                let _ = to.send(pod_answer(answers));
            }
        }
    }

    /// `drained: true` was answered: it is final until an undrain (P7).
    fn promise(&mut self, service: &ServiceName, key: &EndpointKey) {
        let entry = self
            .services
            .get_mut(service)
            .and_then(|record| record.entries.get_mut(key));
        if let Some(entry) = entry.filter(|entry| !entry.settled) {
            entry.settled = true;
            self.apply(service, vec![key.clone()], None);
            self.keep_asked(service, key);
        }
    }

    fn drain_answer(
        &self,
        service: &ServiceName,
        key: &EndpointKey,
        all_lives: bool,
    ) -> DrainAnswer {
        let entry = self
            .services
            .get(service)
            .and_then(|record| record.entries.get(key));
        // With work left at an older life that one is spoken of, once the newest has none.
        let newest = entry.and_then(|entry| entry.newest.as_ref());
        let over = newest.is_none_or(|newest| newest.state() == State::Drained);
        let held = entry.filter(|_| over && all_lives);
        let Some(newest) = held.and_then(|entry| entry.older.first()).or(newest) else {
            return DrainAnswer {
                service: service.clone(),
                key: key.clone(),
                state: State::Gone,
                drained: true,
                reason: Cause::Removed.as_str(),
                in_flight: 0,
                cut: Cut::default(),
                deadline: None,
                limited_by: None,
            };
        };
        let report = newest.report_now();
        let state = newest.state();
        let in_force = report.as_ref().filter(|report| report.deadline.is_some());
        DrainAnswer {
            service: service.clone(),
            key: key.clone(),
            state,
            drained: state == State::Drained,
            reason: newest.reason().map_or("undrained", Reason::as_str),
            in_flight: newest.life.endpoint().in_flight(),
            cut: report
                .as_ref()
                .map(|report| report.counts.cut)
                .unwrap_or_default(),
            deadline: in_force.and_then(|report| report.deadline),
            limited_by: in_force.map(|report| report.limited_by),
        }
    }
}

fn pod_answer(endpoints: Vec<DrainAnswer>) -> PodAnswer {
    let holding = endpoints.iter().find(|answer| !answer.drained);
    let reason = match holding {
        None => "drained".to_owned(),
        Some(answer) if answer.reason == "fallback" => {
            format!(
                "fallback: {} of service {} still serves because no endpoint is ready",
                answer.key, answer.service
            )
        }
        Some(answer) => format!(
            "{} in flight at {} of service {}",
            answer.in_flight, answer.key, answer.service
        ),
    };
    PodAnswer {
        drained: holding.is_none(),
        reason,
        endpoints,
    }
}

//! Who waits for a drain, and what they are answered.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::{DrainAnswer, HandleError, PodAnswer};
use super::reconcile::Standing;
use super::view::{Reason, State};
use super::writer::Writer;
use crate::drain::{Cause, Cut};
use crate::endpoint::{EndpointKey, ServiceName};

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

impl Writer {
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

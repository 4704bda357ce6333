//! What is asked of the writer, and how it answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::{DrainAnswer, DrainRequest, HandleError, Request, UndrainAnswer};
use super::reconcile::Want;
use super::registry::{Asked, LifeRecord};
use super::view::State;
use super::views::totals;
use super::waiters::{Answer, Waiter};
use super::writer::Writer;
use crate::drain::{Cause, Deadline, LimitedBy};
use crate::endpoint::{EndpointKey, ServiceName};

impl Writer {
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Relayed(request) => self.obey(*request),
            // Dropped unanswered, as when we leave: it is for the process that has taken over.
            Request::Drain(..) | Request::Undrain { .. } | Request::DrainPod { .. }
                if self.is_handed_over() => {}
            request => self.obey(request),
        }
    }

    fn obey(&mut self, request: Request) {
        // Whoever asked may have gone before the answer; nothing depends on it.
        match request {
            Request::Services(answer) => {
                let now = Instant::now();
                let _ = answer.send(
                    self.services
                        .values()
                        .map(|record| self.service_view(record, now))
                        .collect(),
                );
            }
            Request::Service(name, answer) => {
                let record = self.services.get(&ServiceName::from(name.as_str()));
                let _ = answer.send(record.map(|record| self.service_view(record, Instant::now())));
            }
            Request::Drain(asked, answer) => self.ask_drain(&asked, answer),
            Request::Undrain {
                service,
                endpoint,
                answer,
            } => {
                let _ = answer.send(self.undrain(&service, &endpoint));
            }
            Request::DrainPod(request, answer) => self.drain_pod(&request, answer),
            Request::Drains(answer) => self.drains(answer),
            Request::Ready(answer) => {
                let waiting = self
                    .services
                    .iter()
                    .filter(|(_, record)| record.configured && record.source.fresh.is_none());
                let _ = answer.send(waiting.map(|(name, _)| name.clone()).collect());
            }
            Request::Totals(answer) => {
                let now = Instant::now();
                let _ = answer.send(
                    self.services
                        .iter()
                        .map(|(name, record)| totals(name, record, now))
                        .collect(),
                );
            }
            Request::Gone(answer) => drop(answer.send(std::mem::take(&mut self.gone))),
            Request::Reload(desired, answer) => self.begin_reload(desired, Some(answer)),
            Request::Tell(answer) => drop(answer.send(self.told())),
            Request::HandOver(answer) => drop(answer.send(self.hand_over())),
            Request::GoOn => self.go_on(),
            Request::Adopt(report) => self.adopt(*report),
            Request::Inherit(drains, reports, answer) => {
                self.inherit(&drains);
                self.reports.extend(reports.into_iter().map(Arc::new));
                self.reports.truncate(self.settings.reports);
                let _ = answer.send(());
            }
            Request::Relayed(request) => self.request(*request),
        }
    }

    fn ask_drain(
        &mut self,
        request: &DrainRequest,
        answer: oneshot::Sender<Result<DrainAnswer, HandleError>>,
    ) {
        let (service, key) = match self.find(&request.service, &request.endpoint) {
            Ok(found) => found,
            Err(error) => {
                let _ = answer.send(Err(error));
                return;
            }
        };
        let patience = self.note_asked(&service, &key, Cause::Operator, request.timeout);
        self.waiters.push(Waiter {
            targets: vec![(service, key)],
            to_the_end: request.wait,
            until: request.wait.then(|| Instant::now() + patience),
            is_late: false,
            answer: Answer::Drain(answer),
        });
    }

    /// Notes that somebody wants an endpoint drained. Returns how long the drain may take.
    pub(super) fn note_asked(
        &mut self,
        service: &ServiceName,
        key: &EndpointKey,
        cause: Cause,
        timeout: Option<Duration>,
    ) -> Duration {
        let now = Instant::now();
        let Some(record) = self.services.get_mut(service) else {
            return Duration::ZERO;
        };
        let configured = record.service.settings().drain.timeout;
        let Some(entry) = record.entries.get_mut(key) else {
            return Duration::ZERO;
        };
        let own = entry.own_timeout;
        let asked = entry.asked.get_or_insert_with(|| {
            Box::new(Asked {
                cause,
                timeout,
                at: SystemTime::now(),
            })
        });
        // An operator's word outlasts a hook's (P16).
        if cause == Cause::Operator {
            asked.cause = cause;
        }
        asked.timeout = [asked.timeout, timeout].into_iter().flatten().min();
        let patience = Deadline::of(now, timeout, own, configured).at - now;
        self.apply(service, vec![key.clone()], None);
        self.keep_asked(service, key);
        if let Some(timeout) = timeout {
            self.shorten(
                service,
                key,
                Deadline {
                    at: now + timeout,
                    limited_by: LimitedBy::Operator,
                },
            );
        }
        patience
    }

    pub(super) fn undrain(
        &mut self,
        service: &str,
        endpoint: &str,
    ) -> Result<UndrainAnswer, HandleError> {
        let (service, key) = self.find(service, endpoint)?;
        let missing = || HandleError::NoEndpoint {
            service: service.to_string(),
            endpoint: endpoint.into(),
        };
        let record = self.services.get_mut(&service).ok_or_else(missing)?;
        let entry = record.entries.get_mut(&key).ok_or_else(missing)?;
        if entry.asked.take().is_none() && matches!(entry.want, Want::Leave { .. }) {
            return Err(HandleError::DrainedBySource(key.to_string()));
        }
        entry.settled = false;
        let wanted = record.want(&record.entries[&key]);
        if !matches!(wanted, Want::Leave { .. }) {
            self.lift(&service, &key);
        }
        self.apply(&service, vec![key.clone()], Some(&key));
        self.keep_asked(&service, &key);
        let newest = self
            .services
            .get(&service)
            .and_then(|record| record.entries.get(&key))
            .and_then(|e| e.newest.as_ref());
        let state = newest.map_or(State::Gone, LifeRecord::state);
        Ok(UndrainAnswer {
            service,
            key,
            state,
        })
    }

    /// An id, or an address when only one id has it.
    fn find(
        &self,
        service: &str,
        endpoint: &str,
    ) -> Result<(ServiceName, EndpointKey), HandleError> {
        let name = ServiceName::from(service);
        let record = self
            .services
            .get(&name)
            .ok_or_else(|| HandleError::NoService(service.into()))?;
        let key = EndpointKey::from(endpoint);
        if record.entries.contains_key(&key) {
            return Ok((name, key));
        }
        let missing = || HandleError::NoEndpoint {
            service: service.into(),
            endpoint: endpoint.into(),
        };
        let address: std::net::SocketAddr = endpoint.parse().map_err(|_| missing())?;
        let has = |record: &LifeRecord| record.life.endpoint().about().address == address;
        let mut ids: Vec<_> = record
            .entries
            .iter()
            .filter(|(_, entry)| entry.lives().any(has))
            .map(|(key, _)| key.clone())
            .collect();
        ids.sort();
        match ids.len() {
            0 => Err(missing()),
            1 => Ok((name, ids.remove(0))),
            _ => Err(HandleError::Ambiguous {
                address: endpoint.into(),
                ids: ids.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}

//! The writer's plain values, turned into the shapes of the API.

use std::time::{Duration, SystemTime};

use super::api::{
    Cut, Drain, DrainAnswer, Drains, Endpoint, Event, Holder, HookAnswer, Replica, Report,
    RunningDrain, Service, Services, StartedAfter, UndrainAnswer,
};
use crate::control::{self, EventKind};
use crate::drain;

impl From<Vec<control::ServiceView>> for Services {
    fn from(views: Vec<control::ServiceView>) -> Self {
        Self {
            services: views.into_iter().map(Service::from).collect(),
        }
    }
}

impl From<control::ServiceView> for Service {
    fn from(view: control::ServiceView) -> Self {
        let now = SystemTime::now();
        Self {
            name: view.name.shared(),
            source: view.source.into(),
            source_up: view.source_up,
            source_fault: view.source_fault,
            source_age_ms: view.source_age.map(ms),
            endpoints: view
                .endpoints
                .into_iter()
                .map(|endpoint| Endpoint::at(now, endpoint))
                .collect(),
        }
    }
}

impl Endpoint {
    fn at(now: SystemTime, view: control::EndpointView) -> Self {
        Self {
            id: view.key.shared(),
            address: view.address,
            pod: view.pod,
            state: view.state.as_str().into(),
            reason: view.reason.map(|reason| reason.as_str().into()),
            weight: view.weight,
            zone: view.zone,
            in_flight: view.in_flight,
            connections: view.connections,
            drain: view.drain.map(|drain| Drain::at(now, &drain)),
        }
    }
}

impl Drain {
    fn at(now: SystemTime, view: &control::DrainView) -> Self {
        Self {
            since: time(view.since),
            age_ms: ms(since(now, view.since)),
            deadline: view.deadline.map(time),
            left_ms: view.left.map(ms),
            cut: view.cut.into(),
            reason: view.cause.as_str().into(),
        }
    }
}

impl From<drain::Cut> for Cut {
    fn from(cut: drain::Cut) -> Self {
        Self {
            request: cut.request,
            stream: cut.stream,
            tunnel: cut.tunnel,
        }
    }
}

impl From<control::DrainAnswer> for DrainAnswer {
    fn from(answer: control::DrainAnswer) -> Self {
        Self {
            service: answer.service.shared(),
            id: answer.key.shared(),
            state: answer.state.as_str().into(),
            drained: answer.drained,
            reason: (!answer.reason.is_empty()).then(|| answer.reason.into()),
            in_flight: answer.in_flight,
            cut: answer.cut.into(),
            deadline: answer.deadline.map(time),
            limited_by: answer.limited_by.map(|by| by.as_str().into()),
        }
    }
}

impl From<control::UndrainAnswer> for UndrainAnswer {
    fn from(answer: control::UndrainAnswer) -> Self {
        Self {
            service: answer.service.shared(),
            id: answer.key.shared(),
            state: answer.state.as_str().into(),
        }
    }
}

impl From<control::PodAnswer> for HookAnswer {
    fn from(answer: control::PodAnswer) -> Self {
        let replica = Replica::from(answer);
        Self {
            drained: replica.drained,
            reason: replica.reason.clone(),
            replicas: vec![replica],
        }
    }
}

impl From<control::PodAnswer> for Replica {
    fn from(answer: control::PodAnswer) -> Self {
        Self {
            replica: "self".into(),
            drained: answer.drained,
            reason: (!answer.reason.is_empty()).then_some(answer.reason),
            endpoints: answer.endpoints.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<control::DrainsView> for Drains {
    fn from(view: control::DrainsView) -> Self {
        Self {
            running: view.running.into_iter().map(Into::into).collect(),
            drains: view.done.iter().map(|report| (&**report).into()).collect(),
        }
    }
}

impl From<control::RunningDrain> for RunningDrain {
    fn from(view: control::RunningDrain) -> Self {
        let now = SystemTime::now();
        Self {
            age_ms: ms(since(now, view.report.since)),
            left_ms: view
                .report
                .deadline
                .map(|deadline| ms(since(deadline, now))),
            report: (&view.report).into(),
            in_flight: view.in_flight,
            held_by: view
                .holders
                .into_iter()
                .map(|holder| Holder {
                    route: holder.route,
                    kind: holder.kind.into(),
                    age_ms: ms(holder.age),
                })
                .collect(),
        }
    }
}

impl From<&drain::Report> for Report {
    fn from(report: &drain::Report) -> Self {
        Self {
            service: report.service.shared(),
            id: report.key.shared(),
            address: report.address,
            pod: report.pod.clone(),
            cause: report.cause.as_str().into(),
            seen: report
                .seen
                .iter()
                .map(|(cause, at)| (cause.teller().into(), time(*at)))
                .collect(),
            since: time(report.since),
            deadline: report.deadline.map(time),
            limited_by: report.limited_by.as_str().into(),
            in_flight_at_start: report.in_flight_at_start,
            finished: report.counts.finished,
            retried: report.counts.retried,
            cut: report.counts.cut.into(),
            started_after: StartedAfter {
                fallback: report.counts.started_after.fallback,
                affinity: report.counts.started_after.affinity,
            },
            ended: report.ended.map(time),
            outcome: report.outcome.map(|outcome| outcome.as_str().into()),
            duration_ms: report.took.map(ms),
        }
    }
}

impl From<&control::Event> for Event {
    fn from(event: &control::Event) -> Self {
        let empty = |name: &'static str| Self {
            time: time(event.time),
            event: name.into(),
            service: None,
            endpoint: None,
            from: None,
            to: None,
            reason: None,
            report: None,
        };
        let drain = |name, report: &drain::Report| Self {
            service: Some(report.service.shared()),
            endpoint: Some(report.key.shared()),
            reason: Some(report.cause.as_str().into()),
            report: Some(report.into()),
            ..empty(name)
        };
        match &event.kind {
            EventKind::State {
                service,
                key,
                from,
                to,
                reason,
            } => Self {
                service: Some(service.shared()),
                endpoint: Some(key.shared()),
                from: from.map(|state| state.as_str().into()),
                to: Some(to.as_str().into()),
                reason: reason.map(|reason| reason.as_str().into()),
                ..empty("state")
            },
            EventKind::DrainStart(report) => drain("drain_start", report),
            EventKind::DrainEnd(report) => drain("drain_end", report),
            EventKind::Source {
                service,
                to,
                reason,
            } => Self {
                service: Some(service.shared()),
                to: Some((*to).into()),
                reason: reason.clone().map(Into::into),
                ..empty("source")
            },
            EventKind::Config { to, reason } => Self {
                to: Some((*to).into()),
                reason: reason.clone().map(Into::into),
                ..empty("config")
            },
        }
    }
}

/// A moment as the API writes it: RFC 3339 with milliseconds, in UTC.
fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// From one moment to a later one; zero when it is not later, for the clock may be set at any time.
fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

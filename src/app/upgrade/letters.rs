//! What two processes tell each other of drains and endpoints, as JSON and back.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::control::{DrainView, EndpointView, Holder, Reason, RunningDrain, State};
use crate::drain::{Cause, Counts, Cut, LimitedBy, Outcome, Report, StartedAfter};
use crate::endpoint::{EndpointId, ServiceName};

/// A report, running or over.
pub(super) fn report(report: &Report) -> Value {
    let counts = &report.counts;
    let seen = report.seen.iter();
    json!({
        "service": report.service.as_str(),
        "id": report.key.as_str(),
        "address": report.address,
        "pod": report.pod.as_deref(),
        "cause": report.cause.teller(),
        "seen": seen.map(|(cause, at)| json!([cause.teller(), time(*at)])).collect::<Vec<_>>(),
        "since": time(report.since),
        "deadline": report.deadline.map(time),
        "limited_by": report.limited_by.as_str(),
        "in_flight_at_start": report.in_flight_at_start,
        "finished": counts.finished,
        "retried": counts.retried,
        "cut": cut(counts.cut),
        "started_after": [counts.started_after.fallback, counts.started_after.affinity],
        "ended": report.ended.map(time),
        "took_us": report.took.map(us),
        "outcome": report.outcome.map(Outcome::as_str),
    })
}

/// The report that was written so.
pub(super) fn report_of(value: &Value) -> Option<Report> {
    let seen = |pair: &Value| Some((cause_of(&pair[0])?, time_of(&pair[1])?));
    Some(Report {
        service: value["service"].as_str()?.into(),
        key: value["id"].as_str()?.into(),
        // A life of the other process; here nothing asks for it.
        life: EndpointId::next(),
        address: value["address"].as_str()?.parse().ok()?,
        pod: value["pod"].as_str().map(Into::into),
        cause: cause_of(&value["cause"])?,
        seen: value["seen"].as_array()?.iter().filter_map(seen).collect(),
        since: time_of(&value["since"])?,
        deadline: time_of(&value["deadline"]),
        limited_by: LimitedBy::named(value["limited_by"].as_str()?)?,
        in_flight_at_start: value["in_flight_at_start"].as_u64()?,
        counts: Counts {
            finished: value["finished"].as_u64()?,
            retried: value["retried"].as_u64()?,
            cut: cut_of(&value["cut"])?,
            started_after: StartedAfter {
                fallback: value["started_after"][0].as_u64()?,
                affinity: value["started_after"][1].as_u64()?,
            },
        },
        ended: time_of(&value["ended"]),
        took: value["took_us"].as_u64().map(Duration::from_micros),
        outcome: value["outcome"].as_str().and_then(Outcome::named),
    })
}

/// A running drain and what holds it.
pub(super) fn running(drain: &RunningDrain) -> Value {
    let holder = |it: &Holder| json!([it.route, it.kind, it.age.as_millis() as u64]);
    json!({
        "report": report(&drain.report),
        "in_flight": drain.in_flight,
        "holders": drain.holders.iter().map(holder).collect::<Vec<_>>(),
    })
}

/// The running drain that was written so.
pub(super) fn running_of(value: &Value) -> Option<RunningDrain> {
    let holder = |it: &Value| {
        Some(Holder {
            route: it[0].as_str()?.into(),
            kind: KINDS.iter().find(|kind| it[1] == **kind)?,
            age: Duration::from_millis(it[2].as_u64()?),
        })
    };
    let holders = value["holders"].as_array()?.iter();
    Some(RunningDrain {
        report: report_of(&value["report"])?,
        in_flight: value["in_flight"].as_u64()?,
        holders: holders.filter_map(holder).collect(),
    })
}

/// A life with work or connections.
pub(super) fn life(service: &ServiceName, view: &EndpointView) -> Value {
    let drain = view.drain.as_ref().map(|drain| {
        json!({
            "since": time(drain.since),
            "deadline": drain.deadline.map(time),
            "left_us": drain.left.map(us),
            "cut": cut(drain.cut),
            "cause": drain.cause.teller(),
        })
    });
    json!({
        "service": service.as_str(),
        "id": view.key.as_str(),
        "address": view.address,
        "pod": view.pod.as_deref(),
        "zone": view.zone.as_deref(),
        "weight": view.weight,
        "in_flight": view.in_flight,
        "connections": view.connections,
        "drain": drain,
    })
}

/// The life that was written so. Where it is shown by itself, nothing of it is in rotation.
pub(super) fn life_of(value: &Value) -> Option<(ServiceName, EndpointView)> {
    let drain = |drain: &Value| {
        Some(DrainView {
            since: time_of(&drain["since"])?,
            deadline: time_of(&drain["deadline"]),
            left: drain["left_us"].as_u64().map(Duration::from_micros),
            cut: cut_of(&drain["cut"])?,
            cause: cause_of(&drain["cause"])?,
        })
    };
    let drain = drain(&value["drain"]);
    let cause = drain.as_ref().map_or(Cause::Removed, |drain| drain.cause);
    let view = EndpointView {
        key: value["id"].as_str()?.into(),
        life: EndpointId::next(),
        address: value["address"].as_str()?.parse().ok()?,
        pod: value["pod"].as_str().map(Into::into),
        state: State::Draining,
        reason: Some(Reason::Drain(cause)),
        weight: u32::try_from(value["weight"].as_u64()?).ok()?,
        zone: value["zone"].as_str().map(Into::into),
        in_flight: value["in_flight"].as_u64()?,
        connections: u32::try_from(value["connections"].as_u64()?).ok()?,
        drain,
    };
    Some((value["service"].as_str()?.into(), view))
}

/// What was cut.
pub(super) fn cut(cut: Cut) -> Value {
    json!([cut.request, cut.stream, cut.tunnel])
}

/// What was written so.
pub(super) fn cut_of(value: &Value) -> Option<Cut> {
    Some(Cut {
        request: value[0].as_u64()?,
        stream: value[1].as_u64()?,
        tunnel: value[2].as_u64()?,
    })
}

fn cause_of(word: &Value) -> Option<Cause> {
    Cause::told_by(word.as_str()?)
}

fn us(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_nanos(at).to_string()
}

fn time_of(text: &Value) -> Option<SystemTime> {
    humantime::parse_rfc3339(text.as_str()?).ok()
}

const KINDS: [&str; 4] = ["request", "stream", "tunnel", "pin"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read_as_it_was_written() {
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 7);
        let done = Report {
            service: "web".into(),
            key: "a \"b\"".into(),
            life: EndpointId::next(),
            address: "[::1]:80".parse().unwrap(),
            pod: Some("n/p".into()),
            cause: Cause::Pod,
            seen: vec![(Cause::Pod, at), (Cause::Source, at)],
            since: at,
            deadline: Some(at),
            limited_by: LimitedBy::Pod,
            in_flight_at_start: 3,
            counts: Counts {
                finished: 1,
                retried: 2,
                cut: Cut {
                    request: 3,
                    stream: 4,
                    tunnel: 5,
                },
                started_after: StartedAfter {
                    fallback: 6,
                    affinity: 7,
                },
            },
            ended: Some(at),
            took: Some(Duration::from_micros(1_234)),
            outcome: Some(Outcome::Cut),
        };
        let mut read = report_of(&report(&done)).unwrap();
        read.life = done.life;
        assert_eq!(format!("{read:?}"), format!("{done:?}"));

        let under_way = RunningDrain {
            report: Report {
                deadline: None,
                ended: None,
                took: None,
                outcome: None,
                ..done.clone()
            },
            in_flight: 9,
            holders: vec![Holder {
                route: "shop/api".into(),
                kind: "tunnel",
                age: Duration::from_secs(5),
            }],
        };
        let mut read = running_of(&running(&under_way)).unwrap();
        read.report.life = done.life;
        assert_eq!(format!("{read:?}"), format!("{under_way:?}"));

        let view = EndpointView {
            key: "a".into(),
            life: done.life,
            address: done.address,
            pod: None,
            state: State::Draining,
            reason: Some(Reason::Drain(Cause::Operator)),
            weight: 3,
            zone: Some("z".into()),
            in_flight: 1,
            connections: 2,
            drain: Some(DrainView {
                since: at,
                deadline: Some(at),
                left: Some(Duration::from_secs(7)),
                cut: done.counts.cut,
                cause: Cause::Operator,
            }),
        };
        let (service, mut read) = life_of(&life(&"web".into(), &view)).unwrap();
        read.life = done.life;
        assert_eq!(service.as_str(), "web");
        assert_eq!(format!("{read:?}"), format!("{view:?}"));
        assert!(report_of(&json!({})).is_none() && life_of(&json!({})).is_none());
    }
}

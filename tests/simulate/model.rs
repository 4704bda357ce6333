//! The laws and promises, looked for in what endpoints and clients saw and in what the writer told.

use std::collections::HashMap;
use std::time::Duration;

use tidegate::control::{EventKind, Reason, State};
use tidegate::drain::Outcome;
use tokio::time::{Instant, sleep};

use super::client::{Asked, Seen};
use super::world::World;

/// What a deadline may take beyond itself: 250 ms, and two seconds for a boundary (P5).
const ALLOWANCE: Duration = Duration::from_millis(2_250);

/// P1: from the moment a drain is told, nothing starts there until a new life is.
pub(crate) fn nothing_starts_at_what_drains(world: &World) {
    for (number, endpoint) in world.endpoints.iter().enumerate() {
        let closed = closed_times(world, &format!("web-{number}"));
        for begun in endpoint.begun.borrow().iter() {
            let inside = closed.iter().find(|(from, until)| {
                begun.at > *from && until.is_none_or(|until| begun.at < until)
            });
            assert!(
                inside.is_none(),
                "P1: {begun:?} at web-{number}, which was closed: {inside:?}"
            );
        }
    }
}

/// When an endpoint is told to be closed, and until when.
fn closed_times(world: &World, name: &str) -> Vec<(Instant, Option<Instant>)> {
    let mut closed: Vec<(Instant, Option<Instant>)> = Vec::new();
    for told in world.told.borrow().iter() {
        let EventKind::State {
            key, to, reason, ..
        } = &told.kind
        else {
            continue;
        };
        if key.as_str() != name {
            continue;
        }
        let closes = match (to, reason) {
            (State::Draining, Some(Reason::Fallback)) => false,
            (State::Draining, _) => true,
            (State::Ready | State::NotReady, _) => false,
            // These only follow.
            _ => continue,
        };
        let is_closed = closed.last().is_some_and(|(_, until)| until.is_none());
        if closes && !is_closed {
            closed.push((told.at, None));
        } else if !closes
            && is_closed
            && let Some(last) = closed.last_mut()
        {
            last.1 = Some(told.at);
        }
    }
    closed
}

/// P10: nothing that may not be repeated begins twice; what may, begins at most twice.
pub(crate) fn nothing_runs_too_often(world: &World) {
    let mut times: HashMap<(String, String), usize> = HashMap::new();
    for endpoint in &world.endpoints {
        for begun in endpoint.begun.borrow().iter() {
            let key = (begun.method.clone(), begun.path.clone());
            *times.entry(key).or_default() += 1;
        }
    }
    for ((method, path), times) in times {
        let most = if method == "POST" { 1 } else { 2 };
        assert!(times <= most, "P10: {method} {path} ran {times} times");
    }
}

/// P3, P5, P7: every client got its answer, unless its endpoint is to blame, or the deadline.
pub(crate) fn every_client_is_served(asked: &[Asked], deadlines: bool) {
    for asked in asked {
        let kind = asked.path.split('/').next().unwrap();
        let is_right = match (kind, &asked.seen) {
            ("close", seen) => *seen == Seen::Whole(502),
            ("break", seen) => *seen == Seen::Cut(200),
            ("never", seen) => *seen == Seen::Whole(504),
            // An event stream may be ended early, but only between two events (P5).
            ("events", Seen::Whole(200)) => asked.body.is_empty() || asked.body.ends_with("\n\n"),
            (_, Seen::Whole(200)) => true,
            ("drip", Seen::Cut(200)) | (_, Seen::Whole(504)) => deadlines,
            _ => false,
        };
        assert!(is_right, "{asked:?}");
        let reason_to_close = kind != "now" || deadlines;
        assert!(!asked.close || reason_to_close, "P14: {asked:?}");
    }
}

/// P5, P13, law 8: every drain that is over has a true report and ended in time.
pub(crate) async fn every_drain_is_reported(world: &World) {
    let view = world.handle.drains().await.unwrap();
    for report in &view.done {
        let counts = report.counts;
        let outcome = report.outcome.unwrap();
        assert_eq!(
            outcome == Outcome::Cut,
            counts.cut.total() > 0 && outcome != Outcome::Cancelled,
            "{report:?}"
        );
        assert_eq!(
            counts.finished + counts.retried + counts.cut.total(),
            report.in_flight_at_start,
            "{report:?}"
        );
        assert_eq!(counts.started_after.affinity, 0);
        if let Some(deadline) = report.deadline {
            let window = deadline.duration_since(report.since).unwrap_or_default();
            let took = report.took.unwrap();
            assert!(took <= window + ALLOWANCE, "P5: {report:?}");
        }
    }
}

/// P12: when everything has gone, nothing is left behind.
pub(crate) async fn nothing_is_left_behind(world: &World) {
    for number in 0..world.endpoints.len() {
        world.listed.borrow_mut()[number] = None;
    }
    world.say();
    sleep(Duration::from_secs(120)).await;
    let service = world.handle.service("web").await.unwrap();
    assert!(service.endpoints.is_empty(), "P12: {:?}", service.endpoints);
    for (number, endpoint) in world.endpoints.iter().enumerate() {
        let open = endpoint
            .wires
            .borrow()
            .iter()
            .filter(|wire| wire.open.get())
            .count();
        assert_eq!(open, 0, "P12: connections with web-{number} are left");
    }
}

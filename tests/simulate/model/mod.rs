//! The laws and promises, looked for in what endpoints and clients saw and in what the writer told and shows.
//!
//! [`holds`] is what must be true whenever everything is quiet; [`held`] what must have been true when all is over.

mod clients;
mod lives;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tidegate::control::{EndpointView, Reason, State};
use tidegate::drain::Outcome;
use tokio::time::{Instant, sleep};

pub(crate) use clients::{every_client_is_served, nothing_runs_too_often};
use lives::{Life, Lives};

use crate::client::Asked;
use crate::endpoint::{Begun, Wire};
use crate::world::World;

/// Within this after the deadline everything but a wait for a boundary is over (P5).
const IN_TIME: Duration = Duration::from_millis(250);

/// The same, with the wait for a boundary.
const ALLOWANCE: Duration = Duration::from_millis(2_250);

/// Idle connections of what drains are closed within this (P4).
const IDLE: Duration = Duration::from_millis(100);

/// From the end of the last work to `drained` (P6).
const AT_ONCE: Duration = Duration::from_millis(10);

/// All that can be seen now.
pub(crate) async fn holds(world: &World) {
    world.settle().await;
    let lives = Lives::of(world);
    nothing_starts_at_what_drains(world, &lives);
    idle_connections_are_closed(world, &lives);
    let service = world.handle.service("web").await.unwrap();
    in_flight_is_the_truth(world, &lives, &service.endpoints);
    states_are_what_is_wanted(&lives, &service.endpoints);
    every_drain_ends(&lives, &service.endpoints);
}

/// All that can be seen when everything is over.
pub(crate) async fn held(world: &World, asked: &[Asked]) {
    holds(world).await;
    nothing_runs_too_often(world);
    every_client_is_served(world, asked);
    nothing_is_left_behind(world).await;
    let lives = Lives::of(world);
    every_drain_is_reported(world, &lives);
}

/// P1, P4, P7: nothing begins on a connection of a life that is closed; what begins at one that serves as the fallback is
/// told to be the last there.
fn nothing_starts_at_what_drains(world: &World, lives: &Lives) {
    for endpoint in &world.endpoints {
        for work in endpoint.begun.borrow().iter() {
            let candidates: Vec<_> = lives.of_work(endpoint.address, work).collect();
            let is_open = |life: &&Life| life.closed.is_none_or(|closed| work.at <= closed);
            assert!(
                candidates.iter().any(is_open),
                "P1: {work:?} at {candidates:?}"
            );
            let fills_in = |life: &Life| life.fallback.is_some_and(|since| since <= work.at);
            let certain = |life: &Life| life.fallback.is_some_and(|since| since < work.at);
            if work.close {
                assert!(
                    candidates.iter().any(|life| fills_in(life)),
                    "nobody but a fallback's request is the last: {work:?}"
                );
            } else {
                assert!(
                    !candidates.iter().all(|life| certain(life)),
                    "P7: {work:?} does not close"
                );
            }
        }
    }
}

/// P4: nothing is open and idle at what has been closed for a while.
fn idle_connections_are_closed(world: &World, lives: &Lives) {
    let now = Instant::now();
    let is_long_closed = |life: &Life| life.closed.is_some_and(|closed| now > closed + IDLE);
    for endpoint in &world.endpoints {
        let wires = endpoint.wires.borrow();
        let is_idle = |wire: &&Rc<Wire>| wire.open.get() && wire.work.borrow().is_none();
        for wire in wires.iter().filter(is_idle) {
            let mut candidates = lives.at(endpoint.address, wire.since);
            assert!(!candidates.all(is_long_closed), "P4: {wire:?} is open");
        }
    }
}

/// Law 4, law 7, P12: a life's gate counts what is under way at its endpoint, not more and not less.
fn in_flight_is_the_truth(world: &World, lives: &Lives, views: &[EndpointView]) {
    for endpoint in &world.endpoints {
        let here = |view: &&EndpointView| view.address == endpoint.address;
        let counted: u64 = views.iter().filter(here).map(|view| view.in_flight).sum();
        let busy = endpoint.busy_wires();
        assert_eq!(
            counted, busy as u64,
            "in flight at {}: {views:?}",
            endpoint.address
        );
        for view in views.iter().filter(here) {
            let (mut least, mut most) = (0, 0);
            for wire in endpoint.wires.borrow().iter() {
                let Some(work) = wire.work.borrow().clone() else {
                    continue;
                };
                let candidates: Vec<_> = lives.of_work(endpoint.address, &work).collect();
                let is_this = |life: &&Life| lives.is_shown(life, view);
                most += u64::from(candidates.iter().any(&is_this));
                least += u64::from(candidates.iter().all(is_this));
            }
            assert!(
                (least..=most).contains(&view.in_flight),
                "{view:?} has {least} to {most} in flight"
            );
        }
    }
}

/// P7, P8: every endpoint that is listed is in the state that sources and operators want.
fn states_are_what_is_wanted(lives: &Lives, views: &[EndpointView]) {
    for (key, state, fallback) in lives.wanted() {
        let view = views.iter().find(|view| view.key == *key);
        let view = view.unwrap_or_else(|| panic!("{key} is not shown"));
        let is_fallback = view.reason == Some(Reason::Fallback);
        let is_state = match view.state {
            State::Drained => state == State::Draining && !fallback,
            shown => shown == state,
        };
        assert!(
            is_state && is_fallback == fallback,
            "{view:?} should be {state:?}, fallback {fallback}; {lives:?}"
        );
    }
}

/// P5, P6, law 8: what is closed and empty is drained, and nothing outlasts its deadline.
fn every_drain_ends(lives: &Lives, views: &[EndpointView]) {
    let now = Instant::now();
    for life in &lives.all {
        let Some(closed) = life.closed.filter(|_| life.drained.is_none()) else {
            continue;
        };
        let view = views.iter().find(|view| Some(view.life) == life.id);
        let view = view.unwrap_or_else(|| panic!("{life:?} drains, and is not shown"));
        let is_late = life
            .deadline
            .is_some_and(|deadline| now > deadline + ALLOWANCE);
        assert!(!is_late, "P5: {life:?} still has {}", view.in_flight);
        assert!(
            view.in_flight > 0 || now <= closed,
            "P6: {life:?} is empty and drains"
        );
    }
}

/// P5, P6, P13: every report is true.
fn every_drain_is_reported(world: &World, lives: &Lives) {
    let mut fallbacks = HashMap::new();
    for life in &lives.all {
        let report = life.report.as_ref();
        let report = report.unwrap_or_else(|| panic!("law 8: {life:?} did not end"));
        let (closed, drained) = (life.closed.unwrap(), life.drained.unwrap());
        *fallbacks.entry(life.address).or_default() += report.counts.started_after.fallback;
        assert_eq!(report.counts.started_after.affinity, 0, "{report:?}");
        let place = world
            .endpoints
            .iter()
            .position(|endpoint| endpoint.address == life.address);
        let begun = world.endpoints[place.unwrap()].begun.borrow().clone();
        let may_be = |work: &&Rc<Begun>| {
            let mut all = lives.of_work(life.address, work);
            all.any(|other| other.id == life.id)
        };
        let must_be = |work: &&Rc<Begun>| {
            let mut all = lives.of_work(life.address, work);
            all.all(|other| other.id == life.id)
        };
        // Our own end cuts everything, whatever drains.
        let plan = world.plan.get();
        if plan.is_none_or(|plan| drained < plan.cut) {
            cut_truly(life, report, begun.iter().filter(may_be));
        }
        drained_at_once(life, report, begun.iter().filter(may_be), drained - closed);
        at_start(life, report, begun.iter().filter(may_be), |work| {
            must_be(&work)
        });
    }
    for endpoint in &world.endpoints {
        let begun = endpoint.begun.borrow();
        let last: u64 = begun.iter().map(|work| u64::from(work.close)).sum();
        let told = fallbacks.get(&endpoint.address).copied().unwrap_or(0);
        // What was written to one that crashed may never have been read.
        let has_faults = !endpoint.faults.borrow().is_empty();
        let is_right = told == last || told > last && has_faults;
        assert!(
            is_right,
            "P7: {told} told, {last} served at {}",
            endpoint.address
        );
    }
}

/// P6: `drained` follows the end of the last work.
fn drained_at_once<'w>(
    life: &Life,
    report: &tidegate::drain::Report,
    begun: impl Iterator<Item = &'w Rc<Begun>>,
    took: Duration,
) {
    let drained = life.drained.unwrap();
    let told = report.took.unwrap();
    assert!(took.abs_diff(told) <= AT_ONCE, "took {took:?}: {report:?}");
    let last = begun
        .filter_map(|work| work.ended.get())
        .filter(|end| *end <= drained)
        .max();
    let since = last.max(life.closed).unwrap();
    assert!(drained - since <= AT_ONCE, "P6: {life:?} after {since:?}");
}

/// P13: what was in flight when the gate closed.
fn at_start<'w>(
    life: &Life,
    report: &tidegate::drain::Report,
    begun: impl Iterator<Item = &'w Rc<Begun>>,
    must_be: impl Fn(&Rc<Begun>) -> bool,
) {
    let closed = life.closed.unwrap();
    let (mut least, mut most) = (0, report.counts.retried);
    for work in begun {
        let ended = work.ended.get();
        most += u64::from(work.at <= closed && ended.is_none_or(|end| end >= closed));
        let is_inside = work.at < closed && ended.is_none_or(|end| end > closed);
        least += u64::from(is_inside && must_be(work));
    }
    assert!(
        (least..=most).contains(&report.in_flight_at_start),
        "{report:?} had {least} to {most}"
    );
}

/// P3, P5, P13: what is cut is cut at the deadline, and told.
fn cut_truly<'w>(
    life: &Life,
    report: &tidegate::drain::Report,
    begun: impl Iterator<Item = &'w Rc<Begun>>,
) {
    let counts = report.counts;
    let outcome = report.outcome.unwrap();
    let cut = counts.cut.total();
    assert_eq!(
        outcome == Outcome::Cut,
        cut > 0 && outcome != Outcome::Cancelled,
        "{report:?}"
    );
    assert_eq!(
        counts.finished + counts.retried + cut,
        report.in_flight_at_start,
        "{report:?}"
    );
    let drained = life.drained.unwrap();
    let late = |deadline: Instant| begun.filter(move |work| work.ended.get() >= Some(deadline));
    match life.deadline {
        None => assert_eq!(cut, 0, "P5: cut without a deadline: {life:?}"),
        Some(deadline) => {
            assert!(drained <= deadline + ALLOWANCE, "P5: {life:?}");
            assert!(cut as usize <= late(deadline).count(), "P5: {life:?}");
        }
    }
    if let Some(known) = report.deadline {
        assert!(known >= report.since, "{report:?}");
    }
}

/// P12: when everything has gone, nothing is left behind.
pub(crate) async fn nothing_is_left_behind(world: &World) {
    for number in 0..world.endpoints.len() {
        world.list(number, |listed| *listed = None);
    }
    sleep(Duration::from_secs(120)).await;
    let service = world.handle.service("web").await.unwrap();
    assert!(service.endpoints.is_empty(), "P12: {:?}", service.endpoints);
    for endpoint in &world.endpoints {
        let open = |wire: &&Rc<Wire>| wire.open.get();
        let open = endpoint.wires.borrow().iter().filter(open).count();
        assert_eq!(open, 0, "P12: connections with {}", endpoint.address);
    }
    assert_eq!(world.census().await, (0, 0), "P12: connections are counted");
    assert!(
        world.handle.drains().await.unwrap().running.is_empty(),
        "P12: drains are left"
    );
}

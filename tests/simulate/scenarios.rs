//! One story for each promise.

mod clients;
mod deadlines;
mod fallbacks;
mod identities;
mod leaving;
mod limits;
mod relists;
mod reloads;
mod told;

use std::time::{Duration, SystemTime};

use tidegate::control::{EventKind, Reason, State};
use tidegate::discovery::{Observed, ObservedState};
use tidegate::drain::{Cause, LimitedBy, Outcome};
use tokio::time::{Instant, sleep};

use super::client::{Asked, Seen};
use super::endpoint::Endpoint;
use super::model;
use super::world::{World, address, observed, play, service};

const NONE: Duration = Duration::ZERO;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A request on a connection of its own, from now on.
fn start(world: &World, method: &'static str, path: &str) -> tokio::task::JoinHandle<Asked> {
    start_upload(world, method, path, NONE)
}

fn start_upload(
    world: &World,
    method: &'static str,
    path: &str,
    upload: Duration,
) -> tokio::task::JoinHandle<Asked> {
    let mut client = world.connect();
    let path = path.to_owned();
    tokio::task::spawn_local(async move { client.ask(method, &path, upload).await })
}

/// Where a path began.
fn place(world: &World, path: &str) -> usize {
    let has = |endpoint: &std::rc::Rc<Endpoint>| {
        endpoint
            .begun
            .borrow()
            .iter()
            .any(|begun| begun.path == path)
    };
    world.endpoints.iter().position(has).unwrap()
}

#[test]
fn a_request_in_flight_finishes_and_nothing_new_starts() {
    play(async {
        let world = World::with(2, service(secs(30)), 1).await;
        let running = start(&world, "GET", "later/1/5000");
        sleep(ms(10)).await;
        let draining = place(&world, "later/1/5000");
        let answer = world.drain(draining, None, false).await;
        assert_eq!((answer.in_flight, answer.reason), (1, "operator"));
        let before = world.endpoints[draining].count();
        for number in 0..50 {
            let asked = start(&world, "POST", &format!("now/{number}/0"))
                .await
                .unwrap();
            assert_eq!(asked.seen, Seen::Whole(200));
        }
        assert_eq!(world.endpoints[draining].count(), before, "P1");
        let asked = running.await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "P3");
        assert!(!asked.close, "P14");
        sleep(ms(10)).await;
        let (state, _) = world.state(draining).await.unwrap();
        assert_eq!(state, State::Drained, "P6: within 10 ms");
        model::holds(&world).await;
        model::holds(&world).await;
        assert_eq!(world.reports().await[0].counts.finished, 1);
        world.end().await;
    });
}

#[test]
fn what_is_not_written_yet_goes_elsewhere_at_once() {
    play(async {
        let mut settings = service(secs(30));
        settings.timeouts.connect = secs(20);
        let world = World::with(2, settings, 6).await;
        world.list(1, |listed| *listed = None);
        world.calm().await;
        world.net.lose(address(0));
        let waiting = start(&world, "POST", "now/1/0");
        sleep(secs(1)).await;
        world.list(1, |listed| *listed = Some(observed(1)));
        world.calm().await;
        let drained = Instant::now();
        let answer = world.drain(0, None, true).await;
        assert!(answer.drained, "{answer:?}");
        assert_eq!(drained.elapsed(), NONE, "P6: it holds no place");
        let asked = waiting.await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "P1, P10: any method");
        assert!(asked.ended - drained <= ms(10), "{asked:?}");
        assert_eq!(place(&world, "now/1/0"), 1);
        let report = &world.reports().await[0];
        assert_eq!((report.in_flight_at_start, report.counts.retried), (1, 1));
        model::held(&world, &[asked]).await;
        world.end().await;
    });
}

#[test]
fn idle_connections_close_within_100_ms_on_every_worker() {
    play(async {
        let world = World::with(1, service(secs(30)), 2).await;
        let mut kept = Vec::new();
        for worker in [0, 1] {
            let mut client = world.connect_to(worker);
            assert_eq!(
                client.ask("GET", "now/1/0", NONE).await.seen,
                Seen::Whole(200)
            );
            kept.push(client);
        }
        assert_eq!(world.endpoints[0].idle_wires(), 2);
        world.list(0, |listed| *listed = None);
        sleep(ms(100)).await;
        assert_eq!(world.endpoints[0].idle_wires(), 0, "P4");
        for client in &mut kept {
            assert!(!client.is_ended().await, "P14: a client's connection stays");
        }
        world.end().await;
    });
}

#[test]
fn each_kind_ends_its_own_way_at_the_deadline() {
    play(async {
        let world = World::with(1, service(secs(4)), 3).await;
        let silent = start(&world, "GET", "never/1/0");
        let body = start(&world, "GET", "drip/2/60000");
        let upload = start_upload(&world, "POST", "now/3/0", secs(60));
        let events = start(&world, "GET", "events/4/60000");
        sleep(ms(100)).await;
        let began = Instant::now();
        world.list_as(0, ObservedState::Draining { serving: false });
        let silent = silent.await.unwrap();
        assert_eq!(silent.seen, Seen::Whole(504));
        let late = silent.ended - began;
        assert!(late >= secs(4) && late <= ms(4_250), "P5: {late:?}");
        assert_eq!(
            body.await.unwrap().seen,
            Seen::Cut(200),
            "a cut body never looks whole"
        );
        let upload = upload.await.unwrap();
        assert!(
            upload.seen == Seen::Whole(504) && upload.close,
            "{upload:?}"
        );
        let events = events.await.unwrap();
        assert_eq!(events.seen, Seen::Whole(200), "ends between two events");
        sleep(ms(20)).await;
        let report = &world.reports().await[0];
        assert_eq!(
            (report.in_flight_at_start, report.counts.cut.request),
            (4, 3),
            "{report:?}"
        );
        assert_eq!(report.outcome, Some(Outcome::Cut));
        model::holds(&world).await;
        world.end().await;
    });
}

#[test]
fn event_streams_end_spread_over_the_window() {
    play(async {
        let world = World::with(1, service(secs(100)), 4).await;
        let streams: Vec<_> = (0..30)
            .map(|number| start(&world, "GET", &format!("events/{number}/1000000")))
            .collect();
        sleep(ms(100)).await;
        let began = Instant::now();
        world.list(0, |listed| *listed = None);
        let mut ends = Vec::new();
        for stream in streams {
            let asked = stream.await.unwrap();
            assert_eq!(asked.seen, Seen::Whole(200));
            ends.push(asked.ended - began);
        }
        ends.sort();
        assert!(ends[0] >= secs(20), "not before a fifth: {ends:?}");
        assert!(ends[29] - ends[0] > secs(20), "spread out: {ends:?}");
        assert_eq!(world.reports().await[0].outcome, Some(Outcome::Clean));
        world.end().await;
    });
}

#[test]
fn the_last_one_serves_on_until_another_is_ready() {
    play(async {
        let world = World::with(2, service(secs(5)), 5).await;
        world.list(1, |listed| *listed = None);
        world.list_as(0, ObservedState::Draining { serving: true });
        world.calm().await;
        assert_eq!(
            world.state(0).await,
            Some((State::Draining, Some(Reason::Fallback)))
        );
        sleep(secs(60)).await;
        let asked = start(&world, "GET", "now/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "P7");
        assert!(
            world.endpoints[0].begun.borrow()[0].close,
            "P7: its connection ends with it"
        );
        let answer = world.drain(0, Some(secs(2)), true).await;
        assert_eq!(
            (answer.drained, answer.reason),
            (false, "fallback"),
            "rather than lie"
        );
        world.list_as(1, ObservedState::Ready);
        world.calm().await;
        let (state, reason) = world.state(0).await.unwrap();
        assert_eq!(state, State::Drained);
        assert_ne!(
            reason,
            Some(Reason::Fallback),
            "its drain proper begins with the first ready one"
        );
        assert_eq!(world.reports().await[0].counts.started_after.fallback, 1);
        model::holds(&world).await;
        world.end().await;
    });
}

#[test]
fn nobody_serves_when_nobody_can() {
    play(async {
        let world = World::with(2, service(secs(5)), 6).await;
        world.list_as(0, ObservedState::NotReady);
        world.list_as(1, ObservedState::Draining { serving: false });
        world.calm().await;
        let asked = start(&world, "GET", "now/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(503));
        world.end().await;
    });
}

#[test]
fn what_was_answered_as_drained_does_not_come_back_as_the_fallback() {
    play(async {
        let world = World::with(2, service(secs(5)), 7).await;
        assert!(world.drain(0, None, true).await.drained);
        world.list(1, |listed| *listed = None);
        world.calm().await;
        let asked = start(&world, "GET", "now/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(503), "final until an undrain (P7)");
        world.undrain(0).await;
        let asked = start(&world, "GET", "now/2/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200));
        world.end().await;
    });
}

#[test]
fn a_new_id_on_the_same_address_is_another_endpoint() {
    play(async {
        let world = World::with(1, service(secs(30)), 8).await;
        let running = start(&world, "GET", "later/1/3000");
        sleep(ms(10)).await;
        world.list(0, |listed| {
            *listed = Some(Observed {
                key: "web-new".into(),
                ..observed(0)
            });
        });
        world.calm().await;
        let asked = start(&world, "GET", "now/2/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "in rotation at once (P8)");
        assert!(
            world.endpoints[0].begun.borrow()[1].fresh,
            "with a pool of its own"
        );
        let old = world.state_of(&"web-0".into()).await;
        assert_eq!(
            old,
            Some((State::Draining, Some(Reason::Drain(Cause::Removed))))
        );
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200));
        world.end().await;
    });
}

#[test]
fn an_undrain_lifts_the_deadline_of_the_old_life() {
    play(async {
        let world = World::with(2, service(secs(2)), 9).await;
        let running = start(&world, "GET", "later/1/30000");
        sleep(ms(10)).await;
        let number = place(&world, "later/1/30000");
        world.drain(number, None, false).await;
        sleep(secs(1)).await;
        world.undrain(number).await;
        assert_eq!(
            running.await.unwrap().seen,
            Seen::Whole(200),
            "no deadline any more"
        );
        sleep(ms(20)).await;
        assert_eq!(world.reports().await[0].outcome, Some(Outcome::Cancelled));
        assert_eq!(world.state(number).await, Some((State::Ready, None)));
        world.end().await;
    });
}

#[test]
fn an_undrain_lifts_older_lives_too() {
    play(async {
        let world = World::with(2, service(secs(5)), 10).await;
        let running = start(&world, "GET", "later/1/30000");
        sleep(ms(10)).await;
        let number = place(&world, "later/1/30000");
        world.drain(number, None, false).await;
        // The other one leaves: what drains here fills in, with a new life beside the old one.
        world.list(1 - number, |listed| *listed = None);
        world.calm().await;
        assert_eq!(world.state(number).await.unwrap().1, Some(Reason::Fallback));
        world.undrain(number).await;
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200));
        world.end().await;
    });
}

#[test]
fn a_deadline_is_shortened_and_never_lengthened() {
    play(async {
        let world = World::with(2, service(secs(30)), 11).await;
        let running = start(&world, "GET", "later/1/60000");
        sleep(ms(10)).await;
        let number = place(&world, "later/1/60000");
        let began = Instant::now();
        let first = world.drain(number, None, false).await;
        assert_eq!(first.limited_by, Some(LimitedBy::Service));
        let longer = world.drain(number, Some(secs(300)), false).await;
        assert_eq!(
            (longer.deadline, longer.limited_by),
            (first.deadline, first.limited_by)
        );
        let shorter = world.drain(number, Some(secs(3)), false).await;
        assert_eq!(shorter.limited_by, Some(LimitedBy::Operator));
        assert!(shorter.deadline < first.deadline);
        let asked = running.await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(504));
        assert!(asked.ended - began <= ms(3_250));
        world.end().await;
    });
}

#[test]
fn a_wait_that_outlasts_its_limit_waits_on_without_spinning() {
    play(async {
        let world = World::with(2, service(secs(30)), 12).await;
        let running = start(&world, "GET", "later/1/20000");
        sleep(ms(10)).await;
        let number = place(&world, "later/1/20000");
        world.drain(number, None, false).await;
        // Its own timeout cannot shorten what is fixed by then, so its patience ends before the drain does.
        let waiting = world.drain(number, Some(secs(25)), true);
        let answer = tokio::time::timeout(secs(40), waiting).await.unwrap();
        assert!(answer.drained);
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200));
        world.end().await;
    });
}

#[test]
fn a_refused_connection_costs_nobody_an_answer() {
    play(async {
        let world = World::with(3, service(secs(30)), 13).await;
        world.endpoints[0].refuse();
        let mut all = Vec::new();
        for number in 0..30 {
            all.push(
                start(&world, "POST", &format!("now/{number}/0"))
                    .await
                    .unwrap(),
            );
        }
        model::every_client_is_served(&world, &all);
        model::nothing_runs_too_often(&world);
        world.endpoints[0].come_back(&world.net);
        world.end().await;
    });
}

#[test]
fn a_post_that_died_on_the_way_is_not_sent_again() {
    play(async {
        let world = World::with(2, service(secs(30)), 14).await;
        let asked = start(&world, "POST", "close/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(502));
        model::nothing_runs_too_often(&world);
        world.end().await;
    });
}

#[test]
fn who_waits_for_a_connection_goes_elsewhere_when_its_endpoint_drains() {
    play(async {
        let mut settings = service(secs(30));
        settings.limits.connections_per_endpoint = 1;
        let world = World::with(1, settings, 15).await;
        let running = start(&world, "GET", "later/1/5000");
        sleep(ms(10)).await;
        let waiting = start(&world, "POST", "now/2/0");
        sleep(ms(10)).await;
        assert_eq!(
            world.endpoints[0].count(),
            1,
            "it waits, and holds no place in flight"
        );
        world.list(0, |listed| {
            *listed = Some(Observed {
                key: "web-new".into(),
                address: address(0),
                ..observed(0)
            });
        });
        let asked = waiting.await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200));
        assert!(
            asked.ended - asked.began < secs(1),
            "it picked again at once"
        );
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200));
        world.end().await;
    });
}

#[test]
fn losing_sight_changes_nothing() {
    play(async {
        let world = World::with(2, service(secs(30)), 16).await;
        world.fail("gone");
        sleep(secs(600)).await;
        let asked = start(&world, "GET", "now/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "P9");
        assert_eq!(world.state(0).await, Some((State::Ready, None)));
        world.end().await;
    });
}

#[test]
fn our_own_end_finishes_what_it_can_within_the_budget() {
    play(async {
        let world = World::with(2, service(secs(30)), 17).await;
        let short = start(&world, "GET", "later/1/10000");
        let long = start(&world, "GET", "never/2/0");
        let mut idle = world.connect();
        assert_eq!(
            idle.ask("GET", "now/3/0", NONE).await.seen,
            Seen::Whole(200)
        );
        let began = Instant::now();
        let cut = world.leave(secs(5), secs(20)).await;
        assert!(began.elapsed() <= secs(20), "P11");
        assert_eq!(cut, 1);
        assert_eq!(short.await.unwrap().seen, Seen::Whole(200));
        assert_eq!(long.await.unwrap().seen, Seen::Whole(504));
        assert!(idle.is_ended().await);
        world.end().await;
    });
}

#[test]
fn states_are_told_in_the_order_in_which_they_hold() {
    play(async {
        let world = World::with(2, service(secs(30)), 18).await;
        let since = SystemTime::now();
        world.list(0, |listed| *listed = None);
        sleep(ms(50)).await;
        let state = |told: &super::world::Told| match &told.kind {
            EventKind::State { key, to, .. } if key.as_str() == "web-0" => Some(*to),
            _ => None,
        };
        let states: Vec<_> = world.told.borrow().iter().filter_map(state).collect();
        assert_eq!(
            states,
            [State::Ready, State::Draining, State::Drained, State::Gone]
        );
        let report = &world.reports().await[0];
        assert!(report.since <= report.ended.unwrap() && report.since >= since - secs(60));
        model::nothing_is_left_behind(&world).await;
        world.end().await;
    });
}

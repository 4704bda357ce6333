//! What is told of drains is true (P13).

use tidegate::control::{EventKind, Reason, State};
use tidegate::discovery::ObservedState;

use super::*;

#[test]
fn a_drain_tells_the_state_that_it_leaves() {
    play(async {
        let world = World::with(2, service(secs(30)), 20).await;
        world.list_as(0, ObservedState::NotReady);
        world.calm().await;
        world.list(0, |listed| *listed = None);
        world.list_as(1, ObservedState::Draining { serving: true });
        world.calm().await;
        world.list_as(0, ObservedState::Ready);
        world.calm().await;
        let drains: Vec<_> = world
            .told
            .borrow()
            .iter()
            .filter_map(|told| match &told.kind {
                EventKind::State {
                    key,
                    from,
                    to: State::Draining,
                    reason,
                    ..
                } => Some((key.to_string(), *from, *reason == Some(Reason::Fallback))),
                _ => None,
            })
            .collect();
        let expected = [
            ("web-0", State::NotReady, false),
            ("web-1", State::Ready, true),
            ("web-1", State::Draining, false),
        ];
        let expected = expected.map(|(key, from, fallback)| (key.to_owned(), Some(from), fallback));
        assert_eq!(drains, expected);
        model::holds(&world).await;
        world.end().await;
    });
}

#[test]
fn what_never_started_does_not_count_as_served_by_the_fallback() {
    play(async {
        let mut settings = service(secs(30));
        settings.limits.connections_per_endpoint = 1;
        let world = World::with(2, settings, 21).await;
        world.list(1, |listed| *listed = None);
        world.list_as(0, ObservedState::Draining { serving: true });
        world.calm().await;
        let running = start(&world, "GET", "later/1/1000");
        let waiting: Vec<_> = (2..6)
            .map(|number| start(&world, "GET", &format!("now/{number}/0")))
            .collect();
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200));
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().seen, Seen::Whole(200));
        }
        world.endpoints[0].refuse();
        let refused = start(&world, "GET", "now/6/0").await.unwrap();
        assert_eq!(refused.seen, Seen::Whole(503));
        world.list_as(1, ObservedState::Ready);
        world.calm().await;
        let report = &world.reports().await[0];
        assert_eq!(report.counts.started_after.fallback, 5, "{report:?}");
        world.end().await;
    });
}

#[test]
fn an_answer_before_the_uploads_end_says_that_the_connection_ends() {
    play(async {
        let world = World::with(1, service(secs(30)), 22).await;
        world.list(0, |listed| *listed = None);
        world.calm().await;
        let asked = start_upload(&world, "POST", "now/1/0", secs(4)).await;
        let asked = asked.unwrap();
        assert_eq!((asked.seen, asked.close), (Seen::Whole(503), true));
        let asked = start(&world, "GET", "now/2/0").await.unwrap();
        assert_eq!((asked.seen, asked.close), (Seen::Whole(503), false));
        world.end().await;
    });
}

#[test]
fn a_drain_asked_for_of_what_has_left_ends_with_it() {
    play(async {
        let world = World::with(2, service(secs(30)), 23).await;
        let running = start(&world, "GET", "later/1/5000");
        sleep(ms(10)).await;
        let number = place(&world, "later/1/5000");
        world.list(number, |listed| *listed = None);
        world.calm().await;
        world.drain(number, None, false).await;
        running.await.unwrap();
        sleep(ms(20)).await;
        assert_eq!(world.state(number).await, None, "it has gone");
        world.list_as(number, ObservedState::Ready);
        world.calm().await;
        assert_eq!(
            world.state(number).await,
            Some((State::Ready, None)),
            "P16: an operator's drain ends when its id leaves the source"
        );
        model::held(&world, &[]).await;
        world.end().await;
    });
}

#[test]
fn a_report_tells_what_became_of_each_request() {
    play(async {
        let world = World::with(1, service(secs(2)), 24).await;
        let done = start(&world, "GET", "later/1/1000");
        let cut = start(&world, "GET", "never/2/0");
        let hangs = start(&world, "GET", "hang/3/0");
        sleep(ms(10)).await;
        world.list(0, |listed| *listed = None);
        let all = [
            done.await.unwrap(),
            cut.await.unwrap(),
            hangs.await.unwrap(),
        ];
        sleep(ms(20)).await;
        let report = &world.reports().await[0];
        let counts = report.counts;
        assert_eq!(
            (
                report.in_flight_at_start,
                counts.finished,
                counts.cut.request
            ),
            (3, 1, 2)
        );
        assert_eq!(
            (report.cause, report.limited_by),
            (Cause::Removed, LimitedBy::Service)
        );
        model::held(&world, &all).await;
        world.end().await;
    });
}

//! Each kind of work has the end that it should have (P3, P5).

use tidegate::discovery::{Observed, ObservedState};

use super::*;

/// Drains a lone endpoint with one request in flight. Returns what its client saw, and when after the drain.
async fn drained(method: &'static str, path: &str, timeout: u64, seed: u64) -> (Asked, Duration) {
    let world = World::with(1, service(secs(timeout)), seed).await;
    let running = start(&world, method, path);
    sleep(ms(500)).await;
    let began = Instant::now();
    world.list(0, |listed| *listed = None);
    let asked = running.await.unwrap();
    let late = asked.ended - began;
    model::held(&world, std::slice::from_ref(&asked)).await;
    world.end().await;
    (asked, late)
}

#[test]
fn an_event_stream_without_an_end_of_its_event_is_cut_after_two_seconds() {
    play(async {
        let (asked, late) = drained("GET", "half/1/0", 10, 30).await;
        assert_eq!(asked.seen, Seen::Cut(200));
        assert!(late > ms(11_900) && late <= ms(12_250), "P5: {late:?}");
    });
}

#[test]
fn an_event_stream_by_another_method_is_a_body_like_any_other() {
    play(async {
        let (asked, late) = drained("POST", "events/1/100000", 10, 31).await;
        assert_eq!(asked.seen, Seen::Cut(200));
        assert!(late >= secs(10) && late <= ms(10_250), "P5: {late:?}");
    });
}

#[test]
fn a_body_that_does_not_come_is_cut_and_never_looks_whole() {
    play(async {
        for (path, seed) in [
            ("hang/1/0", 32),
            ("bare/1/100000", 33),
            ("drip/1/100000", 34),
        ] {
            let (asked, late) = drained("GET", path, 3, seed).await;
            assert_eq!(asked.seen, Seen::Cut(200), "{path}");
            assert!(late >= secs(3) && late <= ms(3_250), "{path}: {late:?}");
        }
    });
}

#[test]
fn event_streams_end_at_once_in_a_short_drain() {
    play(async {
        let (asked, late) = drained("GET", "events/1/10000", 2, 35).await;
        assert_eq!(asked.seen, Seen::Whole(200));
        assert!(late <= secs(1), "at the next event: {late:?}");
    });
}

#[test]
fn uploads_and_downloads_that_have_time_are_untouched() {
    play(async {
        let world = World::with(1, service(secs(30)), 36).await;
        let all = [
            start_upload(&world, "POST", "later/1/5000", secs(20)),
            start_upload(&world, "POST", "drip/2/5000", secs(20)),
            start_upload(&world, "POST", "early/3/2000", secs(20)),
            start(&world, "GET", "bare/4/29000"),
        ];
        sleep(ms(500)).await;
        world.list(0, |listed| *listed = None);
        let mut seen = Vec::new();
        for running in all {
            let asked = running.await.unwrap();
            assert_eq!(asked.seen, Seen::Whole(200), "P3: {asked:?}");
            seen.push(asked);
        }
        model::held(&world, &seen).await;
        assert_eq!(world.reports().await[0].outcome, Some(Outcome::Clean));
        world.end().await;
    });
}

#[test]
fn an_early_answer_is_in_flight_until_its_upload_is_over() {
    play(async {
        let world = World::with(1, service(secs(30)), 37).await;
        let running = start_upload(&world, "POST", "early/1/100", secs(8));
        sleep(secs(1)).await;
        world.list(0, |listed| *listed = None);
        world.calm().await;
        model::holds(&world).await;
        let (state, _) = world.state_of(&"web-0".into()).await.unwrap();
        assert_eq!(
            state,
            State::Draining,
            "law 4: its answer is over, it is not"
        );
        let asked = running.await.unwrap();
        sleep(ms(10)).await;
        model::held(&world, &[asked]).await;
        let took = world.reports().await[0].took.unwrap();
        assert!(took >= ms(6_900) && took <= ms(7_010), "P6: {took:?}");
        world.end().await;
    });
}

#[test]
fn an_upload_behind_its_answer_is_cut_at_the_deadline() {
    play(async {
        let world = World::with(1, service(secs(2)), 38).await;
        let running = start_upload(&world, "POST", "early/1/100", secs(60));
        sleep(secs(1)).await;
        world.list(0, |listed| *listed = None);
        sleep(ms(2_250)).await;
        let report = world.reports().await[0].clone();
        assert_eq!(report.counts.cut.request, 1, "law 8: {report:?}");
        running.abort();
        model::held(&world, &[]).await;
        world.end().await;
    });
}

#[test]
fn the_endpoints_own_timeout_limits_its_drain_and_shortens_it_later() {
    play(async {
        let world = World::with(1, service(secs(30)), 39).await;
        let running = start(&world, "GET", "never/1/0");
        sleep(ms(10)).await;
        let began = Instant::now();
        let leaves_within = |timeout: u64| {
            world.list(0, |listed| {
                *listed = Some(Observed {
                    state: ObservedState::Draining { serving: false },
                    drain_timeout: Some(secs(timeout)),
                    ..observed(0)
                });
            });
        };
        leaves_within(20);
        sleep(secs(1)).await;
        leaves_within(60);
        world.calm().await;
        model::holds(&world).await;
        leaves_within(5);
        let asked = running.await.unwrap();
        let late = asked.ended - began;
        assert!(late >= secs(5) && late <= ms(5_250), "P5: {late:?}");
        sleep(ms(20)).await;
        let report = &world.reports().await[0];
        assert_eq!(report.limited_by, LimitedBy::Endpoint);
        model::held(&world, &[asked]).await;
        world.end().await;
    });
}

#[test]
fn an_operator_makes_a_drain_shorter_and_never_longer() {
    play(async {
        for (seed, asked, lasts, by) in [
            (37, secs(2), secs(2), LimitedBy::Operator),
            (38, secs(90), secs(5), LimitedBy::Service),
        ] {
            let world = World::with(2, service(secs(5)), seed).await;
            let running = start(&world, "GET", "never/1/0");
            sleep(ms(10)).await;
            let number = place(&world, "never/1/0");
            let began = Instant::now();
            let answer = world.drain(number, Some(asked), true).await;
            assert_eq!(answer.limited_by, Some(by), "{answer:?}");
            assert_eq!(answer.cut.request, 1, "{answer:?}");
            assert!(
                began.elapsed() >= lasts && began.elapsed() <= lasts + ms(250),
                "P5"
            );
            assert_eq!(running.await.unwrap().seen, Seen::Whole(504));
            world.end().await;
        }
    });
}

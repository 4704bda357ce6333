//! A list that misses most endpoints is not believed at once (P9).

use super::*;

async fn states(world: &World) -> Vec<Option<State>> {
    let mut states = Vec::new();
    for number in 0..world.endpoints.len() {
        states.push(world.state(number).await.map(|(state, _)| state));
    }
    states
}

async fn with(endpoints: usize, seed: u64) -> World {
    let world = World::with(endpoints, service(secs(30)), seed).await;
    world.calm().await;
    world
}

#[test]
fn what_most_of_a_list_misses_is_suspect_and_gone_after_ten_seconds() {
    play(async {
        let world = with(12, 100).await;
        let running: Vec<_> = (0..40)
            .map(|number| start(&world, "GET", &format!("later/{number}/15000")))
            .collect();
        sleep(ms(10)).await;
        world.relist(0..3);
        world.calm().await;
        let mut expected = vec![Some(State::Ready); 3];
        expected.resize(12, Some(State::Suspect));
        assert_eq!(states(&world).await, expected);
        for number in 100..160 {
            let path = format!("now/{number}/0");
            let asked = start(&world, "POST", &path).await.unwrap();
            assert_eq!(asked.seen, Seen::Whole(200));
            assert!(place(&world, &path) < 3, "last in order");
        }
        // What the watch says since is obeyed, and says nothing of the others.
        world.relist(0..3);
        sleep(ms(9_900)).await;
        assert_eq!(states(&world).await, expected);
        assert!(world.reports().await.is_empty());
        sleep(ms(200)).await;
        for (number, state) in states(&world).await.into_iter().enumerate().skip(3) {
            assert!(
                matches!(state, None | Some(State::Draining)),
                "{number}: {state:?}"
            );
        }
        for running in running {
            assert_eq!(running.await.unwrap().seen, Seen::Whole(200), "P3");
        }
        world.calm().await;
        let reports = world.reports().await;
        assert_eq!(reports.len(), 9);
        assert!(reports.iter().all(|report| report.cause == Cause::Removed));
        world.end().await;
    });
}

#[test]
fn an_empty_list_keeps_a_service_up_and_a_whole_one_forgets_it() {
    play(async {
        let world = with(12, 101).await;
        let running = start(&world, "GET", "later/1/15000");
        sleep(ms(10)).await;
        world.relist(0..0);
        world.calm().await;
        for number in 100..120 {
            let asked = start(&world, "POST", &format!("now/{number}/0")).await;
            assert_eq!(asked.unwrap().seen, Seen::Whole(200), "P9");
        }
        sleep(secs(5)).await;
        world.relist(0..12);
        world.calm().await;
        assert_eq!(states(&world).await, [Some(State::Ready); 12]);
        sleep(secs(20)).await;
        assert_eq!(states(&world).await, [Some(State::Ready); 12]);
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200));
        assert!(world.reports().await.is_empty(), "no drain has begun");
        world.end().await;
    });
}

#[test]
fn few_endpoints_or_few_missing_are_believed_at_once() {
    play(async {
        for (seed, endpoints, left) in [(102, 9, 0), (103, 12, 6)] {
            let world = with(endpoints, seed).await;
            world.relist(0..left);
            sleep(ms(100)).await;
            let mut expected = vec![Some(State::Ready); left];
            expected.resize(endpoints, None);
            assert_eq!(states(&world).await, expected);
            world.end().await;
        }
    });
}

#[test]
fn a_removal_that_was_watched_is_obeyed_also_to_the_last() {
    play(async {
        let world = with(12, 104).await;
        for number in 0..12 {
            world.list(number, |listed| *listed = None);
        }
        sleep(ms(100)).await;
        assert_eq!(states(&world).await, [None; 12]);
        let asked = start(&world, "GET", "now/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(503));
        world.end().await;
    });
}

#[test]
fn an_operator_drains_a_suspect_as_any_other() {
    play(async {
        let world = with(12, 105).await;
        world.relist(0..0);
        world.calm().await;
        let answer = world.drain(0, None, true).await;
        assert!(answer.drained, "{answer:?}");
        for number in 100..140 {
            let path = format!("now/{number}/0");
            let asked = start(&world, "POST", &path).await.unwrap();
            assert_eq!(asked.seen, Seen::Whole(200));
            assert_ne!(place(&world, &path), 0, "P1");
        }
        world.end().await;
    });
}

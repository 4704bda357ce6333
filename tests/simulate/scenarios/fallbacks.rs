//! Never a 503 while something can serve (P7).

use tidegate::discovery::ObservedState;
use tidegate::snapshot::AllDraining;

use super::*;

#[test]
fn the_deadline_of_a_fallback_begins_when_another_is_ready() {
    play(async {
        let world = World::with(2, service(secs(5)), 40).await;
        world.list(1, |listed| *listed = None);
        let running = start(&world, "GET", "never/1/0");
        sleep(ms(10)).await;
        world.list_as(0, ObservedState::Draining { serving: true });
        sleep(secs(20)).await;
        model::holds(&world).await;
        let began = Instant::now();
        world.list_as(1, ObservedState::Ready);
        let asked = running.await.unwrap();
        let late = asked.ended - began;
        assert!(late >= secs(5) && late <= ms(5_250), "P7: {late:?}");
        model::held(&world, &[asked]).await;
        world.end().await;
    });
}

#[test]
fn a_service_may_reject_rather_than_serve_by_what_drains() {
    play(async {
        let mut settings = service(secs(5));
        settings.all_draining = AllDraining::Reject;
        let world = World::with(1, settings, 41).await;
        world.list_as(0, ObservedState::Draining { serving: true });
        world.calm().await;
        let asked = start(&world, "GET", "now/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(503));
        assert_eq!(world.endpoints[0].count(), 0);
        world.end().await;
    });
}

#[test]
fn a_hook_is_not_told_a_lie_by_the_last_one() {
    play(async {
        let world = World::with(1, service(secs(5)), 42).await;
        let began = Instant::now();
        let answer = world.drain_pod(0, secs(25)).await;
        assert!(!answer.drained && answer.reason.starts_with("fallback"));
        assert_eq!(began.elapsed(), secs(25));
        let asked = start(&world, "GET", "now/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "P7");
        model::held(&world, &[asked]).await;
        world.end().await;
    });
}

#[test]
fn what_drains_fills_in_when_the_last_ready_one_leaves() {
    play(async {
        let world = World::with(3, service(secs(30)), 43).await;
        let running = start(&world, "GET", "later/1/20000");
        sleep(ms(10)).await;
        let number = place(&world, "later/1/20000");
        world.drain(number, None, false).await;
        for other in (0..3).filter(|other| *other != number) {
            world.list_as(other, ObservedState::NotReady);
        }
        world.calm().await;
        model::holds(&world).await;
        let asked = start(&world, "POST", "now/2/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "P7");
        assert_eq!(place(&world, "now/2/0"), number);
        let old = running.await.unwrap();
        assert_eq!(old.seen, Seen::Whole(200), "P3: the old life has its time");
        model::held(&world, &[asked, old]).await;
        world.end().await;
    });
}

#[test]
fn what_was_answered_of_one_life_does_not_hold_for_the_next() {
    play(async {
        for (seed, back) in [(45, ObservedState::Ready), (46, ObservedState::NotReady)] {
            let world = World::with(2, service(secs(30)), seed).await;
            let answer = world.drain(0, None, true).await;
            assert!(answer.drained);
            world.list(0, |listed| *listed = None);
            world.calm().await;
            world.list_as(0, back);
            world.calm().await;
            world.list_as(0, ObservedState::Ready);
            world.list(1, |listed| *listed = None);
            world.calm().await;
            world.list_as(0, ObservedState::Draining { serving: true });
            world.calm().await;
            let asked = start(&world, "GET", "now/1/0").await.unwrap();
            assert_eq!(asked.seen, Seen::Whole(200), "P7, as {back:?}");
            world.end().await;
        }
    });
}

//! An endpoint is its id, and what comes back is a new life (P8).

use tidegate::discovery::{Observed, ObservedState};

use super::*;

/// What comes back serves at once, on connections of its own, and the old life has its time.
async fn comes_back(world: World, leave: impl Fn(&World), come_back: impl Fn(&World)) {
    let running = start(&world, "GET", "later/1/10000");
    sleep(ms(10)).await;
    leave(&world);
    world.calm().await;
    come_back(&world);
    world.calm().await;
    model::holds(&world).await;
    let asked = start(&world, "GET", "now/2/0").await.unwrap();
    assert_eq!(asked.seen, Seen::Whole(200), "in rotation at once");
    let fresh = world.endpoints.iter().any(|endpoint| {
        let begun = endpoint.begun.borrow();
        begun
            .iter()
            .any(|begun| begun.path == "now/2/0" && begun.fresh)
    });
    assert!(fresh, "with a pool of its own");
    let old = running.await.unwrap();
    assert_eq!(old.seen, Seen::Whole(200), "P3");
    model::held(&world, &[asked, old]).await;
    world.end().await;
}

#[test]
fn an_id_that_leaves_and_returns_begins_a_new_life() {
    play(async {
        let world = World::with(1, service(secs(30)), 50).await;
        comes_back(
            world,
            |world| world.list(0, |listed| *listed = None),
            |world| world.list_as(0, ObservedState::Ready),
        )
        .await;
    });
}

#[test]
fn what_stops_draining_begins_a_new_life() {
    play(async {
        let world = World::with(1, service(secs(30)), 51).await;
        comes_back(
            world,
            |world| world.list_as(0, ObservedState::Draining { serving: false }),
            |world| world.list_as(0, ObservedState::Ready),
        )
        .await;
    });
}

#[test]
fn an_id_at_another_address_begins_a_new_life() {
    play(async {
        let world = World::with(2, service(secs(30)), 52).await;
        world.list(1, |listed| *listed = None);
        world.calm().await;
        let running = start(&world, "GET", "later/1/10000");
        sleep(ms(10)).await;
        world.list(0, |listed| {
            *listed = Some(Observed {
                address: address(1),
                ..observed(0)
            });
        });
        world.calm().await;
        let asked = start(&world, "GET", "now/2/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200));
        assert_eq!(place(&world, "now/2/0"), 1);
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200), "P3");
        model::nothing_is_left_behind(&world).await;
        world.end().await;
    });
}

#[test]
fn a_promise_made_for_an_old_life_does_not_bind_the_new_one() {
    play(async {
        let world = World::with(2, service(secs(30)), 53).await;
        assert!(world.drain(0, None, true).await.drained);
        world.list(0, |listed| *listed = None);
        world.calm().await;
        // It returns, first not ready, then ready, and later is the last that can serve.
        for state in [ObservedState::NotReady, ObservedState::Ready] {
            world.list_as(0, state);
            world.calm().await;
        }
        world.list(1, |listed| *listed = None);
        world.list_as(0, ObservedState::Draining { serving: true });
        world.calm().await;
        let asked = start(&world, "GET", "now/1/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "P7");
        model::held(&world, &[asked]).await;
        world.end().await;
    });
}

#[test]
fn a_promise_of_what_drains_by_its_source_ends_with_that_life() {
    play(async {
        let world = World::with(2, service(secs(30)), 54).await;
        world.list_as(0, ObservedState::Draining { serving: true });
        // An operator who waits is told, then thinks better of it, and the source does, too.
        assert!(world.drain(0, None, true).await.drained);
        world.undrain(0).await;
        world.list_as(0, ObservedState::NotReady);
        world.calm().await;
        world.list_as(0, ObservedState::Draining { serving: true });
        world.list(1, |listed| *listed = None);
        world.calm().await;
        model::holds(&world).await;
        world.end().await;
    });
}

#[test]
fn what_no_route_leads_to_drains() {
    play(async {
        let settings = service(secs(30));
        let world = World::with(1, settings.clone(), 55).await;
        let running = start(&world, "GET", "later/1/5000");
        sleep(ms(10)).await;
        world.unroute(settings).await;
        world.calm().await;
        let state = world.state(0).await;
        let by_route = Reason::Drain(Cause::Route);
        assert_eq!(state, Some((State::Draining, Some(by_route))));
        let asked = start(&world, "GET", "now/2/0").await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(404));
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200), "P3");
        assert_eq!(world.reports().await[0].cause, Cause::Route);
        world.end().await;
    });
}

#[test]
fn a_pod_is_drained_when_each_of_its_lives_is() {
    play(async {
        let world = World::with(2, service(secs(30)), 56).await;
        let running = start(&world, "GET", "later/1/5000");
        sleep(ms(10)).await;
        let number = place(&world, "later/1/5000");
        world.drain(number, None, false).await;
        world.undrain(number).await;
        world.calm().await;
        let began = Instant::now();
        let early = world.drain_pod(number, secs(1)).await;
        assert!(!early.drained, "its older life has work: {early:?}");
        assert_eq!(early.endpoints[0].in_flight, 1, "{early:?}");
        let late = world.drain_pod(number, secs(25)).await;
        assert!(late.drained, "{late:?}");
        let waited = began.elapsed();
        assert!(waited >= ms(4_900) && waited <= ms(5_010), "{waited:?}");
        let asked = running.await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(200), "P3");
        model::held(&world, &[asked]).await;
        world.end().await;
    });
}

//! A config with many services is taken up, and nobody waits for it (P2).

use std::cell::Cell;
use std::collections::BTreeSet;

use super::*;

/// Services beside the one that is drained.
const OTHERS: usize = 500;

/// Takes up a config with so many other services. Meanwhile an endpoint is drained and put back, again and again; returns
/// how many of the other services were there and led to, each time that a drain was acknowledged.
async fn steps(world: &World, others: usize) -> BTreeSet<usize> {
    let over = Cell::new(false);
    let reload = async {
        world.reload_among(others, service(secs(30))).await;
        over.set(true);
    };
    let drains = async {
        let mut steps = BTreeSet::new();
        while !over.get() {
            world.drain(0, None, false).await;
            let services = world.handle.services().await.unwrap();
            let leaves = |reason| reason == Some(Reason::Drain(Cause::Route));
            let stays = services.iter().filter(|service| {
                let mut endpoints = service.endpoints.iter();
                !endpoints.any(|endpoint| leaves(endpoint.reason))
            });
            steps.insert(stays.count() - 1);
            world.undrain(0).await;
        }
        steps
    };
    // The reload asks first.
    let ((), steps) = tokio::join!(biased; reload, drains);
    steps
}

#[test]
fn a_drain_does_not_wait_for_a_reload() {
    play(async {
        let world = World::with(2, service(secs(30)), 60).await;
        // All of them come, and all of them go.
        for others in [OTHERS, 0] {
            let steps = steps(&world, others).await;
            let between = steps.range(1..OTHERS).count();
            assert!(
                between >= 5,
                "drains were acknowledged at {steps:?} services"
            );
            let services = world.handle.services().await.unwrap();
            assert_eq!(services.len(), 1 + others);
        }
        world.calm().await;
        let ready = Some((State::Ready, None));
        assert_eq!([world.state(0).await, world.state(1).await], [ready, ready]);
        world.end().await;
    });
}

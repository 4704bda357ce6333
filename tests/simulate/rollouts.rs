//! Rollouts that dice decide.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tidegate::control::{DrainRequest, HandleError};
use tidegate::discovery::ObservedState;
use tokio::time::sleep;

use super::client::Asked;
use super::model;
use super::world::{World, play, service};

/// Rollouts that are played in a run; a second or two.
const SEEDS: u64 = 150;

#[test]
fn no_rollout_loses_a_request() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds: Vec<u64> = match number("TIDEGATE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TIDEGATE_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    for seed in seeds {
        let played = std::panic::catch_unwind(|| play(rollout(seed)));
        assert!(
            played.is_ok(),
            "seed {seed} fails; play it alone: TIDEGATE_SEED={seed} cargo test --test simulate rollout"
        );
    }
}

async fn rollout(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let endpoints = rng.usize(2..6);
    // Either every drain has time for all the work there is, or deadlines come before it.
    let deadlines = rng.u8(..4) == 0;
    let timeout = Duration::from_secs(if deadlines { 1 } else { 20 });
    let mut settings = service(timeout);
    settings.limits.connections_per_endpoint = [2, 8, 1024][rng.usize(..3)];
    settings.timeouts.request = Duration::from_secs(60);
    let world = Rc::new(World::with(endpoints, settings, seed).await);
    let all = Rc::<RefCell<Vec<Asked>>>::default();
    let clients: Vec<_> = (0..rng.usize(2..10))
        .map(|number| {
            let (world, all, rng) = (world.clone(), all.clone(), rng.fork());
            tokio::task::spawn_local(client(world, all, number, rng))
        })
        .collect();
    for _ in 0..rng.usize(5..40) {
        sleep(Duration::from_millis(rng.u64(1..800))).await;
        something_happens(&world, &mut rng).await;
        model::nothing_starts_at_what_drains(&world);
    }
    for client in clients {
        client.await.unwrap();
    }
    sleep(Duration::from_secs(30)).await;
    model::nothing_starts_at_what_drains(&world);
    model::nothing_runs_too_often(&world);
    model::every_client_is_served(&all.borrow(), deadlines);
    model::every_drain_is_reported(&world).await;
    model::nothing_is_left_behind(&world).await;
    if let Ok(world) = Rc::try_unwrap(world) {
        world.end().await;
    }
}

/// Asks for one thing after the other, now and then on a new connection.
async fn client(world: Rc<World>, all: Rc<RefCell<Vec<Asked>>>, number: usize, mut rng: Rng) {
    let mut connection = world.connect();
    for turn in 0..rng.usize(5..25) {
        sleep(Duration::from_millis(rng.u64(0..400))).await;
        let unique = number * 1_000 + turn;
        let kind = match rng.u8(..20) {
            0 => "close",
            1 => "break",
            2..=4 => "drip",
            5 => "events",
            6..=12 => "later",
            _ => "now",
        };
        let path = format!("{kind}/{unique}/{}", rng.u64(0..3_000));
        let method = if kind != "events" && rng.bool() {
            "POST"
        } else {
            "GET"
        };
        let upload = Duration::from_millis(rng.u64(0..500));
        let asked = connection.ask(method, &path, upload).await;
        let ends = asked.close || asked.seen != super::client::Seen::Whole(200) || rng.u8(..8) == 0;
        all.borrow_mut().push(asked);
        if ends {
            connection = world.connect();
        }
    }
}

/// One event. The first endpoint can always serve: it only drains, by its source, and what was answered as drained would not
/// come back (P7).
async fn something_happens(world: &World, rng: &mut Rng) {
    let number = rng.usize(..world.endpoints.len());
    let name = format!("web-{number}");
    match rng.u8(..8) {
        0 | 1 => world.list_as(number, ObservedState::Draining { serving: true }),
        2 if number > 0 => world.list(number, |listed| *listed = None),
        3 if number > 0 => world.list_as(number, ObservedState::NotReady),
        4 if number > 0 => {
            let request = DrainRequest {
                service: "web".into(),
                endpoint: name,
                timeout: None,
                wait: false,
            };
            match world.handle.drain(request).await {
                Ok(_) | Err(HandleError::NoEndpoint { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        5 => match world.handle.undrain("web", &name).await {
            Ok(_) | Err(HandleError::NoEndpoint { .. } | HandleError::DrainedBySource(_)) => {}
            Err(error) => panic!("{error}"),
        },
        _ => world.list_as(number, ObservedState::Ready),
    }
}

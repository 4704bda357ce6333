//! Rollouts that dice decide.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tidegate::balance::Policy;
use tidegate::control::HandleError;
use tidegate::discovery::{Observed, ObservedState};
use tidegate::snapshot::ServiceSettings;
use tokio::time::sleep;

use super::client::{Asked, Seen};
use super::model;
use super::world::{World, observed, observed_as, play, service, trace};

/// Rollouts that are played in a run; a few seconds.
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

/// What a rollout is like: each kind of trouble leaves the others' promises to be looked at without it.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Deadlines come before some of the work is done.
    deadlines: bool,
    /// Some of it is never done without one; then nobody need wait for a connection, who would do so for as long.
    endless: bool,
    /// There may be a time without anybody who can serve; else the first endpoint always can.
    scarce: bool,
    /// What endpoints do that they should not.
    faults: Faults,
    /// Clients go away in the middle.
    impatient: bool,
    /// tidegate leaves before the clients have done.
    leaves: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    None,
    /// The last endpoint refuses, and closes idle connections; the first is always ready, so that nobody sees it.
    One,
    /// Every endpoint refuses, hangs up and crashes.
    All,
}

impl Weather {
    fn roll(rng: &mut Rng) -> Self {
        let deadlines = rng.u8(..3) == 0;
        Self {
            deadlines,
            endless: deadlines && rng.bool(),
            scarce: rng.u8(..3) == 0,
            faults: [Faults::None, Faults::None, Faults::One, Faults::All][rng.usize(..4)],
            impatient: rng.u8(..3) == 0,
            leaves: rng.u8(..4) == 0,
        }
    }

    fn roll_connections(self, rng: &mut Rng) -> u32 {
        if self.endless {
            1024
        } else {
            [2, 8, 1024][rng.usize(..3)]
        }
    }

    /// Endpoints below this number stay in rotation.
    fn steady(self) -> usize {
        usize::from(self.faults == Faults::One)
    }
}

/// One rollout.
struct Rollout {
    world: World,
    weather: Weather,
    all: RefCell<Vec<Asked>>,
}

async fn rollout(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let weather = Weather::roll(&mut rng);
    let (workers, endpoints) = (rng.usize(1..3), rng.usize(2..6));
    let settings = roll_settings(weather, &mut rng);
    let world = World::with_workers(workers, endpoints, settings.clone(), seed).await;
    trace(&(weather, workers, endpoints, &settings));
    world.must_shield.set(weather.faults == Faults::One);
    let rollout = Rc::new(Rollout {
        world,
        weather,
        all: RefCell::default(),
    });
    let clients: Vec<_> = (0..rng.usize(2..10))
        .map(|number| {
            let (rollout, rng) = (rollout.clone(), rng.fork());
            tokio::task::spawn_local(rollout.client(number, rng))
        })
        .collect();
    let mut hooks = Vec::new();
    for _ in 0..rng.usize(5..40) {
        sleep(Duration::from_millis(rng.u64(1..800))).await;
        hooks.extend(rollout.clone().something_happens(&settings, &mut rng).await);
        model::holds(&rollout.world).await;
    }
    rollout
        .world
        .endpoints
        .iter()
        .for_each(|endpoint| endpoint.come_back(&rollout.world.net));
    if weather.leaves {
        let wait = Duration::from_millis(rng.u64(0..3_000));
        let grace = wait + Duration::from_millis(rng.u64(500..8_000));
        rollout.world.leave(wait, grace).await;
        model::holds(&rollout.world).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    for hook in hooks {
        hook.await.unwrap();
    }
    sleep(Duration::from_secs(30)).await;
    let all = rollout.all.take();
    model::held(&rollout.world, &all).await;
    let rollout = Rc::into_inner(rollout).expect("everybody else has done");
    rollout.world.end().await;
}

fn roll_settings(weather: Weather, rng: &mut Rng) -> ServiceSettings {
    // Either every drain has time for all the work there is, or deadlines come before it.
    let timeout = Duration::from_secs(if weather.deadlines { 1 } else { 20 });
    let mut settings = service(timeout);
    settings.limits.connections_per_endpoint = weather.roll_connections(rng);
    settings.balance =
        [Policy::LeastRequest, Policy::RoundRobin, Policy::Random][rng.usize(..3)].clone();
    settings.slow_start = Duration::from_secs([0, 0, 2][rng.usize(..3)]);
    settings
}

impl Rollout {
    /// Asks for one thing after the other, now and then on a new connection.
    async fn client(self: Rc<Self>, number: usize, mut rng: Rng) {
        let world = &self.world;
        let mut connection = world.connect();
        let mut last = None;
        for turn in 0..rng.usize(5..25) {
            sleep(Duration::from_millis(rng.u64(0..400))).await;
            if world.plan.get().is_none() {
                let is_ended = connection.is_ended().await;
                let last = last.as_ref();
                assert!(!is_ended, "P14: an idle client was closed behind {last:?}");
            }
            let path = format!(
                "{}/{}/{}",
                self.roll_kind(&mut rng),
                number * 1_000 + turn,
                rng.u64(0..3_000)
            );
            let method = if !path.starts_with("events") && rng.bool() {
                "POST"
            } else {
                "GET"
            };
            let upload = Duration::from_millis(rng.u64(0..500));
            let patience = if self.weather.impatient && rng.u8(..4) == 0 {
                Duration::from_millis(rng.u64(0..2_000))
            } else {
                Duration::from_secs(600)
            };
            let asked = connection.ask_for(method, &path, upload, patience).await;
            let has_left = world.plan.get().is_some() && asked.seen == Seen::Nothing;
            let goes_on = !asked.close && matches!(asked.seen, Seen::Whole(_));
            trace(&asked);
            self.all.borrow_mut().push(asked.clone());
            last = Some(asked);
            if has_left {
                return;
            }
            if !goes_on || rng.u8(..8) == 0 {
                connection = world.connect();
                last = None;
            }
        }
    }

    fn roll_kind(&self, rng: &mut Rng) -> &'static str {
        match rng.u8(..24) {
            0 => "close",
            1 => "break",
            2..=4 => "drip",
            5 => "events",
            6 => "early",
            7 => "bare",
            8 if self.weather.endless && rng.bool() => "never",
            8 if self.weather.endless => "hang",
            9..=15 => "later",
            _ => "now",
        }
    }

    /// One event. What comes of it only later is returned.
    async fn something_happens(
        self: Rc<Self>,
        settings: &ServiceSettings,
        rng: &mut Rng,
    ) -> Option<tokio::task::JoinHandle<()>> {
        let world = &self.world;
        let number = rng.usize(..world.endpoints.len());
        if number < self.weather.steady() {
            return None;
        }
        if self.weather.faults == Faults::One && number + 1 == world.endpoints.len() {
            // Each of its lives would be another one to find out about.
            self.fault(number, rng);
            return None;
        }
        // The first endpoint only drains by its source: what was answered as drained would not come back (P7).
        let may_go = number > 0 || self.weather.scarce;
        match rng.u8(..16) {
            0 | 1 => world.list(number, |listed| {
                let state = ObservedState::Draining {
                    serving: !may_go || rng.bool(),
                };
                let known = listed.take().unwrap_or_else(|| observed(number));
                let drain_timeout = self.roll_timeout(rng);
                *listed = Some(Observed {
                    state,
                    drain_timeout,
                    ..known
                });
            }),
            2 if may_go => world.list(number, |listed| *listed = None),
            3 if may_go => world.list_as(number, ObservedState::NotReady),
            // Another id at the same address (P8).
            4 => world.list(number, |listed| {
                *listed = Some(observed_as(
                    number,
                    &format!("web-{number}-{}", rng.u32(..)),
                ));
            }),
            5 | 6 if may_go => return Some(self.clone().ask_drain(number, rng)),
            7 | 8 => {
                let undrained = world.try_undrain(number).await;
                may_be_missing(undrained);
            }
            9 => world.fail("gone"),
            10 => {
                let mut settings = settings.clone();
                settings.limits.connections_per_endpoint = self.weather.roll_connections(rng);
                world.reload(settings).await;
            }
            11 | 12 if self.weather.faults == Faults::All => self.fault(number, rng),
            _ => world.list_as(number, ObservedState::Ready),
        }
        None
    }

    /// An operator or a hook, who may wait for the end.
    fn ask_drain(self: Rc<Self>, number: usize, rng: &mut Rng) -> tokio::task::JoinHandle<()> {
        let (wait, by_hook) = (rng.bool(), rng.u8(..3) == 0);
        let timeout = self.roll_timeout(rng);
        let limit = Duration::from_millis(rng.u64(0..10_000));
        tokio::task::spawn_local(async move {
            if by_hook {
                self.world.drain_pod(number, limit).await;
            } else {
                may_be_missing(self.world.try_drain(number, timeout, wait).await);
            }
        })
    }

    fn roll_timeout(&self, rng: &mut Rng) -> Option<Duration> {
        let is_set = self.weather.deadlines && rng.u8(..3) == 0;
        is_set.then(|| Duration::from_millis(rng.u64(0..5_000)))
    }

    fn fault(&self, number: usize, rng: &mut Rng) {
        let endpoint = &self.world.endpoints[number];
        match (self.weather.faults, rng.u8(..5)) {
            (Faults::None, _) => {}
            (Faults::One, 0 | 1) | (Faults::All, 0) => endpoint.hang_up(),
            (Faults::One, 2) | (Faults::All, 1) => endpoint.refuse(),
            (Faults::All, 2) => endpoint.crash(),
            (Faults::One | Faults::All, _) => endpoint.come_back(&self.world.net),
        }
    }
}

/// An endpoint that has gone, or that its source drains, is nothing to be surprised at.
fn may_be_missing<T>(answer: Result<T, HandleError>) {
    match answer {
        Ok(_) | Err(HandleError::NoEndpoint { .. } | HandleError::DrainedBySource(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

//! What a pick costs, and what building a picker costs: for each policy and for few, many and very many members.
//!
//! `cargo bench --bench pick`, or `cargo bench --bench pick -- hash` for one policy. Building is a part of every update of
//! a service (P2), a pick of every request.

use std::hint::black_box;
use std::io::{self, Write, stdout};

use fastrand::Rng;
use tidegate::balance::{Candidate, HashKey, Members, PickContext, Picker, Policy};
use tokio::time::Instant;

struct Member {
    weight: u32,
    seed: String,
}

impl Candidate for Member {
    fn weight(&self) -> u32 {
        self.weight
    }

    fn in_flight(&self) -> u64 {
        0
    }

    fn latency(&self) -> f64 {
        0.01
    }

    fn share(&self, _now: Instant) -> f64 {
        1.0
    }

    fn hash_seed(&self) -> &str {
        &self.seed
    }
}

fn members(count: u32, weights: u32) -> Members<Member> {
    let member = |i| Member {
        weight: 1 + i % weights,
        // As long as a pod's uid.
        seed: format!("0b4e8a2e-7a55-4c1e-9d52-{i:012}"),
    };
    (0..count).map(member).collect()
}

/// The best mean of several runs: what the work costs when nobody disturbs it.
fn nanoseconds(times: u32, mut work: impl FnMut()) -> f64 {
    let runs = (0..RUNS).map(|_| {
        let start = Instant::now();
        for _ in 0..times {
            work();
        }
        start.elapsed().as_nanos() as f64 / f64::from(times)
    });
    runs.fold(f64::INFINITY, f64::min)
}

fn main() -> io::Result<()> {
    let policies = [
        ("least_request", Policy::LeastRequest),
        ("peak_ewma", Policy::PeakEwma),
        ("round_robin", Policy::RoundRobin),
        ("random", Policy::Random),
        ("hash", Policy::Hash(HashKey::ClientAddress)),
    ];
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let mut out = stdout().lock();
    writeln!(
        out,
        "{:14} {:>8} {:>8} {:>9} {:>10}",
        "policy", "members", "weights", "pick, ns", "build, µs"
    )?;
    for (name, policy) in policies {
        if wanted
            .as_ref()
            .is_some_and(|wanted| !name.contains(wanted.as_str()))
        {
            continue;
        }
        for count in [10, 1000, 10_000] {
            for (weights, spread) in [("equal", 1), ("1 to 3", 3), ("1 to 97", 97)] {
                let members = members(count, spread);
                let picker = Picker::build(&policy, &members);
                let now = Instant::now();
                let mut rng = Rng::with_seed(1);
                let pick = nanoseconds(PICKS, || {
                    let hash = Some(rng.u64(..));
                    let mut cx = PickContext {
                        now,
                        rng: &mut rng,
                        hash,
                        excluded: &[],
                    };
                    black_box(picker.pick(&members, &mut cx));
                });
                let build = nanoseconds(BUILDS, || {
                    black_box(Picker::build(&policy, black_box(&members)));
                });
                writeln!(
                    out,
                    "{name:14} {count:>8} {weights:>8} {pick:>9.1} {:>10.1}",
                    build / 1e3
                )?;
            }
        }
    }
    Ok(())
}

const RUNS: usize = 7;
const PICKS: u32 = 200_000;
const BUILDS: u32 = 20;

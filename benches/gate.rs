//! What it costs to take a place in flight and to give it back: alone, and with a second thread at the same endpoint.
//!
//! `cargo bench --bench gate`. This is the only atomic that the workers share on the way of a request (P1).

use std::hint::black_box;
use std::io::{self, Write as _, stdout};
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;

use tidegate::endpoint::{About, Endpoint, Life};
use tidegate::gate::Gate;
use tokio::sync::mpsc;
use tokio::time::Instant;

fn main() -> io::Result<()> {
    let (edges, _told) = mpsc::unbounded_channel();
    let life = Life::begin(about(), edges);
    let endpoint = life.endpoint();
    let gate = Arc::new(Gate::new());
    let mut out = stdout().lock();
    writeln!(
        out,
        "{:32} {:>8} {:>12} {:>12}",
        "ns per acquire and release", "threads", "best", "median"
    )?;
    for threads in [1, 2] {
        let work = {
            let gate = gate.clone();
            move || pass(&gate)
        };
        report(&mut out, "gate: enter, leave", threads, work)?;
        let work = {
            let endpoint = endpoint.clone();
            move || hold(&endpoint)
        };
        report(&mut out, "endpoint: acquire, drop", threads, work)?;
    }
    Ok(())
}

fn about() -> About {
    About {
        service: "web".into(),
        key: "web-1".into(),
        address: SocketAddr::from(([127, 0, 0, 1], 9001)),
        pod: None,
        zone: None,
    }
}

fn pass(gate: &Gate) {
    assert!(black_box(gate).enter().is_ok(), "nobody closes it");
    black_box(gate.leave());
}

fn hold(endpoint: &Arc<Endpoint>) {
    let place = black_box(endpoint).acquire(tidegate::endpoint::Admission::Ready);
    assert!(black_box(&place).is_ok(), "nobody drains it");
}

fn report(
    out: &mut impl io::Write,
    what: &str,
    threads: usize,
    work: impl Fn() + Clone + Send,
) -> io::Result<()> {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| nanoseconds(threads, work.clone()))
        .collect();
    runs.sort_by(f64::total_cmp);
    let median = runs[RUNS / 2];
    writeln!(
        out,
        "{what:32} {threads:>8} {:>12.1} {median:>12.1}",
        runs[0]
    )
}

/// The mean of one run: what each of these threads waits for one turn, while all of them work at once.
fn nanoseconds(threads: usize, work: impl Fn() + Clone + Send) -> f64 {
    let start = Barrier::new(threads);
    let timed = |work: &dyn Fn()| {
        start.wait();
        let start = Instant::now();
        for _ in 0..TURNS {
            work();
        }
        start.elapsed().as_nanos() as f64 / f64::from(TURNS)
    };
    thread::scope(|scope| {
        let timed = &timed;
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let work = work.clone();
                scope.spawn(move || timed(&work))
            })
            .collect();
        let times: Vec<f64> = threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect();
        times.iter().sum::<f64>() / times.len() as f64
    })
}

const RUNS: usize = 15;
const TURNS: u32 = 2_000_000;

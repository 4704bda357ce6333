//! Whether clients notice a rollout: the latency of requests while an endpoint flips, beside that at rest.
//!
//! `cargo bench --bench rollout`. Requests are due at half the rate that the proxy is capable of, and timed from when they
//! were due, so that a pause of the proxy counts for every request that it keeps waiting. Turns at rest and turns in which
//! one endpoint after the other leaves the rotation and comes back, a change every 100 ms, alternate, each as often before
//! the other as after it. Whoever makes the changes shares a core with the clients, so it is as busy at rest: there it
//! changes what tidegate does not watch.
//!
//! What is told: the p99 of all requests of a kind and their ratio, and the median of the ratios of turns next to each
//! other with the interval that holds it with 95 % confidence. A request that fails, or is answered by anything but a whole
//! 200, ends the bench.

use std::io::{Write as _, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use support::endpoints::{EndpointFile, name};
use support::load::{Load, request};
use support::origin::Origin;
use support::stats::{median, median_within, quantile};
use support::tidegate::{self, Tidegate};
use support::{machine, pin};

/// Latency during a rollout, to latency at rest.
#[derive(Debug, Parser)]
struct Options {
    /// Turns of each kind
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// How long a turn lasts: short, so that what disturbs the machine for longer disturbs both kinds
    #[arg(long, default_value = "1s")]
    turn: humantime::Duration,
    /// Endpoints of the service
    #[arg(long, default_value_t = 10)]
    endpoints: u32,
    /// Between two changes
    #[arg(long, default_value = "100ms")]
    every: humantime::Duration,
    /// How an endpoint flips
    #[arg(long, default_value = "leave")]
    flip: Flip,
    /// Keep-alive connections of clients
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The share of what the proxy is capable of
    #[arg(long, default_value_t = 0.5)]
    load: f64,
    /// Keep what was found, as JSON
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Flip {
    /// It leaves its file and returns to it.
    Leave,
    /// It is drained by the API and put back.
    Drain,
    /// Nothing changes, and as many calls of the API: what two turns at rest differ by.
    Look,
    /// Nothing happens at all.
    None,
}

/// Bytes of each answer.
const SIZE: usize = 100;

const WARM_UP: Duration = Duration::from_secs(1);
const CALIBRATION: Duration = Duration::from_secs(1);
const CALIBRATIONS: usize = 5;

/// What the clients saw in one turn, in milliseconds.
struct Turn {
    median: f64,
    p99: f64,
    p999: f64,
    worst: f64,
    all: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let dir = tempfile::tempdir()?;
    let description = machine::describe();
    let load_core = pin::load_core();
    pin::pin(load_core)?;
    let origin = Origin::on_loopback()?;
    let port = origin.addresses()?.first().context("no endpoint")?.port();
    origin.serve()?;
    let file = EndpointFile::new(dir.path(), port);
    file.replace(0..options.endpoints)?;
    let aside = tempfile::tempdir()?;
    let decoy = EndpointFile::new(aside.path(), port);
    let start = || {
        pin::pin(pin::PROXY_CORE)?;
        let rest = "access_log: { sample: 0.0 }\nworkers: 1";
        Tidegate::start(dir.path(), &file.as_source(), false, rest)
    };
    let tidegate = thread::scope(|scope| scope.spawn(start).join())
        .ok()
        .context("tidegate cannot be started")??;
    let requests = vec![request("bench.example.com", SIZE, "")];
    let mut load = Load::asking(tidegate.address, options.connections, requests, SIZE)?;
    load.saturate(WARM_UP)?;
    let mut rates = Vec::new();
    for _ in 0..CALIBRATIONS {
        rates.push(load.saturate(CALIBRATION)? as f64 / CALIBRATION.as_secs_f64());
    }
    let capable = median(&mut rates);
    let rate = capable * options.load;
    let mut out = stdout().lock();
    writeln!(out, "machine   {description}")?;
    writeln!(out, "tidegate  {}", tidegate::version()?)?;
    writeln!(
        out,
        "setup     one worker on core {}; {} clients and {} endpoints on core {}; {rate:.0} requests/s of {capable:.0} possible; {:?} every {}\n",
        pin::PROXY_CORE,
        options.connections,
        options.endpoints,
        load_core,
        options.flip,
        options.every
    )?;
    writeln!(
        out,
        "{:>5} {:>44}   {:>44}\n{:>5} {:>10} {:>10} {:>10} {:>10}  {:>10} {:>10} {:>10} {:>10} {:>10}",
        "",
        "at rest, ms",
        "during a rollout, ms",
        "round",
        "median",
        "p99",
        "p99.9",
        "worst",
        "median",
        "p99",
        "p99.9",
        "worst",
        "p99 ratio"
    )?;
    let turn = |load: &mut Load, what: &EndpointFile, flip| {
        during(load, rate, &tidegate, what, flip, &options).with_context(|| tidegate.last_words())
    };
    let still = match options.flip {
        Flip::Drain => Flip::Look,
        other => other,
    };
    let mut ratios = Vec::new();
    let (mut all_rest, mut all_rollout) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        // Each comes first as often as the other.
        let (mut rest, mut rollout) = if round % 2 == 1 {
            let rest = turn(&mut load, &decoy, still)?;
            (rest, turn(&mut load, &file, options.flip)?)
        } else {
            let rollout = turn(&mut load, &file, options.flip)?;
            (turn(&mut load, &decoy, still)?, rollout)
        };
        all_rest.append(&mut rest.all);
        all_rollout.append(&mut rollout.all);
        ratios.push(rollout.p99 / rest.p99);
        writeln!(
            out,
            "{round:>5} {:>10.3} {:>10.3} {:>10.3} {:>10.2}  {:>10.3} {:>10.3} {:>10.3} {:>10.2} {:>10.3}",
            rest.median,
            rest.p99,
            rest.p999,
            rest.worst,
            rollout.median,
            rollout.p99,
            rollout.p999,
            rollout.worst,
            rollout.p99 / rest.p99
        )?;
    }
    let shares = [0.5, 0.99, 0.999];
    let rest = shares.map(|share| quantile(&mut all_rest, share));
    let rollout = shares.map(|share| quantile(&mut all_rollout, share));
    writeln!(out)?;
    for (place, what) in ["median", "p99", "p99.9"].into_iter().enumerate() {
        writeln!(
            out,
            "{what:7} of all requests: {:.3} ms at rest, {:.3} ms during a rollout, ratio {:.3}",
            rest[place],
            rollout[place],
            rollout[place] / rest[place]
        )?;
    }
    let (low, middle, high) = median_within(&mut ratios);
    writeln!(
        out,
        "p99 during a rollout to p99 at rest, turn by turn: {middle:.3} in the median (95 % confidence: {low:.3}–{high:.3}); no request failed"
    )?;
    if let Some(file) = &options.json {
        let all = serde_json::json!({
            "machine": description, "rate": rate,
            "at_rest_ms": { "median": rest[0], "p99": rest[1], "p999": rest[2] },
            "rollout_ms": { "median": rollout[0], "p99": rollout[1], "p999": rollout[2] },
            "p99_ratio": rollout[1] / rest[1],
            "p99_ratio_by_turn": { "low": low, "median": middle, "high": high },
        });
        std::fs::write(file, format!("{all:#}\n"))?;
    }
    Ok(())
}

impl Turn {
    fn of(mut took: Vec<f64>) -> Self {
        let [median, p99, p999, worst] =
            [0.5, 0.99, 0.999, 1.0].map(|share| quantile(&mut took, share));
        Self {
            median,
            p99,
            p999,
            worst,
            all: took,
        }
    }
}

/// A turn in which something flips.
fn during(
    load: &mut Load,
    rate: f64,
    tidegate: &Tidegate,
    file: &EndpointFile,
    how: Flip,
    options: &Options,
) -> anyhow::Result<Turn> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flips = scope.spawn(|| flip(&over, tidegate, file, how, options));
        let took = load.at_rate(rate, *options.turn);
        // Relaxed: nothing else is told by it.
        over.store(true, Ordering::Relaxed);
        flips.thread().unpark();
        let flips = flips.join().ok().context("the flips have broken down")?;
        flips?;
        took.map(Turn::of)
    })
}

/// One endpoint after the other goes and comes back, until it is over.
fn flip(
    over: &AtomicBool,
    tidegate: &Tidegate,
    file: &EndpointFile,
    how: Flip,
    options: &Options,
) -> anyhow::Result<()> {
    let look = || ureq::get(format!("{}/healthz", tidegate.admin)).call();
    for turn in 0.. {
        let gone = turn % options.endpoints;
        let call = format!(
            "{}/api/v1/services/web/endpoints/{}/drain",
            tidegate.admin,
            name(gone)
        );
        match how {
            Flip::Leave => drop(file.replace((0..options.endpoints).filter(|it| *it != gone))?),
            Flip::Drain => drop(ureq::post(&call).send_empty()?),
            Flip::Look => drop(look()?),
            Flip::None => {}
        }
        thread::park_timeout(*options.every);
        match how {
            Flip::Leave => drop(file.replace(0..options.endpoints)?),
            Flip::Drain => drop(ureq::delete(&call).call()?),
            Flip::Look => drop(look()?),
            Flip::None => {}
        }
        if over.load(Ordering::Relaxed) {
            return Ok(());
        }
        thread::park_timeout(*options.every);
    }
    Ok(())
}

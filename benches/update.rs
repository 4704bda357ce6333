//! How soon a change of 1 among 10,000 endpoints holds, at half load (P2).
//!
//! `cargo bench --bench update`. The endpoints are in a file that is replaced by rename: now and then one of them is gone,
//! and comes back. What is told is tidegate's own `update_apply_seconds`, and what a bystander sees: the time from the
//! rename to the event that says `draining`, and the time to the answer of a drain by the API.

use std::io::{Write as _, stdout};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use tokio::time::Instant;

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use support::endpoints::{EndpointFile, name};
use support::events::Events;
use support::load::Load;
use support::origin::Origin;
use support::scrape::{Histogram, Scrape};
use support::stats::quantile;
use support::tidegate::{self, Tidegate};
use support::traffic::Traffic;
use support::{descriptors, machine};

/// The time from a change to its effect, with many endpoints and under load.
#[derive(Debug, Parser)]
struct Options {
    /// Endpoints of the service
    #[arg(long, default_value_t = 10_000)]
    endpoints: u32,
    /// Endpoints that leave the file, one after the other; each comes back
    #[arg(long, default_value_t = 100)]
    changes: u32,
    /// Endpoints that are drained by the API, one after the other; each is put back
    #[arg(long, default_value_t = 200)]
    drains: u32,
    /// Keep-alive connections of clients
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Bytes of each answer.
const SIZE: usize = 100;

/// One connection to each endpoint, not one for each worker: both processes stay below the limits that are usual.
const ONE_EACH: &str = "limits: { connections_per_endpoint: 1 }";

const DESCRIPTORS: u64 = 40_000;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let dir = tempfile::tempdir()?;
    let description = machine::describe();
    descriptors::raise(DESCRIPTORS);
    let origin = Origin::on_loopback()?;
    let port = origin.addresses()?.first().context("no endpoint")?.port();
    origin.serve()?;
    let file = EndpointFile::new(dir.path(), port);
    file.replace(0..options.endpoints)?;
    let rest = "access_log: { sample: 0.0 }";
    let service = format!("{}, {ONE_EACH}", file.as_source());
    let tidegate = Tidegate::start(dir.path(), &service, false, rest)?;
    let mut out = stdout().lock();
    writeln!(out, "machine   {description}")?;
    writeln!(out, "tidegate  {}", tidegate::version()?)?;
    measure(&mut out, &tidegate, &file, &options).with_context(|| tidegate.last_words())
}

/// Everything that is measured, at half load.
fn measure(
    out: &mut impl std::io::Write,
    tidegate: &Tidegate,
    file: &EndpointFile,
    options: &Options,
) -> anyhow::Result<()> {
    let half = half_load(tidegate, options.connections)?;
    writeln!(
        out,
        "setup     {} endpoints in a file, a worker for each core, {} clients, {half:.0} requests/s (half of what is possible)\n",
        options.endpoints, options.connections
    )?;
    let traffic = Traffic::start(tidegate.address, options.connections, SIZE, half)?;
    let (apply, mut shown) = change_file(tidegate, file, options)?;
    let mut acknowledged = drain_by_api(tidegate, options)?;
    let answers = traffic.stop()?;
    writeln!(
        out,
        "{:40} {:>6} {:>12} {:>12}   bound",
        "", "n", "median", "p99"
    )?;
    writeln!(
        out,
        "{:40} {:>6} {:>12} {:>12}   1 ms / 5 ms",
        "update_apply_seconds, by its buckets",
        apply.count(),
        format!("≤ {} ms", apply.quantile_at_most(0.5) * 1e3),
        format!("≤ {} ms", apply.quantile_at_most(0.99) * 1e3),
    )?;
    row(
        out,
        "rename to the event that says draining",
        &mut shown,
        "100 ms / worst 300 ms",
    )?;
    row(
        out,
        "drain by the API to its answer",
        &mut acknowledged,
        "3 ms / worst 20 ms",
    )?;
    writeln!(
        out,
        "\n{answers} requests meanwhile, all of them answered right"
    )?;
    Ok(())
}

/// Half of what it can do, once it knows its endpoints.
fn half_load(tidegate: &Tidegate, connections: usize) -> anyhow::Result<f64> {
    let mut load = Load::connect(tidegate.address, connections, SIZE)?;
    load.saturate(WARM_UP)?;
    let start = Instant::now();
    let answers = load.saturate(CALIBRATION)?;
    Ok(answers as f64 / start.elapsed().as_secs_f64() / 2.0)
}

const WARM_UP: Duration = Duration::from_secs(3);
const CALIBRATION: Duration = Duration::from_secs(2);

/// One endpoint after the other leaves the file and returns. What tidegate says it took, and what is seen from outside, in
/// milliseconds.
fn change_file(
    tidegate: &Tidegate,
    file: &EndpointFile,
    options: &Options,
) -> anyhow::Result<(Histogram, Vec<f64>)> {
    let events = Events::listen(&tidegate.admin)?;
    let before = Scrape::of(&tidegate.admin)?.histogram(APPLY);
    let mut shown = Vec::new();
    for turn in 0..options.changes {
        // Spread over the file.
        let gone = (turn * 7919) % options.endpoints;
        let renamed = file.replace((0..options.endpoints).filter(|number| *number != gone))?;
        let draining = events.wait_for(&name(gone), "draining")?;
        shown.push(milliseconds(draining - renamed));
        file.replace(0..options.endpoints)?;
        events.wait_for(&name(gone), "ready")?;
    }
    let apply = Scrape::of(&tidegate.admin)?.histogram(APPLY).since(&before);
    ensure!(
        apply.count() >= u64::from(options.changes),
        "only {} updates were applied",
        apply.count()
    );
    Ok((apply, shown))
}

const APPLY: &str = "tidegate_update_apply_seconds";

/// One endpoint after the other is drained by the API and put back. How long the answers took, in milliseconds.
fn drain_by_api(tidegate: &Tidegate, options: &Options) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::new();
    for turn in 0..options.drains {
        let endpoint = name((turn * 6007) % options.endpoints);
        let call = format!(
            "{}/api/v1/services/web/endpoints/{endpoint}/drain",
            tidegate.admin
        );
        let start = Instant::now();
        let mut answer = ureq::post(&call).send_empty()?;
        answer.body_mut().read_to_string()?;
        took.push(milliseconds(start.elapsed()));
        ureq::delete(&call).call()?.body_mut().read_to_string()?;
    }
    Ok(took)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn row(
    out: &mut impl std::io::Write,
    what: &str,
    values: &mut [f64],
    bound: &str,
) -> std::io::Result<()> {
    writeln!(
        out,
        "{what:40} {:>6} {:>9.2} ms {:>9.2} ms   {bound}; worst here {:.2} ms",
        values.len(),
        quantile(values, 0.5),
        quantile(values, 0.99),
        quantile(values, 1.0),
    )
}

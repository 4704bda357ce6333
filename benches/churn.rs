//! What a tidegate occupies: after 100,000 endpoints have come and gone (P12), at rest, and for each idle client.
//!
//! `cargo bench --bench churn`. The endpoints of one service are replaced batch by batch through its file, with a little
//! traffic, so that they have connections and counts to leave behind.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use support::endpoints::EndpointFile;
use support::footprint::Footprint;
use support::load::Load;
use support::origin::Origin;
use support::patience::until;
use support::scrape::Scrape;
use support::tidegate::{self, Tidegate};
use support::traffic::Traffic;
use support::{descriptors, machine};

/// Memory, descriptors, threads and metrics, before and after.
#[derive(Debug, Parser)]
struct Options {
    /// Endpoints that come and go
    #[arg(long, default_value_t = 100_000)]
    endpoints: u32,
    /// Endpoints at a time
    #[arg(long, default_value_t = 1_000)]
    batch: u32,
    /// Requests a second meanwhile
    #[arg(long, default_value_t = 5_000.0)]
    rate: f64,
    /// Idle clients
    #[arg(long, default_value_t = 5_000)]
    clients: usize,
    /// Endpoint series in /metrics, too
    #[arg(long)]
    per_endpoint_metrics: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Bytes of each answer.
const SIZE: usize = 100;

/// Batches that come and go before the first look: what is reached then is not to grow.
const WARM_UP: u32 = 3;

/// How long the last connections and drains may take to be gone.
const CALM: Duration = Duration::from_secs(10);

const DESCRIPTORS: u64 = 40_000;

/// A running tidegate and what it is fed with.
struct Stage {
    tidegate: Tidegate,
    file: EndpointFile,
    _dir: tempfile::TempDir,
}

/// One look.
struct Look {
    when: String,
    footprint: Footprint,
    metrics: usize,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    descriptors::raise(DESCRIPTORS);
    let description = machine::describe();
    let origin = Origin::on_loopback()?;
    let port = origin.addresses()?.first().context("no endpoint")?.port();
    origin.serve()?;
    let mut out = stdout().lock();
    writeln!(out, "machine   {description}")?;
    writeln!(out, "tidegate  {}\n", tidegate::version()?)?;
    churn(&mut out, &Stage::new(port, &options)?, &options)?;
    idle_clients(&mut out, &Stage::new(port, &options)?, &options)
}

impl Stage {
    fn new(port: u16, options: &Options) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = EndpointFile::new(dir.path(), port);
        file.replace(0..options.batch)?;
        let tidegate = Tidegate::start(
            dir.path(),
            &file.as_source(),
            options.per_endpoint_metrics,
            "access_log: { sample: 0.0 }",
        )?;
        Ok(Self {
            tidegate,
            file,
            _dir: dir,
        })
    }

    fn look(&self, when: String) -> anyhow::Result<Look> {
        Ok(Look {
            when,
            footprint: Footprint::of(self.tidegate.child.pid())?,
            metrics: Scrape::of(&self.tidegate.admin)?.lines(),
        })
    }
}

/// Endpoints come and go, batch by batch, each batch gone before the next is replaced.
fn churn(out: &mut impl Write, stage: &Stage, options: &Options) -> anyhow::Result<()> {
    let traffic = Traffic::start(stage.tidegate.address, CLIENTS, SIZE, options.rate)?;
    let batches = options.endpoints / options.batch;
    let mut looks = vec![stage.look("at the start".into())?];
    for turn in 1..=WARM_UP + batches {
        let first = turn * options.batch;
        stage.file.replace(first..first + options.batch)?;
        let gone = f64::from(turn * options.batch);
        until("a batch has gone", CALM, || {
            let scrape = Scrape::of(&stage.tidegate.admin).ok()?;
            (scrape.sum("tidegate_drains_total") >= gone).then_some(())
        })?;
        let more = turn.saturating_sub(WARM_UP);
        if turn >= WARM_UP && more.is_multiple_of((batches / 4).max(1)) {
            looks.push(stage.look(format!("after {} more", more * options.batch))?);
        }
    }
    let answers = traffic.stop()?;
    let before = looks[1].footprint.descriptors;
    // Connections to what is gone are closed; those to the last batch, as many as before, may stay.
    let _ = until("connections are closed", CALM, || {
        let now = Footprint::of(stage.tidegate.child.pid()).ok()?;
        (now.descriptors <= before).then_some(())
    });
    looks.push(stage.look("at rest".into())?);
    writeln!(
        out,
        "{} endpoints at a time, {} came and went; {answers} requests, all of them answered right",
        options.batch,
        (WARM_UP + batches) * options.batch
    )?;
    writeln!(
        out,
        "{:20} {:>13} {:>12} {:>8} {:>14}",
        "", "resident KiB", "descriptors", "threads", "metrics lines"
    )?;
    for look in looks {
        let Footprint {
            resident_kib,
            descriptors,
            threads,
        } = look.footprint;
        writeln!(
            out,
            "{:20} {resident_kib:>13} {descriptors:>12} {threads:>8} {:>14}",
            look.when, look.metrics
        )?;
    }
    Ok(())
}

const CLIENTS: usize = 16;

/// Clients connect, ask once, and stay.
fn idle_clients(out: &mut impl Write, stage: &Stage, options: &Options) -> anyhow::Result<()> {
    let pid = stage.tidegate.child.pid();
    let resident = || Footprint::of(pid).map(|footprint| footprint.resident_kib);
    let at_rest = resident()?;
    let mut load = Load::connect(stage.tidegate.address, options.clients, SIZE)?;
    until("clients are accepted", CALM, || {
        let scrape = Scrape::of(&stage.tidegate.admin).ok()?;
        let open = scrape.sum("tidegate_downstream_connections");
        (open >= options.clients as f64).then_some(())
    })?;
    let connected = resident()?;
    let mut asked = false;
    let answers = load.run(None, || !std::mem::replace(&mut asked, true))?;
    let idle = resident()?;
    let each = |now: u64| (now.saturating_sub(at_rest)) as f64 / options.clients as f64;
    writeln!(
        out,
        "\nresident at rest, {} endpoints: {at_rest} KiB",
        options.batch
    )?;
    writeln!(
        out,
        "each of {} idle clients: {:.1} KiB when connected, {:.1} KiB after one request ({answers} answers)",
        options.clients,
        each(connected),
        each(idle),
    )?;
    Ok(())
}

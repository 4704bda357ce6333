//! What tidegate costs beside others, on the same work, in the same minutes: HAProxy, nginx, Envoy, Pingora, Traefik, Caddy.
//!
//! `cargo bench --bench compare -- --install` installs them (`benches/setup.sh`, as root, on Debian), measures everything and
//! tells it as a table; `--json FILE` and `--picture FILE` keep it. A peer that is not installed is named and left out.
//! `--quick` shows in a minute or two that everything works; its figures mean nothing.
//!
//! Each proxy has one worker and one core to itself; the clients and the endpoints have the other. The clients keep their
//! connections, unless handshakes are what is measured, and look at the status and length of every answer. What counts is the
//! processor time of the proxy, all its processes and threads, per answer. Answers per second are those of both cores: where
//! a proxy is not busy all the time, its clients are. A number from a shared machine means little by itself, so the proxies
//! take turns, another one first in each round, and what is told is the ratio of turns of the same round.
//!
//! tidegate runs with its defaults: metrics, all limits of time and size, and the counts that drains need. The peers run as
//! `support/contender` says, with the limits of time that they have.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum as _};
use indicatif::{ProgressBar, ProgressStyle};

mod fleet;
mod idle;
mod outcome;
mod report;
mod row;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;
mod table;
mod turn;

use fleet::Fleet;
use outcome::Outcome;
use report::Report;
use row::{Row, State};
use support::contender::Peer;
use support::origin::Origin;
use support::{descriptors, h2load, machine, pin, syscalls};
use turn::Turn;

/// What tidegate costs beside HAProxy, nginx, Envoy, Pingora, Traefik and Caddy.
#[derive(Debug, Parser)]
struct Options {
    /// Install the peers first, as root, on Debian (benches/setup.sh)
    #[arg(long)]
    install: bool,
    /// What is compared [default: all of it]
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// With whom [default: all who are installed]
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Turns of each proxy in each row
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long a turn lasts
    #[arg(long, default_value = "2s")]
    turn: humantime::Duration,
    /// Keep-alive connections of clients; large answers have 16 at most
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Endpoints behind each proxy
    #[arg(long, default_value_t = 4)]
    endpoints: usize,
    /// Requests per second of the row at a fixed rate
    #[arg(long, default_value_t = 5000.0)]
    rate: f64,
    /// Idle clients of each proxy
    #[arg(long, default_value_t = 1000)]
    idle_clients: usize,
    /// How long they have been idle when their memory is measured
    #[arg(long, default_value = "6s")]
    idle: humantime::Duration,
    /// HAProxy, nginx and Pingora add X-Forwarded-For and -Proto, as tidegate and the others always do
    #[arg(long)]
    forwarded: bool,
    /// Two short rounds, to see that it works
    #[arg(long)]
    quick: bool,
    /// Write all figures here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a picture here, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn completed(mut self) -> Self {
        if self.rows.is_empty() {
            self.rows = Row::value_variants().to_vec();
        }
        if self.peers.is_empty() {
            self.peers = Peer::value_variants().to_vec();
        }
        // It is what the others are compared with.
        self.peers.retain(|peer| *peer != Peer::Tidegate);
        self.peers.insert(0, Peer::Tidegate);
        if self.quick {
            self.rounds = 2;
            self.turn = Duration::from_millis(200).into();
            self.idle = Duration::from_millis(500).into();
            self.idle_clients = 100;
        }
        self
    }

    fn setup(&self) -> String {
        format!(
            "one worker on one core, {} clients and {} endpoints on another; {} rounds of {}; {} requests/s where paced; {} idle \
             clients; X-Forwarded-* by {}",
            self.connections,
            self.endpoints,
            self.rounds,
            self.turn,
            self.rate,
            self.idle_clients,
            if self.forwarded {
                "all"
            } else {
                "all but HAProxy, nginx and Pingora"
            },
        )
    }
}

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse().completed();
    let mut out = stdout().lock();
    if options.install {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/setup.sh");
        let installed = Command::new("sh").arg(script).status()?;
        ensure!(installed.success(), "the peers cannot be installed");
    }
    descriptors::raise(ROOM);
    let origin = Origin::on_ports(options.endpoints)?;
    let endpoints = origin.addresses()?;
    let machine = machine::describe();
    pin::pin(pin::load_core())?;
    origin.serve()?;
    let start = |state, peers: &[Peer]| Fleet::start(state, peers, &endpoints, options.forwarded);
    let mut fleet = start(State::Running, &options.peers)?;
    let peers: Vec<_> = fleet.contenders.iter().map(|it| it.peer).collect();
    let mut report = Report {
        machine,
        command: command(),
        setup: options.setup(),
        peers: fleet
            .contenders
            .iter()
            .map(|it| (it.peer, it.version.clone()))
            .collect(),
        missing: std::mem::take(&mut fleet.missing),
        outcomes: Vec::new(),
    };
    head(&mut out, &report)?;
    let wanted = std::mem::take(&mut options.rows);
    let rows = possible(&mut out, wanted)?;
    let progress = progress(rows.len() * options.rounds);
    for row in rows {
        if row.state() != fleet.state && row.state() != State::Fresh {
            fleet = start(row.state(), &peers)?;
        }
        let mut outcome = Outcome::new(row, peers.iter().copied());
        for (peer, why) in &fleet.missing {
            outcome.note(*peer, Err(anyhow::anyhow!("{why}")))?;
        }
        for round in 0..options.rounds {
            let at = format!("{}, round {} of {}", row.title(), round + 1, options.rounds);
            if row.state() == State::Fresh {
                progress.set_message(at);
                idle_round(&mut outcome, &start(State::Fresh, &peers)?, &options)?;
            } else {
                busy_round(&mut outcome, &fleet, round, &options, |peer| {
                    progress.set_message(format!("{at}: {}", peer.name()));
                })?;
            }
            progress.inc(1);
        }
        progress.suspend(|| table::detail(&mut out, &outcome))?;
        report.outcomes.push(outcome);
    }
    progress.finish_and_clear();
    table::whole(&mut out, &report.outcomes, &peers)?;
    keep(&report, &options)
}

/// As many descriptors as idle clients of all proxies need.
const ROOM: u64 = 32_768;

/// The command to repeat it with.
fn command() -> String {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let dashes = if given.is_empty() { "" } else { " -- " };
    format!("cargo bench --bench compare{dashes}{}", given.join(" "))
}

fn head(out: &mut impl Write, report: &Report) -> anyhow::Result<()> {
    writeln!(out, "machine   {}", report.machine)?;
    writeln!(out, "command   {}", report.command)?;
    writeln!(out, "setup     {}", report.setup)?;
    for (peer, version) in &report.peers {
        writeln!(out, "{:9} {version}", peer.name())?;
    }
    for (peer, why) in &report.missing {
        writeln!(
            out,
            "{:9} left out: {why} (--install runs benches/setup.sh)",
            peer.name()
        )?;
    }
    out.flush()?;
    Ok(())
}

/// The rows for which everything is there; the others are named.
fn possible(out: &mut impl Write, rows: Vec<Row>) -> anyhow::Result<Vec<Row>> {
    let (has_h2load, has_perf) = (h2load::is_here(), syscalls::can_be_counted());
    let mut left = Vec::new();
    for row in rows {
        let why = match row {
            row if row.needs_h2load() && !has_h2load => "h2load is not installed",
            Row::Syscalls if !has_perf => "perf is not installed, or may not count them",
            _ => {
                left.push(row);
                continue;
            }
        };
        writeln!(out, "left out: {}: {why}", row.title())?;
    }
    Ok(left)
}

fn progress(rounds: usize) -> ProgressBar {
    let bar = ProgressBar::new(rounds as u64);
    let style = ProgressStyle::with_template("{bar:24} {elapsed} of about {duration} · {msg}");
    // The template is right, so there is a style.
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A turn of each, one after the other, another one first in each round.
fn busy_round(
    outcome: &mut Outcome,
    fleet: &Fleet,
    round: usize,
    options: &Options,
    tell: impl Fn(Peer),
) -> anyhow::Result<()> {
    let measure = turn::Measure {
        time: *options.turn,
        connections: options.connections,
        rate: options.rate,
    };
    let count = fleet.contenders.len();
    for place in 0..count {
        let contender = &fleet.contenders[(place + round) % count];
        if !outcome.has(contender.peer) {
            continue;
        }
        tell(contender.peer);
        let turn = turn::take(contender, outcome.row, measure, fleet.dir.path());
        let name = contender.peer.name();
        outcome
            .note(contender.peer, turn)
            .with_context(|| format!("{name}, {}", outcome.row.title()))?;
    }
    Ok(())
}

/// All at once.
fn idle_round(outcome: &mut Outcome, fleet: &Fleet, options: &Options) -> anyhow::Result<()> {
    for (peer, why) in &fleet.missing {
        outcome.note(*peer, Err(anyhow::anyhow!("{why}")))?;
    }
    let measure = idle::Measure {
        clients: options.idle_clients,
        time: *options.idle,
        tls: outcome.row == Row::IdleTls,
    };
    for (peer, cost) in idle::round(fleet, measure)? {
        let turn = cost.map(|cost| Turn {
            cost,
            ..Turn::default()
        });
        outcome.note(peer, turn)?;
    }
    Ok(())
}

/// In files, where it is wanted.
fn keep(report: &Report, options: &Options) -> anyhow::Result<()> {
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report.to_json())?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &options.picture {
        std::fs::write(file, report.to_picture())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

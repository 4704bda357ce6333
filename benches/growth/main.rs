//! Whether cost stays what it is as everything grows: services, endpoints, idle clients, tunnels.
//!
//! `cargo bench --bench growth`; `--json FILE` and `--picture FILE` keep what it finds. For each kind of growth one tidegate
//! of each size is started, all of them on one core, and they take turns; clients and endpoints have the other core. What
//! counts is processor time per answer, and its ratio to the smallest size in the same round.
//!
//! Two things grow by themselves and are told apart here. Requests that are spread over many services or endpoints use
//! many connections, each seldom, so that caches are cold: rows that ask `few` of many show the proxy's own part, rows that
//! ask `all` what a cluster really pays. And a file tells the whole set, so that to read it takes a thread in proportion to
//! the set (`control` has that, too); what a drain by the API costs, and any update the `workers`, must not grow.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::thread;

use anyhow::Context as _;
use clap::Parser;

mod found;
mod grown;
#[expect(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
mod update;

use found::{Cost, keep};
use grown::Grown;
use support::origin::Origin;
use support::stats::quantile;
use support::workers::Shares;
use support::{descriptors, machine, pin, tidegate, tunnels};
use update::{UPDATE_HEAD, update};

/// Cost per request and per update, by size.
#[derive(Debug, Parser)]
struct Options {
    /// What grows
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "services,endpoints,clients,tunnels"
    )]
    grow: Vec<Growth>,
    /// Numbers of services
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000")]
    services: Vec<usize>,
    /// Numbers of endpoints in one service
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000,100000")]
    endpoints: Vec<usize>,
    /// Numbers of idle clients
    #[arg(long, value_delimiter = ',', default_value = "0,10000")]
    clients: Vec<usize>,
    /// Numbers of open, silent tunnels
    #[arg(long, value_delimiter = ',', default_value = "0,1000")]
    tunnels: Vec<usize>,
    /// Turns of each size
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long a turn lasts
    #[arg(long, default_value = "1s")]
    turn: humantime::Duration,
    /// Changes of each kind for each number of endpoints
    #[arg(long, default_value_t = 20)]
    changes: u32,
    /// Keep what was found, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw the curves, as SVG
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Growth {
    Services,
    Endpoints,
    Clients,
    Tunnels,
}

/// Which of many are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The same few at any size.
    Few,
    /// One after the other, or as they are balanced.
    All,
}

/// Bytes of each answer.
const SIZE: usize = 100;

/// Clients that ask.
const ASKING: usize = 64;

/// Endpoints or services that are asked where it is few.
const FEW: usize = 10;

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    let room = descriptors::raise(DESCRIPTORS);
    let description = machine::describe();
    let load_core = pin::load_core();
    pin::pin(load_core)?;
    let origin = Origin::on_loopback()?;
    let port = origin.addresses()?.first().context("no endpoint")?.port();
    origin.serve()?;
    let tunnel_endpoint = tunnels::endpoint()?;
    let mut out = stdout().lock();
    writeln!(out, "machine   {description}")?;
    writeln!(out, "tidegate  {}", tidegate::version()?)?;
    writeln!(
        out,
        "setup     one worker on core {}, {ASKING} asking clients and the endpoints on core {load_core}; bodies of {SIZE} bytes",
        pin::PROXY_CORE
    )?;
    let clients = fitting(&options.clients, room);
    if clients != options.clients {
        writeln!(
            out,
            "          no more than {room} descriptors may be had: idle clients are {clients:?}; more as root"
        )?;
        options.clients = clients;
    }
    let (mut costs, mut updates) = (Vec::new(), Vec::new());
    for growth in &options.grow {
        let asked: &[Asked] = match growth {
            Growth::Services | Growth::Endpoints => &[Asked::Few, Asked::All],
            Growth::Clients | Growth::Tunnels => &[Asked::All],
        };
        for asked in asked {
            let sizes = growth.sizes(&options).iter();
            let sizes = sizes.filter(|size| *asked == Asked::Few || **size <= ALL_MAX);
            let grown = sizes.map(|size| {
                on_its_core(|| Grown::start(*growth, *asked, *size, port, tunnel_endpoint))
                    .with_context(|| format!("{growth:?} {size}"))
            });
            let mut grown = grown.collect::<anyhow::Result<Vec<_>>>()?;
            costs.extend(take_turns(&mut out, *growth, *asked, &mut grown, &options)?);
            if (*growth, *asked) == (Growth::Endpoints, Asked::All) {
                drop(grown);
                writeln!(out, "{UPDATE_HEAD}")?;
                for size in &options.endpoints {
                    let grown = on_its_core(|| {
                        Grown::start(*growth, *asked, *size, port, tunnel_endpoint)
                    })?;
                    updates.extend(update(&mut out, &grown, &options)?);
                }
            }
        }
    }
    keep(&options, &description, &costs, &updates)
}

/// As many idle clients as fit: a proxy keeps half of its descriptors for endpoints, and some for itself.
fn fitting(clients: &[usize], room: u64) -> Vec<usize> {
    let most = usize::try_from(room).unwrap_or(usize::MAX) / 2 - RESERVED;
    clients.iter().map(|it| *it.min(&most)).collect()
}

/// Asking clients, and what a proxy needs for itself.
const RESERVED: usize = 200;

/// The other ends of all connections.
const DESCRIPTORS: u64 = 150_000;

/// A connection to each of more endpoints than this takes more ports than a machine has by default.
const ALL_MAX: usize = 10_000;

impl Growth {
    fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Endpoints => "endpoints",
            Self::Clients => "idle clients",
            Self::Tunnels => "tunnels",
        }
    }

    fn sizes(self, options: &Options) -> &[usize] {
        match self {
            Self::Services => &options.services,
            Self::Endpoints => &options.endpoints,
            Self::Clients => &options.clients,
            Self::Tunnels => &options.tunnels,
        }
    }
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Self::Few => "few",
            Self::All => "all",
        }
    }
}

/// What is started by this thread stays on the proxies' core.
fn on_its_core<T: Send>(start: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let start = || {
        pin::pin(pin::PROXY_CORE)?;
        start()
    };
    thread::scope(|scope| scope.spawn(start).join())
        .ok()
        .context("it cannot be started")?
}

/// Processor time per answer, size by size, round by round.
fn take_turns(
    out: &mut impl Write,
    growth: Growth,
    asked: Asked,
    grown: &mut [Grown],
    options: &Options,
) -> anyhow::Result<Vec<Cost>> {
    let mut micros = vec![Vec::new(); grown.len()];
    for _ in 0..options.rounds {
        for (grown, micros) in grown.iter_mut().zip(&mut micros) {
            let pid = grown.tidegate.child.pid();
            let before = Shares::of(pid);
            let answers = grown
                .load
                .saturate(*options.turn)
                .with_context(|| grown.tidegate.last_words())?;
            let used = Shares::of(pid).since(before);
            micros.push((used.workers + used.others) as f64 / 1e3 / answers as f64);
        }
    }
    writeln!(
        out,
        "\n{:12} {:>8} {:>6} {:>12} {:>17}   ratio to the smallest, by round (min–max)",
        "growth", "size", "asked", "µs/request", "min–max"
    )?;
    let first = micros.first().cloned().unwrap_or_default();
    let costs = grown.iter().zip(micros).map(|(grown, micros)| Cost {
        growth,
        asked,
        size: grown.size,
        ratio: spread(
            micros
                .iter()
                .zip(&first)
                .map(|(it, first)| it / first)
                .collect(),
        ),
        micros: spread(micros),
    });
    let costs: Vec<_> = costs.collect();
    for cost in &costs {
        let ([min, median, max], [low, ratio, high]) = (cost.micros, cost.ratio);
        writeln!(
            out,
            "{:12} {:>8} {:>6} {median:>12.2} {:>17}   {ratio:.3} ({low:.3}–{high:.3})",
            growth.name(),
            cost.size,
            asked.name(),
            format!("{min:.2}–{max:.2}"),
        )?;
    }
    Ok(costs)
}

fn spread(mut values: Vec<f64>) -> [f64; 3] {
    [0.0, 0.5, 1.0].map(|share| quantile(&mut values, share))
}

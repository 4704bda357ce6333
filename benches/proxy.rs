//! What a request costs: tidegate beside HAProxy and nginx, on the same work, in the same minutes.
//!
//! `cargo bench --bench proxy`, or with options: `cargo bench --bench proxy -- --rounds 5 --access-log`. `benches/setup.sh`
//! installs the peers; without them it goes on alone.
//!
//! Each proxy has one worker and one core to itself; the clients and the endpoints have the other. The clients keep their
//! connections and ask as fast as they are answered, and look at the status and length of every answer. What counts is the
//! processor time of the proxy, all its processes and threads, per answer. A number from a shared machine means little by
//! itself, so the proxies take turns, and what is told is the ratio of turns next to each other.

use std::io::{Write as _, stdout};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio::time::Instant;

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use support::contender::{Contender, Setup, certify};
use support::cpu::RunTime;
use support::h2load::{self, Work};
use support::load::Load;
use support::origin::Origin;
use support::stats::median;
use support::{machine, pin};

/// CPU time per request over loopback, beside HAProxy and nginx.
#[derive(Debug, Parser)]
struct Options {
    /// Turns of each proxy for each size
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long a turn lasts
    #[arg(long, default_value = "1.5s")]
    turn: humantime::Duration,
    /// Bytes of the answers' bodies
    #[arg(long, value_delimiter = ',', default_value = "100,10240")]
    sizes: Vec<usize>,
    /// What the clients do: `clear` is HTTP/1.1 keep-alive; the others are over TLS and need h2load
    #[arg(long, value_delimiter = ',', default_value = "clear")]
    work: Vec<Kind>,
    /// Keep-alive connections of clients
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Endpoints behind each proxy
    #[arg(long, default_value_t = 4)]
    endpoints: usize,
    /// Every proxy logs every request to a file
    #[arg(long)]
    access_log: bool,
    /// The peers add X-Forwarded-For and -Proto, as tidegate always does
    #[arg(long)]
    forwarded: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A row of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// HTTP/1.1 in clear text, connections kept.
    Clear,
    /// HTTP/1.1 over TLS, connections kept.
    Tls,
    /// HTTP/1.1 over TLS, a full handshake for each request.
    Handshakes,
    /// HTTP/2 over TLS.
    Http2,
}

/// One proxy's turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Processor time per answer.
    micros: f64,
    /// The part of it that was spent in the kernel.
    kernel: f64,
    /// Answers per second.
    rate: f64,
    /// The share of its core that it used.
    busy: f64,
}

const WARM_UP: Duration = Duration::from_millis(250);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let dir = tempfile::tempdir()?;
    let origin = Origin::on_ports(options.endpoints)?;
    let endpoints = origin.addresses()?;
    let setup = Setup {
        dir: dir.path(),
        endpoints: &endpoints,
        access_log: options.access_log,
        forwarded: options.forwarded,
    };
    certify(dir.path())?;
    let description = machine::describe();
    let load_core = pin::load_core();
    pin::pin(load_core)?;
    origin.serve()?;
    let contenders = start_pinned(&setup)?;
    let mut out = stdout().lock();
    writeln!(out, "machine   {description}")?;
    writeln!(out, "command   {}", command())?;
    writeln!(
        out,
        "setup     one worker on core {}; {} clients and {} endpoints on core {}; keep-alive everywhere; access logs {}; \
         X-Forwarded-* by {}",
        pin::PROXY_CORE,
        options.connections,
        options.endpoints,
        load_core,
        if options.access_log { "on" } else { "off" },
        if options.forwarded {
            "all"
        } else {
            "tidegate only"
        },
    )?;
    for contender in &contenders {
        writeln!(out, "{:9} {}", contender.name, contender.version)?;
    }
    for kind in &options.work {
        if *kind != Kind::Clear && !h2load::is_here() {
            writeln!(
                out,
                "\nh2load is not installed; what is over TLS is left out: benches/setup.sh installs it"
            )?;
            continue;
        }
        for size in &options.sizes {
            compare(&mut out, &contenders, *kind, *size, &options)?;
        }
    }
    Ok(())
}

/// The command to repeat it with.
fn command() -> String {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let dashes = if given.is_empty() { "" } else { " -- " };
    format!("cargo bench --bench proxy{dashes}{}", given.join(" "))
}

/// Starts the proxies from a thread on their core: they stay where they are born.
fn start_pinned(setup: &Setup<'_>) -> anyhow::Result<Vec<Contender>> {
    let start = || -> anyhow::Result<Vec<Contender>> {
        pin::pin(pin::PROXY_CORE)?;
        let mut contenders = vec![Contender::tidegate(setup)?];
        for (name, peer) in [
            ("haproxy", Contender::haproxy(setup)?),
            ("nginx", Contender::nginx(setup)?),
        ] {
            match peer {
                Some(peer) => contenders.push(peer),
                None => writeln!(
                    stdout(),
                    "{name} is not installed and left out: benches/setup.sh installs it (as root, on Debian)"
                )?,
            }
        }
        Ok(contenders)
    };
    thread::scope(|scope| scope.spawn(start).join())
        .ok()
        .context("the proxies cannot be started")?
}

/// All turns for one size, and what they come to.
fn compare(
    out: &mut impl std::io::Write,
    contenders: &[Contender],
    kind: Kind,
    size: usize,
    options: &Options,
) -> anyhow::Result<()> {
    let what = match kind {
        Kind::Clear => "HTTP/1.1",
        Kind::Tls => "HTTP/1.1 over TLS",
        Kind::Handshakes => "a TLS handshake for each request",
        Kind::Http2 => "HTTP/2 over TLS",
    };
    writeln!(
        out,
        "\n{what}, body of {size} bytes, µs of processor time per request"
    )?;
    write!(out, "{:>6}", "round")?;
    for contender in contenders {
        write!(out, "{:>10}", contender.name)?;
    }
    for peer in &contenders[1..] {
        write!(out, "{:>18}", format!("tidegate/{}", peer.name))?;
    }
    writeln!(out)?;
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); contenders.len()];
    for round in 1..=options.rounds {
        for (contender, turns) in contenders.iter().zip(&mut turns) {
            let turn = take_turn(contender, kind, size, options)
                .with_context(|| format!("{} in round {round}", contender.name))?;
            turns.push(turn);
        }
        let micros: Vec<f64> = turns.iter().map(|turns| turns[round - 1].micros).collect();
        write!(out, "{round:>6}")?;
        for micros in &micros {
            write!(out, "{micros:>10.2}")?;
        }
        for peer in &micros[1..] {
            write!(out, "{:>18.3}", micros[0] / peer)?;
        }
        writeln!(out)?;
    }
    conclude(out, contenders, &turns)
}

fn take_turn(
    contender: &Contender,
    kind: Kind,
    size: usize,
    options: &Options,
) -> anyhow::Result<Turn> {
    let pids = contender.child.pids();
    let turn = Duration::from(options.turn);
    let work = match kind {
        Kind::Clear => {
            let mut load = Load::connect(contender.address, options.connections, size)?;
            load.saturate(WARM_UP)?;
            return measure(&pids, || load.saturate(turn));
        }
        Kind::Tls => Work::Tls,
        Kind::Handshakes => Work::Handshakes,
        Kind::Http2 => Work::Http2,
    };
    measure(&pids, || {
        h2load::run(work, contender.tls, size, options.connections, turn)
    })
}

/// The processor time of these processes while something is done, per answer.
fn measure(pids: &[u32], work: impl FnOnce() -> anyhow::Result<u64>) -> anyhow::Result<Turn> {
    let (before, start) = (RunTime::of(pids), Instant::now());
    let answers = work()? as f64;
    let (used, took) = (RunTime::of(pids) - before, start.elapsed());
    let ticks = (used.user_ticks + used.system_ticks).max(1) as f64;
    Ok(Turn {
        micros: used.nanoseconds as f64 / 1e3 / answers,
        kernel: used.system_ticks as f64 / ticks,
        rate: answers / took.as_secs_f64(),
        busy: used.nanoseconds as f64 / took.as_nanos() as f64,
    })
}

/// Medians, and between which values they lie.
fn conclude(
    out: &mut impl std::io::Write,
    contenders: &[Contender],
    turns: &[Vec<Turn>],
) -> anyhow::Result<()> {
    writeln!(
        out,
        "{:10} {:>8} {:>17} {:>9} {:>11} {:>6}   ratio of tidegate to it",
        "median", "µs", "min–max", "kernel", "requests/s", "busy"
    )?;
    for (contender, own) in contenders.iter().zip(turns) {
        let of = |value: fn(&Turn) -> f64| spread(own.iter().map(value));
        let micros = of(|turn| turn.micros);
        write!(
            out,
            "{:10} {:>8.2} {:>17} {:>8.0}% {:>11.0} {:>5.0}%",
            contender.name,
            micros.median,
            format!("{:.2}–{:.2}", micros.min, micros.max),
            of(|turn| turn.kernel).median * 100.0,
            of(|turn| turn.rate).median,
            of(|turn| turn.busy).median * 100.0,
        )?;
        if contender.name != contenders[0].name {
            let ratios = turns[0]
                .iter()
                .zip(own)
                .map(|(us, it)| us.micros / it.micros);
            let ratio = spread(ratios);
            write!(
                out,
                "   {:.3} ({:.3}–{:.3})",
                ratio.median, ratio.min, ratio.max
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.collect();
    Spread {
        median: median(&mut values),
        min: values.first().copied().unwrap_or(f64::NAN),
        max: values.last().copied().unwrap_or(f64::NAN),
    }
}

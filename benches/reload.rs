//! Whether clients notice that a large config is read again: the slowest requests around a reload, beside those at rest.
//!
//! `cargo bench --bench reload`. Requests are due at a steady rate and timed from when they were due. Turns at rest and turns
//! in which the config has changed and SIGHUP is sent alternate, each as often before the other as after it. Drains that an
//! operator asks for are timed in both: they must not wait until the config is taken up (P2). A request that fails ends the
//! bench.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use support::endpoints::address;
use support::load::{Load, request};
use support::origin::Origin;
use support::patience::until;
use support::scrape::Scrape;
use support::stats::quantile;
use support::tidegate::{self, Tidegate};
use support::workers::Shares;
use support::{machine, pin};

/// Latency around a reload, to latency at rest.
#[derive(Debug, Parser)]
struct Options {
    /// Routes of the config
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    /// Services that they lead to
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Endpoints of each service
    #[arg(long, default_value_t = 2)]
    endpoints: u32,
    /// Turns of each kind
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// How long a turn lasts
    #[arg(long, default_value = "2s")]
    turn: humantime::Duration,
    /// Requests a second
    #[arg(long, default_value_t = 3000.0)]
    rate: f64,
    /// Keep-alive connections of clients
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The proxy may run where the clients and endpoints do, with a worker for each core
    #[arg(long)]
    unpinned: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Bytes of each answer.
const SIZE: usize = 100;

const WARM_UP: Duration = Duration::from_secs(1);

/// The config as it is at one time.
struct Stage<'o> {
    options: &'o Options,
    port: u16,
    address: SocketAddr,
    admin: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let dir = tempfile::tempdir()?;
    let description = machine::describe();
    // What is pinned sees one core.
    let load_core = pin::load_core();
    if !options.unpinned {
        pin::pin(load_core)?;
    }
    let origin = Origin::on_loopback()?;
    let port = origin.addresses()?.first().context("no endpoint")?.port();
    origin.serve()?;
    let mut stage = None;
    let tidegate = thread::scope(|scope| {
        scope
            .spawn(|| start(&options, dir.path(), port, &mut stage))
            .join()
    })
    .ok()
    .context("tidegate cannot be started")??;
    let stage = stage.context("no config")?;
    let hosts = (0..options.routes).step_by(1 + options.routes / 1000);
    let requests = hosts
        .map(|number| request(&host(number), SIZE, ""))
        .collect();
    let mut load = Load::asking(tidegate.address, options.connections, requests, SIZE)?;
    load.saturate(WARM_UP)?;
    let mut out = stdout().lock();
    writeln!(out, "machine   {description}")?;
    writeln!(out, "tidegate  {}", tidegate::version()?)?;
    writeln!(
        out,
        "setup     {} routes to {} services of {} endpoints; {} clients, {} requests/s; {}\n",
        options.routes,
        options.services,
        options.endpoints,
        options.connections,
        options.rate,
        if options.unpinned {
            "a worker for each core, shared with clients and endpoints".into()
        } else {
            format!(
                "one worker on core {}, clients and endpoints on core {load_core}",
                pin::PROXY_CORE
            )
        }
    )?;
    writeln!(
        out,
        "{:>5} {:>47}   {:>47} {:>9} {:>9}\n{:>5} {:>9} {:>9} {:>9} {:>17}   {:>9} {:>9} {:>9} {:>17} {:>9} {:>9}",
        "",
        "at rest, ms",
        "with a reload, ms",
        "worker",
        "others",
        "round",
        "p99",
        "p99.9",
        "worst",
        "drain, worst",
        "p99",
        "p99.9",
        "worst",
        "drain, worst",
        "more, ms",
        "more, ms"
    )?;
    let (mut rest, mut reload) = (Turns::default(), Turns::default());
    for round in 1..=options.rounds {
        let calm = |load: &mut Load| turn(load, &tidegate, &stage, None);
        let busy = |load: &mut Load| turn(load, &tidegate, &stage, Some((dir.path(), round)));
        let (at_rest, reloaded) = if round % 2 == 1 {
            let at_rest = calm(&mut load);
            (at_rest, busy(&mut load))
        } else {
            let reloaded = busy(&mut load);
            (calm(&mut load), reloaded)
        };
        let more = |of: fn(&Shares) -> u64, reloaded: &Turn, at_rest: &Turn| {
            (of(&reloaded.used) as f64 - of(&at_rest.used) as f64) / 1e6
        };
        let (mut at_rest, mut reloaded) = (at_rest?, reloaded?);
        let workers = more(|it| it.workers, &reloaded, &at_rest);
        let others = more(|it| it.others, &reloaded, &at_rest);
        writeln!(
            out,
            "{round:>5} {}   {} {workers:>9.1} {others:>9.1}",
            at_rest.row(),
            reloaded.row(),
        )?;
        rest.add(at_rest);
        reload.add(reloaded);
    }
    writeln!(out, "\nall turns together, none of whose requests failed")?;
    for (kind, turns) in [("at rest", &mut rest), ("with a reload", &mut reload)] {
        turns.tell(&mut out, kind)?;
    }
    Ok(())
}

/// What was seen in one turn, in milliseconds.
struct Turn {
    requests: Vec<f64>,
    drains: Vec<f64>,
    used: Shares,
}

impl Turn {
    fn row(&mut self) -> String {
        let [p99, p999, worst] =
            [0.99, 0.999, 1.0].map(|share| quantile(&mut self.requests, share));
        let [drain, worst_drain] = [0.5, 1.0].map(|share| quantile(&mut self.drains, share));
        format!("{p99:>9.3} {p999:>9.3} {worst:>9.2} {drain:>8.2} {worst_drain:>8.2}")
    }
}

/// What was seen in all turns of a kind.
#[derive(Default)]
struct Turns {
    requests: Vec<f64>,
    drains: Vec<f64>,
    worst: Vec<f64>,
}

/// No request may be slower than this because of a reload, in milliseconds.
const BOUND: f64 = 20.0;

impl Turns {
    fn add(&mut self, mut turn: Turn) {
        self.worst.push(quantile(&mut turn.requests, 1.0));
        self.requests.extend(turn.requests);
        self.drains.extend(turn.drains);
    }

    fn tell(&mut self, out: &mut impl std::io::Write, kind: &str) -> std::io::Result<()> {
        let [p99, p999, worst] =
            [0.99, 0.999, 1.0].map(|share| quantile(&mut self.requests, share));
        let slow = self.requests.iter().filter(|took| **took > BOUND).count();
        let [drain, late, latest] = [0.5, 0.99, 1.0].map(|share| quantile(&mut self.drains, share));
        writeln!(
            out,
            "{kind:14} {} requests: p99 {p99:.3} ms, p99.9 {p999:.3} ms, slowest {worst:.1} ms (of a turn {:.1} ms in the median), \
             {slow} slower than {BOUND} ms\n{:14} {} drains: median {drain:.2} ms, p99 {late:.2} ms, slowest {latest:.2} ms",
            self.requests.len(),
            quantile(&mut self.worst, 0.5),
            "",
            self.drains.len(),
        )
    }
}

/// One turn; in some a config of its own is read in it.
fn turn(
    load: &mut Load,
    tidegate: &Tidegate,
    stage: &Stage<'_>,
    change: Option<(&Path, usize)>,
) -> anyhow::Result<Turn> {
    if let Some((dir, round)) = change {
        stage.write(dir, round)?;
    }
    let pid = tidegate.child.pid();
    let before = Shares::of(pid);
    let (requests, drains) = thread::scope(|scope| {
        let drains = scope.spawn(|| stage.drain(tidegate, change.is_some()));
        let took = load.at_rate(stage.options.rate, *stage.options.turn);
        let drains = drains.join().ok().context("the drains have broken down")?;
        anyhow::Ok((took?, drains?))
    })
    .with_context(|| tidegate.last_words())?;
    let used = Shares::of(pid).since(before);
    if let Some((_, round)) = change {
        until("the config is read", Duration::from_secs(20), || {
            let scrape = Scrape::of(&tidegate.admin).ok()?;
            (scrape.sum("tidegate_config_reload_total") >= round as f64).then_some(())
        })?;
    }
    Ok(Turn {
        requests,
        drains,
        used,
    })
}

fn start<'o>(
    options: &'o Options,
    dir: &Path,
    port: u16,
    stage: &mut Option<Stage<'o>>,
) -> anyhow::Result<Tidegate> {
    if !options.unpinned {
        pin::pin(pin::PROXY_CORE)?;
    }
    Tidegate::launch_as(&[], dir, |address, admin| {
        let stage = stage.insert(Stage {
            options,
            port,
            address,
            admin,
        });
        stage.config(0)
    })
}

fn host(number: usize) -> String {
    format!("shop-{number}.example.com")
}

impl Stage<'_> {
    /// As it is in the given round: one route, which nobody asks for, leads elsewhere each time.
    fn config(&self, round: usize) -> String {
        let Options {
            routes,
            services,
            endpoints,
            unpinned,
            ..
        } = self.options;
        let mut text = format!(
            "listeners: [{{ name: http, address: \"{}\" }}]\n\
             admin: {{ address: \"{}\", calls_per_second: 1000 }}\n\
             access_log: {{ sample: 0.0 }}\nworkers: {}\nroutes:\n",
            self.address,
            self.admin,
            if *unpinned { "auto" } else { "1" }
        );
        for number in 0..*routes {
            let _ = writeln!(
                text,
                "  - {{ host: {}, path: /, service: web-{} }}",
                host(number),
                number % services
            );
        }
        let _ = writeln!(
            text,
            "  - {{ host: changed.example.com, service: web-{} }}\nservices:",
            round % services
        );
        for number in 0..*services {
            let first = number as u32 * endpoints;
            let list: Vec<_> = (first..first + endpoints)
                .map(|number| format!("\"{}\"", address(number, self.port)))
                .collect();
            let _ = writeln!(
                text,
                "  - {{ name: web-{number}, source: {{ list: [{}] }} }}",
                list.join(", ")
            );
        }
        text
    }

    fn write(&self, dir: &Path, round: usize) -> anyhow::Result<()> {
        let fresh = dir.join("tidegate.yaml.new");
        std::fs::write(&fresh, self.config(round))?;
        std::fs::rename(fresh, dir.join("tidegate.yaml"))?;
        Ok(())
    }

    /// Has an endpoint drained again and again, and the config read meanwhile, or not. Returns how long the answers took.
    fn drain(&self, tidegate: &Tidegate, reload: bool) -> anyhow::Result<Vec<f64>> {
        thread::park_timeout(BEFORE);
        if reload {
            let pid = i32::try_from(tidegate.child.pid())
                .ok()
                .and_then(Pid::from_raw);
            kill_process(pid.context("no process")?, Signal::HUP)?;
        }
        let sent = Instant::now();
        let call = format!(
            "{}/api/v1/services/web-0/endpoints/{}/drain",
            tidegate.admin,
            address(0, self.port)
        );
        let mut took = Vec::new();
        while sent.elapsed() < WHILE {
            let start = Instant::now();
            let mut answer = ureq::post(&call).send_empty()?;
            ensure!(answer.status() == 200, "no drain");
            answer.body_mut().read_to_string()?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
            ureq::delete(&call).call()?.body_mut().read_to_string()?;
            thread::park_timeout(PAUSE);
        }
        Ok(took)
    }
}

/// From the begin of a turn to its reload.
const BEFORE: Duration = Duration::from_millis(300);

/// How long drains are asked for after it, and what is between two of them.
const WHILE: Duration = Duration::from_millis(1200);
const PAUSE: Duration = Duration::from_millis(2);

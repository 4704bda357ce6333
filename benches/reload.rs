//! Whether clients notice that a large config is read again: the slowest requests around a reload, beside those at rest.
//!
//! `cargo bench --bench reload`. Requests are due at a steady rate and timed from when they were due. Turns at rest and turns
//! in which the config has changed and SIGHUP is sent alternate. Drains that an operator asks for in the middle of it are
//! timed, too: they must not wait until the config is read (P2). A request that fails ends the bench.

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
    /// Services that they lead to, of ten endpoints each
    #[arg(long, default_value_t = 100)]
    services: usize,
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
        "setup     {} routes to {} services of ten endpoints; {} clients, {} requests/s; {}\n",
        options.routes,
        options.services,
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
        "{:>5} {:>27}   {:>27} {:>9} {:>9} {:>9}\n{:>5} {:>8} {:>8} {:>9}   {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "",
        "at rest, ms",
        "with a reload, ms",
        "drain",
        "worker",
        "others",
        "round",
        "p99",
        "p99.9",
        "worst",
        "p99",
        "p99.9",
        "worst",
        "ms",
        "more, ms",
        "more, ms"
    )?;
    let (mut worst_rest, mut worst_reload) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let before = Shares::of(tidegate.child.pid());
        let mut rest = load.at_rate(options.rate, *options.turn)?;
        let calm = Shares::of(tidegate.child.pid()).since(before);
        stage.write(dir.path(), round)?;
        let before = Shares::of(tidegate.child.pid());
        let (mut reload, drain) = thread::scope(|scope| {
            let drain = scope.spawn(|| stage.reload(&tidegate));
            let took = load.at_rate(options.rate, *options.turn);
            let drain = drain.join().ok().context("the reload has broken down")?;
            anyhow::Ok((took?, drain?))
        })
        .with_context(|| tidegate.last_words())?;
        let busy = Shares::of(tidegate.child.pid()).since(before);
        until("the config is read", Duration::from_secs(20), || {
            let scrape = Scrape::of(&tidegate.admin).ok()?;
            (scrape.sum("tidegate_config_reload_total") >= round as f64).then_some(())
        })?;
        let shares = [0.99, 0.999, 1.0];
        let rest = shares.map(|share| quantile(&mut rest, share));
        let reload = shares.map(|share| quantile(&mut reload, share));
        worst_rest.push(rest[2]);
        worst_reload.push(reload[2]);
        let more = |now: u64, before: u64| (now as f64 - before as f64) / 1e6;
        writeln!(
            out,
            "{round:>5} {:>8.3} {:>8.3} {:>9.2}   {:>8.3} {:>8.3} {:>9.2} {drain:>9.2} {:>9.1} {:>9.1}",
            rest[0],
            rest[1],
            rest[2],
            reload[0],
            reload[1],
            reload[2],
            more(busy.workers, calm.workers),
            more(busy.others, calm.others)
        )?;
    }
    let of = |worst: &mut Vec<f64>| [0.5, 1.0].map(|share| quantile(worst, share));
    let ([rest, rest_max], [reload, reload_max]) = (of(&mut worst_rest), of(&mut worst_reload));
    writeln!(
        out,
        "\nslowest request of a turn: at rest {rest:.1} ms in the median, {rest_max:.1} ms at most; with a reload {reload:.1} and \
         {reload_max:.1} ms; none failed"
    )?;
    Ok(())
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
            let list: Vec<_> = (0..10)
                .map(|endpoint| {
                    let at = number * 10 + endpoint;
                    format!("\"127.2.{}.{}:{}\"", at / 250, 1 + at % 250, self.port)
                })
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

    /// Has the config read again, and an endpoint drained again and again meanwhile. Returns how long the slowest answer took.
    fn reload(&self, tidegate: &Tidegate) -> anyhow::Result<f64> {
        thread::park_timeout(BEFORE);
        let pid = i32::try_from(tidegate.child.pid())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.context("no process")?, Signal::HUP)?;
        let sent = Instant::now();
        let call = format!(
            "{}/api/v1/services/web-0/endpoints/127.2.0.1:{}/drain",
            tidegate.admin, self.port
        );
        let mut worst = Duration::ZERO;
        while sent.elapsed() < WHILE {
            let start = Instant::now();
            let mut answer = ureq::post(&call).send_empty()?;
            ensure!(answer.status() == 200, "no drain");
            answer.body_mut().read_to_string()?;
            worst = worst.max(start.elapsed());
            ureq::delete(&call).call()?.body_mut().read_to_string()?;
            thread::park_timeout(PAUSE);
        }
        Ok(worst.as_secs_f64() * 1e3)
    }
}

/// From the begin of a turn to its reload.
const BEFORE: Duration = Duration::from_millis(300);

/// How long drains are asked for after it, and what is between two of them.
const WHILE: Duration = Duration::from_millis(700);
const PAUSE: Duration = Duration::from_millis(5);

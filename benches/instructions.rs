//! How many instructions a request costs, as valgrind's callgrind counts them: a figure that a busy machine does not move.
//!
//! `cargo bench --profile dev --bench instructions -- --check`, which CI runs, compares with `benches/instructions.txt` and
//! fails where a request has become dearer by more than 3 %; `--accept` writes the figures of this tree into that file, on
//! purpose. The profile is that of the tests, whose binary is there already: what a change costs is seen in it as well, and
//! `--profile quick` without an option tells what the optimised binary needs. Needs valgrind, and h2load for what is over
//! TLS.
//!
//! The whole process is counted, kernel excluded, in a short run and in a longer one. What the longer one has more, divided
//! by the requests that it has more, is the cost of a request: start and end are in both and fall out.
//!
//! Another compiler makes other instructions, and libraries choose theirs by the processor: on another kind of machine
//! nothing is compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use support::contender::certify;
use support::h2load::{self, Work};
use support::load::Load;
use support::origin::Origin;
use support::ports;
use support::tidegate::Tidegate;

/// Instructions per request, compared with those that were accepted.
#[derive(Debug, Parser)]
struct Options {
    /// Fail where a request costs more than 3 % more than accepted
    #[arg(long)]
    check: bool,
    /// Write down the figures of this tree
    #[arg(long, conflicts_with = "check")]
    accept: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A kind of request.
struct Row {
    name: &'static str,
    /// Bytes of an answer's body, or of a message.
    size: usize,
    clients: Clients,
    access_log: bool,
    connections: usize,
    /// Requests of the short run, and of the long one.
    requests: (u64, u64),
}

/// Who asks.
#[derive(Clone, Copy)]
enum Clients {
    /// Connections that are kept, clear HTTP/1.1.
    Plain,
    /// WebSockets, each of which says something and waits for it to come back.
    Tunnels,
    /// Another program's.
    Tls(Work),
}

impl Row {
    const fn new(name: &'static str, size: usize, clients: Clients) -> Self {
        Self {
            name,
            size,
            clients,
            access_log: false,
            connections: 8,
            requests: (500, 2_500),
        }
    }

    const fn logged(mut self) -> Self {
        self.access_log = true;
        self
    }

    const fn by(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    const fn times(mut self, short: u64, long: u64) -> Self {
        self.requests = (short, long);
        self
    }

    /// How many instructions each of its requests takes.
    fn count(&self, source: &str) -> anyhow::Result<f64> {
        let (short, long) = self.requests;
        let (less, more) = std::thread::scope(|scope| {
            let less = scope.spawn(|| count(self, source, short));
            let more = count(self, source, long);
            (less.join(), more)
        });
        let Ok(less) = less else {
            bail!("the short run of {} panicked", self.name);
        };
        Ok((more? - less?) / (long - short) as f64)
    }
}

/// A row for each kind of work that `benches/compare` has and that takes processor time of its own.
const ROWS: [Row; 8] = [
    Row::new("http1_100", 100, Clients::Plain),
    Row::new("http1_100_logged", 100, Clients::Plain).logged(),
    Row::new("http1_10k", 10 * 1024, Clients::Plain),
    // How much of a body has come by the time it is read, and how many messages a worker finds when it wakes up, varies: with
    // many connections nearly always as much as it takes at once.
    Row::new("http1_1m", 1024 * 1024, Clients::Plain)
        .by(64)
        .times(128, 768),
    Row::new("websocket_100", 100, Clients::Tunnels)
        .by(64)
        .times(1_000, 10_000),
    Row::new("tls_100", 100, Clients::Tls(Work::Tls)),
    // Each costs as much as forty requests, whatever its keys.
    Row::new("tls_handshake", 100, Clients::Tls(Work::Handshakes)).times(20, 100),
    Row::new("http2_100", 100, Clients::Tls(Work::Http2)),
];

/// A request may become dearer by this much before somebody has to say that it is meant.
const ALLOWED: f64 = 0.03;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut out = stdout().lock();
    if Command::new("valgrind").arg("--version").output().is_err() {
        writeln!(
            out,
            "valgrind is not installed; nothing is counted: tests/setup.sh installs it"
        )?;
        return Ok(());
    }
    let kind = kind()?;
    let accepted = read(&kind, &mut out)?;
    let origin = Origin::on_ports(2)?;
    let endpoints = origin.addresses()?;
    origin.serve()?;
    let list: Vec<_> = endpoints.iter().map(|at| format!("\"{at}\"")).collect();
    let source = format!("source: {{ list: [{}] }}", list.join(", "));
    let mut counted = BTreeMap::new();
    let mut dearer = Vec::new();
    writeln!(
        out,
        "{:18} {:>10} {:>10} {:>8}",
        "work", "per request", "accepted", "ratio"
    )?;
    for row in &ROWS {
        if matches!(row.clients, Clients::Tls(_)) && !h2load::is_here() {
            writeln!(out, "{:18} h2load is not installed: left out", row.name)?;
            continue;
        }
        let each = row.count(&source)?;
        counted.insert(row.name, each);
        let known = accepted.get(row.name).copied();
        let ratio = known.map_or(f64::NAN, |known| each / known);
        writeln!(
            out,
            "{:18} {each:>10.0} {:>10.0} {ratio:>8.3}",
            row.name,
            known.unwrap_or(f64::NAN)
        )?;
        out.flush()?;
        if ratio > 1.0 + ALLOWED {
            dearer.push(row.name);
        }
    }
    if options.accept {
        return write(&kind, &counted);
    }
    ensure!(
        !options.check || dearer.is_empty(),
        "dearer by more than {:.0} %: {}. If it is worth it: cargo bench --profile dev --bench instructions -- --accept",
        ALLOWED * 100.0,
        dearer.join(", ")
    );
    Ok(())
}

/// Instructions of a whole process that answers so many requests.
fn count(row: &Row, source: &str, requests: u64) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    certify(dir.path())?;
    let counts = dir.path().join("callgrind.out");
    let tls = ports::free()?;
    let listener = format!(
        "{{ name: https, address: \"{tls}\", tls: {{ certificates: [{{ cert: bench.crt, key: bench.key }}] }} }}"
    );
    let sample = u8::from(row.access_log);
    let rest = format!(
        "access_log: {{ sample: {sample} }}\nworkers: 1\nshutdown: {{ wait_period: 0s, grace_period: 20s }}"
    );
    let wrapper = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", counts.display()),
    ];
    let mut tidegate = Tidegate::start_under(&wrapper, dir.path(), source, &[listener], &rest)?;
    let (address, size, connections) = (tidegate.address, row.size, row.connections);
    match row.clients {
        Clients::Plain => {
            Load::connect(address, connections, size)?.times(requests)?;
        }
        Clients::Tunnels => {
            Load::tunnels(address, connections, size)?.times(requests)?;
        }
        Clients::Tls(work) => h2load::times(work, tls, size, connections, requests)?,
    }
    tidegate.child.leave(Duration::from_secs(60))?;
    total(&counts)
}

/// The sum that callgrind writes at the end.
fn total(file: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(file).context("callgrind wrote nothing")?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .context("callgrind says no total")?;
    Ok(total.trim().parse()?)
}

/// What decides, beside the code, how many instructions it takes.
fn kind() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find(|line| line.starts_with("model name"));
    let cpu = cpu.and_then(|line| line.split(':').nth(1));
    let profile = support::tidegate::profile()?;
    Ok(format!(
        "profile {profile}, {version}, {}",
        cpu.unwrap_or("unknown").trim()
    ))
}

/// The accepted figures; none where they were counted on another kind of machine.
fn read(kind: &str, out: &mut impl Write) -> anyhow::Result<BTreeMap<String, f64>> {
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    let counted_by = text.lines().find_map(|line| line.strip_prefix(KIND));
    if let Some(other) = counted_by.filter(|it| *it != kind) {
        writeln!(
            out,
            "accepted were counts by: {other}; nothing is compared with those by: {kind}"
        )?;
        return Ok(BTreeMap::new());
    }
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| match line.split_once(' ') {
            Some((name, count)) => Ok((name.to_owned(), count.trim().parse()?)),
            None => bail!("{FILE}: no count in {line:?}"),
        })
        .collect()
}

/// The line of the file that says what its figures were counted by.
const KIND: &str = "# counted by: ";

fn write(kind: &str, counted: &BTreeMap<&str, f64>) -> anyhow::Result<()> {
    let mut text = format!(
        "# Instructions per request that are accepted: what CI compares with. Made by\n\
         # cargo bench --profile dev --bench instructions -- --accept\n\
         {KIND}{kind}\n"
    );
    for (name, count) in counted {
        writeln!(text, "{name:18} {count:.0}")?;
    }
    std::fs::write(FILE, text).with_context(|| format!("cannot write {FILE}"))
}

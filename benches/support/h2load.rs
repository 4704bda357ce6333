//! Clients that speak TLS and HTTP/2: nghttp2's load generator, which `benches/setup.sh` installs.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::Instant;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// HTTP/1.1 over TLS, connections kept.
    Tls,
    /// One request on each connection, each with a full handshake.
    Handshakes,
    /// HTTP/2 over TLS, ten streams at a time on each connection.
    Http2,
}

/// Handshakes that one run of the program does.
const BATCH: usize = 256;

/// Whether it is installed.
pub(crate) fn is_here() -> bool {
    Command::new("h2load")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Keeps an address busy for about so long. Returns the number of answers, all of them whole and 200.
pub(crate) fn run(
    work: Work,
    address: SocketAddr,
    size: usize,
    connections: usize,
    turn: Duration,
) -> anyhow::Result<u64> {
    let target = format!("https://{address}/{size}");
    let clients = connections.to_string();
    match work {
        Work::Tls => timed(&["--h1", "-c", &clients], turn, &target),
        Work::Http2 => timed(&["-m", "10", "-c", &clients], turn, &target),
        Work::Handshakes => {
            let (batch, start) = (BATCH.to_string(), Instant::now());
            let mut answers = 0;
            while start.elapsed() < turn {
                answers += load(&["--h1", "-n", &batch, "-c", &batch], &target)?;
            }
            Ok(answers)
        }
    }
}

/// Asks so many times, over so many connections or, for handshakes, over one for each.
pub(crate) fn times(
    work: Work,
    address: SocketAddr,
    size: usize,
    connections: usize,
    requests: u64,
) -> anyhow::Result<()> {
    let target = format!("https://{address}/{size}");
    let (clients, requests) = (connections.to_string(), requests.to_string());
    let (protocol, clients): (&[&str], _) = match work {
        Work::Tls => (&["--h1"], &clients),
        Work::Handshakes => (&["--h1"], &requests),
        Work::Http2 => (&["-m", "10"], &clients),
    };
    load(
        &[protocol, &["-c", clients, "-n", &requests]].concat(),
        &target,
    )?;
    Ok(())
}

fn timed(options: &[&str], turn: Duration, target: &str) -> anyhow::Result<u64> {
    let seconds = turn.as_secs_f64().ceil().to_string();
    let options = [options, &["-D", &seconds]].concat();
    load(&options, target)
}

fn load(options: &[&str], target: &str) -> anyhow::Result<u64> {
    let output = Command::new("h2load")
        .args(["-t", "1"])
        .args(options)
        .arg(target)
        .output()
        .context("cannot run h2load")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "h2load failed: {said}");
    // "status codes: 1234 2xx, 0 3xx, 0 4xx, 0 5xx"
    let codes = said
        .lines()
        .find_map(|line| line.strip_prefix("status codes: "))
        .with_context(|| format!("h2load says nothing of status codes: {said}"))?;
    let mut counts = codes
        .split(", ")
        .map(|part| part.split(' ').next().and_then(|count| count.parse().ok()));
    let (Some(Some(good)), rest) = (counts.next(), counts) else {
        bail!("h2load says {codes:?} of status codes");
    };
    let bad: u64 = rest.flatten().sum();
    ensure!(bad == 0 && good > 0, "not every answer was a 200: {codes}");
    Ok(good)
}

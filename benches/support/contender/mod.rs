//! The proxies that are compared: each set up as its manual would have it for this work, with one worker.
//!
//! All have the same limits of time where they have such limits, keep as many connections to endpoints, and pick among these
//! by two random choices, or in turn where they know no such thing. None tries a failed request again that it would not by
//! itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;

use super::child::Child;
use super::patience::until;
use super::ports;
use super::tidegate::{self, Tidegate};

mod caddy;
mod envoy;
mod haproxy;
mod nginx;
mod pingora;
mod traefik;

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Tidegate,
    Haproxy,
    Nginx,
    Envoy,
    Pingora,
    Traefik,
    Caddy,
}

/// A running proxy.
pub(crate) struct Contender {
    pub(crate) peer: Peer,
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    /// Where it speaks TLS.
    pub(crate) tls: SocketAddr,
    pub(crate) child: Child,
}

/// What all of them are told.
pub(crate) struct Setup<'s> {
    /// Where configs and logs go.
    pub(crate) dir: &'s Path,
    pub(crate) endpoints: &'s [SocketAddr],
    /// Every request is logged to a file.
    pub(crate) access_log: bool,
    /// HAProxy, nginx and Pingora add `X-Forwarded-For` and `-Proto`, too, as the others always do.
    pub(crate) forwarded: bool,
}

/// Where a proxy is to listen.
#[derive(Debug, Clone, Copy)]
struct Places {
    clear: SocketAddr,
    tls: SocketAddr,
}

/// How a peer is started.
struct Plan {
    version: String,
    command: Command,
}

/// Makes the certificate that all of them show, on P-256: `bench.crt`, `bench.key`, and both in `bench.pem`.
pub(crate) fn certify(dir: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["bench.example.com".to_owned()])?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(dir.join("bench.crt"), &cert)?;
    std::fs::write(dir.join("bench.key"), &key)?;
    std::fs::write(dir.join("bench.pem"), format!("{cert}{key}"))?;
    Ok(())
}

impl Peer {
    /// As it calls itself.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Pingora => "Pingora",
            Self::Traefik => "Traefik",
            Self::Caddy => "Caddy",
        }
    }

    /// Starts it, where the calling thread runs; none if it is not installed. Returns once it answers.
    pub(crate) fn start(self, setup: &Setup<'_>) -> anyhow::Result<Option<Contender>> {
        let places = Places {
            clear: ports::free()?,
            tls: ports::free()?,
        };
        let plan = match self {
            Self::Tidegate => return Contender::tidegate(setup).map(Some),
            Self::Haproxy => haproxy::plan(setup, places),
            Self::Nginx => nginx::plan(setup, places),
            Self::Envoy => envoy::plan(setup, places),
            Self::Pingora => pingora::plan(setup, places),
            Self::Traefik => traefik::plan(setup, places),
            Self::Caddy => caddy::plan(setup, places),
        };
        plan?
            .map(|plan| Contender::started(self, plan, places, setup))
            .transpose()
    }
}

impl Contender {
    /// tidegate with its defaults: metrics, all timeouts and all limits are on. Its log has every request or none.
    fn tidegate(setup: &Setup<'_>) -> anyhow::Result<Self> {
        let list: Vec<_> = setup
            .endpoints
            .iter()
            .map(|at| format!("\"{at}\""))
            .collect();
        let source = format!("source: {{ list: [{}] }}", list.join(", "));
        let sample = u8::from(setup.access_log);
        let rest = format!("access_log: {{ sample: {sample} }}\nworkers: 1");
        let tls = ports::free()?;
        let listener = format!(
            "{{ name: https, address: \"{tls}\", tls: {{ certificates: [{{ cert: bench.crt, key: bench.key }}] }} }}"
        );
        let Tidegate { child, address, .. } =
            Tidegate::start_with(setup.dir, &source, false, &[listener], &rest)?;
        Ok(Self {
            peer: Peer::Tidegate,
            // Where its binary is says nothing elsewhere.
            version: tidegate::version()?
                .split(" (")
                .next()
                .unwrap_or_default()
                .to_owned(),
            address,
            tls,
            child,
        })
    }

    fn started(peer: Peer, plan: Plan, places: Places, setup: &Setup<'_>) -> anyhow::Result<Self> {
        let name = peer.name();
        let child = Child::start(plan.command, name, setup.dir)?;
        let answers = || {
            ureq::get(format!("http://{}/1", places.clear))
                .call()
                .ok()
                .filter(|answer| answer.status() == 200)
        };
        until(name, Duration::from_secs(20), answers).with_context(|| {
            let said = ["out", "err"].map(|suffix| {
                let file = setup.dir.join(format!("{name}.{suffix}"));
                std::fs::read_to_string(file).unwrap_or_default()
            });
            format!("{name} said: {}", said.concat())
        })?;
        Ok(Self {
            peer,
            version: plan.version,
            address: places.clear,
            tls: places.tls,
            child,
        })
    }
}

/// What a program says of itself; none when there is no such program.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty())?;
    Some(line.trim().to_owned())
}

/// Where `benches/setup.sh` puts what no package of Debian has.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

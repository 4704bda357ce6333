//! The tidegate under test: the release binary, built if need be, or the one in `TIDEGATE_BIN`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::child::Child;
use super::patience::until;
use super::ports;

/// A running tidegate.
pub(crate) struct Tidegate {
    pub(crate) child: Child,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    /// Its admin side, as `http://ADDRESS`.
    pub(crate) admin: String,
    dir: PathBuf,
}

/// The binary.
///
/// It is built here, in the profile of the bench: the one that cargo builds together with benches has what the tests ask
/// of its dependencies, a clock that can be paused among it, and is not what is delivered.
pub(crate) fn binary() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("TIDEGATE_BIN") {
        return Ok(given.into());
    }
    let dir = directory()?;
    let profile = profile()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--bin",
            "tidegate",
            "--profile",
            &profile,
        ])
        .arg("--target-dir")
        .arg(dir.parent().context("no target directory")?)
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "tidegate cannot be built");
    Ok(dir.join("tidegate"))
}

/// Where the binaries of this bench's profile are.
fn directory() -> anyhow::Result<PathBuf> {
    // This is TARGET/PROFILE/deps/NAME.
    let own = std::env::current_exe()?;
    let dir = own.ancestors().nth(2);
    Ok(dir.context("no directory of the profile")?.to_owned())
}

/// The profile of this bench, and so of the binary that it runs.
pub(crate) fn profile() -> anyhow::Result<String> {
    match directory()?.file_name().and_then(|name| name.to_str()) {
        Some("debug") => Ok("dev".into()),
        Some(profile) => Ok(profile.into()),
        None => bail!("no name of the profile"),
    }
}

/// What it calls itself.
pub(crate) fn version() -> anyhow::Result<String> {
    let binary = binary()?;
    let output = Command::new(&binary)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(format!("{} ({})", version.trim(), binary.display()))
}

impl Tidegate {
    /// Starts it with one listener, an admin side and one service for everything; `service` is what is to be said of
    /// that, its source at least, `rest` the rest of the config. Returns once it is ready.
    pub(crate) fn start(
        dir: &Path,
        service: &str,
        per_endpoint_metrics: bool,
        rest: &str,
    ) -> anyhow::Result<Self> {
        Self::start_with(dir, service, per_endpoint_metrics, &[], rest)
    }

    /// As [`Tidegate::start`], with more listeners beside the one.
    pub(crate) fn start_with(
        dir: &Path,
        service: &str,
        per_endpoint_metrics: bool,
        listeners: &[String],
        rest: &str,
    ) -> anyhow::Result<Self> {
        let rest = format!("per_endpoint_metrics: {per_endpoint_metrics} }}\n{rest}");
        Self::launch(&[], dir, service, listeners, &rest)
    }

    /// As [`Tidegate::start_with`], as an argument of another program.
    pub(crate) fn start_under(
        program: &[String],
        dir: &Path,
        service: &str,
        listeners: &[String],
        rest: &str,
    ) -> anyhow::Result<Self> {
        Self::launch(program, dir, service, listeners, &format!("}}\n{rest}"))
    }

    fn launch(
        program: &[String],
        dir: &Path,
        service: &str,
        listeners: &[String],
        rest: &str,
    ) -> anyhow::Result<Self> {
        let more: String = listeners.iter().map(|more| format!(", {more}")).collect();
        Self::launch_as(program, dir, |address, admin| {
            format!(
                "listeners: [{{ name: http, address: \"{address}\" }}{more}]\n\
                 routes: [{{ service: web }}]\n\
                 services: [{{ name: web, {service} }}]\n\
                 admin: {{ address: \"{admin}\", {rest}\n"
            )
        })
    }

    /// Starts it with a config that is made for the addresses of its listener and its admin side, as an argument of another
    /// program if one is given. Returns once it is ready.
    pub(crate) fn launch_as(
        program: &[String],
        dir: &Path,
        config: impl FnOnce(SocketAddr, SocketAddr) -> String,
    ) -> anyhow::Result<Self> {
        let (address, admin) = (ports::free()?, ports::free()?);
        let path = dir.join("tidegate.yaml");
        std::fs::write(&path, config(address, admin))?;
        let binary = binary()?;
        let mut words = program
            .iter()
            .map(AsRef::as_ref)
            .chain([binary.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("run").arg("-c").arg(&path);
        command.args(["--log", "warn"]);
        let child = Child::start(command, "tidegate", dir)?;
        let admin = format!("http://{admin}");
        let readyz = format!("{admin}/readyz");
        until("tidegate is ready", READY, || {
            ureq::get(&readyz).call().ok()
        })
        .with_context(|| std::fs::read_to_string(dir.join("tidegate.err")).unwrap_or_default())?;
        Ok(Self {
            child,
            address,
            admin,
            dir: dir.to_owned(),
        })
    }

    /// The last it said: what went wrong is in its logs, since only successes are left out of them.
    pub(crate) fn last_words(&self) -> String {
        let last = |name: &str| {
            let said = std::fs::read_to_string(self.dir.join(name)).unwrap_or_default();
            let lines: Vec<_> = said.lines().rev().take(LAST_WORDS).collect();
            lines.join("\n")
        };
        format!(
            "tidegate said:\n{}\n{}",
            last("tidegate.out"),
            last("tidegate.err")
        )
    }
}

const LAST_WORDS: usize = 3;

/// Time enough for a large config under a tool that counts.
const READY: Duration = Duration::from_secs(120);

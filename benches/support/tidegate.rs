//! The tidegate under test: the binary that `cargo bench` has just built, release profile, or the one in `TIDEGATE_BIN`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

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
}

/// The binary.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("TIDEGATE_BIN").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_tidegate")),
        PathBuf::from,
    )
}

/// What it calls itself.
pub(crate) fn version() -> anyhow::Result<String> {
    let binary = binary();
    let output = Command::new(&binary)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(format!("{} ({})", version.trim(), binary.display()))
}

impl Tidegate {
    /// Starts it with one listener, an admin side and one service for everything; `source` is where that has its endpoints,
    /// `rest` the rest of the config. Returns once it is ready.
    pub(crate) fn start(
        dir: &Path,
        source: &str,
        per_endpoint_metrics: bool,
        rest: &str,
    ) -> anyhow::Result<Self> {
        let (address, admin) = (ports::free()?, ports::free()?);
        let config = format!(
            "listeners: [{{ name: http, address: \"{address}\" }}]\n\
             routes: [{{ service: web }}]\n\
             services: [{{ name: web, source: {{ {source} }} }}]\n\
             admin: {{ address: \"{admin}\", per_endpoint_metrics: {per_endpoint_metrics} }}\n{rest}\n"
        );
        let path = dir.join("tidegate.yaml");
        std::fs::write(&path, config)?;
        let mut command = Command::new(binary());
        command.arg("run").arg("-c").arg(&path);
        command.args(["--log", "warn"]);
        let child = Child::start(command, "tidegate", dir)?;
        let admin = format!("http://{admin}");
        let readyz = format!("{admin}/readyz");
        until("tidegate is ready", Duration::from_secs(20), || {
            ureq::get(&readyz).call().ok()
        })
        .with_context(|| std::fs::read_to_string(dir.join("tidegate.err")).unwrap_or_default())?;
        Ok(Self {
            child,
            address,
            admin,
        })
    }
}

//! Pingora: `benches/peers/pingora`, a plain proxy on it, with one thread.

use std::process::Command;

use super::{Places, Plan, Setup, installed};

pub(super) fn plan(setup: &Setup<'_>, places: Places) -> anyhow::Result<Option<Plan>> {
    let program = installed().join("pingora/release/pingora-peer");
    if !program.exists() {
        return Ok(None);
    }
    let mut command = Command::new(program);
    command.arg(places.clear.to_string());
    command.arg(places.tls.to_string());
    command.arg(setup.dir.join("bench.crt"));
    command.arg(setup.dir.join("bench.key"));
    command.args([setup.access_log, setup.forwarded].map(|on| on.to_string()));
    command.args(setup.endpoints.iter().map(ToString::to_string));
    Ok(Some(Plan {
        version: format!("Pingora {}, with OpenSSL", version().unwrap_or("?")),
        command,
    }))
}

/// As its lock file has it.
fn version() -> Option<&'static str> {
    let (_, rest) = LOCK.split_once("name = \"pingora\"\nversion = \"")?;
    rest.split('"').next()
}

const LOCK: &str = include_str!("../../peers/pingora/Cargo.lock");

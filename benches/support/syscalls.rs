//! How many system calls processes make, as perf counts them: it slows them hardly, so they make the same calls as without.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::child::Child;
use super::patience::until;

const EVENT: &str = "raw_syscalls:sys_enter";

const PATIENCE: Duration = Duration::from_secs(10);

/// Whether perf is installed and may count these.
pub(crate) fn can_be_counted() -> bool {
    Command::new("perf")
        .args(["stat", "-e", EVENT, "true"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Does something, and returns what that returned and how many calls these processes made meanwhile.
pub(crate) fn count<T>(
    pids: &[u32],
    dir: &Path,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, u64)> {
    let dir = tempfile::tempdir_in(dir)?;
    let [control, told, result] = ["control", "told", "result"].map(|name| dir.path().join(name));
    let fifo = |path: &Path| -> anyhow::Result<File> {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // For both, so that it opens at once whoever else has opened it.
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags(OFlags::NONBLOCK.bits() as i32);
        Ok(options.open(path)?)
    };
    let (mut ask, mut answer) = (fifo(&control)?, fifo(&told)?);
    let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
    let mut command = Command::new("perf");
    command
        .args([
            "stat",
            "--field-separator",
            ",",
            "--delay",
            "-1",
            "-e",
            EVENT,
            "-p",
        ])
        .arg(pids.join(","))
        .arg("--control")
        .arg(format!("fifo:{},{}", control.display(), told.display()))
        .arg("--output")
        .arg(&result);
    let mut perf = Child::start(command, "perf", dir.path())?;
    let mut tell = |what: &str| -> anyhow::Result<()> {
        ask.write_all(what.as_bytes())?;
        let mut said = [0; 8];
        until("perf has heard", PATIENCE, || answer.read(&mut said).ok())?;
        ensure!(said.starts_with(b"ack"), "perf says {said:?} to {what}");
        Ok(())
    };
    tell("enable\n")?;
    let worked = work()?;
    tell("disable\n")?;
    perf.leave(PATIENCE)?;
    let said = std::fs::read_to_string(&result)?;
    let count = said
        .lines()
        .find(|line| line.contains(EVENT))
        .and_then(|line| line.split(',').next()?.parse().ok())
        .with_context(|| format!("perf says no count: {said}"))?;
    Ok((worked, count))
}

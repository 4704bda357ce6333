//! A process that a bench starts, and ends when it is through with it.

use std::fs::{File, read_dir, read_to_string};
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::patience::until;

/// A running process. Dropping it ends it and its children.
pub(crate) struct Child {
    process: Process,
}

impl Child {
    /// Starts a command with its output in `NAME.out` and `NAME.err` of `dir`. It runs where the calling thread runs.
    pub(crate) fn start(mut command: Command, name: &str, dir: &Path) -> anyhow::Result<Self> {
        let file = |suffix: &str| File::create(dir.join(format!("{name}.{suffix}")));
        let process = command
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { process })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to end by itself, and waits until it has.
    pub(crate) fn leave(&mut self, patience: Duration) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process")?, Signal::INT)?;
        until("a process has ended", patience, || {
            self.process.try_wait().ok().flatten()
        })?;
        Ok(())
    }

    /// Its id, and those of its children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let own = self.process.id();
        let all = read_dir("/proc").into_iter().flatten().flatten();
        let children = all
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| parent(*pid) == Some(own));
        std::iter::once(own).chain(children).collect()
    }
}

/// The parent of a process, from the line that begins `PID (NAME) STATE PARENT`.
fn parent(pid: u32) -> Option<u32> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

impl Drop for Child {
    fn drop(&mut self) {
        // The parent first: it would replace a child that is gone. What has ended by itself needs no end.
        for pid in self.pids() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.process.wait();
    }
}

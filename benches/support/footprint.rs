//! What a process occupies.

use std::fs::{read_dir, read_to_string};

use anyhow::Context as _;

/// A process at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

impl Footprint {
    /// As the kernel tells it now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| {
                    line.strip_prefix(name)?
                        .split_ascii_whitespace()
                        .next()?
                        .parse()
                        .ok()
                })
                .with_context(|| format!("no {name} of process {pid}"))
        };
        Ok(Self {
            resident_kib: field("VmRSS:")?,
            descriptors: read_dir(format!("/proc/{pid}/fd"))
                .context("tidegate shows its descriptors to root alone")?
                .count() as u64,
            threads: field("Threads:")?,
        })
    }
}

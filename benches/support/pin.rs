//! Threads on cores of their own.

use std::thread::available_parallelism;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Where the proxies run.
pub(crate) const PROXY_CORE: usize = 0;

/// Where the load and the endpoints run: another core, if there is one.
pub(crate) fn load_core() -> usize {
    usize::from(available_parallelism().map_or(1, usize::from) > 1)
}

/// Keeps this thread, and what it starts from now on, on one core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot run on core {core} alone"))
}

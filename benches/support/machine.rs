//! The machine a number belongs to.

use std::fs::read_to_string;
use std::thread::available_parallelism;

/// One line: processor, cores, kernel, and how busy it was before the bench began.
pub(crate) fn describe() -> String {
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let cores = available_parallelism().map_or(1, usize::from);
    format!(
        "{cores} cores, {model}, Linux {}, load average {load} at the start",
        kernel.trim()
    )
}

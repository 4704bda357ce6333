//! What processes have run for.

use std::fs::{read_dir, read_to_string};
use std::ops::{Add, Sub};

/// Run time of processes, all their threads together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RunTime {
    /// By the scheduler's own clock.
    pub(crate) nanoseconds: u64,
    /// The share of the two modes, in ticks: coarse.
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
}

impl RunTime {
    /// Of these processes so far. Threads that have ended are not in it; the proxies end none while they serve.
    pub(crate) fn of(pids: &[u32]) -> Self {
        pids.iter().fold(Self::default(), |sum, pid| {
            let tasks = read_dir(format!("/proc/{pid}/task"));
            let nanoseconds = tasks
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|task| {
                    let stat = read_to_string(task.path().join("schedstat")).ok()?;
                    stat.split(' ').next()?.parse::<u64>().ok()
                })
                .sum();
            let (user_ticks, system_ticks) = ticks(*pid).unwrap_or_default();
            sum + Self {
                nanoseconds,
                user_ticks,
                system_ticks,
            }
        })
    }
}

impl Add for RunTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds + other.nanoseconds,
            user_ticks: self.user_ticks + other.user_ticks,
            system_ticks: self.system_ticks + other.system_ticks,
        }
    }
}

impl Sub for RunTime {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds.saturating_sub(before.nanoseconds),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(before.system_ticks),
        }
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`; the second, the name, may contain anything.
fn ticks(pid: u32) -> Option<(u64, u64)> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

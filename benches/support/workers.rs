//! What the workers of a tidegate have run for, apart from the thread that hears of changes.

use std::fs::{read_dir, read_to_string};

/// Run time of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shares {
    /// Nanoseconds of the threads that serve requests.
    pub(crate) workers: u64,
    /// Nanoseconds of all others.
    pub(crate) others: u64,
}

impl Shares {
    /// Of a tidegate so far. Threads that have ended are not in it; workers end with their process.
    pub(crate) fn of(pid: u32) -> Self {
        let tasks = read_dir(format!("/proc/{pid}/task"));
        let mut shares = Self::default();
        for task in tasks.into_iter().flatten().flatten() {
            let read = |file: &str| read_to_string(task.path().join(file)).unwrap_or_default();
            let ran = read("schedstat");
            let ran = ran.split(' ').next().and_then(|it| it.parse::<u64>().ok());
            let name = read("comm");
            let number = name.trim().strip_prefix("tidegate-");
            // The binary may be called nearly so, too.
            let kind = match number.and_then(|it| it.parse::<usize>().ok()) {
                Some(_) => &mut shares.workers,
                None => &mut shares.others,
            };
            *kind += ran.unwrap_or_default();
        }
        shares
    }

    /// What has been added since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            workers: self.workers.saturating_sub(before.workers),
            others: self.others.saturating_sub(before.others),
        }
    }
}

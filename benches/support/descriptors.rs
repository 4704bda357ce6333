//! Room for many sockets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open descriptors to `wanted`, for this process and those it starts, or as far as it may: only root
/// may raise the hard limit. Returns what it is then.
pub(crate) fn raise(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.map_or(wanted, |hard| hard.max(wanted));
    let attempts = [Some(hard), now.maximum];
    for maximum in attempts {
        let current = maximum.map_or(wanted, |hard| hard.min(wanted));
        let limit = Rlimit {
            current: Some(current),
            maximum,
        };
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return current;
        }
    }
    now.current.unwrap_or(wanted)
}

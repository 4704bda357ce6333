//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// What is not for connections with clients and endpoints: sockets that listen, the admin side, sources, logs and state.
const RESERVE: u64 = 128;

/// How many connections clients may have, so that each can have one with an endpoint, and descriptors are left for everything
/// else: the admin side has to answer, and sources have to be read, also while somebody opens as many as they can.
pub(super) fn room_for_clients() -> u32 {
    // No limit is as good as a very high one.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    share(limit)
}

fn share(limit: u64) -> u32 {
    let reserve = RESERVE.min(limit / 2);
    u32::try_from((limit - reserve) / 2).unwrap_or(u32::MAX)
}

/// Raises the soft limit of open files to the hard one: every connection takes one, on both sides, and the usual soft limit of
/// 1,024 dates from programs that used `select`.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(
            from = limit.current,
            to = limit.maximum,
            "raised the limit of open files"
        ),
        Err(error) => warn!(%error, limit = limit.current, "cannot raise the limit of open files"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_descriptors_for_everything_else() {
        for (limit, clients) in [
            (1_048_576, 524_224),
            (1024, 448),
            (256, 64),
            (64, 16),
            (0, 0),
            (u64::MAX, u32::MAX),
        ] {
            assert_eq!(share(limit), clients, "{limit}");
        }
    }
}

//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

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

//! Waiting for a fact.

use std::thread::park_timeout;
use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

/// Asks again and again until there is an answer, and gives up after `limit`.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        park_timeout(PAUSE);
    }
}

const PAUSE: Duration = Duration::from_millis(5);

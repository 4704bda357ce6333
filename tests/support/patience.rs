//! Waiting for a fact.

use std::thread::park_timeout;
use std::time::Duration;

use tokio::time::Instant;

/// How long anything may take that must happen. Generous: it is only ever used up by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a busy machine may add to a time that a promise bounds. The bounds themselves are for `benches/`.
pub(crate) const SLACK: Duration = Duration::from_millis(700);

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        park_timeout(PAUSE);
    }
}

const PAUSE: Duration = Duration::from_millis(2);

//! The admin side's stream of events, with the moment at which each arrived.

use std::io::{BufRead as _, BufReader};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::time::Instant;

/// Changes of endpoints' states, as they come.
pub(crate) struct Events {
    changes: Receiver<Change>,
}

/// An endpoint is in another state.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) at: Instant,
    pub(crate) endpoint: String,
    pub(crate) to: String,
}

impl Events {
    /// Listens from now on.
    pub(crate) fn listen(admin: &str) -> anyhow::Result<Self> {
        let answer = ureq::get(format!("{admin}/api/v1/events"))
            .call()
            .context("no events")?;
        let (tell, changes) = channel();
        let lines = BufReader::new(answer.into_body().into_reader()).lines();
        thread::Builder::new()
            .name("events".into())
            .spawn(move || {
                for line in lines.map_while(Result::ok) {
                    let at = Instant::now();
                    if let Some(change) = change(at, &line)
                        && tell.send(change).is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self { changes })
    }

    /// When an endpoint came into a state.
    pub(crate) fn wait_for(&self, endpoint: &str, state: &str) -> anyhow::Result<Instant> {
        loop {
            let Ok(change) = self.changes.recv_timeout(LIMIT) else {
                bail!("{endpoint} is not {state} within {LIMIT:?}");
            };
            if change.endpoint == endpoint && change.to == state {
                return Ok(change.at);
            }
        }
    }
}

/// From a line `data: {"event": "state", "endpoint": ..., "to": ...}`.
fn change(at: Instant, line: &str) -> Option<Change> {
    let event: Value = serde_json::from_str(line.strip_prefix("data:")?).ok()?;
    let text = |key: &str| event.get(key)?.as_str().map(str::to_owned);
    Some(Change {
        at,
        endpoint: text("endpoint")?,
        to: (text("event")? == "state").then(|| text("to"))??,
    })
}

const LIMIT: Duration = Duration::from_secs(20);

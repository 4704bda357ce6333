//! The rolling update: one endpoint after the other is replaced, as a Deployment would do it, without a pause for anybody.
//!
//! Each replacement is admitted before the old one is told to leave, and the old one is stopped as soon as the proxy says
//! that it is drained, not a moment later: a proxy that says so too early loses requests here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Subject;
use super::admin::Admin;
use super::board::{Board, Sight};
use super::report::{DrainRecord, in_ms};
use super::stage::{Entry, write_endpoints};
use super::upstream::{Mark, Phase, Upstream};

/// The endpoints, and how they are replaced.
#[derive(Debug)]
pub(super) struct Rollout {
    subject: Subject,
    board: Arc<Board>,
    admin: Admin,
    pace: Pace,
    /// In rotation, the oldest first.
    members: Vec<Upstream>,
    /// How many were ever started: the source of ids.
    started: u64,
    /// The address of the last one that was stopped.
    freed: Option<SocketAddr>,
}

/// How long a rollout takes its time, and how long it waits.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Between a replacement's admission and the word to the old one.
    pub(super) rest: Duration,
    /// For a word that should come at once.
    pub(super) patience: Duration,
    /// For a drain, which the proxy ends after its own timeout at the latest.
    pub(super) drain: Duration,
}

/// How an endpoint is told to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is marked in the endpoint file.
    File,
    /// An operator asks the proxy.
    Api,
}

impl Way {
    /// The word of the reports.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

impl Rollout {
    /// Starts the first endpoints and writes them into the endpoint file.
    pub(super) async fn start(
        subject: Subject,
        board: Arc<Board>,
        admin: Admin,
        pace: Pace,
        endpoints: usize,
    ) -> anyhow::Result<Self> {
        let mut rollout = Self {
            subject,
            board,
            admin,
            pace,
            members: Vec::with_capacity(endpoints + 1),
            started: 0,
            freed: None,
        };
        for _ in 0..endpoints {
            rollout.start_one(None).await?;
        }
        rollout.write()?;
        Ok(rollout)
    }

    /// Returns once the proxy has every endpoint in rotation.
    pub(super) async fn admitted(&self) -> anyhow::Result<()> {
        for member in &self.members {
            let id = &member.face().id;
            self.admin
                .noted(id, self.pace.patience, |sight| sight.ready)
                .await
                .with_context(|| format!("the proxy did not take {id} into rotation"))?;
        }
        Ok(())
    }

    /// Replaces one endpoint after the other until told to stop. A replacement that has begun is finished: half of one
    /// proves nothing.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut way = Way::File;
        loop {
            // Every other one takes the address that became free last, under an id of its own, as pods do (P8).
            let address = if way == Way::Api {
                self.freed.take()
            } else {
                None
            };
            self.start_one(address).await?;
            self.write()?;
            if let Err(error) = self.admitted().await {
                self.board.problem(error.to_string());
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(self.pace.rest))
                .await
                .is_none()
            {
                return Ok(());
            }
            self.retire_oldest(way).await?;
            way = match way {
                Way::File => Way::Api,
                Way::Api => Way::File,
            };
        }
    }

    /// Stops all endpoints.
    pub(super) async fn end(self) {
        for member in self.members {
            member.stop(STOP_LIMIT).await;
        }
    }

    async fn start_one(&mut self, address: Option<SocketAddr>) -> anyhow::Result<()> {
        self.started += 1;
        let id = format!("{}-{}", self.subject.service, self.started);
        let ledger = &self.board.ledger;
        let upstream = match Upstream::start(id.clone(), address, Arc::clone(ledger)).await {
            // Somebody else was faster; any other will do.
            Err(_) if address.is_some() => {
                Upstream::start(id.clone(), None, Arc::clone(ledger)).await
            }
            started => started,
        };
        let upstream = upstream.with_context(|| format!("{id} could not be started"))?;
        self.board.sights.send_modify(|sights| {
            sights.insert(id, Sight::default());
        });
        self.board.faces().push(Arc::clone(upstream.face()));
        self.members.push(upstream);
        Ok(())
    }

    /// Tells the oldest endpoint to leave, waits until it may, and stops it.
    async fn retire_oldest(&mut self, way: Way) -> anyhow::Result<()> {
        let face = Arc::clone(self.members[0].face());
        let id = face.id.as_str();
        let repeated = self.board.ledger.repeated();
        self.board.set_draining(true);
        self.members[0].leave();
        let (told, acknowledged) = self.tell(id, way).await?;
        // Whatever was under way by then has settled after this, even if the drain was over sooner.
        self.members[0]
            .settle()
            .await
            .with_context(|| format!("{id} could not be looked at"))?;
        let settled = Instant::now();
        let drained = match acknowledged {
            Some(_) => {
                self.admin
                    .noted(id, self.pace.drain, |sight| sight.drained)
                    .await
            }
            None => None,
        };
        let unfinished = match drained {
            Some(_) => self.unfinished().await?,
            None => 0,
        };
        self.members.remove(0).stop(STOP_LIMIT).await;
        self.board.set_draining(false);
        self.write()?;
        self.freed = Some(face.address);
        self.board.faces().retain(|other| other.id != id);

        let sight = self.forget(id);
        let took = |from: Instant, to: Option<Mark>| {
            to.map(|to| in_ms(to.at.saturating_duration_since(from)))
        };
        let edge = acknowledged.map(|mark| (mark, settled));
        let record = DrainRecord {
            endpoint: id.into(),
            by: way.as_str(),
            detected_ms: took(told, acknowledged),
            drained_ms: acknowledged.and_then(|mark| took(mark.at, drained)),
            in_between: face.in_between(told, edge),
            late: edge.map_or(0, |(mark, settled)| face.late(mark, settled)),
            unfinished,
            duplicated: self.board.ledger.repeated() - repeated,
            outcome: sight.outcome,
        };
        self.judge(&record);
        self.board.drained(record);
        Ok(())
    }

    /// What the oldest endpoint has in flight although the proxy says that it has nothing.
    async fn unfinished(&self) -> anyhow::Result<u64> {
        let oldest = &self.members[0];
        if oldest.face().in_flight() > 0 {
            // It may be that the proxy has closed a connection, and that this was not noticed yet.
            oldest.settle().await?;
        }
        Ok(oldest.face().in_flight())
    }

    fn judge(&self, record: &DrainRecord) {
        let id = &record.endpoint;
        if record.detected_ms.is_none() {
            self.board
                .problem(format!("the drain of {id} was not acknowledged"));
        } else if record.drained_ms.is_none() {
            self.board.problem(format!("{id} was not drained in time"));
        } else if record.unfinished > 0 {
            let n = record.unfinished;
            self.board.problem(format!(
                "{id} was said to be drained with {n} requests in flight"
            ));
        }
    }

    /// Tells an endpoint's leaving to the proxy. When it was told, and when it said that it knew.
    async fn tell(&self, id: &str, way: Way) -> anyhow::Result<(Instant, Option<Mark>)> {
        let told = match way {
            Way::File => self.write()?,
            Way::Api => {
                let told = Instant::now();
                match self.admin.drain(id).await {
                    Ok(Some(mark)) => return Ok((told, Some(mark))),
                    // It stays in use for now; the event will say when it no longer is.
                    Ok(None) => told,
                    Err(error) => {
                        self.board.problem(error.to_string());
                        return Ok((told, None));
                    }
                }
            }
        };
        let acknowledged = self
            .admin
            .noted(id, self.pace.patience, |sight| sight.draining)
            .await;
        Ok((told, acknowledged))
    }

    /// Writes the endpoint file, and returns the moment before it is in force.
    fn write(&self) -> anyhow::Result<Instant> {
        let entries: Vec<Entry<'_>> = self
            .members
            .iter()
            .map(|member| Entry {
                address: member.face().address,
                id: &member.face().id,
                draining: member.face().phase() != Phase::Running,
            })
            .collect();
        write_endpoints(&self.subject.endpoint_file, &entries)
            .context("the endpoint file could not be written")
    }

    fn forget(&self, id: &str) -> Sight {
        let mut forgotten = None;
        self.board
            .sights
            .send_modify(|sights| forgotten = sights.remove(id));
        forgotten.unwrap_or_default()
    }
}

/// A drained endpoint has nothing to finish; one that was given up has what its clients wait for.
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

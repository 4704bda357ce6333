//! How a rehearsal stands while it goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, lock};
use super::histogram::Histogram;
use super::report::{DrainRecord, in_ms};
use super::upstream::Face;

/// How a rehearsal stands.
#[derive(Debug, Clone)]
pub struct Live {
    /// Since the load began.
    pub elapsed: Duration,
    /// The endpoints, the oldest first.
    pub endpoints: Vec<LiveEndpoint>,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that met the end of a reused connection.
    pub raced: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that did not start on schedule.
    pub missed: u64,
    /// Requests that reached a draining endpoint after its drain was acknowledged.
    pub reached_draining: u64,
    /// Median latency of short requests while no endpoint is leaving.
    pub at_rest_ms: Option<f64>,
    /// The same while one is.
    pub draining_ms: Option<f64>,
    /// The drains so far.
    pub drains: u64,
    /// The last ones, the newest last.
    pub last_drains: Vec<DrainRecord>,
}

/// How an endpoint stands.
#[derive(Debug, Clone)]
pub struct LiveEndpoint {
    /// Its id.
    pub id: String,
    /// Its address.
    pub address: SocketAddr,
    /// `starting`, `ready`, `draining` or `drained`, in the proxy's words.
    pub state: &'static str,
    /// Requests that it has not yet answered to the end, by its own count.
    pub in_flight: u64,
    /// Requests that it has seen.
    pub requests: u64,
}

impl Board {
    /// How the rehearsal stands.
    pub(super) fn live(&self) -> Live {
        let endpoints = {
            let sights = self.sights.borrow();
            let live = |face: &Arc<Face>| LiveEndpoint {
                id: face.id.clone(),
                address: face.address,
                state: sights
                    .get(&face.id)
                    .map_or("drained", |sight| sight.state()),
                in_flight: face.in_flight(),
                requests: face.requests(),
            };
            self.faces().iter().map(live).collect()
        };
        // In the order in which the report takes them.
        let tally = self.tally();
        let drains = self.drains();
        let skipped = drains.last.len().saturating_sub(LIVE_DRAINS);
        let p50 = |histogram: &Histogram| histogram.quantile(0.5).map(in_ms);
        Live {
            elapsed: lock(&self.began).map_or(Duration::ZERO, |began| began.elapsed()),
            endpoints,
            requests: tally.requests(),
            failed: tally.failed(),
            raced: tally.raced(),
            in_flight: self.in_flight(),
            missed: tally.missed,
            reached_draining: drains.late,
            at_rest_ms: p50(&tally.at_rest),
            draining_ms: p50(&tally.draining),
            drains: drains.count,
            last_drains: drains.last.iter().skip(skipped).cloned().collect(),
        }
    }
}

/// Drains that are shown while it goes on.
const LIVE_DRAINS: usize = 100;

//! What clients saw, counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::histogram::Histogram;
use super::report::Failure;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A short GET.
    Get,
    /// A POST with a body.
    Post,
    /// A POST on a connection that has been idle for a random time: what finds the races of keep-alive.
    Idle,
    /// A response that takes a second.
    Download,
    /// A request that takes a second.
    Upload,
}

impl Class {
    /// All of them, in the order of reports.
    pub(super) const ALL: [Self; 5] = [
        Self::Get,
        Self::Post,
        Self::Idle,
        Self::Download,
        Self::Upload,
    ];

    /// The word of the reports.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Idle => "idle_post",
            Self::Download => "slow_download",
            Self::Upload => "slow_upload",
        }
    }

    /// Whether it is over at once unless something delays it: only then does its latency say something.
    pub(super) const fn is_short(self) -> bool {
        matches!(self, Self::Get | Self::Post | Self::Idle)
    }
}

/// How far a request got before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There was no connection.
    NotConnected,
    /// It was written, and no response came.
    Sent,
    /// A response came, and it was not the one that was asked for.
    Head,
    /// The response's body broke off, or was too short.
    MidBody,
}

impl Stage {
    /// The word of the reports.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Sent => "sent",
            Self::Head => "head",
            Self::MidBody => "mid_body",
        }
    }
}

/// How a request ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// As it should.
    Served,
    /// On a reused connection that was closed while the request was on its way: no proxy can avoid it for every client,
    /// and a client that may not repeat its request has lost it.
    Raced,
    /// It failed.
    Failed(Failure),
}

/// All that was counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    classes: [Counts; Class::ALL.len()],
    /// Latency of short requests while no endpoint was leaving.
    pub(super) at_rest: Histogram,
    /// Latency of short requests while one was.
    pub(super) draining: Histogram,
    /// Requests that did not start, because too many were under way.
    pub(super) missed: u64,
    /// Requests that started later than planned.
    pub(super) late_starts: u64,
    /// Connections that were found closed before the request was written, and opened again.
    pub(super) reopened: u64,
    /// The last failures.
    pub(super) failures: VecDeque<Failure>,
}

/// What was counted of one class.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Requests that ended.
    pub(super) requests: u64,
    /// Those that met a connection's end.
    pub(super) raced: u64,
    /// Those that failed, by kind.
    pub(super) failed: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a request that ended. `latency` is what its client waited; `draining` whether an endpoint was leaving
    /// meanwhile.
    pub(super) fn record(
        &mut self,
        class: Class,
        outcome: Outcome,
        latency: Duration,
        draining: bool,
    ) {
        let counts = &mut self.classes[class as usize];
        counts.requests += 1;
        match outcome {
            Outcome::Served => {}
            Outcome::Raced => counts.raced += 1,
            Outcome::Failed(failure) => {
                *counts.failed.entry(failure.kind.clone()).or_default() += 1;
                if self.failures.len() == FAILURES_MAX {
                    self.failures.pop_front();
                }
                self.failures.push_back(failure);
            }
        }
        if class.is_short() {
            let histogram = if draining {
                &mut self.draining
            } else {
                &mut self.at_rest
            };
            histogram.record(latency);
        }
    }

    /// What was counted of a class.
    pub(super) const fn class(&self, class: Class) -> &Counts {
        &self.classes[class as usize]
    }

    /// All requests that ended.
    pub(super) fn requests(&self) -> u64 {
        self.classes.iter().map(|counts| counts.requests).sum()
    }

    /// All that failed.
    pub(super) fn failed(&self) -> u64 {
        self.classes.iter().map(Counts::failed).sum()
    }

    /// All that met a connection's end.
    pub(super) fn raced(&self) -> u64 {
        self.classes.iter().map(|counts| counts.raced).sum()
    }
}

impl Counts {
    /// Those that failed, of every kind.
    pub(super) fn failed(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Failures that are kept to be looked at; all are counted.
const FAILURES_MAX: usize = 20;

//! What a rehearsal found.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::board::Board;
use super::histogram::Histogram;
use super::summary::{grouped, milliseconds};
use super::tally::{Class, Counts};

/// The report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Nothing failed, nothing reached a draining endpoint, nothing ran twice, every drain came to its end.
    pub passed: bool,
    /// The same in words.
    pub verdict: String,
    /// How long the load ran.
    pub seconds: f64,
    /// Requests a second, as planned.
    pub rate: u32,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that met the end of a reused connection.
    pub raced: u64,
    /// Connections that were found closed before a request was written, and opened again.
    pub reopened: u64,
    /// Requests that clients sent again; they never do.
    pub retried: u64,
    /// What the schedule could not keep.
    pub schedule: Schedule,
    /// By kind of request.
    pub classes: Vec<ClassReport>,
    /// Requests that reached a draining endpoint after its drain was acknowledged.
    pub reached_draining: u64,
    /// POSTs that arrived twice.
    pub duplicated: u64,
    /// The drains.
    pub drains: DrainsReport,
    /// Latency of short requests.
    pub latency: Latency,
    /// The last failures.
    pub failures: Vec<Failure>,
    /// What else did not go as it should.
    pub problems: Vec<String>,
}

/// What an open-loop schedule could not keep: the numbers mean less by as much.
#[derive(Debug, Clone, Serialize)]
pub struct Schedule {
    /// Requests that did not start, because too many were under way.
    pub missed: u64,
    /// Requests that started more than 10 ms late; their latency counts from when they should have.
    pub late: u64,
}

/// One kind of request.
#[derive(Debug, Clone, Serialize)]
pub struct ClassReport {
    /// Its name.
    pub class: &'static str,
    /// Requests that ended.
    pub requests: u64,
    /// Those that met the end of a reused connection.
    pub raced: u64,
    /// Those that failed.
    pub failed: u64,
    /// The same by how far they got.
    pub kinds: BTreeMap<String, u64>,
}

/// A request that failed.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// Its kind of request.
    pub class: &'static str,
    /// How far it got: `not_connected`, `sent`, `head`, `mid_body`.
    pub stage: &'static str,
    /// The same with what else is known, such as `head_503`.
    pub kind: String,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// Whether its connection had been used before.
    pub reused: bool,
    /// The endpoint that answered, if one did.
    pub endpoint: Option<String>,
    /// That endpoint's phase.
    pub phase: Option<String>,
    /// In words.
    pub error: String,
}

/// All drains.
#[derive(Debug, Clone, Serialize)]
pub struct DrainsReport {
    /// How many there were; the statistics are of the last 10,000.
    pub count: u64,
    /// From the acknowledgement until drained.
    pub duration: Spread,
    /// From the rename of the endpoint file until the proxy said `draining`.
    pub file_detection: Spread,
    /// From the call of the API until its answer.
    pub api_detection: Spread,
    /// Requests that arrived after the endpoint was told to leave and before the proxy said that it knew.
    pub in_between: u64,
    /// The last drains, the newest last.
    pub last: Vec<DrainRecord>,
}

/// One drain.
#[derive(Debug, Clone, Serialize)]
pub struct DrainRecord {
    /// The endpoint that left.
    pub endpoint: String,
    /// How it was told: `file` or `api`.
    pub by: &'static str,
    /// From the word until it was acknowledged.
    pub detected_ms: Option<f64>,
    /// From the acknowledgement until drained.
    pub drained_ms: Option<f64>,
    /// Requests that arrived between the word and the acknowledgement.
    pub in_between: u64,
    /// Requests that arrived after the acknowledgement.
    pub late: u64,
    /// Requests that the endpoint still had in flight when the proxy said that it was drained.
    pub unfinished: u64,
    /// POSTs that arrived a second time meanwhile.
    pub duplicated: u64,
    /// How it ended, in the proxy's words: `clean`, `cut`, `cancelled`.
    pub outcome: Option<String>,
}

/// The range of a few durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The shortest.
    pub min_ms: Option<f64>,
    /// Half are shorter.
    pub median_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
}

/// Latency of short requests.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// While no endpoint was leaving.
    pub at_rest: Quantiles,
    /// While one was.
    pub draining: Quantiles,
}

/// Quantiles of a latency.
#[derive(Debug, Clone, Serialize)]
pub struct Quantiles {
    /// How many requests.
    pub requests: u64,
    /// Half were faster.
    pub p50_ms: Option<f64>,
    /// All but one in a hundred were faster.
    pub p99_ms: Option<f64>,
}

impl Report {
    /// The report of what is on the board.
    pub(super) fn of(board: &Board, rate: u32, ran: Duration) -> Self {
        let tally = board.tally();
        let drains = board.drains();
        let classes = Class::ALL.map(|class| ClassReport::of(class, tally.class(class)));
        let mut report = Self {
            passed: false,
            verdict: String::new(),
            seconds: (ran.as_secs_f64() * 1000.0).round() / 1000.0,
            rate,
            requests: tally.requests(),
            failed: tally.failed(),
            raced: tally.raced(),
            reopened: tally.reopened,
            retried: 0,
            schedule: Schedule {
                missed: tally.missed,
                late: tally.late_starts,
            },
            classes: classes.to_vec(),
            reached_draining: drains.late,
            duplicated: board.ledger.repeated(),
            drains: DrainsReport::of(drains.count, drains.last.iter().cloned().collect()),
            latency: Latency {
                at_rest: Quantiles::of(&tally.at_rest),
                draining: Quantiles::of(&tally.draining),
            },
            failures: tally.failures.iter().cloned().collect(),
            problems: drains.problems.clone(),
        };
        report.passed = report.failed == 0
            && report.reached_draining == 0
            && report.duplicated == 0
            && report.problems.is_empty();
        report.verdict = report.judge();
        report
    }

    fn judge(&self) -> String {
        let mut words = format!(
            "{} of {} requests failed; {} reached a draining endpoint; {} POSTs arrived twice; {} drains",
            grouped(self.failed),
            grouped(self.requests),
            grouped(self.reached_draining),
            grouped(self.duplicated),
            grouped(self.drains.count),
        );
        if let Some(median) = self.drains.duration.median_ms {
            let _ = write!(words, ", median {}", milliseconds(Some(median)));
        }
        if self.raced > 0 {
            let _ = write!(words, "; {} raced", grouped(self.raced));
        }
        if !self.problems.is_empty() {
            let _ = write!(words, "; {} problems", self.problems.len());
        }
        words.push('.');
        words
    }
}

impl ClassReport {
    fn of(class: Class, counts: &Counts) -> Self {
        Self {
            class: class.as_str(),
            requests: counts.requests,
            raced: counts.raced,
            failed: counts.failed(),
            kinds: counts.failed.clone(),
        }
    }
}

impl DrainsReport {
    fn of(count: u64, last: Vec<DrainRecord>) -> Self {
        let detection = |way: &str| {
            Spread::of(
                last.iter()
                    .filter(|drain| drain.by == way)
                    .filter_map(|drain| drain.detected_ms),
            )
        };
        Self {
            count,
            duration: Spread::of(last.iter().filter_map(|drain| drain.drained_ms)),
            file_detection: detection("file"),
            api_detection: detection("api"),
            in_between: last.iter().map(|drain| drain.in_between).sum(),
            last,
        }
    }
}

impl Spread {
    fn of(durations: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = durations.collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            min_ms: sorted.first().copied(),
            median_ms: sorted.get(sorted.len() / 2).copied(),
            max_ms: sorted.last().copied(),
        }
    }
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Self {
        Self {
            requests: histogram.count(),
            p50_ms: histogram.quantile(0.5).map(in_ms),
            p99_ms: histogram.quantile(0.99).map(in_ms),
        }
    }
}

/// A duration in milliseconds, to the microsecond.
pub(super) fn in_ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests;

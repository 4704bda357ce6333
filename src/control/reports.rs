//! What is left of a drain that is over: a line, a count, and a report.

use std::sync::Arc;

use tracing::info;

use super::view::EventKind;
use super::writer::Writer;
use crate::drain::{Outcome, Report};

impl Writer {
    /// A drain of the process before this one is over. Its log has told so; nobody scrapes or asks it any more.
    pub(super) fn adopt(&mut self, report: Report) {
        let report = Arc::new(report);
        self.count(report.clone());
        self.tell(EventKind::DrainEnd(report));
    }

    pub(super) fn keep(&mut self, report: Arc<Report>) {
        let outcome = report.outcome.unwrap_or(Outcome::Clean);
        let took = report.took.unwrap_or_default();
        let counts = report.counts;
        info!(
            service = %report.service,
            endpoint = %report.key,
            address = %report.address,
            pod = report.pod.as_deref().unwrap_or(""),
            cause = report.cause.as_str(),
            outcome = outcome.as_str(),
            took_ms = took.as_secs_f64() * 1000.0,
            in_flight_at_start = report.in_flight_at_start,
            finished = counts.finished,
            retried = counts.retried,
            cut_request = counts.cut.request,
            cut_stream = counts.cut.stream,
            cut_tunnel = counts.cut.tunnel,
            started_after_fallback = counts.started_after.fallback,
            started_after_affinity = counts.started_after.affinity,
            "drain over"
        );
        self.count(report);
    }

    fn count(&mut self, report: Arc<Report>) {
        // A service that is no more has no series, either.
        if self.services.contains_key(&report.service) {
            let outcome = report.outcome.unwrap_or(Outcome::Clean);
            let cut = report.counts.cut;
            let cut = [
                ("request", cut.request),
                ("stream", cut.stream),
                ("tunnel", cut.tunnel),
            ];
            let took = report.took.unwrap_or_default();
            self.metrics
                .drain_ended(report.service.as_str(), outcome.as_str(), took, &cut);
        }
        if let Some(heir) = &self.heir {
            // An error means that it is gone.
            let _ = heir.send(report.clone());
        }
        self.reports.push_front(report);
        self.reports.truncate(self.settings.reports);
    }
}

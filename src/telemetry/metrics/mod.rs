//! Every metric, its name and its help, in one place.
//!
//! What happens on every request is counted by the worker alone, in cells that no other thread sees, and added to the
//! shared counters when somebody scrapes. What happens rarely is counted at once. Gauges are read, not kept: whoever
//! scrapes sets them from the truth. No label is unbounded, and the series of what is gone are removed (P12).

mod catalog;
mod cells;
mod gone;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};

use catalog::{Catalog, register};
pub use cells::WorkerMetrics;
pub use gone::Gone;

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    all: Catalog,
    /// Series that name endpoints are there. Orders nothing: relaxed access is enough.
    names_endpoints: AtomicBool,
}

impl Metrics {
    /// A registry of its own, so that a test can have several.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let all = Catalog::new(&registry);
        let metrics = Self {
            registry,
            all,
            names_endpoints: AtomicBool::new(false),
        };
        // Two series that alerts ask for the absence of exist from the start.
        metrics.all.config_reload.with_label_values(&["success"]);
        metrics.all.config_reload.with_label_values(&["error"]);
        let build = gauge_once(&metrics.registry);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Arc::new(metrics)
    }

    /// A worker's own cells.
    #[must_use]
    pub fn worker(self: &Arc<Self>) -> WorkerMetrics {
        WorkerMetrics::new(self.clone())
    }

    /// The text of a scrape (Prometheus text format, 0.0.4).
    #[must_use]
    pub fn text(&self) -> String {
        // The encoder fails only on families without a name, which the registry does not admit.
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }

    /// A drain is over; `cut` counts what was cut, by kind.
    pub fn drain_ended(&self, service: &str, outcome: &str, took: Duration, cut: &[(&str, u64)]) {
        self.all.drains.with_label_values(&[service, outcome]).inc();
        self.all
            .drain_duration
            .with_label_values(&[service])
            .observe(took.as_secs_f64());
        for (kind, count) in cut {
            self.all
                .drain_cut
                .with_label_values(&[service, kind])
                .inc_by(*count);
        }
    }

    /// A request was sent to a draining endpoint, because of this.
    pub fn dispatched_to_draining(&self, service: &str, why: &str) {
        self.all
            .dispatched_to_draining
            .with_label_values(&[service, why])
            .inc();
    }

    /// A request is sent again.
    pub fn retry(&self, service: &str, reason: &str) {
        self.all.retries.with_label_values(&[service, reason]).inc();
    }

    /// Idle connections to an endpoint were closed.
    pub fn idle_evicted(&self, service: &str, reason: &str, count: u64) {
        self.all
            .idle_evicted
            .with_label_values(&[service, reason])
            .inc_by(count);
    }

    /// A reused connection was closed before it was answered.
    pub fn reuse_race(&self, service: &str) {
        self.all.reuse_race.with_label_values(&[service]).inc();
    }

    /// An endpoint was ejected.
    pub fn ejected(&self, service: &str) {
        self.all.ejections.with_label_values(&[service]).inc();
    }

    /// An endpoint was asked whether it is well.
    pub fn health_check(&self, service: &str, ok: bool) {
        self.all
            .health_checks
            .with_label_values(&[service, if ok { "success" } else { "failure" }])
            .inc();
    }

    /// What became of a request at an endpoint; only called where metrics name endpoints.
    pub fn endpoint_request(&self, service: &str, endpoint: &str, outcome: &str) {
        self.names_endpoints.store(true, Ordering::Relaxed);
        self.all
            .endpoint_requests
            .with_label_values(&[service, endpoint, outcome])
            .inc();
    }

    /// A client has connected, or gone.
    pub fn downstream_connections(&self, listener: &str, change: i64) {
        self.all
            .downstream_connections
            .with_label_values(&[listener])
            .add(change);
    }

    /// A stream was reset towards its client.
    pub fn http2_reset(&self, listener: &str, reason: &str) {
        self.all
            .http2_resets
            .with_label_values(&[listener, reason])
            .inc();
    }

    /// tidegate has closed a client's connection: `announced`, `idle`, `goaway` or `forced`.
    pub fn downstream_closed(&self, listener: &str, how: &str) {
        self.all
            .downstream_closed
            .with_label_values(&[listener, how])
            .inc();
    }

    /// A listener is gone, and its series with it.
    pub fn forget_listener(&self, listener: &str) {
        self.all.forget_listener(listener);
    }

    /// When a listener's certificates end, each by the file that it was read from.
    pub fn certificate_expiries<'c>(
        &self,
        listener: &str,
        certificates: impl Iterator<Item = (&'c str, SystemTime)>,
    ) {
        self.all.forget_certificates(listener);
        for (certificate, end) in certificates {
            let since_1970 = end.duration_since(SystemTime::UNIX_EPOCH);
            self.all
                .certificate_expiry
                .with_label_values(&[listener, certificate])
                .set(since_1970.unwrap_or_default().as_secs_f64());
        }
    }

    /// A listener's certificates were read again.
    pub fn certificate_reload(&self, listener: &str, ok: bool) {
        self.all
            .certificate_reload
            .with_label_values(&[listener, if ok { "success" } else { "error" }])
            .inc();
    }

    /// Whether a source can see.
    pub fn source_up(&self, service: &str, source: &str, up: bool) {
        self.all
            .source_up
            .with_label_values(&[service, source])
            .set(i64::from(up));
    }

    /// What a source delivered.
    pub fn source_update(&self, service: &str, source: &str, result: &str) {
        self.all
            .source_updates
            .with_label_values(&[service, source, result])
            .inc();
    }

    /// A pod's deletion was heard of.
    pub fn detection_lag(&self, source: &str, lag: Duration) {
        self.all
            .detection_lag
            .with_label_values(&[source])
            .observe(lag.as_secs_f64());
    }

    /// An observation has been applied.
    pub fn applied(&self, took: Duration) {
        self.all.update_apply.observe(took.as_secs_f64());
    }

    /// The config was read again.
    pub fn config_reload(&self, ok: bool) {
        self.all
            .config_reload
            .with_label_values(&[if ok { "success" } else { "error" }])
            .inc();
    }

    /// Access log lines lost so far.
    pub fn access_log_lost(&self, lines: u64) {
        self.all.access_log_lost.set(lines as f64);
    }

    /// Calls of the admin side refused so far, by kind.
    pub fn admin_calls_refused(&self, kind: &str, so_far: u64) {
        let counter = self.all.admin_refused.with_label_values(&[kind]);
        counter.inc_by(so_far.saturating_sub(counter.get()));
    }

    /// What a service has, read for a scrape: endpoints by state, work in flight, age of the set.
    pub fn set_service(
        &self,
        service: &str,
        states: &[(&str, u64)],
        in_flight: u64,
        age: Option<Duration>,
    ) {
        for (state, count) in states {
            self.all
                .endpoints
                .with_label_values(&[service, state])
                .set(*count as i64);
        }
        self.all
            .in_flight
            .with_label_values(&[service])
            .set(in_flight as i64);
        if let Some(age) = age {
            self.all
                .source_staleness
                .with_label_values(&[service])
                .set(age.as_secs_f64());
        }
    }

    /// A service's upstream connections, read for a scrape.
    pub fn set_upstream_connections(&self, service: &str, idle: u64, busy: u64) {
        self.all
            .upstream_connections
            .with_label_values(&[service, "idle"])
            .set(idle as i64);
        self.all
            .upstream_connections
            .with_label_values(&[service, "busy"])
            .set(busy as i64);
    }

    /// How an endpoint stands, read for a scrape; only called where metrics name endpoints.
    pub fn set_endpoint(
        &self,
        service: &str,
        endpoint: &str,
        states: &[(&str, bool)],
        in_flight: u64,
    ) {
        self.names_endpoints.store(true, Ordering::Relaxed);
        for (state, is) in states {
            self.all
                .endpoint_state
                .with_label_values(&[service, endpoint, state])
                .set(i64::from(*is));
        }
        self.all
            .endpoint_in_flight
            .with_label_values(&[service, endpoint])
            .set(in_flight as i64);
    }

    /// Whether any series name endpoints, so that those of one that is gone have to go, too.
    #[must_use]
    pub fn names_endpoints(&self) -> bool {
        self.names_endpoints.load(Ordering::Relaxed)
    }

    /// Removes the series of all that is gone. A look at every series: not for a thread that others wait for.
    pub fn sweep(&self, gone: &Gone) {
        self.all.sweep(gone);
    }
}

fn gauge_once(registry: &Registry) -> IntGaugeVec {
    register(
        registry,
        IntGaugeVec::new(
            Opts::new("tidegate_build_info", "The version that runs"),
            &["version"],
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_is_gone() {
        let metrics = Metrics::new();
        let worker = metrics.worker();
        worker.request(&"http".into(), "web", 200, Duration::from_millis(3));
        metrics.set_endpoint("web", "web-1", &[("ready", true)], 1);
        metrics.set_endpoint("web", "web-2", &[("ready", true)], 1);
        worker.flush();
        let text = metrics.text();
        assert!(
            text.contains(
                "tidegate_requests_total{code=\"200\",listener=\"http\",service=\"web\"} 1"
            ),
            "{text}"
        );
        let mut gone = Gone::default();
        gone.endpoint("web", "web-1");
        metrics.sweep(&gone);
        let text = metrics.text();
        assert!(!text.contains("web-1") && text.contains("web-2"), "{text}");
        gone.endpoint("web", "web-2");
        gone.service("web");
        metrics.sweep(&gone);
        assert!(
            !metrics.text().contains("service=\"web\""),
            "{}",
            metrics.text()
        );
    }

    #[test]
    fn what_came_back_before_the_sweep_keeps_what_was_counted() {
        let metrics = Metrics::new();
        metrics.retry("web", "connect");
        metrics.retry("other", "connect");
        metrics.endpoint_request("web", "web-1", "ok");
        metrics.endpoint_request("web", "web-2", "ok");
        let mut gone = Gone::default();
        gone.service("web");
        gone.endpoint("web", "web-1");
        gone.endpoint("web", "web-2");
        gone.keep_service("web");
        gone.keep_endpoint("web", "web-2");
        metrics.sweep(&gone);
        let text = metrics.text();
        for (series, stays) in [
            (
                "tidegate_retries_total{reason=\"connect\",service=\"web\"} 1",
                true,
            ),
            (
                "tidegate_retries_total{reason=\"connect\",service=\"other\"} 1",
                true,
            ),
            ("endpoint=\"web-1\"", false),
            ("endpoint=\"web-2\"", true),
        ] {
            assert_eq!(text.contains(series), stays, "{series} in {text}");
        }
    }
}

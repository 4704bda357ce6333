//! Every metric, its name and its help, in one place.
//!
//! What happens on every request is counted by the worker alone, in cells that no other thread sees, and added to the
//! shared counters when somebody scrapes. What happens rarely is counted at once. Gauges are read, not kept: whoever
//! scrapes sets them from the truth. No label is unbounded, and the series of what is gone are removed (P12).

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::core::{Collector, Metric, MetricVec, MetricVecBuilder};
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    endpoints: IntGaugeVec,
    in_flight: IntGaugeVec,
    upstream_connections: IntGaugeVec,
    endpoint_requests: IntCounterVec,
    endpoint_in_flight: IntGaugeVec,
    endpoint_state: IntGaugeVec,
    idle_evicted: IntCounterVec,
    reuse_race: IntCounterVec,
    ejections: IntCounterVec,
    health_checks: IntCounterVec,
    drains: IntCounterVec,
    drain_duration: HistogramVec,
    drain_cut: IntCounterVec,
    dispatched_to_draining: IntCounterVec,
    retries: IntCounterVec,
    downstream_connections: IntGaugeVec,
    downstream_closed: IntCounterVec,
    http2_resets: IntCounterVec,
    source_up: IntGaugeVec,
    source_updates: IntCounterVec,
    source_staleness: GaugeVec,
    detection_lag: HistogramVec,
    update_apply: Histogram,
    config_reload: IntCounterVec,
    access_log_lost: Gauge,
    admin_refused: IntCounterVec,
    certificate_expiry: GaugeVec,
    certificate_reload: IntCounterVec,
}

/// From a fast cache hit to a request that was nearly given up.
const REQUEST_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// What a pod says of its deletion is cut to whole seconds: below one there is little to tell apart.
const LAG_BUCKETS: &[f64] = &[0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// From a drain of nothing to the longest deadline anybody should set.
const DRAIN_BUCKETS: &[f64] = &[
    0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0,
];

/// P2 promises 1 ms at the median and 5 ms at the 99th percentile.
const APPLY_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5,
];

impl Metrics {
    /// A registry of its own, so that a test can have several.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(&registry, HistogramVec::new(opts, &["service"]))
        };
        let metrics = Self {
            requests: counter("tidegate_requests_total", "Requests answered, by status code", &["listener", "service", "code"]),
            request_duration: histogram(
                "tidegate_request_duration_seconds",
                "From a request's head to the end of its response",
                REQUEST_BUCKETS,
            ),
            endpoints: gauge("tidegate_endpoints", "Endpoints by state", &["service", "state"]),
            in_flight: gauge("tidegate_in_flight", "Work in flight at endpoints", &["service"]),
            upstream_connections: gauge(
                "tidegate_upstream_connections",
                "Open connections to endpoints",
                &["service", "state"],
            ),
            endpoint_requests: counter(
                "tidegate_endpoint_requests_total",
                "Requests sent to an endpoint, by what became of them",
                &["service", "endpoint", "outcome"],
            ),
            endpoint_in_flight: gauge("tidegate_endpoint_in_flight", "Work in flight at an endpoint", &["service", "endpoint"]),
            endpoint_state: gauge(
                "tidegate_endpoint_state",
                "1 for the state an endpoint is in",
                &["service", "endpoint", "state"],
            ),
            idle_evicted: counter(
                "tidegate_upstream_idle_evicted_total",
                "Idle connections to endpoints that tidegate closed",
                &["service", "reason"],
            ),
            reuse_race: counter(
                "tidegate_upstream_reuse_race_total",
                "Reused connections that the endpoint closed before it answered",
                &["service"],
            ),
            ejections: counter(
                "tidegate_ejections_total",
                "Times an endpoint was ejected because it refused or reset a connection",
                &["service"],
            ),
            health_checks: counter(
                "tidegate_health_checks_total",
                "Answers of endpoints that were asked whether they are well",
                &["service", "result"],
            ),
            drains: counter("tidegate_drains_total", "Drains that are over", &["service", "outcome"]),
            drain_duration: histogram(
                "tidegate_drain_duration_seconds",
                "From the closed gate to the end of the last work in flight",
                DRAIN_BUCKETS,
            ),
            drain_cut: counter("tidegate_drain_cut_total", "Work cut at the end of a drain", &["service", "kind"]),
            dispatched_to_draining: counter(
                "tidegate_dispatched_to_draining_total",
                "Requests sent to an endpoint that was known to drain",
                &["service", "why"],
            ),
            retries: counter("tidegate_retries_total", "Requests sent again", &["service", "reason"]),
            downstream_connections: gauge("tidegate_downstream_connections", "Open connections of clients", &["listener"]),
            http2_resets: counter(
                "tidegate_downstream_http2_resets_total",
                "HTTP/2 streams that were reset towards their client, by the reason that it was told",
                &["listener", "reason"],
            ),
            downstream_closed: counter(
                "tidegate_downstream_connections_closed_total",
                "Connections of clients that tidegate closed",
                &["listener", "how"],
            ),
            source_up: gauge("tidegate_source_up", "1 while the source can see", &["service", "source"]),
            source_updates: counter(
                "tidegate_source_updates_total",
                "What the source delivered",
                &["service", "source", "result"],
            ),
            source_staleness: register(
                &registry,
                GaugeVec::new(
                    Opts::new("tidegate_source_staleness_seconds", "Age of the newest confirmation of the set"),
                    &["service"],
                ),
            ),
            detection_lag: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "tidegate_detection_lag_seconds",
                        "From a pod's deletion, known to the second, until it was heard of",
                    )
                    .buckets(LAG_BUCKETS.to_vec()),
                    &["source"],
                ),
            ),
            update_apply: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "tidegate_update_apply_seconds",
                        "From a parsed observation until the gates are closed and the snapshot is published",
                    )
                    .buckets(APPLY_BUCKETS.to_vec()),
                ),
            ),
            config_reload: counter("tidegate_config_reload_total", "Times the config was read again", &["result"]),
            certificate_expiry: register(
                &registry,
                GaugeVec::new(
                    Opts::new(
                        "tidegate_certificate_expiry_timestamp_seconds",
                        "The end of a certificate's validity, in seconds since 1970",
                    ),
                    &["listener", "certificate"],
                ),
            ),
            certificate_reload: counter(
                "tidegate_certificate_reload_total",
                "Times a listener's certificates were read again because their files had changed",
                &["listener", "result"],
            ),
            admin_refused: counter(
                "tidegate_admin_calls_refused_total",
                "Calls of the admin side that were more than admin.calls_per_second",
                &["kind"],
            ),
            access_log_lost: register(
                &registry,
                Gauge::new("tidegate_access_log_lost", "Access log lines that could not be written"),
            ),
            registry,
        };
        // Two series that alerts ask for the absence of exist from the start.
        metrics.config_reload.with_label_values(&["success"]);
        metrics.config_reload.with_label_values(&["error"]);
        let build = gauge_once(&metrics.registry);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Arc::new(metrics)
    }

    /// A worker's own cells.
    #[must_use]
    pub fn worker(self: &Arc<Self>) -> WorkerMetrics {
        WorkerMetrics {
            shared: self.clone(),
            services: RefCell::default(),
        }
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
        self.drains.with_label_values(&[service, outcome]).inc();
        self.drain_duration
            .with_label_values(&[service])
            .observe(took.as_secs_f64());
        for (kind, count) in cut {
            self.drain_cut
                .with_label_values(&[service, kind])
                .inc_by(*count);
        }
    }

    /// A request was sent to a draining endpoint, because of this.
    pub fn dispatched_to_draining(&self, service: &str, why: &str) {
        self.dispatched_to_draining
            .with_label_values(&[service, why])
            .inc();
    }

    /// A request is sent again.
    pub fn retry(&self, service: &str, reason: &str) {
        self.retries.with_label_values(&[service, reason]).inc();
    }

    /// Idle connections to an endpoint were closed.
    pub fn idle_evicted(&self, service: &str, reason: &str, count: u64) {
        self.idle_evicted
            .with_label_values(&[service, reason])
            .inc_by(count);
    }

    /// A reused connection was closed before it was answered.
    pub fn reuse_race(&self, service: &str) {
        self.reuse_race.with_label_values(&[service]).inc();
    }

    /// An endpoint was ejected.
    pub fn ejected(&self, service: &str) {
        self.ejections.with_label_values(&[service]).inc();
    }

    /// An endpoint was asked whether it is well.
    pub fn health_check(&self, service: &str, ok: bool) {
        self.health_checks
            .with_label_values(&[service, if ok { "success" } else { "failure" }])
            .inc();
    }

    /// What became of a request at an endpoint; only called where metrics name endpoints.
    pub fn endpoint_request(&self, service: &str, endpoint: &str, outcome: &str) {
        self.endpoint_requests
            .with_label_values(&[service, endpoint, outcome])
            .inc();
    }

    /// A client has connected, or gone.
    pub fn downstream_connections(&self, listener: &str, change: i64) {
        self.downstream_connections
            .with_label_values(&[listener])
            .add(change);
    }

    /// A stream was reset towards its client.
    pub fn http2_reset(&self, listener: &str, reason: &str) {
        self.http2_resets
            .with_label_values(&[listener, reason])
            .inc();
    }

    /// tidegate has closed a client's connection: `announced`, `idle`, `goaway` or `forced`.
    pub fn downstream_closed(&self, listener: &str, how: &str) {
        self.downstream_closed
            .with_label_values(&[listener, how])
            .inc();
    }

    /// A listener is gone, and its series with it.
    pub fn forget_listener(&self, listener: &str) {
        remove(&self.downstream_connections, &[("listener", listener)]);
        remove(&self.downstream_closed, &[("listener", listener)]);
        remove(&self.http2_resets, &[("listener", listener)]);
        remove(&self.requests, &[("listener", listener)]);
        remove(&self.certificate_expiry, &[("listener", listener)]);
        remove(&self.certificate_reload, &[("listener", listener)]);
    }

    /// When a listener's certificates end, each by the file that it was read from.
    pub fn certificate_expiries<'c>(
        &self,
        listener: &str,
        certificates: impl Iterator<Item = (&'c str, SystemTime)>,
    ) {
        remove(&self.certificate_expiry, &[("listener", listener)]);
        for (certificate, end) in certificates {
            let since_1970 = end.duration_since(SystemTime::UNIX_EPOCH);
            self.certificate_expiry
                .with_label_values(&[listener, certificate])
                .set(since_1970.unwrap_or_default().as_secs_f64());
        }
    }

    /// A listener's certificates were read again.
    pub fn certificate_reload(&self, listener: &str, ok: bool) {
        self.certificate_reload
            .with_label_values(&[listener, if ok { "success" } else { "error" }])
            .inc();
    }

    /// Whether a source can see.
    pub fn source_up(&self, service: &str, source: &str, up: bool) {
        self.source_up
            .with_label_values(&[service, source])
            .set(i64::from(up));
    }

    /// What a source delivered.
    pub fn source_update(&self, service: &str, source: &str, result: &str) {
        self.source_updates
            .with_label_values(&[service, source, result])
            .inc();
    }

    /// A pod's deletion was heard of.
    pub fn detection_lag(&self, source: &str, lag: Duration) {
        self.detection_lag
            .with_label_values(&[source])
            .observe(lag.as_secs_f64());
    }

    /// An observation has been applied.
    pub fn applied(&self, took: Duration) {
        self.update_apply.observe(took.as_secs_f64());
    }

    /// The config was read again.
    pub fn config_reload(&self, ok: bool) {
        self.config_reload
            .with_label_values(&[if ok { "success" } else { "error" }])
            .inc();
    }

    /// Access log lines lost so far.
    pub fn access_log_lost(&self, lines: u64) {
        self.access_log_lost.set(lines as f64);
    }

    /// Calls of the admin side refused so far, by kind.
    pub fn admin_calls_refused(&self, kind: &str, so_far: u64) {
        let counter = self.admin_refused.with_label_values(&[kind]);
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
            self.endpoints
                .with_label_values(&[service, state])
                .set(*count as i64);
        }
        self.in_flight
            .with_label_values(&[service])
            .set(in_flight as i64);
        if let Some(age) = age {
            self.source_staleness
                .with_label_values(&[service])
                .set(age.as_secs_f64());
        }
    }

    /// A service's upstream connections, read for a scrape.
    pub fn set_upstream_connections(&self, service: &str, idle: u64, busy: u64) {
        self.upstream_connections
            .with_label_values(&[service, "idle"])
            .set(idle as i64);
        self.upstream_connections
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
        for (state, is) in states {
            self.endpoint_state
                .with_label_values(&[service, endpoint, state])
                .set(i64::from(*is));
        }
        self.endpoint_in_flight
            .with_label_values(&[service, endpoint])
            .set(in_flight as i64);
    }

    /// An endpoint is gone, and its series with it (P12).
    pub fn forget_endpoint(&self, service: &str, endpoint: &str) {
        let labels = [("service", service), ("endpoint", endpoint)];
        remove(&self.endpoint_requests, &labels);
        remove(&self.endpoint_in_flight, &labels);
        remove(&self.endpoint_state, &labels);
    }

    /// A service is gone, and its series with it (P12).
    pub fn forget_service(&self, service: &str) {
        let labels = [("service", service)];
        remove(&self.requests, &labels);
        remove(&self.request_duration, &labels);
        remove(&self.endpoints, &labels);
        remove(&self.in_flight, &labels);
        remove(&self.upstream_connections, &labels);
        remove(&self.idle_evicted, &labels);
        remove(&self.reuse_race, &labels);
        remove(&self.ejections, &labels);
        remove(&self.health_checks, &labels);
        remove(&self.drains, &labels);
        remove(&self.drain_duration, &labels);
        remove(&self.drain_cut, &labels);
        remove(&self.dispatched_to_draining, &labels);
        remove(&self.retries, &labels);
        remove(&self.source_up, &labels);
        remove(&self.source_updates, &labels);
        remove(&self.source_staleness, &labels);
    }
}

/// A worker's cells: counted without an atomic, added to the shared counters by [`WorkerMetrics::flush`].
#[derive(Debug)]
pub struct WorkerMetrics {
    shared: Arc<Metrics>,
    /// By the service's name; the empty one is that of requests that were not routed.
    services: RefCell<HashMap<Arc<str>, ServiceCells, BuildHasherDefault<NameHasher>>>,
}

/// What a worker has counted of one service.
#[derive(Debug)]
struct ServiceCells {
    duration: Option<LocalHistogram>,
    /// Few: one for each listener and status code that has occurred.
    answers: Vec<AnswerCell>,
}

#[derive(Debug)]
struct AnswerCell {
    listener: Arc<str>,
    code: u16,
    counter: LocalIntCounter,
}

/// Hashes names that the config gives. They are few and nobody's attack, so a multiplication for each eight bytes is
/// enough, where the standard hash would cost as much as choosing an endpoint.
#[derive(Debug, Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        // The product's high bits are the good ones, and the map takes its buckets from the low ones.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

impl WorkerMetrics {
    /// The counters for what is rare.
    #[must_use]
    pub fn shared(&self) -> &Arc<Metrics> {
        &self.shared
    }

    /// Counts a request that has been answered; `service` is empty when it was not routed.
    pub fn request(&self, listener: &Arc<str>, service: &str, code: u16, took: Duration) {
        let mut services = self.services.borrow_mut();
        if let Some(cells) = services.get_mut(service) {
            cells.count(&self.shared, service, listener, code, took);
        } else {
            let mut cells = ServiceCells::new(&self.shared, service);
            cells.count(&self.shared, service, listener, code, took);
            services.insert(service.into(), cells);
        }
    }

    /// Adds everything to the shared counters, and forgets the cells: those of a service that is gone stay gone.
    pub fn flush(&self) {
        for cells in self.services.take().values() {
            cells.flush();
        }
    }
}

impl ServiceCells {
    fn new(shared: &Metrics, service: &str) -> Self {
        let duration = || {
            let shared = shared.request_duration.with_label_values(&[service]);
            shared.local()
        };
        Self {
            duration: (!service.is_empty()).then(duration),
            answers: Vec::new(),
        }
    }

    fn count(
        &mut self,
        shared: &Metrics,
        service: &str,
        listener: &Arc<str>,
        code: u16,
        took: Duration,
    ) {
        if let Some(duration) = &self.duration {
            duration.observe(took.as_secs_f64());
        }
        let known = self
            .answers
            .iter()
            .find(|cell| cell.code == code && cell.listener == *listener);
        if let Some(cell) = known {
            cell.counter.inc();
            return;
        }
        let labels = [listener, service, &code.to_string()];
        let counter = shared.requests.with_label_values(&labels).local();
        counter.inc();
        self.answers.push(AnswerCell {
            listener: listener.clone(),
            code,
            counter,
        });
    }

    fn flush(&self) {
        if let Some(duration) = &self.duration {
            duration.flush();
        }
        for cell in &self.answers {
            cell.counter.flush();
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "names and labels are the constants above; a wrong one fails every test"
)]
fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("a metric's name and labels are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("a metric's name is given once");
    collector
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

/// Removes every series that has these labels.
fn remove<B: MetricVecBuilder>(vec: &MetricVec<B>, labels: &[(&str, &str)])
where
    B::M: Metric,
{
    for family in vec.collect() {
        for metric in family.get_metric() {
            let pairs = metric.get_label();
            let fits = labels.iter().all(|(name, value)| {
                pairs
                    .iter()
                    .any(|pair| pair.name() == *name && pair.value() == *value)
            });
            if fits {
                let all: HashMap<&str, &str> = pairs
                    .iter()
                    .map(|pair| (pair.name(), pair.value()))
                    .collect();
                // An error means that it is gone already.
                let _ = vec.remove(&all);
            }
        }
    }
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
        metrics.forget_endpoint("web", "web-1");
        let text = metrics.text();
        assert!(!text.contains("web-1") && text.contains("web-2"), "{text}");
        metrics.forget_endpoint("web", "web-2");
        metrics.forget_service("web");
        assert!(
            !metrics.text().contains("service=\"web\""),
            "{}",
            metrics.text()
        );
    }
}

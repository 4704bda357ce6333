//! Every family: its name, its help, its labels.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry,
};

/// All families of a process.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) requests: IntCounterVec,
    pub(super) request_duration: HistogramVec,
    pub(super) endpoints: IntGaugeVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) upstream_connections: IntGaugeVec,
    pub(super) endpoint_requests: IntCounterVec,
    pub(super) endpoint_in_flight: IntGaugeVec,
    pub(super) endpoint_state: IntGaugeVec,
    pub(super) idle_evicted: IntCounterVec,
    pub(super) reuse_race: IntCounterVec,
    pub(super) ejections: IntCounterVec,
    pub(super) health_checks: IntCounterVec,
    pub(super) drains: IntCounterVec,
    pub(super) drain_duration: HistogramVec,
    pub(super) drain_cut: IntCounterVec,
    pub(super) dispatched_to_draining: IntCounterVec,
    pub(super) retries: IntCounterVec,
    pub(super) downstream_connections: IntGaugeVec,
    pub(super) downstream_closed: IntCounterVec,
    pub(super) http2_resets: IntCounterVec,
    pub(super) source_up: IntGaugeVec,
    pub(super) source_updates: IntCounterVec,
    pub(super) source_staleness: GaugeVec,
    pub(super) detection_lag: HistogramVec,
    pub(super) update_apply: Histogram,
    pub(super) config_reload: IntCounterVec,
    pub(super) access_log_lost: Gauge,
    pub(super) admin_refused: IntCounterVec,
    pub(super) certificate_expiry: GaugeVec,
    pub(super) certificate_reload: IntCounterVec,
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

impl Catalog {
    /// Registers all of them.
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(registry, HistogramVec::new(opts, &["service"]))
        };
        Self {
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
                registry,
                GaugeVec::new(
                    Opts::new("tidegate_source_staleness_seconds", "Age of the newest confirmation of the set"),
                    &["service"],
                ),
            ),
            detection_lag: register(
                registry,
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
                registry,
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
                registry,
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
                registry,
                Gauge::new("tidegate_access_log_lost", "Access log lines that could not be written"),
            ),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "names and labels are the constants above; a wrong one fails every test"
)]
pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("a metric's name and labels are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("a metric's name is given once");
    collector
}

//! Services, endpoints and listeners that are gone, and their series with them (P12).
//!
//! A family knows its series by all their labels, so finding those of one service is a look at all. That is no work for
//! the thread that closes gates (P2), least of all once for each service that a reload takes away: there what is gone is
//! noted, and whoever scrapes asks for it and removes the series of all that have gone since, on another thread.

use std::collections::{HashMap, HashSet};

use prometheus::core::{Collector, Metric, MetricVec, MetricVecBuilder};
use prometheus::proto::LabelPair;

use super::catalog::Catalog;

/// What has gone since the last sweep.
#[derive(Debug, Default)]
pub struct Gone {
    services: HashSet<String>,
    /// The keys of endpoints, by service.
    endpoints: HashMap<String, HashSet<String>>,
}

impl Gone {
    /// Whether there is anything to sweep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.endpoints.is_empty()
    }

    /// A service that has come back: it keeps what was counted of it.
    pub fn keep_service(&mut self, service: &str) {
        self.services.remove(service);
    }

    /// An endpoint that has come back.
    pub fn keep_endpoint(&mut self, service: &str, endpoint: &str) {
        if let Some(endpoints) = self.endpoints.get_mut(service) {
            endpoints.remove(endpoint);
        }
    }

    /// A service is gone.
    pub fn service(&mut self, service: &str) {
        self.services.insert(service.to_owned());
    }

    /// An endpoint is gone.
    pub fn endpoint(&mut self, service: &str, endpoint: &str) {
        let endpoints = self.endpoints.entry(service.to_owned()).or_default();
        endpoints.insert(endpoint.to_owned());
    }

    fn has_service(&self, labels: &[LabelPair]) -> bool {
        value(labels, "service").is_some_and(|service| self.services.contains(service))
    }

    fn has_endpoint(&self, labels: &[LabelPair]) -> bool {
        let Some(service) = value(labels, "service") else {
            return false;
        };
        let endpoints = self.endpoints.get(service);
        let endpoint = value(labels, "endpoint").unwrap_or_default();
        endpoints.is_some_and(|endpoints| endpoints.contains(endpoint))
    }
}

impl Catalog {
    /// Removes the series of all that is gone.
    pub(super) fn sweep(&self, gone: &Gone) {
        if !gone.endpoints.is_empty() {
            let is_gone = |labels: &[LabelPair]| gone.has_endpoint(labels);
            remove(&self.endpoint_requests, is_gone);
            remove(&self.endpoint_in_flight, is_gone);
            remove(&self.endpoint_state, is_gone);
        }
        if !gone.services.is_empty() {
            let is_gone = |labels: &[LabelPair]| gone.has_service(labels);
            remove(&self.requests, is_gone);
            remove(&self.request_duration, is_gone);
            remove(&self.endpoints, is_gone);
            remove(&self.in_flight, is_gone);
            remove(&self.upstream_connections, is_gone);
            remove(&self.idle_evicted, is_gone);
            remove(&self.reuse_race, is_gone);
            remove(&self.ejections, is_gone);
            remove(&self.health_checks, is_gone);
            remove(&self.drains, is_gone);
            remove(&self.drain_duration, is_gone);
            remove(&self.drain_cut, is_gone);
            remove(&self.dispatched_to_draining, is_gone);
            remove(&self.retries, is_gone);
            remove(&self.source_up, is_gone);
            remove(&self.source_updates, is_gone);
            remove(&self.source_staleness, is_gone);
        }
    }

    /// Removes a listener's series, at once: listeners are few, and seldom go.
    pub(super) fn forget_listener(&self, listener: &str) {
        let is_its = |labels: &[LabelPair]| value(labels, "listener") == Some(listener);
        remove(&self.downstream_connections, is_its);
        remove(&self.downstream_closed, is_its);
        remove(&self.http2_resets, is_its);
        remove(&self.requests, is_its);
        remove(&self.certificate_expiry, is_its);
        remove(&self.certificate_reload, is_its);
    }

    /// Removes what is told of a listener's certificates.
    pub(super) fn forget_certificates(&self, listener: &str) {
        remove(&self.certificate_expiry, |labels| {
            value(labels, "listener") == Some(listener)
        });
    }
}

fn value<'l>(labels: &'l [LabelPair], name: &str) -> Option<&'l str> {
    let found = labels.iter().find(|pair| pair.name() == name);
    found.map(LabelPair::value)
}

/// Removes every series whose labels say so.
fn remove<B: MetricVecBuilder>(vec: &MetricVec<B>, is_gone: impl Fn(&[LabelPair]) -> bool)
where
    B::M: Metric,
{
    for family in vec.collect() {
        for metric in family.get_metric() {
            let labels = metric.get_label();
            if is_gone(labels) {
                let all: HashMap<&str, &str> = labels
                    .iter()
                    .map(|pair| (pair.name(), pair.value()))
                    .collect();
                // An error means that it is gone already.
                let _ = vec.remove(&all);
            }
        }
    }
}

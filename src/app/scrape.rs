//! A scrape: gauges are read from the truth, the workers' counts are added up, and the text is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::control::{Handle, ServiceView, State, Totals};
use crate::pool::Census;
use crate::telemetry::{Gone, Losses, Metrics};
use crate::worker::Mail;

/// What a scrape needs.
#[derive(Clone)]
pub(super) struct Scrape {
    metrics: Arc<Metrics>,
    handle: Handle,
    mail: Vec<mpsc::WeakSender<Mail>>,
    losses: Losses,
    rates: admin::Rates,
    per_endpoint: bool,
}

/// How long a worker may take to add up what it has counted; its numbers are then missing from this scrape.
const REPORT: Duration = Duration::from_millis(500);
/// How often what is gone is swept without a scrape.
const SWEEP: Duration = Duration::from_secs(10);

impl Scrape {
    pub(super) fn new(
        metrics: &Arc<Metrics>,
        handle: &Handle,
        mail: &[mpsc::Sender<Mail>],
        losses: Losses,
        rates: admin::Rates,
        settings: &admin::Settings,
    ) -> Self {
        Self {
            metrics: metrics.clone(),
            handle: handle.clone(),
            // Weak: the mailboxes close when the process has left, and a scrape must not hold them open.
            mail: mail.iter().map(mpsc::Sender::downgrade).collect(),
            losses,
            rates,
            per_endpoint: settings.per_endpoint_metrics,
        }
    }

    /// Sweeps once in a while what nobody scrapes (P12).
    pub(super) async fn keep_house(self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(SWEEP)).await.is_some() {
            let gone = self.handle.gone().await.unwrap_or_default();
            if !gone.is_empty() {
                self.sweep(gone).await;
            }
        }
    }

    /// The text.
    pub(super) async fn text(&self) -> String {
        let gone = self.handle.gone().await.unwrap_or_default();
        let found = self.look(gone).await;
        let metrics = self.metrics.clone();
        let text = move || {
            found.enter(&metrics);
            metrics.text()
        };
        // It fails only with the process.
        spawn_blocking(text).await.unwrap_or_default()
    }

    async fn sweep(&self, gone: Gone) {
        let found = self.look(gone).await;
        let metrics = self.metrics.clone();
        // It fails only with the process.
        let _ = spawn_blocking(move || found.enter(&metrics)).await;
    }

    /// Looks at what is there: what the thread that closes gates has to say, and no more. It comes after what is `gone`: some
    /// of that may have come back.
    async fn look(&self, gone: Gone) -> Found {
        let census = self.census().await;
        let services = self.handle.totals().await.unwrap_or_default();
        let endpoints = if self.per_endpoint {
            // Their series go with the endpoint, and only this process knows when its own is gone.
            self.handle.alone().services().await.unwrap_or_default()
        } else {
            Vec::new()
        };
        Found {
            gone,
            census,
            services,
            endpoints,
            lost: self.losses.count(),
            refused: self.rates.refused(),
        }
    }

    async fn census(&self) -> HashMap<String, Census> {
        let mut asked = Vec::new();
        for mail in self.mail.iter().filter_map(mpsc::WeakSender::upgrade) {
            let (answer, answered) = oneshot::channel();
            if mail.send(Mail::Report(answer)).await.is_ok() {
                asked.push(answered);
            }
        }
        let mut all: HashMap<String, Census> = HashMap::new();
        for answered in asked {
            if let Ok(Ok(report)) = tokio::time::timeout(REPORT, answered).await {
                for (service, census) in report.census {
                    let sum = all.entry(service.to_string()).or_default();
                    sum.idle += census.idle;
                    sum.busy += census.busy;
                }
            }
        }
        all
    }
}

/// What a scrape has found; it becomes series on another thread, since it can be much.
struct Found {
    gone: Gone,
    census: HashMap<String, Census>,
    services: Vec<Totals>,
    endpoints: Vec<ServiceView>,
    lost: u64,
    refused: [(&'static str, u64); 2],
}

impl Found {
    fn enter(mut self, metrics: &Metrics) {
        for totals in &self.services {
            let states: Vec<_> = State::ALL
                .iter()
                .zip(totals.states)
                .map(|(state, count)| (state.as_str(), count))
                .collect();
            let name = totals.service.as_str();
            metrics.set_service(name, &states, totals.in_flight, totals.source_age);
            let Census { idle, busy } = self.census.get(name).copied().unwrap_or_default();
            metrics.set_upstream_connections(name, idle, busy);
            self.gone.keep_service(name);
        }
        for service in &self.endpoints {
            enter_endpoints(service, metrics, &mut self.gone);
        }
        metrics.access_log_lost(self.lost);
        for (kind, count) in self.refused {
            metrics.admin_calls_refused(kind, count);
        }
        metrics.sweep(&self.gone);
    }
}

/// The newest life speaks for its key; the work of older ones is added.
fn enter_endpoints(service: &ServiceView, metrics: &Metrics, gone: &mut Gone) {
    let name = service.name.as_str();
    let mut in_flight: HashMap<&str, u64> = HashMap::new();
    for endpoint in &service.endpoints {
        *in_flight.entry(endpoint.key.as_str()).or_default() += endpoint.in_flight;
    }
    for endpoint in service.endpoints.iter().rev() {
        let states: Vec<_> = State::ALL
            .iter()
            .map(|state| (state.as_str(), *state == endpoint.state))
            .collect();
        let key = endpoint.key.as_str();
        let in_flight = in_flight.get(key).copied().unwrap_or(0);
        metrics.set_endpoint(name, key, &states, in_flight);
        gone.keep_endpoint(name, key);
    }
}

//! A scrape: gauges are read from the truth, the workers' counts are added up, and the text is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::admin;
use crate::control::{Handle, ServiceView, State};
use crate::pool::Census;
use crate::telemetry::{Losses, Metrics};
use crate::worker::Mail;

/// What a scrape needs.
#[derive(Clone)]
struct Scrape {
    metrics: Arc<Metrics>,
    handle: Handle,
    mail: Vec<mpsc::WeakSender<Mail>>,
    losses: Losses,
    rates: admin::Rates,
    per_endpoint: bool,
}

/// How long a worker may take to add up what it has counted; its numbers are then missing from this scrape.
const REPORT: Duration = Duration::from_millis(500);

/// A function that makes the text of a scrape.
pub(super) fn scraper(
    metrics: &Arc<Metrics>,
    handle: &Handle,
    mail: &[mpsc::Sender<Mail>],
    losses: Losses,
    rates: admin::Rates,
    settings: &admin::Settings,
) -> Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync> {
    let scrape = Scrape {
        metrics: metrics.clone(),
        handle: handle.clone(),
        // Weak: the mailboxes close when the process has left, and a scrape must not hold them open.
        mail: mail.iter().map(mpsc::Sender::downgrade).collect(),
        losses,
        rates,
        per_endpoint: settings.per_endpoint_metrics,
    };
    Arc::new(move || {
        let scrape = scrape.clone();
        Box::pin(async move { scrape.text().await })
    })
}

impl Scrape {
    async fn text(&self) -> String {
        let census = self.census().await;
        let mut services = Vec::new();
        for totals in self.handle.totals().await.unwrap_or_default() {
            let states: Vec<_> = State::ALL
                .iter()
                .zip(totals.states)
                .map(|(state, count)| (state.as_str(), count))
                .collect();
            let name = totals.service.as_str();
            self.metrics
                .set_service(name, &states, totals.in_flight, totals.source_age);
            let Census { idle, busy } = census.get(name).copied().unwrap_or_default();
            self.metrics.set_upstream_connections(name, idle, busy);
            services.push(totals.service);
        }
        if self.per_endpoint {
            // Their series go with the endpoint, and only this process knows when its own is gone.
            for service in self.handle.alone().services().await.unwrap_or_default() {
                self.endpoints(&service);
            }
        }
        self.metrics.access_log_lost(self.losses.count());
        for (kind, count) in self.rates.refused() {
            self.metrics.admin_calls_refused(kind, count);
        }
        self.metrics.text()
    }

    /// The newest life speaks for its key; the work of older ones is added.
    fn endpoints(&self, service: &ServiceView) {
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
            self.metrics.set_endpoint(
                service.name.as_str(),
                key,
                &states,
                in_flight.get(key).copied().unwrap_or(0),
            );
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

//! Active health checks: every endpoint is asked now and then whether it is well.
//!
//! A check only takes away. Its source decides whether an endpoint is in rotation; one that fails is left out although its
//! source lists it as ready, until it passes again. Nothing ends by it: no gate closes, work in flight goes on, and idle
//! connections are kept. What follows from a verdict is the writer's, who hears of it as of a source's word; here it is
//! only found, and told when it changes.
//!
//! A check belongs to a life and ends with it: the writer holds a [`Check`], and dropping it is the only way out (P12).
//! Each asks at a time of its own. The first time is any moment of the interval and the pauses vary, so that the many
//! endpoints of many replicas are not asked in step.
//!
//! * `ask`: one question, by TCP, HTTP/1.1, HTTP/2 or gRPC, on a connection of its own.
//! * `grpc`: the messages of `grpc.health.v1`.
//! * `row`: how many answers in a row make a verdict, pure.

mod ask;
mod grpc;
mod row;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::endpoint::{Endpoint, EndpointId};
use crate::net::Dialer;
use crate::snapshot::{HealthCheck, Probe, Service};
use crate::telemetry::Metrics;
use ask::{Fault, Question};
use row::Row;

/// What is known of an endpoint now, since its check says otherwise than before.
#[derive(Debug)]
pub struct Verdict {
    /// Of which life.
    pub life: EndpointId,
    /// By which of its checks: an earlier one's word is of no use to the one that runs.
    pub check: u64,
    /// What is wrong; none when it passes.
    pub fault: Option<String>,
}

/// A check that runs, for as long as this is kept.
#[derive(Debug)]
pub struct Check {
    number: u64,
    settings: HealthCheck,
    _stop: DropGuard,
}

/// What is checked, and who hears of it.
#[derive(Debug)]
pub struct Subject {
    /// Its service: by what protocol and TLS it is asked is what is configured now.
    pub service: Arc<Service>,
    /// The life.
    pub endpoint: Arc<Endpoint>,
    /// The check's number, never given before.
    pub number: u64,
    /// Whether it counts as failing already.
    pub failing: bool,
    /// How it is reached.
    pub dialer: Dialer,
    /// Where changes are told.
    pub verdicts: mpsc::Sender<Verdict>,
    /// Where every answer is counted.
    pub metrics: Arc<Metrics>,
}

impl Check {
    /// Begins to ask, on this thread.
    #[must_use]
    pub fn begin(subject: Subject, settings: HealthCheck, tasks: &TaskTracker) -> Self {
        let (stop, number) = (CancellationToken::new(), subject.number);
        let (stopped, asked) = (stop.clone(), settings.clone());
        tasks.spawn_local(async move {
            // The stop first: whoever is stopped counts nothing any more (P12).
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = subject.watch(&asked) => {}
            }
        });
        Self {
            number,
            settings,
            _stop: stop.drop_guard(),
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How it asks.
    #[must_use]
    pub fn settings(&self) -> &HealthCheck {
        &self.settings
    }
}

impl Subject {
    /// Asks again and again, until nobody hears it any more.
    async fn watch(self, settings: &HealthCheck) {
        let mut row = Row::new(self.failing);
        let mut wait = fastrand::f64();
        loop {
            tokio::time::sleep(settings.interval.mul_f64(wait)).await;
            wait = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
            let answer = self.ask(&settings.probe, settings.timeout).await;
            self.metrics
                .health_check(self.service.name().as_str(), answer.is_ok());
            if !row.note(answer.is_ok(), settings.healthy, settings.unhealthy) {
                continue;
            }
            let verdict = Verdict {
                life: self.endpoint.id(),
                check: self.number,
                fault: answer.err().map(|error| error.to_string()),
            };
            if self.verdicts.send(verdict).await.is_err() {
                return;
            }
        }
    }

    async fn ask(&self, probe: &Probe, timeout: Duration) -> Result<(), Fault> {
        let settings = self.service.settings();
        let question = Question {
            dialer: &self.dialer,
            address: self.endpoint.about().address,
            tls: settings.tls.as_ref(),
            protocol: settings.protocol,
            probe,
        };
        tokio::time::timeout(timeout, question.ask())
            .await
            .unwrap_or(Err(Fault::Late(timeout)))
    }
}

/// By how much a pause differs from the interval at the most.
const JITTER: f64 = 0.1;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::time::Instant;

    use super::*;
    use crate::endpoint::{About, Life};
    use crate::net::MemoryNet;
    use crate::snapshot::ServiceSettings;

    /// A check of an endpoint in memory, and its verdicts.
    fn begin(
        net: &MemoryNet,
        address: SocketAddr,
        tasks: &TaskTracker,
    ) -> (Check, mpsc::Receiver<Verdict>) {
        let about = About {
            service: "web".into(),
            key: "web-1".into(),
            address,
            pod: None,
            zone: None,
        };
        let life = Life::begin(about, mpsc::unbounded_channel().0);
        let (verdicts, told) = mpsc::channel(4);
        let subject = Subject {
            service: Arc::new(Service::new(
                Arc::new(ServiceSettings::named("web".into())),
                1,
            )),
            endpoint: life.endpoint().clone(),
            number: 7,
            failing: false,
            dialer: Dialer::Memory(net.clone()),
            verdicts,
            metrics: Metrics::new(),
        };
        let settings = HealthCheck::by(Probe::Tcp);
        (Check::begin(subject, settings, tasks), told)
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn asks_at_moments_of_its_own_until_it_is_dropped() {
        let (net, tasks) = (MemoryNet::default(), TaskTracker::new());
        let interval = HealthCheck::by(Probe::Tcp).interval;
        let mut firsts = Vec::new();
        for port in 1..=20 {
            let address = SocketAddr::from(([10, 0, 0, 1], port));
            let mut accept = net.listen(address);
            let mut before = Instant::now();
            let (check, _told) = begin(&net, address, &tasks);
            for round in 0..5 {
                accept.recv().await.unwrap();
                let pause = before.elapsed();
                before = Instant::now();
                if round == 0 {
                    firsts.push(pause);
                    assert!(pause <= interval, "{pause:?}");
                } else {
                    let share = pause.as_secs_f64() / interval.as_secs_f64();
                    assert!((0.89..=1.11).contains(&share), "{pause:?}");
                }
            }
            drop(check);
            tokio::time::sleep(interval * 3).await;
            assert!(accept.try_recv().is_err(), "P12");
        }
        tasks.close();
        tasks.wait().await;
        firsts.sort();
        assert!(
            firsts[0] < interval / 2 && firsts[19] > interval / 2,
            "{firsts:?}"
        );
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn tells_only_what_is_otherwise_than_before() {
        let (net, tasks) = (MemoryNet::default(), TaskTracker::new());
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let (_check, mut told) = begin(&net, address, &tasks);
        let first = told.recv().await.unwrap();
        assert_eq!(first.check, 7);
        assert!(first.fault.unwrap().starts_with("no connection"));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(told.try_recv().is_err(), "it was told");
        let _accept = net.listen(address);
        assert!(told.recv().await.unwrap().fault.is_none());
    }
}

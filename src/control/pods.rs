//! A pod is drained wherever it serves: for its hook, and for the webhook (P15).

use std::net::{IpAddr, SocketAddr};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::{PodAnswer, PodName, PodRequest};
use super::registry::Entry;
use super::waiters::{Answer, Waiter};
use super::writer::Writer;
use crate::endpoint::{EndpointKey, ServiceName};

impl Writer {
    pub(super) fn drain_pod(&mut self, request: &PodRequest, answer: oneshot::Sender<PodAnswer>) {
        let targets = self.endpoints_of(&request.pod);
        if targets.is_empty() {
            let _ = answer.send(self.expect_pod(&request.elsewhere));
            return;
        }
        for (service, key) in &targets {
            self.note_asked(service, key, request.cause, None);
        }
        let until = Some(Instant::now() + request.limit);
        self.waiters.push(Waiter {
            targets,
            to_the_end: true,
            until,
            is_late: false,
            answer: Answer::Pod(answer),
        });
    }

    /// For a pod that nothing is known of here. What others know of it is noted, so that nothing starts there when it is
    /// seen at last; until then this replica is behind, and not drained (P15).
    fn expect_pod(&mut self, elsewhere: &[EndpointKey]) -> PodAnswer {
        let unseen = elsewhere.iter().filter(|key| !self.was_here(key));
        let unseen: Vec<_> = unseen.cloned().collect();
        let drained = unseen.is_empty();
        for key in unseen {
            // An address is the next pod's soon.
            if key.as_str().parse::<SocketAddr>().is_err() {
                self.expected.insert(key);
            }
        }
        PodAnswer {
            drained,
            reason: match drained {
                true => "serves nothing here".to_owned(),
                false => "it has not been seen here yet, but other replicas know it".to_owned(),
            },
            endpoints: Vec::new(),
        }
    }

    /// Whether an endpoint was known here once and has gone.
    fn was_here(&self, key: &EndpointKey) -> bool {
        let mut records = self.services.values();
        records.any(|record| record.terminated.contains(key))
            || self.reports.iter().any(|report| report.key == *key)
    }

    fn endpoints_of(&self, pod: &PodName) -> Vec<(ServiceName, EndpointKey)> {
        // All lives of one id are of one pod; only the newest is sure to have its address still.
        let is_it = |entry: &Entry| match pod {
            PodName::Name(name) => entry
                .lives()
                .any(|record| record.life.endpoint().about().pod.as_deref() == Some(name)),
            PodName::Address(ip) => entry.newest.as_ref().is_some_and(|newest| {
                let address = newest.life.endpoint().about().address;
                address.ip().to_canonical() == IpAddr::to_canonical(ip)
            }),
        };
        let mut found = Vec::new();
        for (service, record) in &self.services {
            let here = record.entries.iter().filter(|(_, entry)| is_it(entry));
            found.extend(here.map(|(key, _)| (service.clone(), key.clone())));
        }
        found
    }
}

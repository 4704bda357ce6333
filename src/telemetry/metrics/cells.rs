//! What a worker counts of every request, without an atomic.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use prometheus::local::{LocalHistogram, LocalIntCounter};

use super::Metrics;

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
    pub(super) fn new(shared: Arc<Metrics>) -> Self {
        Self {
            shared,
            services: RefCell::default(),
        }
    }

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
            let shared = shared.all.request_duration.with_label_values(&[service]);
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
        let counter = shared.all.requests.with_label_values(&labels).local();
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

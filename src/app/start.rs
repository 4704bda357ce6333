//! Starts what runs beside each other: workers on threads of their own, the writer on this one.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::control::{self, BuildSource, Handle, Writer};
use crate::discovery::{self, File, Fixed};
use crate::kubernetes::Cluster;
use crate::proxy;
use crate::snapshot::Publisher;
use crate::telemetry::{AccessLog, Metrics};
use crate::worker::{self, Inbox, Mailboxes, Worker};

/// Starts a thread for each mailbox.
pub(super) fn start_workers(
    config: &Config,
    inboxes: Vec<Inbox>,
    publisher: &Publisher,
    metrics: &Arc<Metrics>,
    log: &AccessLog,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (number, inbox) in inboxes.into_iter().enumerate() {
        let settings = proxy::Settings {
            worker: number,
            per_endpoint_metrics: config.admin.per_endpoint_metrics,
            access_log_sample: config.access_log_sample,
            seed: fastrand::u64(..),
        };
        let (reader, metrics, log) = (publisher.reader(), metrics.clone(), log.clone());
        let worker = Worker {
            settings,
            reader,
            metrics,
            log,
            inbox,
        };
        threads.push(worker::spawn(worker).context("worker")?);
    }
    Ok(threads)
}

/// Starts the writer, on this thread.
pub(super) fn start_writer(
    boxes: &Mailboxes,
    publisher: Publisher,
    metrics: &Arc<Metrics>,
    settings: control::Settings,
    cluster: Arc<Cluster>,
) -> (Handle, TaskTracker, CancellationToken) {
    let (handle, inbox) = control::channel();
    let writer = Writer::new(
        settings,
        inbox,
        boxes.commands.clone(),
        publisher,
        metrics.clone(),
        build(cluster),
    );
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn_local(writer.run(stop.clone()));
    (handle, tasks, stop)
}

/// Builds sources: here, since those of Kubernetes stand above the writer that starts them.
fn build(cluster: Arc<Cluster>) -> BuildSource {
    Box::new(move |settings| match settings {
        discovery::Settings::List(addresses) => Box::new(Fixed::new(addresses)),
        discovery::Settings::File { path, port } => Box::new(File::new(path.clone(), port.clone())),
        discovery::Settings::Kubernetes(service) => cluster.source(service),
    })
}

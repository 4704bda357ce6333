//! The loop: everything that happens to services and endpoints, one thing after the other.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handle::{Handle, Request};
use super::keep::Keeper;
use super::registry::{Services, Uids};
use super::reload::Reload;
use super::view::{Event, State};
use super::waiters::Waiter;
use super::{Command, Confirm, Confirmation, Order, Settings};
use crate::discovery::{News, Source};
use crate::drain::{Plan, Report};
use crate::endpoint::{Edges, EndpointId, EndpointKey, ServiceName};
use crate::health::Verdict;
use crate::snapshot::{Publisher, ServiceSnapshot};
use crate::telemetry::{Gone, Metrics};

/// Builds the source that is configured for a service.
pub type BuildSource = Box<dyn Fn(&crate::discovery::Settings) -> Box<dyn Source>>;

/// What the writer hears.
#[derive(Debug)]
pub struct Inbox {
    requests: mpsc::Receiver<Request>,
    events: broadcast::Sender<Arc<Event>>,
}

/// Requests and events that may wait; more wait at their sender, or are lost by a slow listener.
const REQUESTS_MAX: usize = 256;
const EVENTS_MAX: usize = 16_384;
const NEWS_MAX: usize = 256;
const VERDICTS_MAX: usize = 256;

/// A handle, and the inbox of the writer it leads to.
#[must_use]
pub fn channel() -> (Handle, Inbox) {
    let (send, requests) = mpsc::channel(REQUESTS_MAX);
    let (events, _) = broadcast::channel(EVENTS_MAX);
    (
        Handle {
            requests: send,
            events: events.clone(),
            elder: None,
            relays: false,
        },
        Inbox { requests, events },
    )
}

/// The one writer (law 9).
pub struct Writer {
    pub(super) settings: Settings,
    pub(super) keeper: Keeper,
    pub(super) services: Services,
    /// Where each life that is not gone belongs.
    pub(super) lives: HashMap<EndpointId, (ServiceName, EndpointKey)>,
    pub(super) plan: Plan,
    pub(super) reports: VecDeque<Arc<Report>>,
    /// Where the reports of drains go that end once another process has taken over.
    pub(super) heir: Option<mpsc::UnboundedSender<Arc<Report>>>,
    pub(super) waiters: Vec<Waiter>,
    /// Pods that other replicas drain and that have not been seen here yet (P15).
    pub(super) expected: Uids,
    /// Services with endpoints that a list may only have missed (P9).
    pub(super) suspected: BTreeSet<ServiceName>,
    /// When pods are as good as dead, the earliest first.
    pub(super) pod_deadlines: BTreeSet<(Instant, ServiceName, EndpointKey)>,
    pub(super) publisher: Publisher,
    pub(super) metrics: Arc<Metrics>,
    /// What has gone and may still have series: finding them is no work for this thread (P2).
    pub(super) gone: Gone,
    pub(super) build: BuildSource,
    pub(super) news: mpsc::Sender<News>,
    pub(super) sources: TaskTracker,
    pub(super) verdicts: mpsc::Sender<Verdict>,
    pub(super) reload: Option<Reload>,
    pub(super) workers: Vec<mpsc::Sender<Command>>,
    pub(super) generations: u64,
    pub(super) edges: Edges,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    batches: HashMap<u64, Vec<EndpointId>>,
    next_batch: u64,
    confirmed: mpsc::UnboundedSender<u64>,
    outbox: Vec<Outgoing>,
    /// State changes that are told once the gates are closed: telling takes time (P2).
    pub(super) untold: Vec<(ServiceName, EndpointKey, Option<State>)>,
    /// Lives that were kept open to their sessions and are not any more.
    pub(super) shutting: Vec<EndpointId>,
    /// New lives that are told once the drains of the ones before them have been: whoever listens hears one order for one id.
    pub(super) held: Vec<(ServiceName, EndpointKey)>,
    /// Snapshots that have been replaced: dropped once gates are closed and workers told, since that takes time, too (P2).
    pub(super) spent: Vec<Arc<ServiceSnapshot>>,
    /// When the gates of the last update were closed.
    pub(super) closed_at: Instant,
    hears: Hears,
}

/// Everything the loop waits for.
struct Hears {
    requests: mpsc::Receiver<Request>,
    news: mpsc::Receiver<News>,
    verdicts: mpsc::Receiver<Verdict>,
    edges: mpsc::UnboundedReceiver<EndpointId>,
    confirmed: mpsc::UnboundedReceiver<u64>,
}

/// A command on its way to every worker.
enum Outgoing {
    Drain(Arc<[Order]>, Confirm),
    Window(Order),
    Cut(Arc<[EndpointId]>),
}

impl Writer {
    /// A writer that knows no service yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        inbox: Inbox,
        workers: Vec<mpsc::Sender<Command>>,
        publisher: Publisher,
        metrics: Arc<Metrics>,
        build: BuildSource,
    ) -> Self {
        let (news, hear_news) = mpsc::channel(NEWS_MAX);
        let (verdicts, hear_verdicts) = mpsc::channel(VERDICTS_MAX);
        let (edges, hear_edges) = mpsc::unbounded_channel();
        let (confirmed, hear_confirmed) = mpsc::unbounded_channel();
        Self {
            keeper: Keeper::open(settings.state_dir.as_deref(), settings.inherited.as_ref()),
            settings,
            services: Services::new(),
            lives: HashMap::new(),
            plan: Plan::default(),
            reports: VecDeque::new(),
            heir: None,
            waiters: Vec::new(),
            expected: Uids::default(),
            suspected: BTreeSet::new(),
            pod_deadlines: BTreeSet::new(),
            publisher,
            metrics,
            gone: Gone::default(),
            build,
            news,
            sources: TaskTracker::new(),
            verdicts,
            reload: None,
            workers,
            generations: 0,
            edges,
            events: inbox.events,
            batches: HashMap::new(),
            next_batch: 0,
            confirmed,
            outbox: Vec::new(),
            untold: Vec::new(),
            held: Vec::new(),
            shutting: Vec::new(),
            spent: Vec::new(),
            closed_at: Instant::now(),
            hears: Hears {
                requests: inbox.requests,
                news: hear_news,
                verdicts: hear_verdicts,
                edges: hear_edges,
                confirmed: hear_confirmed,
            },
        }
    }

    /// Runs until told to stop; then its sources are stopped, too.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut verdicts = Vec::new();
        loop {
            let wake = self.next_wake();
            let is_quiet = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(life) = self.hears.edges.recv() => { self.drained(life); false }
                Some(batch) = self.hears.confirmed.recv() => { self.confirmed(batch); false }
                Some(request) = self.hears.requests.recv() => { self.request(request); false }
                Some(news) = self.hears.news.recv() => { self.heard(news); false }
                // Many may fail at once, and that is one update.
                _ = self.hears.verdicts.recv_many(&mut verdicts, VERDICTS_MAX) => {
                    self.judged(std::mem::take(&mut verdicts));
                    false
                }
                () = sleep_until(wake) => { self.timer(Instant::now()); false }
                // Last, and after everybody else on this thread: who is in a hurry waits for one slice at the most (P2).
                () = tokio::task::yield_now(), if self.reloads() => true,
            };
            self.settle_waiters(Instant::now());
            self.send_outbox().await;
            self.go_on_with_reload(is_quiet);
            self.send_outbox().await;
            self.spent.clear();
        }
        for record in self.services.values_mut() {
            record.source.stop.cancel();
            record.stop_checks();
        }
        self.sources.close();
        self.sources.wait().await;
    }

    fn reloads(&self) -> bool {
        self.reload.as_ref().is_some_and(Reload::is_under_way)
    }

    fn next_wake(&self) -> Option<Instant> {
        let waiting = self.waiters.iter().filter_map(|waiter| waiter.until).min();
        let reload = self.reload.as_ref().and_then(Reload::until);
        let services = (self.suspected.iter()).filter_map(|name| self.services.get(name));
        let suspects = services.filter_map(|record| record.suspects.until()).min();
        let pods = self.pod_deadlines.first().map(|(at, ..)| *at);
        [self.plan.next(), waiting, reload, suspects, pods]
            .into_iter()
            .flatten()
            .min()
    }

    fn timer(&mut self, now: Instant) {
        self.suspects_due(now);
        self.pods_due(now);
        let due = self.plan.due(now);
        if due.is_empty() {
            return;
        }
        for life in &due {
            if let Some((service, key)) = self.lives.get(life)
                && let Some(entry) = self
                    .services
                    .get(service)
                    .and_then(|record| record.entries.get(key))
                && let Some(record) = entry
                    .lives()
                    .find(|record| record.life.endpoint().id() == *life)
            {
                let in_flight = record.life.endpoint().in_flight();
                tracing::warn!(%service, endpoint = %key, in_flight, "drain deadline: cutting what is in flight");
            }
        }
        // Open to their sessions until now: first nothing starts any more, then what is in flight is ended.
        let orders: Vec<_> = due.iter().filter_map(|life| self.shut(*life)).collect();
        let services: BTreeSet<_> = orders
            .iter()
            .filter_map(|order| self.lives.get(&order.endpoint))
            .map(|(service, _)| service.clone())
            .collect();
        for service in &services {
            self.publish(service);
        }
        self.tell_workers(orders);
        self.outbox.push(Outgoing::Cut(due.into()));
    }

    /// Has every worker carry out drains, and confirm.
    pub(super) fn tell_workers(&mut self, orders: Vec<Order>) {
        if orders.is_empty() {
            return;
        }
        let batch = self.next_batch;
        self.next_batch += 1;
        self.batches
            .insert(batch, orders.iter().map(|order| order.endpoint).collect());
        let confirm = Confirm {
            _shared: Arc::new(Confirmation {
                batch,
                told: self.confirmed.clone(),
            }),
        };
        self.outbox.push(Outgoing::Drain(orders.into(), confirm));
    }

    /// Every worker has confirmed: P1 holds, and is told.
    fn confirmed(&mut self, batch: u64) {
        for life in self.batches.remove(&batch).unwrap_or_default() {
            self.announce_drain(life);
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        self.outbox.push(Outgoing::Window(order));
    }

    async fn send_outbox(&mut self) {
        for outgoing in std::mem::take(&mut self.outbox) {
            for worker in &self.workers {
                let command = match &outgoing {
                    Outgoing::Drain(orders, confirm) => Command::Drain {
                        orders: orders.clone(),
                        confirm: confirm.clone(),
                    },
                    Outgoing::Window(order) => Command::Window(*order),
                    Outgoing::Cut(lives) => Command::Cut(lives.clone()),
                };
                // A worker that is gone has nothing in flight.
                let _ = worker.send(command).await;
            }
        }
    }

    pub(super) fn next_generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

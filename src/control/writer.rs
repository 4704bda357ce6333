//! The loop: everything that happens to services and endpoints, one thing after the other.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::drains::Waiter;
use super::handle::{Handle, Request};
use super::keep::Keeper;
use super::reconcile::{Standing, Step, Want, judged, step};
use super::registry::{Entry, LifeRecord, Record, Services, Uids};
use super::reload::Reload;
use super::view::{Event, EventKind, Reason, State};
use super::{Command, Confirm, Confirmation, Order, Settings};
use crate::discovery::{News, Source};
use crate::drain::{Plan, Report};
use crate::endpoint::{About, Edges, EndpointId, EndpointKey, Life, ServiceName};
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
    edges: Edges,
    events: broadcast::Sender<Arc<Event>>,
    batches: HashMap<u64, Vec<EndpointId>>,
    next_batch: u64,
    confirmed: mpsc::UnboundedSender<u64>,
    outbox: Vec<Outgoing>,
    /// State changes that are told once the gates are closed: telling takes time (P2).
    untold: Vec<(ServiceName, EndpointKey, Option<State>)>,
    /// Lives that were kept open to their sessions and are not any more.
    shutting: Vec<EndpointId>,
    /// New lives that are told once the drains of the ones before them have been: whoever listens hears one order for one id.
    held: Vec<(ServiceName, EndpointKey)>,
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

    /// Brings endpoints of one service to what is wanted of them: admit, publish, drain.
    ///
    /// `lifted`: an operator has put this endpoint back, so its old life has no deadline any more.
    pub(super) fn apply(
        &mut self,
        service: &ServiceName,
        mut dirty: Vec<EndpointKey>,
        lifted: Option<&EndpointKey>,
    ) {
        let now = Now::new();
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let (was_ready, was_spared) = (record.ready > 0, record.spares_failing());
        for key in &dirty {
            refresh(record, key, now.wall);
        }
        let anyone_ready = record.ready > 0;
        if anyone_ready != was_ready {
            let leaving = record
                .entries
                .iter()
                .filter(|(_, entry)| matches!(entry.want, Want::Leave { .. }));
            dirty.extend(leaving.map(|(key, _)| key.clone()));
        }
        if record.spares_failing() != was_spared {
            dirty.extend(record.failing());
            if !was_spared {
                warn!(%service, "every endpoint fails its health check: all are used as if none did");
            }
        }
        let mut closing = Vec::new();
        let mut publish = false;
        for key in &dirty {
            self.admit(service, key, anyone_ready, &now, &mut closing);
            let record = self.services.get_mut(service);
            publish |= record.is_some_and(|record| record.enroll(key));
        }
        if publish {
            self.publish(service);
        }
        let shutting = std::mem::take(&mut self.shutting);
        let shut: Vec<_> = shutting
            .into_iter()
            .filter_map(|life| self.shut(life))
            .collect();
        self.tell_workers(shut);
        self.close(service, closing, lifted, &now);
        self.closed_at = Instant::now();
        self.check(service, &dirty);
        for (service, key, from) in std::mem::take(&mut self.untold) {
            self.tell_in_order(service, key, from);
        }
        for key in &dirty {
            self.sweep(service, key);
        }
    }

    /// The admitting half of a step.
    fn admit(
        &mut self,
        service: &ServiceName,
        key: &EndpointKey,
        anyone_ready: bool,
        now: &Now,
        closing: &mut Vec<(EndpointKey, EndpointId)>,
    ) {
        let Some(record) = self.services.get_mut(service) else {
            return;
        };
        let first_set = record.source.fresh.is_none();
        let keeps = record
            .entries
            .get(key)
            .is_some_and(|entry| record.keeps(entry));
        let is_spared = record.spares_failing();
        let Some(entry) = record.entries.get_mut(key) else {
            return;
        };
        let is_failing = entry.is_failing();
        let standing = entry.newest.as_ref().map(|newest| newest.standing);
        let want = judged(entry.want, is_failing, is_spared);
        let mut step = step(want, standing, anyone_ready);
        if moved(entry) && !matches!(step, Step::Close) && standing != Some(Standing::Closed) {
            // The same identity at another address: nothing of the old life's connections fits the new one.
            step = Step::Begin(match step {
                Step::Begin(next) | Step::Move(next) => next,
                Step::Keep | Step::Close => standing.unwrap_or(Standing::NotReady),
            });
        }
        let weight = entry.listed.as_ref().map(|listed| listed.weight);
        match step {
            Step::Keep => {
                let Some(newest) = entry.newest.as_mut() else {
                    return;
                };
                newest.weight = weight.unwrap_or(newest.weight);
                if newest.kept && !keeps {
                    self.shutting.push(newest.life.endpoint().id());
                }
            }
            Step::Close => {
                let Some(newest) = entry.newest.as_mut() else {
                    return;
                };
                newest.left = Some(newest.state());
                newest.standing = Standing::Closed;
                newest.kept = keeps;
                closing.push((key.clone(), newest.life.endpoint().id()));
            }
            Step::Move(standing) => {
                let Some(newest) = entry.newest.as_mut() else {
                    return;
                };
                let from = newest.state();
                newest.standing = standing;
                newest.weight = weight.unwrap_or(newest.weight);
                newest.ready_since = (standing == Standing::Ready).then_some(now.mono);
                if standing == Standing::Fallback {
                    entry.begin_fallback(now.wall);
                }
                self.untold.push((service.clone(), key.clone(), Some(from)));
            }
            Step::Begin(standing) => {
                if let Some(mut old) = entry.newest.take() {
                    if old.standing != Standing::Closed {
                        old.left = Some(old.state());
                        old.standing = Standing::Closed;
                        closing.push((key.clone(), old.life.endpoint().id()));
                    } else if old.kept {
                        // Its sessions go to the new life.
                        self.shutting.push(old.life.endpoint().id());
                    }
                    entry.older.push(old);
                }
                let Some(listed) = entry.listed.clone() else {
                    return;
                };
                let about = About {
                    service: service.clone(),
                    key: key.clone(),
                    address: listed.address,
                    pod: listed.pod.clone(),
                    zone: listed.zone.clone(),
                };
                let life = Life::begin(about, self.edges.clone());
                let id = life.endpoint().id();
                self.lives.insert(id, (service.clone(), key.clone()));
                entry.newest = Some(LifeRecord {
                    life,
                    standing,
                    weight: listed.weight,
                    ready_since: (standing == Standing::Ready && !first_set).then_some(now.mono),
                    drain: None,
                    left: None,
                    kept: false,
                    check: None,
                });
                if standing == Standing::Closed {
                    closing.push((key.clone(), id));
                    return;
                }
                if standing == Standing::Fallback {
                    entry.begin_fallback(now.wall);
                }
                self.untold.push((service.clone(), key.clone(), None));
            }
        }
    }

    /// Swaps the pointer that workers choose by.
    pub(super) fn publish(&mut self, service: &ServiceName) {
        if let Some(record) = self.services.get(service) {
            let settings = record.service.settings();
            self.spent
                .push(record.service.publish(settings, &record.tiers));
            record.service.waiting().ring_all();
        }
    }

    /// Closes gates, notes deadlines, and tells the workers.
    fn close(
        &mut self,
        service: &ServiceName,
        closing: Vec<(EndpointKey, EndpointId)>,
        lifted: Option<&EndpointKey>,
        now: &Now,
    ) {
        let mut orders = Vec::with_capacity(closing.len());
        for (key, life) in closing {
            orders.extend(self.begin_drain(service, &key, life, lifted == Some(&key), now));
        }
        self.tell_workers(orders);
    }

    /// Has every worker carry out drains, and confirm.
    fn tell_workers(&mut self, orders: Vec<Order>) {
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

    pub(super) fn tell(&self, kind: EventKind) {
        // An error only means that nobody listens.
        let _ = self.events.send(Arc::new(Event {
            time: SystemTime::now(),
            kind,
        }));
    }

    /// Tells a change, unless the drain of an earlier life of the same id is still to be told.
    fn tell_in_order(&mut self, service: ServiceName, key: EndpointKey, from: Option<State>) {
        let is_held = self
            .held
            .iter()
            .any(|held| *held == (service.clone(), key.clone()));
        if is_held {
            // What holds then is told with it.
            return;
        }
        if self.has_untold_drain(&service, &key) {
            self.held.push((service, key));
        } else {
            self.tell_state(&service, &key, from);
        }
    }

    /// A drain of this id has been told: what was held back for it follows.
    pub(super) fn tell_held(&mut self, service: &ServiceName, key: &EndpointKey) {
        let held = self
            .held
            .iter()
            .position(|(of, held)| of == service && held == key);
        if let Some(place) = held
            && !self.has_untold_drain(service, key)
        {
            self.held.swap_remove(place);
            self.tell_state(service, key, None);
        }
    }

    /// Whether a gate of an earlier life is closed and not every worker has confirmed.
    fn has_untold_drain(&self, service: &ServiceName, key: &EndpointKey) -> bool {
        let entry = self
            .services
            .get(service)
            .and_then(|record| record.entries.get(key));
        entry.is_some_and(|entry| {
            let mut drains = entry.older.iter().filter_map(|life| life.drain.as_ref());
            drains.any(|drain| drain.closed.is_some() && !drain.confirmed)
        })
    }

    /// Tells the state of an endpoint's newest life, and logs it.
    pub(super) fn tell_state(&self, service: &ServiceName, key: &EndpointKey, from: Option<State>) {
        let newest = self
            .services
            .get(service)
            .and_then(|record| record.entries.get(key))
            .and_then(|e| e.newest.as_ref());
        if let Some(newest) = newest {
            self.tell_change(service, key, from, newest.state(), newest.reason());
        }
    }

    pub(super) fn tell_change(
        &self,
        service: &ServiceName,
        key: &EndpointKey,
        from: Option<State>,
        to: State,
        reason: Option<Reason>,
    ) {
        let why = reason.map_or("", Reason::as_str);
        info!(%service, endpoint = %key, from = from.map_or("", State::as_str), to = to.as_str(), reason = why, "endpoint");
        self.tell(EventKind::State {
            service: service.clone(),
            key: key.clone(),
            from,
            to,
            reason,
        });
    }
}

/// The moment something happens, on both clocks.
pub(super) struct Now {
    pub(super) mono: Instant,
    pub(super) wall: SystemTime,
}

impl Now {
    pub(super) fn new() -> Self {
        Self {
            mono: Instant::now(),
            wall: SystemTime::now(),
        }
    }
}

/// Brings what is wanted of an entry up to date, and the count of those that are ready.
fn refresh(record: &mut Record, key: &EndpointKey, now: SystemTime) {
    let Some(entry) = record.entries.get(key) else {
        return;
    };
    let want = record.want(entry);
    let causes = record.causes(entry);
    let counts = |want: Want, entry: &Entry| {
        usize::from(
            want == Want::Ready
                && entry
                    .listed
                    .as_ref()
                    .is_some_and(|listed| listed.weight > 0),
        )
    };
    let Some(entry) = record.entries.get_mut(key) else {
        return;
    };
    record.ready -= usize::from(entry.counted);
    record.sound -= usize::from(entry.sound);
    entry.want = want;
    entry.counted = counts(want, entry) == 1;
    entry.sound = entry.counted && !entry.is_failing();
    record.ready += usize::from(entry.counted);
    record.sound += usize::from(entry.sound);
    entry.note(&causes, now);
}

/// Whether the source now has another address for the newest life.
pub(super) fn moved(entry: &Entry) -> bool {
    match (&entry.newest, &entry.listed) {
        (Some(newest), Some(listed)) => newest.life.endpoint().about().address != listed.address,
        _ => false,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

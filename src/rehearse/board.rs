//! What all parts of a rehearsal share: the counts, and what is known of each endpoint.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::ledger::Ledger;
use super::report::DrainRecord;
use super::tally::Tally;
use super::upstream::{Face, Mark};

/// The shared state. Its locks are held for a few instructions each, never across an await; whoever needs both takes the
/// tally before the drains.
#[derive(Debug)]
pub(super) struct Board {
    /// Which unrepeatable requests arrived.
    pub(super) ledger: Arc<Ledger>,
    /// What the proxy said of each endpoint.
    pub(super) sights: watch::Sender<BTreeMap<String, Sight>>,
    /// When the load began.
    pub(super) began: Mutex<Option<Instant>>,
    numbers: AtomicU64,
    in_flight: AtomicU64,
    draining: AtomicBool,
    tally: Mutex<Tally>,
    drains: Mutex<Drains>,
    faces: Mutex<Vec<Arc<Face>>>,
}

/// When the proxy first said what of an endpoint. A life only moves forward, so the last of them is its state.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    /// In rotation.
    pub(super) ready: Option<Mark>,
    /// On its way out, and nothing new will start there.
    pub(super) draining: Option<Mark>,
    /// Nothing is in flight.
    pub(super) drained: Option<Mark>,
    /// How its drain ended.
    pub(super) outcome: Option<String>,
}

impl Sight {
    /// The furthest word.
    pub(super) const fn state(&self) -> &'static str {
        match self {
            Self {
                drained: Some(_), ..
            } => "drained",
            Self {
                draining: Some(_), ..
            } => "draining",
            Self { ready: Some(_), .. } => "ready",
            _ => "starting",
        }
    }
}

/// The drains that are over.
#[derive(Debug, Default)]
pub(super) struct Drains {
    /// The last ones, the newest last.
    pub(super) last: VecDeque<DrainRecord>,
    /// How many there were in all.
    pub(super) count: u64,
    /// Requests that arrived at an endpoint after its drain was acknowledged, over all drains.
    pub(super) late: u64,
    /// What did not go as it should.
    pub(super) problems: Vec<String>,
}

impl Board {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            ledger: Arc::default(),
            sights: watch::Sender::new(BTreeMap::new()),
            began: Mutex::new(None),
            numbers: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            tally: Mutex::default(),
            drains: Mutex::default(),
            faces: Mutex::default(),
        }
    }

    /// The number of the request that is about to be written.
    ///
    /// All of this happens on one thread, so the order of numbers is the order of events and any ordering would do.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// This moment.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            at: Instant::now(),
            number: self.numbers.load(Ordering::Relaxed),
        }
    }

    /// A request is under way until what is returned is dropped.
    pub(super) fn under_way(self: &Arc<Self>) -> UnderWay {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// An endpoint is leaving, or has left.
    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Whether an endpoint is leaving.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The counts.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// The drains.
    pub(super) fn drains(&self) -> MutexGuard<'_, Drains> {
        lock(&self.drains)
    }

    /// The endpoints that there are.
    pub(super) fn faces(&self) -> MutexGuard<'_, Vec<Arc<Face>>> {
        lock(&self.faces)
    }

    /// Something did not go as it should; the verdict will say so.
    pub(super) fn problem(&self, what: String) {
        tracing::debug!(problem = what, "rehearsal");
        let mut drains = self.drains();
        if drains.problems.len() < PROBLEMS_MAX {
            drains.problems.push(what);
        }
    }

    /// A drain is over.
    pub(super) fn drained(&self, record: DrainRecord) {
        let mut drains = self.drains();
        drains.count += 1;
        drains.late += record.late;
        if drains.last.len() == DRAINS_MAX {
            drains.last.pop_front();
        }
        drains.last.push_back(record);
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Board>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that panicked with the lock held leaves counts behind that are still worth reading.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drains that are kept for the report: hours of them.
const DRAINS_MAX: usize = 10_000;
const PROBLEMS_MAX: usize = 20;

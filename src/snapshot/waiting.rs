//! Those who wait for a connection: bounded by the service, not by the worker.
//!
//! A connection that becomes free on one worker cannot serve a request that waits on another: sockets stay with their
//! runtime. So each worker has a bell of its own. Whoever has done with a connection keeps it and rings at home, or frees it
//! for good and rings elsewhere, in proportion to who waits where: a worker that always has somebody waiting must not keep
//! all there are.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Where a service's requests wait.
#[derive(Debug)]
pub struct WaitingRoom {
    total: AtomicU32,
    turns: AtomicU32,
    workers: Box<[Corner]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Corner {
    waiting: AtomicU32,
    rings: AtomicU32,
    bell: Notify,
}

/// A place in the waiting room; dropping it leaves.
#[derive(Debug)]
pub struct Waiting<'r> {
    room: &'r WaitingRoom,
    worker: usize,
    /// The last ring that it has passed on.
    passed: Cell<u32>,
}

impl WaitingRoom {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            total: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            workers: (0..workers).map(|_| Corner::default()).collect(),
        }
    }

    /// Enters, unless `max` wait already.
    #[must_use]
    pub fn enter(&self, worker: usize, max: u32) -> Option<Waiting<'_>> {
        // SeqCst here and in `is_empty`: a waiter announces itself and then looks for a free connection, a releaser frees
        // one and then looks for waiters; one of the two must see the other.
        self.total
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |total| {
                (total < max).then_some(total + 1)
            })
            .ok()?;
        self.workers[worker].waiting.fetch_add(1, Ordering::SeqCst);
        Some(Waiting {
            room: self,
            worker,
            passed: Cell::new(self.workers[worker].rings.load(Ordering::Relaxed)),
        })
    }

    /// Whether nobody waits on any worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total.load(Ordering::SeqCst) == 0
    }

    /// Whether somebody waits on this worker.
    #[must_use]
    pub fn waits_at(&self, worker: usize) -> bool {
        self.workers[worker].waiting.load(Ordering::SeqCst) > 0
    }

    /// Whether somebody waits on another worker.
    #[must_use]
    pub fn waits_elsewhere(&self, worker: usize) -> bool {
        let here = self.workers[worker].waiting.load(Ordering::SeqCst);
        self.total.load(Ordering::SeqCst) > here
    }

    /// Whether a connection that this worker has done with stays here: nobody waits elsewhere, or it is this worker's turn.
    #[must_use]
    pub fn stays(&self, worker: usize) -> bool {
        if !self.waits_elsewhere(worker) {
            return true;
        }
        let here = self.workers[worker].waiting.load(Ordering::SeqCst);
        let total = self.total.load(Ordering::SeqCst).max(1);
        // Relaxed: any order of turns will do.
        self.turns.fetch_add(1, Ordering::Relaxed) % total < here
    }

    /// Wakes one who waits on this worker.
    pub fn ring(&self, worker: usize) {
        let corner = &self.workers[worker];
        // Relaxed: only told from one another; the bell orders what it is rung for.
        corner.rings.fetch_add(1, Ordering::Relaxed);
        corner.bell.notify_one();
    }

    /// Wakes one who waits on any worker, this one last.
    pub fn ring_elsewhere(&self, worker: usize) {
        let others = (0..self.workers.len()).filter(|other| *other != worker);
        if let Some(worker) = others.chain([worker]).find(|worker| self.waits_at(*worker)) {
            self.ring(worker);
        }
    }

    /// Wakes everyone: the endpoints have changed.
    pub fn ring_all(&self) {
        for corner in &self.workers {
            corner.bell.notify_waiters();
        }
    }
}

impl Waiting<'_> {
    /// Until somebody rings. May end without a reason; the caller looks again.
    pub fn rung(&self) -> Notified<'_> {
        self.room.workers[self.worker].bell.notified()
    }

    /// Wakes another one on this worker, who may have use for what this one was woken for. Once for each ring, so that two of
    /// them do not wake each other for ever.
    pub fn pass_on(&self) {
        let corner = &self.room.workers[self.worker];
        let rings = corner.rings.load(Ordering::Relaxed);
        if self.passed.replace(rings) != rings {
            corner.bell.notify_one();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.room.workers[self.worker]
            .waiting
            .fetch_sub(1, Ordering::SeqCst);
        self.room.total.fetch_sub(1, Ordering::SeqCst);
    }
}

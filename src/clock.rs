//! A worker's coarse clock: one timer for all its time limits.
//!
//! A timer of the runtime costs up to a microsecond on every request, and nearly all of them are for nothing. So every
//! task that has a time limit keeps it in a cell, setting it costs a store, and one loop looks every [`TICK`] whether the
//! earliest of them has come. Limits of seconds are so kept to a twentieth of one; deadlines of drains, which are promised
//! to a quarter of a second, are kept by the writer's own timers.
//!
//! It also tells the time: whoever is woken asks the kernel once ([`Clock::turn`]), and everything that follows from that
//! wake-up reads the same [`Clock::now`]. Who forgets to ask is late by a tick at the most.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// How coarse the clock is.
pub const TICK: Duration = Duration::from_millis(50);

/// All time limits of a worker.
#[derive(Debug)]
pub struct Clock {
    tasks: RefCell<Vec<Weak<Task>>>,
    /// Not later than the earliest limit.
    next: Cell<Instant>,
    now: Cell<Instant>,
}

/// A task that has a time limit and can be woken for other reasons, too: a request, or a connection.
#[derive(Debug)]
pub struct Task {
    clock: Weak<Clock>,
    index: Cell<usize>,
    limit: Cell<Option<Instant>>,
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Clock {
    /// A clock without limits.
    #[must_use]
    pub fn new() -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            tasks: RefCell::default(),
            next: Cell::new(now + FAR),
            now: Cell::new(now),
        })
    }

    /// The time of the last wake-up, or of the last tick if that was later.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// A wake-up begins: from here on it is now.
    pub fn turn(&self) {
        self.now.set(Instant::now());
    }

    /// A task without a limit.
    #[must_use]
    pub fn task(self: &Rc<Self>) -> Rc<Task> {
        let mut tasks = self.tasks.borrow_mut();
        let task = Rc::new(Task {
            clock: Rc::downgrade(self),
            index: Cell::new(tasks.len()),
            limit: Cell::new(None),
            expired: Cell::new(false),
            waker: RefCell::new(None),
        });
        tasks.push(Rc::downgrade(&task));
        task
    }

    /// Wakes tasks whose limit has come, for as long as it is polled.
    pub async fn run(self: Rc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            self.turn();
            self.tick(self.now());
        }
    }

    fn tick(&self, now: Instant) {
        if now < self.next.get() {
            return;
        }
        let mut next = now + FAR;
        let mut late = Vec::new();
        for task in self.tasks.borrow().iter().filter_map(Weak::upgrade) {
            match task.limit.get() {
                Some(limit) if limit <= now => late.push(task),
                Some(limit) => next = next.min(limit),
                None => {}
            }
        }
        self.next.set(next);
        // Outside the borrow: a waker may run anything.
        for task in late {
            task.limit.set(None);
            task.expired.set(true);
            task.wake();
        }
    }
}

/// Later than any limit that matters; an idle clock looks this often.
const FAR: Duration = Duration::from_secs(3600);

impl Task {
    /// Sets the limit, in place of the one before; none takes it away.
    pub fn limit(&self, at: Option<Instant>) {
        self.expired.set(false);
        self.limit.set(at);
        if let (Some(at), Some(clock)) = (at, self.clock.upgrade())
            && at < clock.next.get()
        {
            clock.next.set(at);
        }
    }

    /// Its clock's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        let clock = self.clock.upgrade();
        clock.map_or_else(Instant::now, |clock| clock.now())
    }

    /// Whether the limit has come.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.expired.get()
    }

    /// Whoever polls this task now is to be woken.
    pub fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) if known.will_wake(waker) => {}
            known => *known = Some(waker.clone()),
        }
    }

    /// Wakes whoever polled last.
    pub fn wake(&self) {
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(clock) = self.clock.upgrade() else {
            return;
        };
        let mut tasks = clock.tasks.borrow_mut();
        let index = self.index.get();
        tasks.swap_remove(index);
        if let Some(moved) = tasks.get(index).and_then(Weak::upgrade) {
            moved.index.set(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wakes_late_tasks_only() {
        let clock = Clock::new();
        let start = Instant::now();
        let (early, late) = (clock.task(), clock.task());
        early.limit(Some(start + Duration::from_secs(1)));
        late.limit(Some(start + Duration::from_secs(60)));
        clock.tick(start + Duration::from_millis(999));
        assert!(!early.is_expired());
        clock.tick(start + Duration::from_secs(1));
        assert!(early.is_expired() && !late.is_expired());
        early.limit(Some(start + Duration::from_secs(2)));
        assert!(!early.is_expired());
        clock.tick(start + Duration::from_secs(2));
        assert!(early.is_expired());
    }

    #[tokio::test(start_paused = true)]
    async fn tells_the_time_of_the_last_wake_up() {
        let clock = Clock::new();
        let task = clock.task();
        let start = clock.now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((clock.now(), task.now()), (start, start));
        clock.turn();
        assert_eq!(clock.now(), start + Duration::from_secs(1));
        assert_eq!(task.now(), clock.now());
    }

    #[test]
    fn forgets_tasks_that_are_gone() {
        let clock = Clock::new();
        let tasks: Vec<_> = (0..10).map(|_| clock.task()).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            drop(task);
            assert_eq!(clock.tasks.borrow().len(), 9 - n);
        }
    }
}

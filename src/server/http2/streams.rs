//! The open streams of a connection, so that its end reaches them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::time::Instant;

use crate::clock::Task;
use crate::server::connection::Connection;
use crate::server::crowd::Counted;
use crate::server::listener::Entry;

/// The open streams.
#[derive(Debug)]
pub(in crate::server) struct Streams {
    open: RefCell<Vec<Rc<Open>>>,
    idle_since: Cell<Instant>,
}

#[derive(Debug)]
struct Open {
    task: Rc<Task>,
    index: Cell<usize>,
}

/// A stream's place among them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) entry: Rc<Entry>,
    pub(super) connection: Rc<Connection>,
    open: Rc<Open>,
    _counted: Option<Counted>,
}

impl Streams {
    pub(in crate::server) fn new(now: Instant) -> Self {
        Self {
            open: RefCell::default(),
            idle_since: Cell::new(now),
        }
    }

    /// Has all of them look what they are to do.
    pub(in crate::server) fn wake(&self) {
        let tasks: Vec<_> = self
            .open
            .borrow()
            .iter()
            .map(|open| open.task.clone())
            .collect();
        tasks.iter().for_each(|task| task.wake());
    }

    /// It was not idle until now.
    pub(super) fn idle_since(&self, now: Instant) {
        self.idle_since.set(now);
    }

    /// Since when none is open; a time in the past while one is.
    pub(super) fn since(&self) -> Instant {
        self.idle_since.get()
    }
}

impl Place {
    /// None when the client has as many as it may have.
    pub(super) fn take(entry: &Rc<Entry>, connection: &Rc<Connection>) -> Option<Self> {
        let counted = entry.count_stream(connection.downstream.client).ok()?;
        let mut open = connection.streams.open.borrow_mut();
        let own = Rc::new(Open {
            task: entry.proxy.clock().task(),
            index: Cell::new(open.len()),
        });
        open.push(own.clone());
        Some(Self {
            entry: entry.clone(),
            connection: connection.clone(),
            open: own,
            _counted: counted,
        })
    }

    /// What works on the stream.
    pub(super) fn task(&self) -> &Rc<Task> {
        &self.open.task
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        let mut open = streams.open.borrow_mut();
        let index = self.open.index.get();
        open.swap_remove(index);
        if let Some(moved) = open.get(index) {
            moved.index.set(index);
        } else if open.is_empty() {
            streams.idle_since(Instant::now());
        }
    }
}

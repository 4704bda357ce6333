//! How many connections a listener has, and each of its clients, over all workers, so that one cannot take them all.
//!
//! Clients are counted in a fixed number of cells by a keyed hash of the address: no lock, no map that an attacker fills. Two clients
//! may share a cell and are then counted together; with ten thousand clients one in seven does, and it matters only to
//! those that come near the limit. An IPv6 client is its /64: it can have every address in it.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Limits;

/// The connections of all clients of a listener.
#[derive(Debug)]
pub struct Crowd {
    /// Open connections of all clients.
    open: AtomicU32,
    open_max: u32,
    /// Empty without a limit for each.
    cells: Box<[AtomicU32]>,
    hasher: RandomState,
    max: u32,
}

/// A connection that is counted. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Counted {
    crowd: Arc<Crowd>,
    cell: usize,
}

const CELLS: usize = 64 * 1024;

impl Crowd {
    /// Nobody, yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let max = limits.connections_per_client;
        let cells = if max == 0 { 0 } else { CELLS };
        Arc::new(Self {
            open: AtomicU32::new(0),
            open_max: limits.connections,
            cells: (0..cells).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::new(),
            max,
        })
    }

    /// One more connection. False when there are as many as may be.
    pub(super) fn open(&self) -> bool {
        // Relaxed here and below: only the count matters, and read-modify-writes of one word are totally ordered.
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before >= self.open_max {
            self.close();
        }
        before < self.open_max
    }

    /// One less.
    pub(super) fn close(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// One more connection of a client. `Err` when it has as many as it may have.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Option<Counted>, ()> {
        if self.cells.is_empty() {
            return Ok(None);
        }
        let cell = self.hasher.hash_one(prefix(client)) as usize % self.cells.len();
        let entered = self.cells[cell].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < self.max).then_some(open + 1)
        });
        match entered {
            Ok(_) => Ok(Some(Counted {
                crowd: self.clone(),
                cell,
            })),
            Err(_) => Err(()),
        }
    }
}

/// What a client is known by.
fn prefix(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.crowd.cells[self.cell].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_each_client_and_no_other() {
        let each = |max| Limits {
            connections_per_client: max,
            ..Limits::default()
        };
        let crowd = Crowd::new(&each(2));
        let client = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = crowd.enter(client("2001:db8::1")).unwrap();
        let second = crowd.enter(client("2001:db8::2")).unwrap();
        assert!(crowd.enter(client("2001:db8::3")).is_err(), "one /64");
        drop(first);
        assert!(crowd.enter(client("2001:db8::3")).is_ok());
        drop(second);
        assert!(crowd.open(), "those of one client count for nobody else");
        assert!(Crowd::new(&each(0)).enter(client("::1")).unwrap().is_none());
    }
}

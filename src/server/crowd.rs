//! How many connections a listener has, and how many connections and streams each of its clients, over all workers, so that one
//! cannot take them all; and how many all listeners have together, so that descriptors are left for everything else.
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
    room: Arc<Room>,
    connections: Arc<Each>,
    streams: Arc<Each>,
}

/// What each client has of something.
#[derive(Debug)]
struct Each {
    /// Empty without a limit for each.
    cells: Box<[AtomicU32]>,
    hasher: RandomState,
    max: u32,
}

/// How many connections all listeners may have together.
#[derive(Debug)]
pub struct Room {
    open: AtomicU32,
    max: u32,
}

impl Room {
    /// For so many.
    #[must_use]
    pub fn for_connections(max: u32) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU32::new(0),
            max,
        })
    }

    fn enter(&self) -> bool {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before >= self.max {
            self.leave();
        }
        before < self.max
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something that is counted as its client's. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Counted {
    each: Arc<Each>,
    cell: usize,
}

const CELLS: usize = 64 * 1024;

impl Crowd {
    /// Nobody, yet.
    #[must_use]
    pub fn new(limits: &Limits, room: Arc<Room>) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU32::new(0),
            open_max: limits.connections,
            room,
            connections: Each::up_to(limits.connections_per_client),
            streams: Each::up_to(limits.streams_per_client),
        })
    }

    /// One more connection. False when there are as many as may be.
    pub(super) fn open(&self) -> bool {
        // Relaxed here and below: only the count matters, and read-modify-writes of one word are totally ordered.
        if self.open.fetch_add(1, Ordering::Relaxed) < self.open_max && self.room.enter() {
            return true;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// One less.
    pub(super) fn close(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.room.leave();
    }

    /// One more connection of a client. `Err` when it has as many as it may have.
    pub(super) fn enter(&self, client: IpAddr) -> Result<Option<Counted>, ()> {
        self.connections.enter(client)
    }

    /// One more stream of a client. `Err` when it has as many as it may have.
    pub(super) fn enter_stream(&self, client: IpAddr) -> Result<Option<Counted>, ()> {
        self.streams.enter(client)
    }
}

impl Each {
    /// So many of each client; 0 bounds nothing.
    fn up_to(max: u32) -> Arc<Self> {
        let cells = if max == 0 { 0 } else { CELLS };
        Arc::new(Self {
            cells: (0..cells).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::new(),
            max,
        })
    }

    fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Option<Counted>, ()> {
        if self.cells.is_empty() {
            return Ok(None);
        }
        let cell = self.hasher.hash_one(prefix(client)) as usize % self.cells.len();
        let entered = self.cells[cell].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < self.max).then_some(open + 1)
        });
        match entered {
            Ok(_) => Ok(Some(Counted {
                each: self.clone(),
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
        self.each.cells[self.cell].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_each_client_and_no_other() {
        let each = |max| Limits {
            connections_per_client: max,
            streams_per_client: max,
            ..Limits::default()
        };
        let room = || Room::for_connections(10);
        let crowd = Crowd::new(&each(2), room());
        let client = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = crowd.enter(client("2001:db8::1")).unwrap();
        let second = crowd.enter(client("2001:db8::2")).unwrap();
        assert!(crowd.enter(client("2001:db8::3")).is_err(), "one /64");
        drop(first);
        assert!(crowd.enter(client("2001:db8::3")).is_ok());
        assert!(
            crowd.enter_stream(client("2001:db8::3")).is_ok(),
            "streams are counted apart"
        );
        drop(second);
        assert!(crowd.open(), "those of one client count for nobody else");
        let unbounded = Crowd::new(&each(0), room());
        assert!(unbounded.enter(client("::1")).unwrap().is_none());
    }

    #[test]
    fn leaves_room_over_all_listeners() {
        let room = Room::for_connections(2);
        let one = Crowd::new(&Limits::default(), room.clone());
        let other = Crowd::new(&Limits::default(), room);
        assert!(one.open() && other.open());
        assert!(!one.open() && !other.open());
        one.close();
        assert!(other.open() && !one.open());
    }
}

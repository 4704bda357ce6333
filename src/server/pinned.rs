//! A downstream connection that is pinned to an endpoint (`affinity: connection`), when that drains: its next response is its
//! last, and if none comes it is closed at a moment of its own (P14).

use tokio::time::Instant;

use super::connection::Connection;
use super::listener::earlier;
use super::wire::Phase;

impl Connection {
    /// What it is pinned to may drain: then it is closed if it is idle at the moment that its pin was told, and at the
    /// deadline lets the pin go in any case (P14).
    pub(super) fn follow_pins(&self) {
        let pins = &self.downstream.pins;
        let Some(moment) = pins.moment() else {
            return;
        };
        let now = Instant::now();
        let close_at = if pins.is_cut() {
            pins.release();
            now
        } else {
            moment
        };
        if self.close_at.get().is_some_and(|known| known <= close_at) {
            return;
        }
        self.close_at.set(Some(close_at));
        match self.watched.phase.get() {
            Phase::New | Phase::Idle => self.close_idle_at(close_at),
            Phase::Streams => self.announce_end_at(close_at),
            // The response that comes next is the last.
            Phase::Head | Phase::Busy => self.end_at.set(Some(earlier(now, self.end_at.get()))),
        }
    }
}

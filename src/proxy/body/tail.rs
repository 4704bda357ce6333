//! What lasts as long as an exchange does, and an upload that lasts longer than its answer.

use std::rc::Rc;
use std::task::Poll;

use tokio::time::Instant;

use super::ends::Events;
use super::passage::Passing;
use crate::endpoint::Work;
use crate::pool::{Connection, Signal};
use crate::proxy::Downstream;
use crate::proxy::admit::Attempt;
use crate::proxy::upload::Upload;

/// What lasts as long as the exchange.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) connection: Box<Connection>,
    pub(super) upload: Upload,
    pub(super) attempt: Attempt,
    pub(super) events: Option<Events>,
}

impl Live {
    /// Both directions are over.
    pub(super) fn done(self, now: Instant) {
        if self.upload.is_whole() {
            self.attempt.done(self.connection, now);
        }
    }
}

/// An upload that goes on after its response has ended: it stays in flight until it is over, too (law 4).
pub(super) struct Tail {
    live: Live,
    downstream: Rc<Downstream>,
    _open: Open,
}

/// Tells the connection that it is needed for an upload.
struct Open(Rc<Downstream>);

impl Open {
    fn of(downstream: &Rc<Downstream>) -> Self {
        downstream.tails.set(downstream.tails.get() + 1);
        Self(downstream.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.tails.set(self.0.tails.get() - 1);
    }
}

impl Tail {
    pub(super) fn new(passing: &Passing, live: Live) -> Self {
        let known = &passing.downstream;
        // A task of its own: the connection's goes on to wait for the end of this request, or for the next.
        let task = passing.proxy.clock().task();
        task.limit(Some(live.upload.limit(known)));
        live.attempt.ticket().move_to(task.clone());
        let downstream = Rc::new(Downstream {
            client: known.client,
            local: known.local,
            entrance: known.entrance.clone(),
            task,
            pins: known.pins.clone(),
            reset: false.into(),
            uploading: false.into(),
            tails: 0.into(),
            flaw: None.into(),
            tunnel: Default::default(),
        });
        Self {
            live,
            downstream,
            _open: Open::of(known),
        }
    }

    /// Sends the rest.
    pub(super) async fn run(mut self) {
        let whole = std::future::poll_fn(|cx| {
            let task = &self.downstream.task;
            task.register(cx.waker());
            if self.live.attempt.ticket().signal() == Signal::Cut {
                self.live.attempt.endpoint().count_cut(Work::Request);
                return Poll::Ready(false);
            }
            if task.is_expired() {
                return Poll::Ready(false);
            }
            self.live
                .upload
                .poll(cx, &mut self.live.connection, &self.downstream)
                .map(|sent| sent.is_ok())
        });
        if whole.await {
            self.live.done(Instant::now());
        }
    }
}

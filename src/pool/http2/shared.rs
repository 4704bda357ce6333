//! A connection that several requests share, and the task that drives it.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Connection, SendRequest};
use tokio::time::{Instant, Sleep};
use tracing::debug;

use super::finishing::Finishing;
use super::pulse::{Listened, Pulse};
use super::{Exchange, Spoken};
use crate::pool::{Permit, Slot};

/// An HTTP/2 connection to an endpoint.
#[derive(Debug)]
pub(in crate::pool) struct Shared {
    id: u64,
    slot: Weak<Slot>,
    /// None once no stream may begin any more.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    /// Those that nobody waits for any more; they keep it from nothing.
    finishing: Finishing,
    /// Streams that have begun on it.
    carried: Cell<u64>,
    idle_since: Cell<Instant>,
    /// It is to be dropped at once.
    closed: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

/// What drives a connection. It ends with it.
pub(in crate::pool) struct Drive {
    shared: Rc<Shared>,
    connection: Connection<Listened, Bytes>,
    pulse: Option<Pulse>,
    /// Until the next of what finishes is given up.
    finish: Option<Pin<Box<Sleep>>>,
    /// Since no stream may begin and none is left: how long the last words may take.
    farewell: Option<Pin<Box<Sleep>>>,
    _permit: Permit,
}

/// How long the last words of a connection may take to be sent.
const FAREWELL: Duration = Duration::from_secs(1);

impl Shared {
    /// A connection that is idle, and what has to drive it. `ping` is when a silent endpoint is asked for a sign of life;
    /// zero is never.
    pub(in crate::pool) fn new(
        spoken: Spoken,
        id: u64,
        permit: Permit,
        ping: Duration,
    ) -> (Rc<Self>, Drive) {
        let Spoken {
            sender,
            mut connection,
            heard,
        } = spoken;
        let shared = Rc::new(Self {
            id,
            slot: Rc::downgrade(permit.slot()),
            sender: RefCell::new(Some(sender)),
            streams: Cell::new(0),
            finishing: Finishing::default(),
            carried: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            closed: Cell::new(false),
            driver: RefCell::new(None),
        });
        let pings = (!ping.is_zero()).then(|| connection.ping_pong()).flatten();
        let drive = Drive {
            shared: shared.clone(),
            connection,
            pulse: pings.map(|pings| Pulse::new(ping, pings, heard)),
            finish: None,
            farewell: None,
            _permit: permit,
        };
        (shared, drive)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// A stream, if the endpoint takes another one now.
    pub(in crate::pool) fn open(self: &Rc<Self>) -> Option<Exchange> {
        let sender = self.sender.borrow().clone()?;
        let open = self.streams.get() + self.finishing.count();
        if open >= sender.current_max_send_streams() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        self.carried.set(self.carried.get() + 1);
        Some(Exchange::new(self.clone(), sender, self.carried.get()))
    }

    /// Whether no stream may begin any more.
    pub(in crate::pool) fn is_retired(&self) -> bool {
        self.sender.borrow().is_none()
    }

    /// Whether it carries nothing.
    pub(in crate::pool) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Since when it carries nothing; meaningless while it carries something.
    pub(in crate::pool) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// Lets no stream begin any more. It ends with its last stream.
    pub(in crate::pool) fn retire(&self) {
        self.sender.borrow_mut().take();
        self.wake();
    }

    /// Drops it, without another byte: neither GOAWAY nor a TLS alert. An idle connection has nothing to say goodbye to, and
    /// P4 lets nothing be written on one.
    pub(in crate::pool) fn close(&self) {
        self.closed.set(true);
        self.retire();
    }

    /// A stream has ended, but for what is left of it.
    pub(super) fn leave(self: &Rc<Self>, rest: Option<RecvStream>) {
        self.streams.set(self.streams.get() - 1);
        if let Some(rest) = rest {
            self.finishing.add(rest);
            self.wake();
        }
        if self.is_idle() {
            self.idle_since.set(Instant::now());
            if self.is_retired() {
                self.wake();
            }
        }
        if let Some(slot) = self.slot.upgrade() {
            slot.stream_ended(self);
        }
    }

    fn wake(&self) {
        let waker = self.driver.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let drive = self.get_mut();
        *drive.shared.driver.borrow_mut() = Some(cx.waker().clone());
        if drive.shared.closed.get() {
            return Poll::Ready(());
        }
        if let Poll::Ready(ended) = Pin::new(&mut drive.connection).poll(cx) {
            let error = ended.err().map(tracing::field::display);
            debug!(
                connection = drive.shared.id,
                error, "an HTTP/2 connection has ended"
            );
            return Poll::Ready(());
        }
        if let Some(pulse) = &mut drive.pulse
            && pulse.poll(cx).is_ready()
        {
            debug!(
                connection = drive.shared.id,
                "the endpoint gives no sign of life"
            );
            return Poll::Ready(());
        }
        let shared = &drive.shared;
        if shared.finishing.poll(cx, &mut drive.finish)
            && let Some(slot) = shared.slot.upgrade()
        {
            slot.stream_ended(shared);
        }
        // After the endpoint's GOAWAY nothing can be sent; h2 knows first.
        let refuses = |sender: &mut SendRequest<Bytes>| {
            matches!(
                sender.poll_ready(&mut Context::from_waker(Waker::noop())),
                Poll::Ready(Err(_))
            )
        };
        let gone = drive
            .shared
            .sender
            .borrow_mut()
            .as_mut()
            .is_some_and(refuses);
        if gone {
            drive.shared.sender.borrow_mut().take();
            cx.waker().wake_by_ref();
        }
        if drive.shared.is_retired() && drive.shared.is_idle() {
            let farewell = drive
                .farewell
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
            return farewell.as_mut().poll(cx);
        }
        Poll::Pending
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.shared.closed.set(true);
        self.shared.sender.borrow_mut().take();
        self.shared.finishing.clear();
        if let Some(slot) = self.shared.slot.upgrade() {
            slot.connection_ended(&self.shared);
        }
    }
}

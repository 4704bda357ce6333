//! A place at an endpoint and a connection to it: taken together, given back together.
//!
//! The place in flight is taken before the connection (P1), and whoever finds no free connection gives the place back and
//! waits without one, so that a draining endpoint never waits for a request that has not begun.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::pin::Pin;
use super::retry::Failed;
use super::{Failure, Flow, Plea, Proxy};
use crate::endpoint::{Admission, Endpoint, EndpointId, InFlight};
use crate::pool::{Checkout, Connection, NotOpened, Signal, Slot, Ticket};
use crate::snapshot::{Affinity, Ask, NotChosen};

/// A place in flight, registered where the drain of its endpoint finds it.
#[derive(Debug)]
pub(super) struct Attempt {
    // Dropped in this order: first it is no longer told anything, then the place is given back.
    seat: Seat,
    place: Place,
    pub(super) checkout: Option<Checkout>,
}

#[derive(Debug)]
enum Place {
    /// Its own.
    Own(InFlight),
    /// That of the pinned connection that it came by.
    Pinned(Rc<Pin>, Admission),
}

/// Where a drain finds work.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) slot: Rc<Slot>,
    pub(super) ticket: Rc<Ticket>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.slot.leave_ticket(&self.ticket);
    }
}

/// Picks that may turn out to be stale before everything is scanned.
const PICKS_MAX: usize = 3;

impl Attempt {
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.seat.slot.endpoint()
    }

    pub(super) fn slot(&self) -> &Rc<Slot> {
        &self.seat.slot
    }

    pub(super) fn ticket(&self) -> &Rc<Ticket> {
        &self.seat.ticket
    }

    /// Why it was admitted.
    pub(super) fn admission(&self) -> Admission {
        match &self.place {
            Place::Own(place) => place.admission(),
            Place::Pinned(_, admission) => *admission,
        }
    }

    /// The endpoint has answered: the connection that is pinned to it stays.
    pub(super) fn prove_pin(&self) {
        if let Place::Pinned(pin, _) = &self.place {
            pin.prove();
        }
    }

    /// The exchange has ended whole: its connection may carry another, if it can. One to an endpoint that was draining has
    /// been told to close.
    pub(super) fn done(self, connection: Box<Connection>, now: Instant) {
        if !connection.is_reusable() || self.admission().is_draining() {
            return;
        }
        match &self.place {
            Place::Own(_) => self.slot().checkin(connection, now),
            Place::Pinned(pin, _) => pin.checkin(connection),
        }
    }

    /// Nothing has begun here: the drain calls it back (P1). A pin that has proved nothing goes with it.
    pub(super) fn give_back(self, pins: &super::Pins) {
        match self.place {
            Place::Own(place) => place.give_back(),
            Place::Pinned(pin, _) => {
                pin.endpoint().count_given_back();
                if !pin.is_proven() {
                    pins.remove(pin.endpoint().id());
                }
            }
        }
    }
}

impl Proxy {
    /// Finds a place and a connection, or the right to open one. Waits for one under a limit.
    pub(super) async fn admit(&self, flow: &mut Flow<'_>) -> Result<Attempt, Failure> {
        if let Some(attempt) = self.try_admit(flow)? {
            return Ok(attempt);
        }
        let service = flow.service.clone();
        let waiting = service
            .waiting()
            .enter(self.settings.worker, flow.settings.limits.pending)
            .ok_or(Failure::Overloaded)?;
        flow.limit_to_head();
        self.plead(flow);
        loop {
            // Listening first and looking then: a connection that is freed in between is not missed.
            let mut rung = pin!(waiting.rung());
            rung.as_mut().enable();
            if self.over.get() {
                return Err(Failure::Overloaded);
            }
            if let Some(attempt) = self.try_admit(flow)? {
                return Ok(attempt);
            }
            if flow.retries.is_retry() {
                // What has become free may be where it failed; whoever waits behind may have use for it.
                waiting.pass_on();
            }
            let task = &flow.downstream.task;
            let in_time = std::future::poll_fn(|cx| {
                task.register(cx.waker());
                if task.is_expired() {
                    return Poll::Ready(false);
                }
                rung.as_mut().poll(cx).map(|()| true)
            });
            if !in_time.await {
                return Err(match flow.times.is_over() {
                    true => Failure::RequestTimeout,
                    false => Failure::Overloaded,
                });
            }
        }
    }

    /// Asks the other workers to close an idle connection: it may be all that keeps one from being opened here.
    fn plead(&self, flow: &Flow<'_>) {
        for neighbour in &self.neighbours {
            // A full mailbox has pleas enough.
            let _ = neighbour.try_send(Plea {
                service: flow.service.clone(),
            });
        }
    }

    /// None when every endpoint has as many connections as it may have.
    fn try_admit(&self, flow: &mut Flow<'_>) -> Result<Option<Attempt>, Failure> {
        let now = self.clock.now();
        if let Some(pin) = self.pin(flow) {
            return Ok(self.admit_pinned(flow, pin, now));
        }
        let mut avoid = flow.retries.avoid.clone();
        let mut full = false;
        loop {
            let Some(place) = self.choose(flow, &avoid, now) else {
                if full {
                    return Ok(None);
                }
                if avoid.is_empty() {
                    return Err(Failure::NoEndpoint);
                }
                // There is no other than those that have failed: better the same again than nothing (P10).
                avoid.clear();
                continue;
            };
            let slot = self.pool.slot(place.endpoint(), &flow.service);
            let checkout = slot.checkout(
                now,
                flow.retries.is_retry(),
                !flow.retries.is_idempotent(flow.parts),
            );
            if matches!(checkout, Checkout::Full) {
                full = true;
                avoid.push(place.endpoint().id());
                continue;
            }
            let pins = flow.settings.affinity == Affinity::Connection
                && place.admission() == Admission::Ready;
            let place = if pins {
                let list = &flow.downstream.pins;
                let pin = list.add(place, slot.clone(), &flow.service, &flow.route);
                Place::Pinned(pin, Admission::Ready)
            } else {
                Place::Own(place)
            };
            return Ok(Some(seated(flow, slot, place, checkout)));
        }
    }

    /// Where the request's connection is pinned to, unless that has failed it.
    fn pin(&self, flow: &Flow<'_>) -> Option<Rc<Pin>> {
        if flow.settings.affinity != Affinity::Connection {
            return None;
        }
        let pin = flow.downstream.pins.find(&flow.service)?;
        let endpoint = pin.endpoint().id();
        if flow.retries.avoid.contains(&endpoint) {
            flow.downstream.pins.remove(endpoint);
            return None;
        }
        Some(pin)
    }

    /// A request by a pinned connection rides on its place (P14). None when it may not open a connection now.
    fn admit_pinned(&self, flow: &Flow<'_>, pin: Rc<Pin>, now: Instant) -> Option<Attempt> {
        let checkout = pin.checkout(now, flow.retries.is_retry());
        if matches!(checkout, Checkout::Full) {
            return None;
        }
        let admission = pin.admission(flow.service.load().admission());
        let slot = pin.slot().clone();
        Some(seated(flow, slot, Place::Pinned(pin, admission), checkout))
    }

    /// A snapshot is a hint, acquire is the truth (law 5): a stale pick costs another one.
    fn choose(&self, flow: &Flow<'_>, avoid: &[EndpointId], now: Instant) -> Option<InFlight> {
        let mut rng = self.rng.borrow_mut();
        for _ in 0..PICKS_MAX {
            let mut ask = Ask {
                now,
                rng: &mut rng,
                hash: flow.hash,
                session: flow.session,
                avoid,
            };
            if let Some(place) = flow.service.load().home(&mut ask) {
                return Some(place);
            }
            match flow.service.load().choose(&mut ask) {
                Ok(place) => return Some(place),
                Err(NotChosen::Stale) => {}
                Err(NotChosen::Nobody) => return None,
            }
        }
        flow.service.load().scan(avoid, now)
    }

    /// A connection for an attempt: the one it found, or a new one.
    pub(super) async fn connect(
        &self,
        flow: &Flow<'_>,
        attempt: &mut Attempt,
    ) -> Result<Box<Connection>, Failed> {
        match attempt.checkout.take() {
            Some(Checkout::Reuse(connection)) => Ok(connection),
            // Boxed: dialling is rare, and its future would make every request's larger.
            Some(found) => Box::pin(self.connect_anew(flow, attempt, found)).await,
            None => Err(Failed::Unconnected),
        }
    }

    async fn connect_anew(
        &self,
        flow: &Flow<'_>,
        attempt: &Attempt,
        mut found: Checkout,
    ) -> Result<Box<Connection>, Failed> {
        let task = &flow.downstream.task;
        flow.limit_to_connect();
        loop {
            let dial = match found {
                Checkout::Reuse(connection) => return Ok(connection),
                Checkout::Open(permit) if permit.slot().dials_alone() => {
                    let mut opening = pin!(self.pool.open(permit));
                    let opened = self.until_opened(flow, attempt, |cx| opening.as_mut().poll(cx));
                    if let Some(connection) = opened.await? {
                        return Ok(connection);
                    }
                    None
                }
                Checkout::Open(permit) => Some(self.pool.open_for_all(permit)),
                Checkout::Wait(dial) => Some(dial),
                // Others were quicker: it waits without a place, as those do who come now.
                Checkout::Full => return Err(Failed::Recalled),
            };
            if let Some(dial) = dial {
                self.until_opened(flow, attempt, |cx| dial.poll(cx, task))
                    .await?;
            }
            found = attempt.slot().checkout(Instant::now(), false, false);
        }
    }

    /// Waits for a connection, as long as the request may.
    async fn until_opened<T>(
        &self,
        flow: &Flow<'_>,
        attempt: &Attempt,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, NotOpened>>,
    ) -> Result<T, Failed> {
        let (task, ticket) = (&flow.downstream.task, attempt.ticket());
        std::future::poll_fn(|cx| {
            task.register(cx.waker());
            if ticket.signal() >= Signal::Recall {
                return Poll::Ready(Err(Failed::Recalled));
            }
            if task.is_expired() {
                return Poll::Ready(Err(match flow.times.is_over() {
                    true => Failed::Final(Failure::RequestTimeout),
                    false => Failed::ConnectTimeout,
                }));
            }
            poll(cx).map_err(|why| match why {
                NotOpened::Unconnected => Failed::Unconnected,
                NotOpened::Timeout => Failed::ConnectTimeout,
            })
        })
        .await
    }
}

fn seated(flow: &Flow<'_>, slot: Rc<Slot>, place: Place, checkout: Checkout) -> Attempt {
    let ticket = Rc::new(Ticket::new(
        flow.downstream.task.clone(),
        flow.route.clone(),
        flow.started,
    ));
    let attempt = Attempt {
        seat: Seat { slot, ticket },
        place,
        checkout: Some(checkout),
    };
    if attempt.admission() == Admission::Affinity {
        attempt.ticket().stay();
    }
    attempt.slot().enter(attempt.ticket());
    attempt
}

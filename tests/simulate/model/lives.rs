//! The lives of all endpoints: what they should be, by what the test did and what the writer told, and by nothing else.
//!
//! What was told is read in its order, which must be one that a life can have (law 3). From what was done follow the
//! deadlines (P5) and who can serve (P7).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate::control::{EndpointView, EventKind, Reason, State};
use tidegate::discovery::{Observed, ObservedState};
use tidegate::drain::{Cause, Report};
use tidegate::endpoint::{EndpointId, EndpointKey};
use tokio::time::Instant;

use crate::endpoint::Begun;
use crate::world::{Deed, Done, Told, World};

/// One life, as it was told.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) key: EndpointKey,
    pub(crate) address: SocketAddr,
    pub(crate) id: Option<EndpointId>,
    pub(crate) began: Instant,
    pub(crate) state: State,
    /// When it served because nobody else could.
    pub(crate) fallback: Option<Instant>,
    /// When its gate was closed, as told.
    pub(crate) closed: Option<Instant>,
    /// By the deeds; none when it was lifted.
    pub(crate) deadline: Option<Instant>,
    cause: Option<Cause>,
    pub(crate) drained: Option<Instant>,
    pub(crate) report: Option<Arc<Report>>,
}

/// What is known of an id, by what was done.
#[derive(Debug, Clone, Default)]
struct Known {
    listed: Option<Observed>,
    own: Option<Duration>,
    asked: Option<Option<Duration>>,
    settled: bool,
    undrained: Option<Instant>,
}

/// How many could serve from a moment on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Able {
    pub(crate) from: Instant,
    pub(crate) ready: usize,
    pub(crate) any: usize,
}

/// Everything that can be known of the lives.
#[derive(Debug)]
pub(crate) struct Lives {
    pub(crate) all: Vec<Life>,
    pub(crate) able: Vec<Able>,
    known: HashMap<EndpointKey, Known>,
    timeout: Duration,
}

impl Lives {
    pub(crate) fn of(world: &World) -> Self {
        let mut lives = Self {
            all: Vec::new(),
            able: Vec::new(),
            known: HashMap::new(),
            timeout: world.timeout,
        };
        let (done, told) = (world.done.borrow(), world.told.borrow());
        let mut done = done.iter().peekable();
        for told in told.iter() {
            while let Some(deed) = done.next_if(|done| done.at <= told.at) {
                lives.does(deed);
            }
            lives.hears(told);
        }
        done.for_each(|done| lives.does(done));
        lives
    }

    fn does(&mut self, done: &Done) {
        let at = done.at;
        match &done.deed {
            Deed::Listed(key, None) => {
                let known = self.known.entry(key.clone()).or_default();
                (known.listed, known.asked) = (None, None);
            }
            Deed::Listed(key, Some(observed)) => {
                let has_gone = |life: &Life| life.key != *key || life.state == State::Gone;
                let is_new = self.all.iter().all(has_gone);
                let known = self.known.entry(key.clone()).or_default();
                if known.listed.is_none() {
                    known.asked = None;
                }
                let leaves =
                    |observed: &Observed| matches!(observed.state, ObservedState::Draining { .. });
                let returns = known.listed.as_ref().is_none_or(leaves) && !leaves(observed);
                if is_new || (returns && known.asked.is_none()) {
                    known.settled = false;
                }
                known.own = observed.drain_timeout;
                known.listed = Some(observed.clone());
                let own = known.own;
                if let (Some(life), Some(own)) = (self.running(key), own)
                    && let Some(closed) = life.closed
                {
                    life.shorten(closed + own);
                }
            }
            Deed::Asked(key, timeout) => {
                let known = self.known.entry(key.clone()).or_default();
                let asked = known.asked.get_or_insert(*timeout);
                *asked = [*asked, *timeout].into_iter().flatten().min();
                if let (Some(life), Some(timeout)) = (self.running(key), timeout) {
                    life.shorten(at + *timeout);
                }
            }
            Deed::Refused(key) => self.known.entry(key.clone()).or_default().asked = None,
            Deed::Settled(key) => self.known.entry(key.clone()).or_default().settled = true,
            Deed::Undrained(key) => self.undrained(key, at),
        }
        self.count(at);
    }

    fn undrained(&mut self, key: &EndpointKey, at: Instant) {
        let known = self.known.entry(key.clone()).or_default();
        (known.asked, known.settled) = (None, false);
        let stays = known
            .listed
            .as_ref()
            .is_some_and(|listed| !matches!(listed.state, ObservedState::Draining { .. }));
        if !stays {
            return;
        }
        known.undrained = Some(at);
        let newest = self.all.iter().rposition(|life| life.key == *key);
        for (number, life) in self.all.iter_mut().enumerate() {
            let asked = matches!(life.cause, Some(Cause::Operator | Cause::Hook));
            let is_lifted = Some(number) == newest || asked;
            if life.key == *key && life.is_running() && is_lifted {
                life.deadline = None;
            }
        }
    }

    /// The newest life of an id, if it drains.
    fn running(&mut self, key: &EndpointKey) -> Option<&mut Life> {
        let newest = self.all.iter_mut().rfind(|life| life.key == *key)?;
        newest.is_running().then_some(newest)
    }

    fn count(&mut self, from: Instant) {
        let states = || {
            self.known.values().filter_map(|known| {
                let state = known.listed.as_ref()?.state;
                Some((state, known))
            })
        };
        let ready = states()
            .filter(|(state, known)| *state == ObservedState::Ready && known.asked.is_none())
            .count();
        let filling = states().filter(|(_, known)| known.may_serve()).count();
        self.able.push(Able {
            from,
            ready,
            any: ready + filling,
        });
    }

    /// Whether so few could serve at some time of this period.
    pub(crate) fn at_some_time(
        &self,
        from: Instant,
        until: Instant,
        is: impl Fn(&Able) -> bool,
    ) -> bool {
        let ends = self.able.iter().skip(1).map(|next| Some(next.from));
        let mut periods = self.able.iter().zip(ends.chain([None]));
        periods.any(|(able, end)| {
            let overlaps = able.from <= until && end.is_none_or(|end| end >= from);
            overlaps && is(able)
        })
    }

    fn hears(&mut self, told: &Told) {
        match &told.kind {
            EventKind::State {
                key,
                from,
                to,
                reason,
                ..
            } => self.changes(key, *from, *to, *reason, told.at),
            EventKind::DrainStart(report) => self.drains(report, told.at),
            EventKind::DrainEnd(report) => {
                let life = self.by_id(report.life);
                assert!(life.closed.is_some(), "law 3: {report:?}");
                assert!(life.drained.is_none(), "law 2: drained twice: {report:?}");
                life.drained = Some(told.at);
                life.report = Some(report.clone());
            }
            EventKind::Source { .. } | EventKind::Config { .. } => {}
        }
    }

    fn by_id(&mut self, id: EndpointId) -> &mut Life {
        let life = self.all.iter_mut().find(|life| life.id == Some(id));
        life.expect("law 3: a drain that never began")
    }

    fn changes(
        &mut self,
        key: &EndpointKey,
        from: Option<State>,
        to: State,
        reason: Option<Reason>,
        at: Instant,
    ) {
        let address = self.address(key);
        let of_key = |life: &&mut Life| life.key == *key;
        match to {
            State::Drained | State::Gone => {
                let before = if to == State::Gone {
                    State::Drained
                } else {
                    State::Draining
                };
                assert_eq!(from, Some(before), "law 3: {key} {to:?}");
                let mut lives = self.all.iter_mut().filter(of_key);
                let life = lives.find(|life| life.state == before && life.drained.is_some());
                life.expect("law 3: drained or gone before its drain ended")
                    .state = to;
            }
            State::Draining if reason != Some(Reason::Fallback) => {
                // What follows tells which life it is.
                let newest = self.all.iter_mut().rfind(of_key);
                if let Some(life) = newest.filter(|life| life.closed.is_none()) {
                    assert_eq!(from, Some(life.state), "law 3: {key} drains");
                    life.state = State::Draining;
                }
            }
            State::Ready | State::NotReady | State::Suspect | State::Draining => {
                let fallback = (to == State::Draining).then_some(at);
                let open = self
                    .all
                    .iter_mut()
                    .rfind(|life| life.key == *key && life.closed.is_none());
                match open {
                    Some(life) => {
                        assert_eq!(from, Some(life.state), "law 3: {key} is {to:?}");
                        assert_ne!(life.state, State::Draining, "law 3: {key} came back");
                        life.state = to;
                        life.fallback = fallback;
                    }
                    None => {
                        assert_eq!(from, None, "law 3: {key} is {to:?}");
                        self.all.push(Life {
                            fallback,
                            state: to,
                            ..Life::new(key.clone(), address, at)
                        });
                    }
                }
            }
        }
    }

    fn drains(&mut self, report: &Arc<Report>, at: Instant) {
        let known = self.known.entry(report.key.clone()).or_default();
        let own = known.own.unwrap_or(self.timeout);
        let asked = known.asked.flatten();
        let is_lifted = known.undrained == Some(at);
        let open = |life: &Life| life.key == report.key && life.closed.is_none();
        let place = self.all.iter().rposition(open).unwrap_or_else(|| {
            // First seen on its way out.
            self.all
                .push(Life::new(report.key.clone(), report.address, at));
            self.all.len() - 1
        });
        let life = &mut self.all[place];
        life.id = Some(report.life);
        life.state = State::Draining;
        life.closed = Some(at);
        life.cause = Some(report.cause);
        life.deadline = (!is_lifted).then(|| at + asked.map_or(own, |asked| asked.min(own)));
    }

    fn address(&self, key: &EndpointKey) -> SocketAddr {
        let listed = self
            .known
            .get(key)
            .and_then(|known| known.listed.as_ref())
            .map(|listed| listed.address);
        let known = || {
            let life = self.all.iter().rfind(|life| life.key == *key);
            life.map(|life| life.address)
        };
        listed
            .or_else(known)
            .expect("an id that was never listed was told")
    }

    /// The lives that a request may belong to: those that were open when its connection came about. More than one only where
    /// one ended and the next began at that moment.
    pub(crate) fn at(&self, address: SocketAddr, wired: Instant) -> impl Iterator<Item = &Life> {
        self.all.iter().filter(move |life| {
            let is_open = life.began <= wired && life.closed.is_none_or(|closed| wired <= closed);
            life.address == address && is_open
        })
    }

    /// The same, of a request.
    pub(crate) fn of_work(&self, address: SocketAddr, work: &Begun) -> impl Iterator<Item = &Life> {
        self.at(address, work.wired)
    }

    /// Whether a view shows this life. Only lives that drain have been told with their number.
    pub(crate) fn is_shown(&self, life: &Life, view: &EndpointView) -> bool {
        match life.id {
            Some(id) => id == view.life,
            None => life.key == view.key && self.all.iter().all(|life| life.id != Some(view.life)),
        }
    }

    /// What the newest life of every id that is listed should be now, with its reason to be the fallback.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (&EndpointKey, State, bool)> {
        let nobody_ready = self.able.last().is_none_or(|able| able.ready == 0);
        self.known.iter().filter_map(move |(key, known)| {
            let wanted = match known.listed.as_ref()?.state {
                ObservedState::Ready if known.asked.is_none() => (State::Ready, false),
                ObservedState::NotReady if known.asked.is_none() => (State::NotReady, false),
                _ => (State::Draining, nobody_ready && known.may_serve()),
            };
            Some((key, wanted.0, wanted.1))
        })
    }
}

impl Known {
    /// It leaves, and can fill in.
    fn may_serve(&self) -> bool {
        let Some(listed) = &self.listed else {
            return false;
        };
        let serves = match listed.state {
            ObservedState::Ready => self.asked.is_some(),
            ObservedState::NotReady | ObservedState::Suspect => false,
            ObservedState::Draining { serving } => serving,
        };
        serves && !self.settled
    }
}

impl Life {
    fn new(key: EndpointKey, address: SocketAddr, began: Instant) -> Self {
        Self {
            key,
            address,
            id: None,
            began,
            state: State::Draining,
            fallback: None,
            closed: None,
            deadline: None,
            cause: None,
            drained: None,
            report: None,
        }
    }

    /// Its gate is closed, and work is left.
    fn is_running(&self) -> bool {
        self.closed.is_some() && self.drained.is_none()
    }

    fn shorten(&mut self, to: Instant) {
        self.deadline = self.deadline.map(|deadline| deadline.min(to));
    }
}

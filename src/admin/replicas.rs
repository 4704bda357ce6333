//! One question to every replica: may this pod stop? (P15)
//!
//! Each replica is asked again and again, in short rounds, until it says that the pod is drained there: so one that is cut
//! off, starts again or joins in the middle is asked, too. What one replica knows of the pod's endpoints is told to the
//! others: one whose source is behind notes them, starts nothing there when it sees them at last, and counts as not drained
//! until then. Nobody waits beyond the limit, whatever the others do.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Peer;
use super::api::{HookAnswer, Replica};
use super::hook_client::{CallError, call, target};
use crate::control::{Handle, PodName, PodRequest};
use crate::drain::Cause;

/// Who asks, and about which pod.
#[derive(Debug)]
pub struct Question {
    /// The pod.
    pub pod: PodName,
    /// Its hook, or the webhook.
    pub cause: Cause,
    /// The token that the replicas' hooks ask for.
    pub token: Option<String>,
    /// The replica that asks, if it is one.
    pub here: Option<Handle>,
}

/// Somebody who is asked; the asking replica comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Here,
    There(SocketAddr),
}

/// What a replica said last.
#[derive(Debug)]
struct Said {
    replica: Replica,
    /// Why it is unconfirmed.
    fault: Option<CallError>,
    /// How many ids of the pod's endpoints it had been told.
    told: usize,
    is_asked: bool,
}

/// What is known so far. Locked for moments only, never over a wait.
#[derive(Debug, Default)]
struct Known {
    said: BTreeMap<Place, Said>,
    /// The ids of the pod's endpoints, by whoever knows them.
    ids: BTreeSet<String>,
}

impl Question {
    /// Asks all until each says that the pod is drained there, or until `until`. Who belongs to them is looked up anew all
    /// the time.
    pub async fn ask(
        &self,
        others: impl Fn() -> Result<Vec<Peer>, String>,
        until: Instant,
    ) -> HookAnswer {
        // Whatever the limit is, the drain begins everywhere.
        let until = until.max(Instant::now() + 2 * LOOK);
        let known = Mutex::new(Known::default());
        let mut asking = FuturesUnordered::new();
        loop {
            let others = others();
            let mut places: Vec<Place> = self.here.iter().map(|_| Place::Here).collect();
            for peer in others.iter().flatten() {
                places.extend(look(&known).counts(peer));
            }
            for place in &places {
                if look(&known).begins(*place) {
                    asking.push(self.follow(*place, &known, until));
                }
            }
            let is_over = others.is_ok() && look(&known).are_drained(&places);
            if is_over || Instant::now() >= until {
                return look(&known).answer(&places, others.as_ref().err().map(String::as_str));
            }
            tokio::select! {
                biased;
                // All are asked until the end; when nobody is left to ask, the others may be known in a moment.
                Some(()) = asking.next() => {}
                () = sleep_until(until.min(Instant::now() + MEMBERS)) => {}
            }
        }
    }

    /// Asks one replica until it says that the pod is drained there.
    async fn follow(&self, place: Place, known: &Mutex<Known>, until: Instant) {
        // First a look, so that what it knows is soon known to the others, too.
        let mut round = LOOK;
        loop {
            let began = Instant::now();
            let ids: Vec<String> = look(known).ids.iter().cloned().collect();
            // The last answers are there before the time is over.
            let left = until.saturating_duration_since(began);
            let limit = round.min(left.saturating_sub(MARGIN));
            let patience = began + limit + PATIENCE;
            let answer = timeout_at(patience, self.round(place, limit, &ids)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
            let is_drained = answer.as_ref().is_ok_and(|replica| replica.drained);
            look(known).note(place, answer, ids.len());
            if is_drained {
                return;
            }
            if began.elapsed() < round.max(PAUSE) {
                sleep_until(until.min(Instant::now() + PAUSE)).await;
            }
            round = ROUND;
        }
    }

    async fn round(
        &self,
        place: Place,
        limit: Duration,
        ids: &[String],
    ) -> Result<Replica, CallError> {
        match (place, &self.here) {
            (Place::There(peer), _) => {
                let mut target = target(&self.pod, limit, Some(ids));
                if self.cause == Cause::Webhook {
                    target.push_str("&by=webhook");
                }
                let answer = call(peer, &peer.to_string(), &target, self.token.as_deref()).await?;
                let replica = answer.replicas.into_iter().next();
                let replica = replica.ok_or("it answered for no replica")?;
                Ok(Replica {
                    replica: Cow::Owned(peer.to_string()),
                    ..replica
                })
            }
            (Place::Here, Some(handle)) => {
                let request = PodRequest {
                    pod: self.pod.clone(),
                    cause: self.cause,
                    limit,
                    elsewhere: ids.iter().map(|id| id.as_str().into()).collect(),
                };
                let answer = handle.drain_pod(request).await;
                Ok(Replica::from(answer.map_err(CallError::of)?))
            }
            (Place::Here, None) => Err("nobody is here".into()),
        }
    }
}

impl Known {
    /// The place of a peer that has a say: not one that is not ready and where nobody listens either, since such a one
    /// carries nothing.
    fn counts(&self, peer: &Peer) -> Option<Place> {
        let place = Place::There(peer.address);
        let fault = self.said.get(&place).and_then(|said| said.fault.as_ref());
        let is_away = !peer.is_ready && fault.is_some_and(|fault| fault.is_refused);
        (!is_away).then_some(place)
    }

    /// Whether the asking of a replica should begin now. It is noted that it has.
    fn begins(&mut self, place: Place) -> bool {
        let all = self.ids.len();
        let said = self.said.entry(place).or_insert_with(|| Said {
            replica: unconfirmed(place),
            fault: Some("no answer yet".into()),
            told: 0,
            is_asked: false,
        });
        let begins = !said.is_asked && !said.is_final(all);
        said.is_asked |= begins;
        begins
    }

    fn note(&mut self, place: Place, answer: Result<Replica, CallError>, told: usize) {
        if let Ok(replica) = &answer {
            let ids = replica.endpoints.iter().map(|one| one.id.to_string());
            self.ids.extend(ids);
        }
        let Some(said) = self.said.get_mut(&place) else {
            return;
        };
        said.told = told;
        match answer {
            Ok(replica) => {
                said.is_asked = !replica.drained;
                said.replica = replica;
                said.fault = None;
            }
            Err(fault) => {
                said.replica = unconfirmed(place);
                said.fault = Some(fault);
            }
        }
    }

    fn are_drained(&self, places: &[Place]) -> bool {
        let all = self.ids.len();
        places
            .iter()
            .all(|place| self.said.get(place).is_some_and(|said| said.is_final(all)))
    }

    fn answer(&self, places: &[Place], missing: Option<&str>) -> HookAnswer {
        let all = self.ids.len();
        let said: Vec<&Said> = places
            .iter()
            .filter_map(|place| self.said.get(place))
            .collect();
        let mut holding = said.iter().filter(|said| !said.is_final(all));
        let reason = match (holding.next(), missing) {
            (Some(said), _) => said.holds(holding.count()),
            (None, Some(why)) => format!("the other replicas are not known: {why}"),
            (None, None) if all == 0 => SERVES_NOTHING.to_owned(),
            (None, None) => "drained".to_owned(),
        };
        let mut replicas: Vec<Replica> = said.iter().map(|said| said.replica.clone()).collect();
        replicas.extend(missing.map(|_| Replica {
            replica: "peers".into(),
            ..unconfirmed(Place::Here)
        }));
        HookAnswer {
            drained: missing.is_none() && said.iter().all(|said| said.is_final(all)),
            reason: Some(reason),
            replicas,
        }
    }
}

impl Said {
    /// Whether it need not be asked again: the pod is drained there. That it serves nothing only counts when it was told
    /// all that the others know.
    fn is_final(&self, all: usize) -> bool {
        self.replica.drained && (!self.replica.endpoints.is_empty() || self.told == all)
    }

    fn holds(&self, others: usize) -> String {
        let name = &self.replica.replica;
        let more = match others {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        match (&self.fault, &self.replica.reason) {
            (Some(fault), _) => format!("{name} is unconfirmed: {}{more}", fault.why),
            (None, Some(reason)) => format!("{name}: {reason}{more}"),
            (None, None) => format!("{name} is not drained{more}"),
        }
    }
}

/// A panic while it was locked would have left nothing half-done.
fn look(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unconfirmed(place: Place) -> Replica {
    Replica {
        replica: match place {
            Place::Here => "self".into(),
            Place::There(peer) => peer.to_string().into(),
        },
        drained: false,
        reason: Some("unconfirmed".into()),
        endpoints: Vec::new(),
    }
}

/// What is said of a pod that nobody knows.
pub(super) const SERVES_NOTHING: &str = "serves nothing here";

/// The first answer is waited for so long.
const LOOK: Duration = Duration::from_millis(50);
/// One replica's answer is waited for so long; then it is asked again.
const ROUND: Duration = Duration::from_secs(2);
/// For the answer to arrive once its time is over.
const PATIENCE: Duration = Duration::from_secs(1);
/// From the last answers to the end.
const MARGIN: Duration = Duration::from_millis(50);
/// Between an answer that came at once and the next question.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked up who the others are.
const MEMBERS: Duration = Duration::from_millis(250);

//! One question to every replica: may this pod stop? (P15)
//!
//! Each replica is asked again and again, in short rounds, until it says that the pod is drained there: so one that is cut
//! off, starts again or joins in the middle is asked, too. What one replica knows of the pod's endpoints is told to the
//! others: one whose source is behind notes them, starts nothing there when it sees them at last, and counts as not drained
//! until then. Nobody waits beyond the limit, whatever the others do.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Peer;
use super::api::{ErrorBody, HookAnswer, Replica};
use crate::control::{Handle, PodName, PodRequest};
use crate::document::write_duration;
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

/// Why a replica has not answered.
#[derive(Debug)]
pub struct CallError {
    /// Nobody listens there.
    pub is_refused: bool,
    /// A fragment for people.
    pub why: String,
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

impl CallError {
    fn of(error: impl Display) -> Self {
        Self::from(error.to_string())
    }
}

impl From<String> for CallError {
    fn from(why: String) -> Self {
        Self {
            is_refused: false,
            why,
        }
    }
}

impl From<&str> for CallError {
    fn from(why: &str) -> Self {
        Self::from(why.to_owned())
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

/// The hook's target. With `elsewhere` the replica answers for itself only, and hears which endpoints others know.
#[must_use]
pub fn target(pod: &PodName, limit: Duration, elsewhere: Option<&[String]>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pod = match pod {
        PodName::Name(name) => format!("pod={}", encoded(name)),
        PodName::Address(ip) => format!("ip={}", encoded(&ip.to_string())),
    };
    let limit = write_duration(limit);
    let here = match elsewhere {
        None => String::new(),
        Some([]) => "&here=true".to_owned(),
        Some(ids) => format!("&here=true&seen={}", encoded(&ids.join(","))),
    };
    format!("/drain?{pod}&limit={limit}{here}")
}

/// One call of a hook by a socket in the file system.
///
/// # Errors
/// Why there is no answer, as a fragment.
pub async fn call_by_file(
    path: &Path,
    target: &str,
    token: Option<&str>,
) -> Result<HookAnswer, CallError> {
    let stream = UnixStream::connect(path).await.map_err(CallError::of)?;
    ask(stream, "localhost", target, token).await
}

/// One call of another replica's hook.
///
/// # Errors
/// Why there is no answer, as a fragment.
pub async fn call(
    peer: SocketAddr,
    host: &str,
    target: &str,
    token: Option<&str>,
) -> Result<HookAnswer, CallError> {
    let connected = timeout_at(Instant::now() + CONNECT, TcpStream::connect(peer)).await;
    let stream = connected
        .map_err(|_| "no connection in time")?
        .map_err(|error| CallError {
            is_refused: error.kind() == io::ErrorKind::ConnectionRefused,
            why: error.to_string(),
        })?;
    ask(stream, host, target, token).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    target: &str,
    token: Option<&str>,
) -> Result<HookAnswer, CallError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(CallError::of)?;
    let mut request = Request::get(target).header(HOST, host);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(CallError::of)?;
    // The sender goes with the answer, and with the sender the connection.
    let answered = async move {
        let response = sender.send_request(request).await;
        let response = response.map_err(CallError::of)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect();
        let body = body.await.map_err(CallError::of)?.to_bytes();
        Ok::<_, CallError>((status, body))
    };
    let (answered, _) = tokio::join!(answered, connection);
    let (status, body) = answered?;
    if !status.is_success() {
        let said = serde_json::from_slice::<ErrorBody>(&body)
            .map_or_else(|_| String::new(), |body| format!(": {}", body.error));
        return Err(format!("it answered {status}{said}").into());
    }
    serde_json::from_slice(&body).map_err(|_| "it is no replica of tidegate".into())
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
/// To a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Bytes of an answer.
const ANSWER_BYTES: usize = 1 << 20;

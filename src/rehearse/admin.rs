//! The proxy's admin side, as a client of its API sees it: the word that a rehearsal waits for comes from here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::{Board, Sight};
use super::client::{Connection, Unanswered};
use super::upstream::Mark;

/// A way to the admin API, and the place where what it says is noted.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    address: SocketAddr,
    service: String,
    board: Arc<Board>,
    tasks: TaskTracker,
}

impl Admin {
    /// The admin side at an address.
    pub(super) fn new(address: SocketAddr, service: String, board: Arc<Board>) -> Self {
        Self {
            address,
            service,
            board,
            tasks: TaskTracker::new(),
        }
    }

    /// Returns once the proxy says that it is ready.
    pub(super) async fn ready(&self, limit: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + limit;
        let mut look = interval(READY_LOOK);
        loop {
            look.tick().await;
            let fault = match self.call(Method::GET, "/readyz").await {
                Ok((StatusCode::OK, _)) => return Ok(()),
                Ok((_, reason)) => {
                    anyhow::anyhow!("it says {:?}", String::from_utf8_lossy(&reason))
                }
                Err(error) => error,
            };
            if Instant::now() >= end {
                return Err(fault.context("the proxy did not become ready"));
            }
        }
    }

    /// Drains an endpoint by the API and returns when that was acknowledged. None when the endpoint stays in use because
    /// there is no other.
    pub(super) async fn drain(&self, id: &str) -> anyhow::Result<Option<Mark>> {
        let path = format!("/api/v1/services/{}/endpoints/{id}/drain", self.service);
        let (status, answer) = self.call(Method::POST, &path).await?;
        let mark = self.board.mark();
        if status != StatusCode::OK {
            bail!(
                "the drain of {id} was answered {status}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        let answer: Value =
            serde_json::from_slice(&answer).context("the drain's answer is not JSON")?;
        Ok((answer["reason"] != "fallback").then_some(mark))
    }

    /// Notes what the proxy says of its endpoints until told to stop: by its events, and by a look now and then, because
    /// events may be lost.
    pub(super) async fn watch(&self, stop: &CancellationToken) {
        // An error would only say that it was told to stop.
        let _ = stop.run_until_cancelled(self.watch_on()).await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn watch_on(&self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = None;
        loop {
            tokio::select! {
                biased;
                event = next(&mut events) => match event {
                    Some(event) => self.note_event(&event),
                    None => events = None,
                },
                _ = look.tick() => {
                    if events.is_none() {
                        events = self.events().await.ok();
                    }
                    self.look().await;
                }
            }
        }
    }

    /// Waits until something was noted of an endpoint.
    pub(super) async fn noted(
        &self,
        id: &str,
        limit: Duration,
        wanted: impl Fn(&Sight) -> Option<Mark>,
    ) -> Option<Mark> {
        let mut sights = self.board.sights.subscribe();
        let found = sights.wait_for(|sights| sights.get(id).and_then(&wanted).is_some());
        let sights = timeout(limit, found).await.ok()?.ok()?;
        sights.get(id).and_then(wanted)
    }

    /// Asks for the service as it stands, and notes it.
    async fn look(&self) {
        let path = format!("/api/v1/services/{}", self.service);
        let Ok((StatusCode::OK, body)) = self.call(Method::GET, &path).await else {
            return;
        };
        let service: Value = serde_json::from_slice(&body).unwrap_or_default();
        for endpoint in service["endpoints"].as_array().into_iter().flatten() {
            let text = |key: &str| endpoint[key].as_str();
            if let (Some(id), Some(state)) = (text("id"), text("state")) {
                self.note(id, state, text("reason"), None);
            }
        }
    }

    fn note_event(&self, event: &Value) {
        let report = &event["report"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if event["service"]
            .as_str()
            .is_some_and(|name| name != self.service)
        {
            return;
        }
        let Some(id) = text(&event["endpoint"]).or_else(|| text(&report["id"])) else {
            return;
        };
        let state = match event["event"].as_str() {
            Some("state") => text(&event["to"]),
            Some("drain_start") => Some("draining".into()),
            Some("drain_end") => Some("drained".into()),
            _ => None,
        };
        if let Some(state) = state {
            self.note(
                &id,
                &state,
                event["reason"].as_str(),
                report["outcome"].as_str(),
            );
        }
    }

    fn note(&self, id: &str, state: &str, reason: Option<&str>, outcome: Option<&str>) {
        let mark = self.board.mark();
        self.board.sights.send_if_modified(|sights| {
            // Only those that the rehearsal has put in place: the others are not its own, or over.
            let Some(sight) = sights.get_mut(id) else {
                return false;
            };
            if let Some(outcome) = outcome {
                sight.outcome = Some(outcome.into());
            }
            let place = match state {
                "ready" => &mut sight.ready,
                // It serves on, for want of another: nothing is promised yet (P7).
                "draining" if reason == Some("fallback") => return false,
                "draining" => &mut sight.draining,
                "drained" | "gone" => &mut sight.drained,
                _ => return false,
            };
            let is_new = place.is_none();
            place.get_or_insert(mark);
            is_new
        });
    }

    async fn events(&self) -> anyhow::Result<Events> {
        let body = timeout(CALL_LIMIT, async {
            let (connection, response) = self
                .send(Method::GET, "/api/v1/events", "text/event-stream")
                .await?;
            if response.status() != StatusCode::OK {
                bail!("the events were answered {}", response.status());
            }
            Ok(Events {
                _connection: connection,
                body: response.into_body(),
                text: Vec::new(),
            })
        });
        body.await?
    }

    async fn call(&self, method: Method, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = timeout(CALL_LIMIT, async {
            let (_connection, response) = self.send(method, path, "application/json").await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), TEXT_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?;
            Ok((status, body.to_bytes()))
        });
        answer
            .await
            .with_context(|| format!("{path} was not answered"))?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
    ) -> anyhow::Result<(Connection, http::Response<Incoming>)> {
        let mut connection = Connection::open(self.address, &self.tasks).await?;
        let body: UnsyncBoxBody<Bytes, io::Error> =
            Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("accept", accept)
            .body(body)?;
        let response = connection
            .send(request)
            .await
            .map_err(|fault: Unanswered| anyhow::anyhow!("{path}: {fault}"))?;
        Ok((connection, response))
    }
}

/// A stream of server-sent events.
#[derive(Debug)]
struct Events {
    /// It ends when this is dropped.
    _connection: Connection,
    body: Incoming,
    text: Vec<u8>,
}

/// The next event of a stream, if there is a stream: else there never is one. None at the end of the stream. Nothing is
/// lost when it is dropped before it is done.
async fn next(events: &mut Option<Events>) -> Option<Value> {
    let Some(events) = events else {
        return std::future::pending().await;
    };
    loop {
        if let Some(event) = take_event(&mut events.text) {
            return Some(event);
        }
        let frame = events.body.frame().await?.ok()?;
        if let Some(data) = frame.data_ref() {
            events.text.extend_from_slice(data);
        }
        if events.text.len() > TEXT_MAX {
            return None;
        }
    }
}

/// Takes the first whole event that has data from the front of a text.
fn take_event(text: &mut Vec<u8>) -> Option<Value> {
    loop {
        let end = text.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = text.drain(..end + 2).collect();
        let block = String::from_utf8_lossy(&block);
        let data: Vec<&str> = block
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        if let Ok(event) = serde_json::from_str(&data.join("\n")) {
            return Some(event);
        }
    }
}

const READY_LOOK: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(500);
const CALL_LIMIT: Duration = Duration::from_secs(5);
const TEXT_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;

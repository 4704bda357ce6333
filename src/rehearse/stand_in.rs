//! A stand-in for the proxy: just enough of one to rehearse the rehearsal, with faults on demand.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Subject;
use super::board::lock;
use super::client::Connection;
/// What is wrong with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Draining endpoints get new requests.
    Leaks,
    /// Never says that an endpoint is draining.
    Mute,
    /// Says `drained` with requests in flight.
    Hasty,
    /// Sends every tenth request twice.
    Repeats,
}

/// A stand-in that runs on a thread of its own.
pub(crate) struct StandIn {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

struct Inner {
    file: PathBuf,
    fault: Fault,
    lives: Mutex<BTreeMap<String, Life>>,
    events: broadcast::Sender<Value>,
    tasks: TaskTracker,
}

struct Life {
    address: SocketAddr,
    state: &'static str,
    in_flight: u64,
}

impl StandIn {
    /// Starts it in the place of the real one.
    pub(crate) fn start(subject: &Subject, fault: Fault) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let subject = subject.clone();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(async {
                    stopped.run_until_cancelled(run(subject, fault)).await;
                });
        });
        Self { stop, thread }
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        self.thread.join().unwrap();
    }
}

async fn run(subject: Subject, fault: Fault) {
    let inner = Arc::new(Inner {
        file: subject.endpoint_file,
        fault,
        lives: Mutex::default(),
        events: broadcast::Sender::new(1024),
        tasks: TaskTracker::new(),
    });
    let proxy = TcpListener::bind(subject.proxy).await.unwrap();
    let admin = TcpListener::bind(subject.admin).await.unwrap();
    let mut look = tokio::time::interval(Duration::from_millis(2));
    loop {
        let inner = Arc::clone(&inner);
        tokio::select! {
            biased;
            _ = look.tick() => inner.look(),
            Ok((stream, _)) = proxy.accept() => {
                inner.tasks.clone().spawn(async move {
                    let service = service_fn(|request| inner.forward(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Ok((stream, _)) = admin.accept() => {
                inner.tasks.clone().spawn(async move {
                    let service = service_fn(|request| inner.administer(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }
    }
}

impl Inner {
    fn look(&self) {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let listed: BTreeMap<String, (SocketAddr, &str)> = text
            .lines()
            .filter_map(|line| {
                let word = |key: &str| line.split_once(key)?.1.split([',', ' ', '}']).next();
                let address = word("address: ")?.trim_matches('"').parse().ok()?;
                Some((word("id: ")?.to_owned(), (address, word("state: ")?)))
            })
            .collect();
        for (id, (address, state)) in &listed {
            let is_new = !lock(&self.lives).contains_key(id);
            if is_new {
                let life = Life {
                    address: *address,
                    state: "ready",
                    in_flight: 0,
                };
                lock(&self.lives).insert(id.clone(), life);
                self.tell(id, "ready");
            }
            if *state == "draining" {
                self.drain(id);
            }
        }
        lock(&self.lives).retain(|id, _| listed.contains_key(id));
    }

    fn drain(&self, id: &str) {
        {
            let mut lives = lock(&self.lives);
            match lives.get_mut(id) {
                Some(life) if life.state == "ready" => life.state = "draining",
                _ => return,
            }
        }
        if self.fault != Fault::Mute {
            self.tell(id, "draining");
        }
        self.settle(id);
    }

    fn settle(&self, id: &str) {
        let mut lives = lock(&self.lives);
        let Some(life) = lives.get_mut(id) else {
            return;
        };
        if life.state == "draining" && (life.in_flight == 0 || self.fault == Fault::Hasty) {
            life.state = "drained";
            drop(lives);
            let report = json!({"id": id, "outcome": "clean"});
            let _ = self
                .events
                .send(json!({"event": "drain_end", "service": "demo", "report": report}));
        }
    }

    fn tell(&self, id: &str, to: &str) {
        let event =
            json!({"event": "state", "service": "demo", "endpoint": id, "to": to, "reason": null});
        let _ = self.events.send(event);
    }

    /// Connects first and takes its place then, so that what has a place is written before anybody can hear of a drain.
    async fn forward(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> io::Result<Response<UnsyncBoxBody<Bytes, io::Error>>> {
        let (mut connection, place) = loop {
            let Some((id, address)) = self.pick() else {
                let mut response = Response::new(text("nobody"));
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                return Ok(response);
            };
            let connection = Connection::open(address, &self.tasks).await?;
            if let Some(place) = self.enter(&id) {
                break (connection, place);
            }
        };
        let (parts, body) = request.into_parts();
        if self.fault == Fault::Repeats && fastrand::u32(..10) == 0 {
            let mut again = Connection::open(place.address(), &self.tasks).await?;
            let mut parts = parts.clone();
            parts.headers.remove("content-length");
            parts.headers.remove("transfer-encoding");
            let _ = again.send(Request::from_parts(parts, text(""))).await;
        }
        let body = body.map_err(io::Error::other).boxed_unsync();
        let response = connection
            .send(Request::from_parts(parts, body))
            .await
            .map_err(|fault| io::Error::other(fault.to_string()))?;
        let (parts, body) = response.into_parts();
        let frames = stream::unfold(
            (body, connection, place),
            async |(mut body, connection, place)| {
                let frame = body.frame().await?.map_err(io::Error::other);
                Some((frame, (body, connection, place)))
            },
        );
        Ok(Response::from_parts(
            parts,
            StreamBody::new(frames).boxed_unsync(),
        ))
    }

    fn pick(&self) -> Option<(String, SocketAddr)> {
        let lives = lock(&self.lives);
        // A leak now and then: if it were always, no drain would ever end.
        let leak = fastrand::u32(..10) == 0;
        let open: Vec<_> = lives
            .iter()
            .filter(|(_, life)| self.takes(life) && (leak || life.state == "ready"))
            .map(|(id, life)| (id.clone(), life.address))
            .collect();
        fastrand::choice(open)
    }

    fn enter(self: &Arc<Self>, id: &str) -> Option<Place> {
        let mut lives = lock(&self.lives);
        let life = lives.get_mut(id)?;
        if !self.takes(life) {
            return None;
        }
        life.in_flight += 1;
        Some(Place {
            inner: Arc::clone(self),
            id: id.into(),
            address: life.address,
        })
    }

    fn takes(&self, life: &Life) -> bool {
        life.state == "ready" || (self.fault == Fault::Leaks && life.state == "draining")
    }

    async fn administer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, Infallible> {
        let path = request.uri().path();
        if path == "/api/v1/events" {
            let events = stream::unfold(self.events.subscribe(), async |mut events| {
                let event = events.recv().await.ok()?;
                let text = format!("data: {event}\n\n");
                Some((Ok(Frame::data(Bytes::from(text))), events))
            });
            return Ok(Response::new(StreamBody::new(events).boxed_unsync()));
        }
        if request.method() == Method::POST {
            let id = path.split('/').nth(6).unwrap_or_default();
            self.drain(id);
            // Whatever took a place before is written by the tasks that run meanwhile.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        let endpoints: Vec<Value> = lock(&self.lives)
            .iter()
            .filter(|(_, life)| self.fault != Fault::Mute || life.state == "ready")
            .map(|(id, life)| json!({"id": id, "state": life.state, "reason": null}))
            .collect();
        Ok(Response::new(text(
            &json!({"name": "demo", "endpoints": endpoints, "reason": "operator"}).to_string(),
        )))
    }
}

struct Place {
    inner: Arc<Inner>,
    id: String,
    address: SocketAddr,
}

impl Place {
    const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(life) = lock(&self.inner.lives).get_mut(&self.id) {
            life.in_flight -= 1;
        }
        self.inner.settle(&self.id);
    }
}

fn text(text: &str) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(Bytes::from(text.to_owned()))
        .map_err(|never| match never {})
        .boxed_unsync()
}

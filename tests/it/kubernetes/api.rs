//! An API server over a real socket, as far as endpoint slices go: lists, watches, bookmarks, versions, errors inside a
//! stream. It does what real ones do now and then: it forgets old versions, knows no streaming lists, forbids, breaks off,
//! and goes away. Unlike real ones it allows loopback addresses.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Endpoint;

/// It ends with its test's process; its threads hold nothing but sockets.
pub(super) struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

/// What the server has and how it behaves.
struct State {
    version: u64,
    slices: BTreeMap<String, Value>,
    /// Every event, with its version.
    events: Vec<(u64, Value)>,
    /// What happened before is forgotten.
    oldest: u64,
    knows_streams: bool,
    forbids: bool,
    is_away: bool,
    connections: Vec<TcpStream>,
    /// The requests, by what they ask for.
    asked: Vec<&'static str>,
}

impl Api {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            // A cluster is never new, and a version of the same length sorts as text as well.
            version: 1000,
            slices: BTreeMap::new(),
            events: Vec::new(),
            oldest: 0,
            knows_streams: true,
            forbids: false,
            is_away: false,
            connections: Vec::new(),
            asked: Vec::new(),
        };
        let api = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                news: Condvar::new(),
            }),
        };
        let shared = api.shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut state = shared.state.lock().unwrap();
                if !state.is_away {
                    state.connections.push(stream.try_clone().unwrap());
                    let shared = shared.clone();
                    thread::spawn(move || shared.serve(stream));
                }
            }
        });
        api
    }

    /// A kubeconfig that leads here.
    pub(super) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "test", "user": {} }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "current-context": "test",
        })
        .to_string()
    }

    /// A pod in a slice of its own, since every test's endpoint has its own port.
    pub(super) fn set(&self, endpoint: &Endpoint, conditions: &str) {
        let address = endpoint.address();
        let name = endpoint.name();
        let conditions: Value = serde_json::from_str(conditions).unwrap();
        self.put(
            &format!("web-{name}"),
            &json!([{ "name": "http", "port": address.port(), "protocol": "TCP" }]),
            &json!([{
                "addresses": [address.ip().to_string()],
                "conditions": conditions,
                "targetRef": { "kind": "Pod", "namespace": "shop", "name": format!("pod-{name}"), "uid": name },
            }]),
        );
    }

    /// A slice of the service `web`.
    pub(super) fn put(&self, name: &str, ports: &Value, endpoints: &Value) {
        let mut state = self.state();
        state.version += 1;
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "uid": format!("uid of {name}"),
                "resourceVersion": state.version.to_string(),
                "labels": { "kubernetes.io/service-name": "web" },
            },
            "ports": ports,
            "endpoints": endpoints,
        });
        let old = state.slices.insert(name.to_owned(), slice.clone());
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        state.happened(kind, &slice);
        self.shared.news.notify_all();
    }

    pub(super) fn delete(&self, name: &str) {
        let mut state = self.state();
        let mut slice = state.slices.remove(name).unwrap();
        state.version += 1;
        slice["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.happened("DELETED", &slice);
        self.shared.news.notify_all();
    }

    /// Says the last event once more.
    pub(super) fn repeat(&self) {
        let mut state = self.state();
        let last = state.events.last().unwrap().clone();
        state.events.push(last);
        self.shared.news.notify_all();
    }

    pub(super) fn knows_no_streaming_lists(&self) {
        self.state().knows_streams = false;
    }

    pub(super) fn forbids(&self, forbids: bool) {
        self.state().forbids = forbids;
    }

    /// Forgets all versions up to now.
    pub(super) fn compacts(&self) {
        let mut state = self.state();
        state.version += 1;
        state.oldest = state.version;
    }

    /// Breaks off every connection.
    pub(super) fn breaks_off(&self) {
        for connection in self.state().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Takes no connection any more, or does again.
    pub(super) fn is_away(&self, is_away: bool) {
        self.state().is_away = is_away;
        self.breaks_off();
    }

    /// How often it was asked for this: `list`, `stream` or `watch`.
    pub(super) fn asked(&self, what: &str) -> usize {
        self.state()
            .asked
            .iter()
            .filter(|asked| **asked == what)
            .count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl State {
    fn happened(&mut self, kind: &str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.events.push((self.version, event));
    }
}

impl Shared {
    /// Answers what comes on a connection, until it breaks.
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(target) = read_head(&mut reader) {
            let (_, query) = target.split_once('?').unwrap_or_default();
            let asks = |pair: &str| query.split('&').any(|one| one == pair);
            let version = query
                .split('&')
                .find_map(|one| one.strip_prefix("resourceVersion="));
            let version: u64 = version.unwrap_or_default().parse().unwrap_or_default();
            let state = self.state.lock().unwrap();
            if state.forbids {
                drop(state);
                let _ = send(
                    &mut stream,
                    "403 Forbidden",
                    &status(403, "endpointslices is forbidden"),
                );
            } else if asks("watch=true") {
                self.watch(state, &mut stream, version, asks("sendInitialEvents=true"));
                break;
            } else {
                let _ = list(state, &mut stream);
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn watch(
        &self,
        mut state: MutexGuard<'_, State>,
        stream: &mut TcpStream,
        version: u64,
        streams: bool,
    ) {
        state.asked.push(if streams { "stream" } else { "watch" });
        let mut at = state.events.len();
        let mut lines = Vec::new();
        if streams && !state.knows_streams {
            lines.push(json!({ "type": "ERROR", "object": status(500, "RequestWatchProgress is disabled") }));
        } else if streams {
            lines.extend(
                state
                    .slices
                    .values()
                    .map(|slice| json!({ "type": "ADDED", "object": slice })),
            );
            lines.push(bookmark(
                state.version,
                &json!({ "k8s.io/initial-events-end": "true" }),
            ));
        } else if version < state.oldest {
            lines.push(
                json!({ "type": "ERROR", "object": status(410, "too old resource version") }),
            );
        } else {
            at = state
                .events
                .iter()
                .position(|(known, _)| *known > version)
                .unwrap_or(at);
        }
        let ends = lines.last().is_some_and(|line| line["type"] == "ERROR");
        drop(state);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut result = stream.write_all(head.as_bytes());
        loop {
            for line in lines.drain(..) {
                result = result.and_then(|()| chunk(stream, &format!("{line}\n")));
            }
            if ends || result.is_err() {
                let _ = stream.write_all(b"0\r\n\r\n");
                return;
            }
            let mut state = self.state.lock().unwrap();
            if state.events.len() == at {
                (state, _) = self.news.wait_timeout(state, BOOKMARKS).unwrap();
            }
            lines.extend(state.events[at..].iter().map(|(_, event)| event.clone()));
            if lines.is_empty() {
                lines.push(bookmark(state.version, &json!({})));
            }
            at = state.events.len();
        }
    }
}

fn list(mut state: MutexGuard<'_, State>, stream: &mut TcpStream) -> std::io::Result<()> {
    state.asked.push("list");
    let all = json!({
        "kind": "EndpointSliceList",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": { "resourceVersion": state.version.to_string() },
        "items": state.slices.values().collect::<Vec<_>>(),
    });
    drop(state);
    send(stream, "200 OK", &all)
}

fn bookmark(version: u64, annotations: &Value) -> Value {
    json!({ "type": "BOOKMARK", "object": {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": { "resourceVersion": version.to_string(), "annotations": annotations },
    } })
}

fn status(code: u16, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "Test" })
}

fn send(stream: &mut TcpStream, status: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}

/// The target of the next request; none when no more comes.
fn read_head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut target = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return target,
            line => target = target.or_else(|| line.split(' ').nth(1).map(ToOwned::to_owned)),
        }
    }
}

/// How often a bookmark comes while nothing happens.
const BOOKMARKS: Duration = Duration::from_secs(1);

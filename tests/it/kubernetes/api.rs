//! An API server over a real socket, as far as endpoint slices go: lists, watches, bookmarks, versions, errors inside a
//! stream. It does what real ones do now and then: it forgets old versions, knows no streaming lists, forbids, breaks off,
//! and goes away. Unlike real ones it allows loopback addresses.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

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
    pods: BTreeMap<String, Value>,
    /// Every event, with its version and the plural of its kind.
    events: Vec<(u64, &'static str, Value)>,
    /// What happened before is forgotten.
    oldest: u64,
    knows_streams: bool,
    forbids: bool,
    forbids_pods: bool,
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
            pods: BTreeMap::new(),
            events: Vec::new(),
            oldest: 0,
            knows_streams: true,
            forbids: false,
            forbids_pods: false,
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

    /// A replica of tidegate in a slice of the service `peers`.
    pub(super) fn put_peer(&self, name: &str, address: SocketAddr, conditions: &str) {
        let conditions: Value = serde_json::from_str(conditions).unwrap();
        self.put_of(
            "peers",
            name,
            &json!([{ "name": "admin", "port": address.port(), "protocol": "TCP" }]),
            &json!([{
                "addresses": [address.ip().to_string()],
                "conditions": conditions,
                "targetRef": { "kind": "Pod", "namespace": "shop", "name": name, "uid": name },
            }]),
        );
    }

    /// A slice of the service `web`.
    pub(super) fn put(&self, name: &str, ports: &Value, endpoints: &Value) {
        self.put_of("web", name, ports, endpoints);
    }

    fn put_of(&self, service: &str, name: &str, ports: &Value, endpoints: &Value) {
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
                "labels": { "kubernetes.io/service-name": service },
            },
            "ports": ports,
            "endpoints": endpoints,
        });
        let old = state.slices.insert(name.to_owned(), slice.clone());
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        state.happened(kind, SLICES, &slice);
        self.shared.news.notify_all();
    }

    /// A pod as a client deletes it: it is killed so many seconds from now.
    pub(super) fn delete_pod(&self, endpoint: &Endpoint, grace: u64) {
        self.put_pod(endpoint, Some(grace));
    }

    /// A pod; one with a grace period is being deleted.
    pub(super) fn put_pod(&self, endpoint: &Endpoint, grace: Option<u64>) {
        let killed = grace.map(|grace| {
            let at = SystemTime::now() + Duration::from_secs(grace);
            humantime::format_rfc3339_seconds(at).to_string()
        });
        let name = endpoint.name();
        let mut state = self.state();
        state.version += 1;
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("pod-{name}"),
                "namespace": "shop",
                "uid": name,
                "resourceVersion": state.version.to_string(),
                "deletionTimestamp": killed,
                "deletionGracePeriodSeconds": grace,
            },
        });
        let old = state.pods.insert(name.to_owned(), pod.clone());
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        state.happened(kind, PODS, &pod);
        self.shared.news.notify_all();
    }

    pub(super) fn forbids_pods(&self, forbids: bool) {
        self.state().forbids_pods = forbids;
    }

    pub(super) fn delete(&self, name: &str) {
        let mut state = self.state();
        let mut slice = state.slices.remove(name).unwrap();
        state.version += 1;
        slice["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.happened("DELETED", SLICES, &slice);
        self.shared.news.notify_all();
    }

    /// Says of a pod that it terminates, whoever has it.
    pub(super) fn terminate(&self, pod: &str) {
        let name = format!("web-{pod}");
        let slice = self.state().slices[&name].clone();
        let mut endpoints = slice["endpoints"].clone();
        endpoints[0]["conditions"] =
            json!({ "ready": false, "serving": true, "terminating": true });
        self.put(&name, &slice["ports"], &endpoints);
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
    fn happened(&mut self, kind: &str, plural: &'static str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.events.push((self.version, plural, event));
    }

    fn objects(&self, plural: &str) -> impl Iterator<Item = &Value> {
        match plural {
            PODS => self.pods.values(),
            _ => self.slices.values(),
        }
    }
}

impl Shared {
    /// Answers what comes on a connection, until it breaks.
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(target) = read_head(&mut reader) {
            let (path, query) = target.split_once('?').unwrap_or_default();
            let plural = if path.ends_with("/pods") {
                PODS
            } else {
                SLICES
            };
            let asks = |pair: &str| query.split('&').any(|one| one == pair);
            let version = query
                .split('&')
                .find_map(|one| one.strip_prefix("resourceVersion="));
            let version: u64 = version.unwrap_or_default().parse().unwrap_or_default();
            let state = self.state.lock().unwrap();
            if state.forbids || (state.forbids_pods && plural == PODS) {
                drop(state);
                let forbidden = format!("{plural} is forbidden");
                let _ = send(&mut stream, "403 Forbidden", &status(403, &forbidden));
            } else if asks("watch=true") {
                let streams = asks("sendInitialEvents=true");
                self.watch(state, &mut stream, plural, version, streams);
                break;
            } else {
                let _ = list(state, &mut stream, plural);
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn watch(
        &self,
        mut state: MutexGuard<'_, State>,
        stream: &mut TcpStream,
        plural: &'static str,
        version: u64,
        streams: bool,
    ) {
        if plural == SLICES {
            state.asked.push(if streams { "stream" } else { "watch" });
        }
        let mut at = state.events.len();
        let mut lines = Vec::new();
        if streams && !state.knows_streams {
            lines.push(json!({ "type": "ERROR", "object": status(500, "RequestWatchProgress is disabled") }));
        } else if streams {
            lines.extend(
                state
                    .objects(plural)
                    .map(|slice| json!({ "type": "ADDED", "object": slice })),
            );
            lines.push(bookmark(
                plural,
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
                .position(|(known, ..)| *known > version)
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
            let news = state.events[at..].iter();
            let news = news.filter(|(_, kind, _)| *kind == plural);
            lines.extend(news.map(|(.., event)| event.clone()));
            if state.events.len() == at {
                lines.push(bookmark(plural, state.version, &json!({})));
            }
            at = state.events.len();
        }
    }
}

fn list(
    mut state: MutexGuard<'_, State>,
    stream: &mut TcpStream,
    plural: &'static str,
) -> std::io::Result<()> {
    if plural == SLICES {
        state.asked.push("list");
    }
    let (kind, version) = names(plural);
    let all = json!({
        "kind": format!("{kind}List"),
        "apiVersion": version,
        "metadata": { "resourceVersion": state.version.to_string() },
        "items": state.objects(plural).collect::<Vec<_>>(),
    });
    drop(state);
    send(stream, "200 OK", &all)
}

fn names(plural: &str) -> (&'static str, &'static str) {
    match plural {
        PODS => ("Pod", "v1"),
        _ => ("EndpointSlice", "discovery.k8s.io/v1"),
    }
}

fn bookmark(plural: &str, version: u64, annotations: &Value) -> Value {
    let (kind, api) = names(plural);
    json!({ "type": "BOOKMARK", "object": {
        "kind": kind,
        "apiVersion": api,
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

const SLICES: &str = "endpointslices";
const PODS: &str = "pods";

/// How often a bookmark comes while nothing happens.
const BOOKMARKS: Duration = Duration::from_secs(1);

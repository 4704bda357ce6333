//! An API server over a real socket, as far as tidegate asks one: lists, watches, bookmarks, versions, errors inside a
//! stream, and writes with their conflicts. It does what real ones do now and then: it forgets old versions, knows no
//! streaming lists, forbids, breaks off, and goes away. Unlike real ones it allows loopback addresses.

mod http;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::Endpoint;
pub(super) use tls::{Authority, Front};

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
    /// All objects, by the plural of their kind and `namespace/name`.
    objects: BTreeMap<(&'static str, String), Value>,
    /// Every event, with its version and the plural of its kind.
    events: Vec<(u64, &'static str, Value)>,
    /// What happened before is forgotten.
    oldest: u64,
    streams: Streams,
    /// How many objects it puts into one answer, when it is asked for no more than some.
    page: usize,
    /// How many of the tokens that go on with a list are too old.
    stale_pages: usize,
    /// Kinds that nobody has installed.
    absent: BTreeSet<&'static str>,
    /// The token that whoever asks has to have.
    token: Option<String>,
    /// Plurals that may not be read, and `verb plural` of writes that are forbidden.
    forbidden: BTreeSet<String>,
    /// Writes, as `verb plural`, before which somebody else writes the same object once.
    conflicts: BTreeSet<String>,
    is_away: bool,
    connections: Vec<TcpStream>,
    /// The requests for slices, by what they ask for.
    asked: Vec<&'static str>,
    /// Every write that was done, as `verb plural namespace/name`.
    written: Vec<String>,
}

/// What a request for a streaming list is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// A list, as a stream.
    Known,
    /// An error in the stream, as where the store cannot do it.
    Broken,
    /// 422, as where it is not turned on.
    Refused,
}

impl Api {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            // A cluster is never new, and a version of the same length sorts as text as well.
            version: 1000,
            objects: BTreeMap::new(),
            events: Vec::new(),
            oldest: 0,
            streams: Streams::Known,
            page: usize::MAX,
            stale_pages: 0,
            absent: BTreeSet::new(),
            token: None,
            forbidden: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            is_away: false,
            connections: Vec::new(),
            asked: Vec::new(),
            written: Vec::new(),
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
        kubeconfig(
            &json!({ "server": format!("http://{}", self.address) }),
            &json!({}),
        )
    }

    /// TLS before it.
    pub(super) fn front(&self, authority: &Authority, clients: Option<&Authority>) -> Front {
        Front::start(self.address, authority, clients)
    }

    /// Whoever asks has to have this token.
    pub(super) fn wants_token(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// A page of a list has so many objects.
    pub(super) fn pages_of(&self, page: usize) {
        self.state().page = page;
    }

    /// The next tokens that go on with a list are too old.
    pub(super) fn forgets_pages(&self, tokens: usize) {
        self.state().stale_pages = tokens;
    }

    /// Nobody has installed a kind, or somebody has.
    pub(super) fn is_absent(&self, plural: &'static str, is_absent: bool) {
        let mut state = self.state();
        if is_absent {
            state.absent.insert(plural);
        } else {
            state.absent.remove(plural);
        }
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

    /// A slice of a service.
    pub(super) fn put_of(&self, service: &str, name: &str, ports: &Value, endpoints: &Value) {
        self.set_object(
            SLICES,
            &json!({
                "addressType": "IPv4",
                "metadata": {
                    "name": name,
                    "namespace": "shop",
                    "labels": { "kubernetes.io/service-name": service },
                },
                "ports": ports,
                "endpoints": endpoints,
            }),
        );
    }

    /// An object as it is from now on, its version and what is missing of its metadata filled in.
    pub(super) fn set_object(&self, plural: &'static str, object: &Value) {
        self.state().set(plural, object.clone());
        self.shared.news.notify_all();
    }

    /// An object, `namespace/name` or the name alone, as it is now.
    pub(super) fn object(&self, plural: &'static str, name: &str) -> Option<Value> {
        self.state()
            .objects
            .get(&(plural, name.to_owned()))
            .cloned()
    }

    /// All objects of a kind.
    pub(super) fn objects(&self, plural: &'static str) -> Vec<Value> {
        self.state().all(plural, None).cloned().collect()
    }

    /// How often something was written, as `verb plural namespace/name`.
    pub(super) fn written(&self, what: &str) -> usize {
        let state = self.state();
        state.written.iter().filter(|line| *line == what).count()
    }

    /// Somebody else writes first, the next time: `verb plural`.
    pub(super) fn conflicts_once(&self, what: &str) {
        self.state().conflicts.insert(what.to_owned());
    }

    /// Whether somebody else's write was the first.
    pub(super) fn has_conflicted(&self) -> bool {
        self.state().conflicts.is_empty()
    }

    /// Deletes an object.
    pub(super) fn delete_object(&self, plural: &'static str, name: &str) {
        self.state().remove(plural, name);
        self.shared.news.notify_all();
    }

    /// Forbids to read a kind, or a write as `verb plural`; or allows it again.
    pub(super) fn forbids_to(&self, what: &str, forbids: bool) {
        let mut state = self.state();
        if forbids {
            state.forbidden.insert(what.to_owned());
        } else {
            state.forbidden.remove(what);
        }
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
        self.set_object(
            PODS,
            &json!({
                "metadata": {
                    "name": format!("pod-{name}"),
                    "namespace": "shop",
                    "uid": name,
                    "deletionTimestamp": killed,
                    "deletionGracePeriodSeconds": grace,
                },
            }),
        );
    }

    pub(super) fn forbids_pods(&self, forbids: bool) {
        self.forbids_to(PODS, forbids);
    }

    pub(super) fn delete(&self, name: &str) {
        self.delete_object(SLICES, &format!("shop/{name}"));
    }

    /// Says of a pod that it terminates, whoever has it.
    pub(super) fn terminate(&self, pod: &str) {
        let name = format!("web-{pod}");
        let slice = self.object(SLICES, &format!("shop/{name}")).unwrap();
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

    pub(super) fn answers_streaming_lists(&self, streams: Streams) {
        self.state().streams = streams;
    }

    pub(super) fn forbids(&self, forbids: bool) {
        self.forbids_to(SLICES, forbids);
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

    /// How often it was asked for this: `list`, `page` (a list's next part), `stream` or `watch`.
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
    /// What is missing is filled in. Returns the object as it is then.
    fn set(&mut self, plural: &'static str, mut object: Value) -> Value {
        self.version += 1;
        let (kind, version) = names(plural);
        (object["kind"], object["apiVersion"]) = (kind.into(), version.into());
        let key = key(&object);
        let old = self.objects.get(&(plural, key.clone()));
        let event = if old.is_some() { "MODIFIED" } else { "ADDED" };
        let born = old.map(|old| old["metadata"]["creationTimestamp"].clone());
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = self.version.to_string().into();
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("uid of {key}").into();
        }
        if metadata["creationTimestamp"].is_null() {
            let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            metadata["creationTimestamp"] = born.unwrap_or_else(|| now.into());
        }
        self.objects.insert((plural, key), object.clone());
        self.happened(event, plural, &object);
        object
    }

    fn remove(&mut self, plural: &'static str, name: &str) {
        let mut object = self.objects.remove(&(plural, name.to_owned())).unwrap();
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.happened("DELETED", plural, &object);
    }

    fn happened(&mut self, kind: &str, plural: &'static str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.events.push((self.version, plural, event));
    }

    /// Those of a kind, in a namespace or in all.
    fn all(&self, plural: &'static str, namespace: Option<&str>) -> impl Iterator<Item = &Value> {
        let all = self
            .objects
            .iter()
            .filter(move |((own, _), _)| *own == plural);
        all.map(|(_, object)| object)
            .filter(move |object| is_in(object, namespace))
    }
}

fn kubeconfig(cluster: &Value, user: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "tidegate" } }],
        "current-context": "test",
    })
    .to_string()
}

fn is_in(object: &Value, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
}

fn key(object: &Value) -> String {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    match text("namespace") {
        "" => text("name").to_owned(),
        namespace => format!("{namespace}/{}", text("name")),
    }
}

/// The kind and version of a plural.
fn names(plural: &str) -> (&'static str, &'static str) {
    let (_, kind, version) = KINDS.iter().find(|(known, ..)| *known == plural).unwrap();
    (kind, version)
}

pub(super) const SLICES: &str = "endpointslices";
pub(super) const PODS: &str = "pods";
pub(super) const INGRESSES: &str = "ingresses";
pub(super) const CLASSES: &str = "ingressclasses";
pub(super) const SERVICES: &str = "services";
pub(super) const SECRETS: &str = "secrets";
pub(super) const LEASES: &str = "leases";
pub(super) const EVENTS: &str = "events";
pub(super) const NAMESPACES: &str = "namespaces";
pub(super) const GATEWAY_CLASSES: &str = "gatewayclasses";
pub(super) const GATEWAYS: &str = "gateways";
pub(super) const HTTP_ROUTES: &str = "httproutes";
pub(super) const GRPC_ROUTES: &str = "grpcroutes";
pub(super) const GRANTS: &str = "referencegrants";

const KINDS: [(&str, &str, &str); 14] = [
    (SLICES, "EndpointSlice", "discovery.k8s.io/v1"),
    (PODS, "Pod", "v1"),
    (INGRESSES, "Ingress", "networking.k8s.io/v1"),
    (CLASSES, "IngressClass", "networking.k8s.io/v1"),
    (SERVICES, "Service", "v1"),
    (SECRETS, "Secret", "v1"),
    (LEASES, "Lease", "coordination.k8s.io/v1"),
    (EVENTS, "Event", "events.k8s.io/v1"),
    (NAMESPACES, "Namespace", "v1"),
    (
        GATEWAY_CLASSES,
        "GatewayClass",
        "gateway.networking.k8s.io/v1",
    ),
    (GATEWAYS, "Gateway", "gateway.networking.k8s.io/v1"),
    (HTTP_ROUTES, "HTTPRoute", "gateway.networking.k8s.io/v1"),
    (GRPC_ROUTES, "GRPCRoute", "gateway.networking.k8s.io/v1"),
    (
        GRANTS,
        "ReferenceGrant",
        "gateway.networking.k8s.io/v1beta1",
    ),
];

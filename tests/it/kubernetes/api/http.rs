//! What comes on a connection, and what is answered.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::MutexGuard;
use std::time::Duration;

use serde_json::{Value, json};

use super::{KINDS, SLICES, Shared, State, Streams, is_in, key, names};

/// A request.
struct Request {
    method: String,
    target: Target,
    query: String,
    /// What it says of who asks.
    authorization: Option<String>,
    body: Value,
}

/// What a path leads to.
struct Target {
    plural: &'static str,
    namespace: Option<String>,
    name: Option<String>,
    is_status: bool,
}

impl Request {
    fn asks(&self, pair: &str) -> bool {
        self.query.split('&').any(|one| one == pair)
    }

    fn version(&self) -> u64 {
        self.number("resourceVersion=").unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u64> {
        let mut pairs = self.query.split('&');
        pairs.find_map(|one| one.strip_prefix(name)?.parse().ok())
    }

    /// In the words of permissions.
    fn verb(&self) -> &'static str {
        match &*self.method {
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            _ if self.target.name.is_some() => "get",
            _ => "list",
        }
    }
}

impl Target {
    /// Of `/api/v1/...` and `/apis/GROUP/VERSION/...`.
    fn of(path: &str) -> Option<Self> {
        let mut parts = path.split('/').skip(1);
        let skipped = if parts.next()? == "api" { 1 } else { 2 };
        let parts: Vec<_> = parts.skip(skipped).collect();
        let (namespace, parts) = match &parts[..] {
            // A namespace is an object, too.
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => {
                (Some((*namespace).to_owned()), rest)
            }
            parts => (None, parts),
        };
        let mut parts = parts.iter().copied();
        let plural = parts.next()?;
        let (plural, ..) = KINDS.iter().find(|(known, ..)| *known == plural)?;
        Some(Self {
            plural,
            namespace,
            name: parts.next().map(ToOwned::to_owned),
            is_status: parts.next() == Some("status"),
        })
    }

    fn key(&self) -> String {
        let name = self.name.clone().unwrap_or_default();
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name,
        }
    }

    fn words(&self) -> String {
        let status = if self.is_status { "/status" } else { "" };
        format!("{}{status}", self.plural)
    }
}

impl Shared {
    /// Answers what comes on a connection, until it breaks.
    pub(super) fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read(&mut reader) {
            let mut state = self.state.lock().unwrap();
            let words = request.target.words();
            let verb = request.verb();
            let is_read = matches!(verb, "list" | "get");
            let what = format!("{verb} {words}");
            let token = state.token.as_ref().map(|token| format!("Bearer {token}"));
            if token.is_some() && token != request.authorization {
                drop(state);
                let _ = send(&mut stream, 401, &status(401, "Unauthorized"));
            } else if state.absent.contains(request.target.plural) {
                drop(state);
                let _ = send(&mut stream, 404, &"404 page not found".into());
            } else if state.forbidden.contains(&what)
                || (is_read && state.forbidden.contains(&words))
            {
                drop(state);
                let forbidden = format!("{words} is forbidden");
                let _ = send(&mut stream, 403, &status(403, &forbidden));
            } else if request.asks("sendInitialEvents=true") && state.streams == Streams::Refused {
                state.ask(request.target.plural, "stream");
                drop(state);
                let refused = "sendInitialEvents: Forbidden: the feature is not turned on";
                let _ = send(&mut stream, 422, &status(422, refused));
            } else if request.asks("watch=true") {
                self.watch(state, &mut stream, &request);
                break;
            } else if request.method == "GET" && request.target.name.is_none() {
                let _ = list(state, &mut stream, &request);
            } else {
                let (code, answer) = answer(state, &request);
                self.news.notify_all();
                let _ = send(&mut stream, code, &answer);
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn watch(&self, mut state: MutexGuard<'_, State>, stream: &mut TcpStream, request: &Request) {
        let Target {
            plural, namespace, ..
        } = &request.target;
        let (plural, namespace) = (*plural, namespace.as_deref());
        let streams = request.asks("sendInitialEvents=true");
        state.ask(plural, if streams { "stream" } else { "watch" });
        let mut at = state.events.len();
        let mut lines = Vec::new();
        if streams && state.streams == Streams::Broken {
            lines.push(json!({ "type": "ERROR", "object": status(500, "RequestWatchProgress is disabled") }));
        } else if streams {
            let all = state.all(plural, namespace);
            lines.extend(all.map(|object| json!({ "type": "ADDED", "object": object })));
            lines.push(bookmark(
                plural,
                state.version,
                &json!({ "k8s.io/initial-events-end": "true" }),
            ));
        } else if request.version() < state.oldest {
            lines.push(
                json!({ "type": "ERROR", "object": status(410, "too old resource version") }),
            );
        } else {
            let version = request.version();
            let mut events = state.events.iter();
            at = events
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
            let news = news
                .filter(|(_, kind, event)| *kind == plural && is_in(&event["object"], namespace));
            lines.extend(news.map(|(.., event)| event.clone()));
            if state.events.len() == at {
                lines.push(bookmark(plural, state.version, &json!({})));
            }
            at = state.events.len();
        }
    }
}

impl State {
    fn ask(&mut self, plural: &str, what: &'static str) {
        if plural == SLICES {
            self.asked.push(what);
        }
    }
}

/// A list, or a page of it: one goes on by how many objects came before and at which version that was.
fn list(
    mut state: MutexGuard<'_, State>,
    stream: &mut TcpStream,
    request: &Request,
) -> std::io::Result<()> {
    let target = &request.target;
    let before = request.number("continue=");
    let what = if before.is_some() { "page" } else { "list" };
    state.ask(target.plural, what);
    if before.is_some() && state.stale_pages > 0 {
        state.stale_pages -= 1;
        drop(state);
        let stale = "The provided continue parameter is too old";
        return send(stream, 410, &status(410, stale));
    }
    let before = usize::try_from(before.unwrap_or_default()).unwrap();
    let page = match request.number("limit=") {
        Some(limit) => state.page.min(usize::try_from(limit).unwrap()),
        None => usize::MAX,
    };
    let (kind, version) = names(target.plural);
    let rest = state
        .all(target.plural, target.namespace.as_deref())
        .skip(before);
    let items: Vec<_> = rest.take(page).cloned().collect();
    let is_full = items.len() == page;
    let all = json!({
        "kind": format!("{kind}List"),
        "apiVersion": version,
        "metadata": {
            "resourceVersion": state.version.to_string(),
            "continue": if is_full { (before + page).to_string() } else { String::new() },
        },
        "items": items,
    });
    drop(state);
    send(stream, 200, &all)
}

/// What concerns one object.
fn answer(mut state: MutexGuard<'_, State>, request: &Request) -> (u16, Value) {
    let Request {
        method,
        target,
        body,
        ..
    } = request;
    let plural = target.plural;
    let written = |state: &mut State, key: &str| {
        let line = format!("{} {} {key}", request.verb(), target.words());
        state.written.push(line);
    };
    if method == "POST" {
        let mut object = body.clone();
        if let Some(namespace) = &target.namespace {
            object["metadata"]["namespace"] = namespace.clone().into();
        }
        let key = key(&object);
        if state.objects.contains_key(&(plural, key.clone())) {
            return (409, status(409, "already exists"));
        }
        written(&mut state, &key);
        return (201, state.set(plural, object));
    }
    let key = target.key();
    let Some(old) = state.objects.get(&(plural, key.clone())).cloned() else {
        return (404, status(404, "not found"));
    };
    let what = format!("{} {}", request.verb(), target.words());
    if state.conflicts.remove(&what) {
        state.set(plural, old);
        return (409, status(409, "the object has been modified"));
    }
    let asked = &body["metadata"]["resourceVersion"];
    if !asked.is_null() && *asked != old["metadata"]["resourceVersion"] {
        return (409, status(409, "the object has been modified"));
    }
    let new = match &**method {
        "GET" => return (200, old),
        "PUT" => body.clone(),
        _ => {
            let mut new = old;
            let mut patch = body.clone();
            if target.is_status {
                // Whatever else it has is passed over.
                patch = json!({ "status": patch["status"] });
            }
            merge(&mut new, &patch);
            new
        }
    };
    written(&mut state, &key);
    (200, state.set(plural, new))
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            if let Some(into) = into.as_object_mut() {
                into.remove(key);
            }
        } else {
            merge(&mut into[key], value);
        }
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

fn send(stream: &mut TcpStream, code: u16, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {code} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}

/// The next request; none when no more comes.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let (mut first, mut length, mut authorization) = (None, 0, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if first.is_none() {
            first = Some(line.to_owned());
        } else if let Some((name, value)) = line.split_once(':') {
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.trim().parse().ok()?,
                "authorization" => authorization = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let first = first?;
    let mut words = first.split(' ');
    let method = words.next()?.to_owned();
    let (path, query) = words
        .next()?
        .split_once('?')
        .unwrap_or((first.split(' ').nth(1)?, ""));
    Some(Request {
        method,
        target: Target::of(path)?,
        query: query.to_owned(),
        authorization,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// How often a bookmark comes while nothing happens.
const BOOKMARKS: Duration = Duration::from_secs(1);

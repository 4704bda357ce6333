//! The admin side as its users call it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::{Client, Response, eventually};

/// An answer of the admin side.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) response: Response,
}

impl Answer {
    /// Makes a call; `fields` are further ones, each with its line's end.
    #[track_caller]
    pub(crate) fn to(address: SocketAddr, method: &str, path: &str, fields: &str) -> Self {
        let host = if fields.to_ascii_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: {address}\r\n")
        };
        let mut client = Client::connect(address);
        client.send(format!(
            "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{fields}\r\n"
        ));
        let response = if method == "HEAD" {
            client.response_to_head()
        } else {
            client.response()
        };
        Self {
            status: response.status,
            response,
        }
    }

    /// What it says.
    pub(crate) fn text(&self) -> String {
        self.response.text()
    }

    /// What it says, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.response.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// What it says, as JSON; the call must have been a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }
}

/// The event stream, read from its beginning on.
#[derive(Debug)]
pub(crate) struct Events {
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Events {
    #[track_caller]
    pub(super) fn of(address: SocketAddr) -> Self {
        let mut client = Client::connect(address);
        client.send(format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n"
        ));
        let (status, _) = client.response_head();
        assert_eq!(status, 200);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        thread::spawn(move || {
            while let Some(line) = client.next_line() {
                if let Some(event) = line.strip_prefix("data:") {
                    kept.lock()
                        .unwrap()
                        .push(serde_json::from_str(event).unwrap());
                }
            }
        });
        Self { seen }
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for an event about an endpoint.
    #[track_caller]
    pub(crate) fn wait(&self, event: &str, endpoint: &str) -> Value {
        self.wait_for(&format!("event {event} of {endpoint}"), |one| {
            one["event"] == event && one["endpoint"] == endpoint
        })
    }

    /// Waits for an event.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.all().into_iter().find(|event| is_it(event)))
    }
}

//! `services`: where requests go to.

use std::sync::Arc;

use http::HeaderName;

use crate::balance::{HashKey, Policy};
use crate::document::{Item, Mapping, Value, nearest};
use crate::drain::{self, WebsocketClose};
use crate::endpoint::ServiceName;
use crate::snapshot::{Affinity, AllDraining, Limits, Retry, ServiceSettings, Timeouts};

use super::Service;
use super::files::Files;
use super::health::health;
use super::source::source;
use super::upstream::{PROTOCOLS, tls};
use super::values::{Seen, choice, count, name, take, time};

/// The names of the services, for routes to name.
#[derive(Debug)]
pub(super) struct Names<'n> {
    known: Vec<&'n str>,
    /// Some name cannot be read, so that no route can be blamed for naming no service.
    unsure: bool,
}

impl<'n> Names<'n> {
    /// Those of services that cannot be read at all.
    pub(super) fn unknown() -> Self {
        Self {
            known: Vec::new(),
            unsure: true,
        }
    }

    /// There are no services.
    pub(super) fn none() -> Self {
        Self {
            known: Vec::new(),
            unsure: false,
        }
    }

    /// Reads a text that should be one of them.
    pub(super) fn find<'i>(&self, item: &Item<'i>) -> Option<&'i str> {
        let text = item.name()?;
        if !self.unsure && !self.known.contains(&text) {
            let hint = match nearest(text, self.known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => "name one that is there, or add it to services".into(),
            };
            item.fault(format!("is {text:?}, which is no service; {hint}"));
        }
        Some(text)
    }
}

/// Reads all of them, and their names also where something else is wrong.
pub(super) fn services<'n>(
    list: &Item<'n>,
    may_be_empty: bool,
    files: &mut Files,
) -> Option<(Vec<Service>, Names<'n>)> {
    let items = list.list(false)?;
    if items.is_empty() && !may_be_empty {
        list.fault("is empty, should have a service with a name and a source");
    }
    let mut names = Names {
        known: Vec::new(),
        unsure: items.is_empty() && !may_be_empty,
    };
    let mut seen = Seen::default();
    let mut services = Vec::new();
    for item in items {
        let keys = item.mapping();
        let Some(mut keys) = keys else {
            names.unsure = true;
            continue;
        };
        let own_name = keys.required("name");
        let own_name = own_name.and_then(|item| {
            let text = name(&item)?;
            seen.note(&item, text, &format!("service {text}"));
            Some(text)
        });
        names.known.extend(own_name);
        names.unsure |= own_name.is_none();
        services.extend(service(&mut keys, own_name.unwrap_or_default(), files));
        keys.finish();
    }
    Some((services, names))
}

fn service(keys: &mut Mapping<'_>, name: &str, files: &mut Files) -> Option<Service> {
    let mut settings = ServiceSettings::named(ServiceName::from(name));
    let source = keys
        .required("source")
        .and_then(|item| source(&item, files));
    settings.balance = balance(keys);
    take(&mut settings.affinity, keys.optional("affinity"), affinity);
    take(&mut settings.protocol, keys.optional("protocol"), |item| {
        item.word(&PROTOCOLS)
    });
    let protocol = settings.protocol;
    take(&mut settings.tls, keys.optional("tls"), |item| {
        tls(item, protocol, files).map(Some)
    });
    take(&mut settings.drain, keys.optional("drain"), drain);
    take(
        &mut settings.all_draining,
        keys.optional("all_draining"),
        |item| item.word(&ALL_DRAINING),
    );
    settings.timeouts = timeouts(keys);
    take(&mut settings.retry, keys.optional("retry"), retry);
    take(&mut settings.limits, keys.optional("limits"), limits);
    take(
        &mut settings.slow_start,
        keys.optional("slow_start"),
        Item::duration,
    );
    take(&mut settings.upgrades, keys.optional("upgrades"), upgrades);
    let tls = settings.tls.is_some();
    take(&mut settings.health, keys.optional("health"), |item| {
        health(item, protocol, tls).map(Some)
    });
    Some(Service {
        settings: Arc::new(settings),
        source: source?,
    })
}

fn balance(keys: &mut Mapping<'_>) -> Policy {
    let policy = match keys.optional("balance") {
        Some(item) => item.word(&BALANCE),
        None => Some(BALANCE[0].1),
    };
    let mut hash_on = HashKey::ClientAddress;
    let item = keys.optional("hash_on");
    match (policy, item) {
        (Some(Policy::Hash(_)) | None, item) => take(&mut hash_on, item, hash_key),
        (Some(_), Some(item)) => {
            let message = "means something only with balance: hash; remove it, or balance by hash";
            item.faults.add(keys.place(item.key), item.key, message);
        }
        (Some(_), None) => {}
    }
    match policy {
        Some(Policy::Hash(_)) => Policy::Hash(hash_on),
        policy => policy.cloned().unwrap_or_default(),
    }
}

fn hash_key(item: &Item<'_>) -> Option<HashKey> {
    if let Value::Scalar { .. } = item.node.value {
        if item.text()? == "client_address" {
            return Some(HashKey::ClientAddress);
        }
        item.fault(format!(
            "is {}, should be client_address, {{ header: NAME }} or {{ cookie: NAME }}",
            item.kind()
        ));
        return None;
    }
    let (kind, _, value) = choice(item.mapping()?, &["header", "cookie"])?;
    let text = value.name()?;
    // A cookie's name is a token, as a field's is; only a field's is the same in upper case.
    let Ok(field) = text.parse::<HeaderName>() else {
        value.fault(format!("is {text:?}, should be the name of a {kind}"));
        return None;
    };
    Some(match kind {
        "header" => HashKey::Header(field),
        _ => HashKey::Cookie(text.into()),
    })
}

fn affinity(item: &Item<'_>) -> Option<Affinity> {
    if let Value::Scalar { .. } = item.node.value {
        return match item.text()? {
            "none" => Some(Affinity::None),
            "connection" => Some(Affinity::Connection),
            _ => {
                item.fault(format!(
                    "is {}, should be none, connection, {{ cookie: NAME }} or {{ header: NAME }}",
                    item.kind()
                ));
                None
            }
        };
    }
    let mut keys = item.mapping()?;
    let mut keep_until_deadline = false;
    take(
        &mut keep_until_deadline,
        keys.optional("keep_until_deadline"),
        Item::boolean,
    );
    let is_kind = |name: &str| matches!(name, "cookie" | "header");
    if !keys.entries.iter().any(|(key, _)| is_kind(&key.text)) {
        item.fault("should have one of cookie, header");
    }
    let (kind, _, value) = choice(keys, &["cookie", "header"])?;
    let text = value.name()?;
    let Ok(field) = text.parse::<HeaderName>() else {
        value.fault(format!("is {text:?}, should be the name of a {kind}"));
        return None;
    };
    Some(match kind {
        "header" => Affinity::Header {
            name: field,
            keep_until_deadline,
        },
        _ => Affinity::Cookie {
            name: text.into(),
            keep_until_deadline,
        },
    })
}

fn drain(item: &Item<'_>) -> Option<drain::Settings> {
    let mut keys = item.mapping()?;
    let mut drain = drain::Settings::default();
    take(&mut drain.timeout, keys.optional("timeout"), Item::duration);
    take(
        &mut drain.idle_grace,
        keys.optional("idle_grace"),
        Item::duration,
    );
    take(&mut drain.spread, keys.optional("spread"), Item::duration);
    let close = keys.optional("websocket_close_code");
    take(&mut drain.websocket_close, close, |item| {
        item.word(&WEBSOCKET_CLOSE)
    });
    keys.finish();
    Some(drain)
}

fn timeouts(keys: &mut Mapping<'_>) -> Timeouts {
    let mut times = Timeouts::default();
    take(
        &mut times.connect,
        keys.optional("connect_timeout"),
        Item::duration,
    );
    take(
        &mut times.request,
        keys.optional("request_timeout"),
        Item::duration,
    );
    take(
        &mut times.idle,
        keys.optional("idle_timeout"),
        Item::duration,
    );
    take(
        &mut times.tunnel_idle,
        keys.optional("tunnel_idle_timeout"),
        Item::duration,
    );
    // Not zero: some would read "never kept" and some "kept forever".
    take(
        &mut times.upstream_keep_alive,
        keys.optional("upstream_keep_alive"),
        time,
    );
    take(
        &mut times.upstream_ping,
        keys.optional("upstream_ping"),
        Item::duration,
    );
    times
}

fn retry(item: &Item<'_>) -> Option<Retry> {
    let mut keys = item.mapping()?;
    let mut retry = Retry::default();
    take(&mut retry.attempts, keys.optional("attempts"), |item| {
        count(item, 1..=2)
    });
    take(&mut retry.budget, keys.optional("budget"), Item::percent);
    keys.finish();
    Some(retry)
}

fn limits(item: &Item<'_>) -> Option<Limits> {
    let mut keys = item.mapping()?;
    let mut limits = Limits::default();
    let connections = keys.optional("connections_per_endpoint");
    take(&mut limits.connections_per_endpoint, connections, |item| {
        count(item, 1..=1_000_000)
    });
    take(&mut limits.pending, keys.optional("pending"), |item| {
        count(item, 0..=1_000_000)
    });
    take(
        &mut limits.request_body,
        keys.optional("request_body"),
        Item::size,
    );
    keys.finish();
    Some(limits)
}

/// The protocols that clients may switch to, and `connect`.
fn upgrades(item: &Item<'_>) -> Option<Vec<Arc<str>>> {
    let items = item.list(false)?;
    Some(items.iter().filter_map(upgrade).collect())
}

fn upgrade(item: &Item<'_>) -> Option<Arc<str>> {
    let text = item.name()?;
    let lower = text.to_ascii_lowercase();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&b);
    // Another HTTP behind ours would be routed by nobody, and TLS seen by nobody.
    let is_tunnel = !matches!(&*lower, "h2c" | "h2" | "tls")
        && !lower.starts_with("http/")
        && !lower.starts_with("tls/");
    if lower.bytes().all(is_token) && is_tunnel {
        return Some(lower.into());
    }
    item.fault(format!(
        "is {text:?}, should be websocket, connect, or another protocol of the Upgrade field; HTTP and TLS are not passed through"
    ));
    None
}

/// The codes that end a WebSocket, the default first.
pub(super) const WEBSOCKET_CLOSE: [(&str, WebsocketClose); 2] = [
    ("1012", WebsocketClose::ServiceRestart),
    ("1001", WebsocketClose::GoingAway),
];

/// The words for policies, the default first.
pub(super) const BALANCE: [(&str, &Policy); 5] = [
    ("least_request", &Policy::LeastRequest),
    ("peak_ewma", &Policy::PeakEwma),
    ("round_robin", &Policy::RoundRobin),
    ("random", &Policy::Random),
    ("hash", &Policy::Hash(HashKey::ClientAddress)),
];

/// The words for what happens with no ready endpoint.
pub(super) const ALL_DRAINING: [(&str, AllDraining); 2] = [
    ("serve", AllDraining::Serve),
    ("reject", AllDraining::Reject),
];

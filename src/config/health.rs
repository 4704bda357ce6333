//! `health` of a service: how its endpoints are asked whether they are well.

use http::uri::PathAndQuery;

use crate::document::{Item, Mapping};
use crate::snapshot::{HealthCheck, Probe, Protocol};

use super::values::{choice, count, take, time};

/// Reads it, for endpoints that are spoken to like this.
pub(super) fn health(item: &Item<'_>, protocol: Protocol, tls: bool) -> Option<HealthCheck> {
    let mut keys = item.mapping()?;
    let mut check = HealthCheck::by(Probe::Tcp);
    take(&mut check.interval, keys.optional("interval"), time);
    take(&mut check.timeout, keys.optional("timeout"), time);
    let in_a_row = |item: &Item<'_>| count(item, 1..=100);
    take(&mut check.healthy, keys.optional("healthy"), in_a_row);
    take(&mut check.unhealthy, keys.optional("unhealthy"), in_a_row);
    check.probe = probe(item, keys, protocol, tls)?;
    Some(check)
}

fn probe(item: &Item<'_>, keys: Mapping<'_>, protocol: Protocol, tls: bool) -> Option<Probe> {
    let is_there = |kind: &&str| keys.entries.iter().any(|(key, _)| key.text == **kind);
    if !KINDS.iter().any(is_there) {
        item.fault("should have one of http, tcp, grpc");
    }
    let (kind, at, value) = choice(keys, &KINDS)?;
    match kind {
        "http" => path(&value).map(Probe::Http),
        "tcp" => {
            if !value.boolean()? {
                value.fault("is false, should be true; health: null turns checks off");
            }
            Some(Probe::Tcp)
        }
        _ => {
            if tls && protocol == Protocol::Http1 {
                let message = "needs HTTP/2, which protocol: http1 does not offer inside TLS; should be h2 or auto";
                value.faults.add(at, kind, message);
            }
            value.text().map(|name| Probe::Grpc(name.into()))
        }
    }
}

fn path(value: &Item<'_>) -> Option<String> {
    let text = value.name()?;
    // The parser drops a fragment without a word.
    let whole = |path: &PathAndQuery| path.as_str() == text && text.starts_with('/');
    if !text.parse().is_ok_and(|path| whole(&path)) {
        value.fault(format!("is {text:?}, should be a path, as /healthz"));
        return None;
    }
    Some(text.into())
}

const KINDS: [&str; 3] = ["http", "tcp", "grpc"];

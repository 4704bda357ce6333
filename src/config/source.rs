//! `source`: where a service's endpoints are watched.

use std::net::SocketAddr;

use crate::discovery::{KubernetesService, Port, Settings};
use crate::document::Item;

use super::files::{Files, Need};
use super::values::{Seen, choice, take};

/// Reads exactly one kind of source.
pub(super) fn source(item: &Item<'_>, files: &mut Files) -> Option<Settings> {
    let (kind, at, value) = choice(item.mapping()?, &KINDS)?;
    match kind {
        "file" => file(&value, files),
        "list" => addresses(&value).map(Settings::List),
        "kubernetes" => kubernetes(&value, true).map(Settings::Kubernetes),
        _ => {
            let message = "comes with a later version; until then use file, list or kubernetes";
            item.faults.add(at, kind, message);
            None
        }
    }
}

fn file(item: &Item<'_>, files: &mut Files) -> Option<Settings> {
    let mut keys = item.mapping()?;
    let path = keys.required("path");
    let path = path.and_then(|item| files.file(&item, Need::InTime));
    let port = keys.optional("port").and_then(|item| port(&item));
    keys.finish();
    Some(Settings::File { path: path?, port })
}

/// A service in Kubernetes.
pub(super) fn kubernetes(item: &Item<'_>, is_source: bool) -> Option<KubernetesService> {
    let mut keys = item.mapping()?;
    let namespace = match keys.optional("namespace") {
        Some(item) => object_name(&item),
        None => Some("default".to_owned()),
    };
    let service = keys.required("service");
    let service = service.and_then(|item| object_name(&item));
    let port = keys.optional("port").and_then(|item| port(&item));
    let mut pods = false;
    if is_source {
        take(&mut pods, keys.optional("pods"), Item::boolean);
    }
    keys.finish();
    Some(KubernetesService {
        namespace: namespace?,
        service: service?,
        port,
        pods,
    })
}

/// A name as Kubernetes has them for services, namespaces and classes.
pub(super) fn object_name(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let right = bytes.iter().copied().all(known) && edge(bytes.first()) && edge(bytes.last());
    if !right || bytes.len() > 63 {
        item.fault(format!(
            "is {text:?}, should be a name as Kubernetes has them: a to z, 0 to 9 and `-`, at most 63 of them"
        ));
        return None;
    }
    Some(text.to_owned())
}

/// A number, or else a name as Kubernetes allows them: of a port's name at least one character is a letter.
fn port(item: &Item<'_>) -> Option<Port> {
    let text = item.text()?;
    if text.parse::<i64>().is_ok() {
        let number = text.parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            item.fault(format!(
                "is {text}, should be a number from 1 to 65535, or a name"
            ));
        }
        return number.map(Port::Number);
    }
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(known) {
        item.fault(format!(
            "is {text:?}, should be a port's number or its name, as http"
        ));
        return None;
    }
    Some(Port::Name(text.into()))
}

/// Addresses with a port, each once.
pub(super) fn addresses(list: &Item<'_>) -> Option<Vec<SocketAddr>> {
    let mut seen = Seen::default();
    let read = |item: &Item<'_>| {
        let address = item.socket_address()?;
        if address.port() == 0 {
            item.fault(format!(
                "is {address}, should have the port of the endpoint"
            ));
        }
        let text = address.to_string();
        seen.note(item, &text, &text);
        Some(address)
    };
    Some(list.list(false)?.iter().filter_map(read).collect())
}

/// All kinds that there will be.
const KINDS: [&str; 7] = [
    "file",
    "list",
    "kubernetes",
    "etcd",
    "dns",
    "xds",
    "register",
];

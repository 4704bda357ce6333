//! Kubernetes `EndpointSlice` documents (`discovery.k8s.io/v1`), as `kubectl get endpointslices -o yaml` prints them.
//!
//! Keys that are not known here belong to Kubernetes and are passed over, and so are its nulls: a nil list is empty, a
//! nil condition has its default. What would change the meaning of the set is a fault: another kind of object, another
//! version, names for addresses, two services in one file, a choice of ports that is not made.

mod ports;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ports::SlicePort;

use crate::discovery::slices::{Age, SERVICE_LABEL, Shown, UNSAID, merge};
use crate::discovery::{Observed, Port};
use crate::document::{Faults, Item, Mapping, Node};

/// A slice, read as far as its endpoints.
struct Slice<'n> {
    is_ipv4: bool,
    namespace: Option<&'n str>,
    age: Age,
    ports: Vec<SlicePort<'n>>,
    endpoints: Vec<Item<'n>>,
}

/// Reads all documents as one set. Faults go to `faults`; with any of them the result means nothing.
pub(super) fn read(documents: &[&Node], port: Option<&Port>, faults: &Faults) -> Vec<Observed> {
    let mut found = Vec::new();
    for document in documents {
        gather(Item::root(document, faults), faults, &mut found);
    }
    let mut owner = Owner::default();
    let slices: Vec<Slice<'_>> = found
        .into_iter()
        .filter_map(|mapping| slice(mapping, &mut owner))
        .collect();
    let chosen = ports::choose(&slices, port, faults);
    let mut shown = Vec::with_capacity(slices.iter().map(|slice| slice.endpoints.len()).sum());
    for (place, (slice, port)) in slices.iter().zip(chosen).enumerate() {
        // A slice without the wanted port has nothing to offer.
        let Some(port) = port else { continue };
        shown.extend(
            slice
                .endpoints
                .iter()
                .filter_map(|item| endpoint(*item, slice, place, port)),
        );
    }
    let primary_is_ipv4 = slices.first().is_none_or(|slice| slice.is_ipv4);
    let ages: Vec<Age> = slices.into_iter().map(|slice| slice.age).collect();
    merge(shown, &ages, primary_is_ipv4)
}

/// Finds the slices in a document: the one that it is, or those that it lists.
fn gather<'n>(document: Item<'n>, faults: &'n Faults, found: &mut Vec<Mapping<'n>>) {
    let Some(mut top) = document.mapping() else {
        return;
    };
    let Some(kind) = top.required("kind") else {
        return;
    };
    match kind.text() {
        Some("EndpointSlice") => {
            found.extend(is_known_version(&mut top, true).then_some(top));
        }
        Some(list @ ("List" | "EndpointSliceList")) => {
            let Some(items) = top.find("items") else {
                // The items come before the kind in a list that kubectl printed, so this one was never whole.
                faults.add(top.at, "items", "is missing");
                return;
            };
            // Inside their own kind of list the objects need not repeat what they are.
            let typed = list == "List";
            found.extend(
                items
                    .list(true)
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|item| listed(item, typed)),
            );
        }
        Some(other) => kind.fault(format!(
            "is {other:?}, should be EndpointSlice or a List of them"
        )),
        None => {}
    }
}

fn listed<'n>(item: Item<'n>, typed: bool) -> Option<Mapping<'n>> {
    let mut object = item.mapping()?;
    let kind = if typed {
        Some(object.required("kind")?)
    } else {
        object.optional("kind")
    };
    if let Some(kind) = kind {
        let word = kind.text()?;
        if word != "EndpointSlice" {
            kind.fault(format!("is {word:?}, should be EndpointSlice"));
            return None;
        }
    }
    is_known_version(&mut object, typed).then_some(object)
}

fn is_known_version(object: &mut Mapping<'_>, must: bool) -> bool {
    let version = if must {
        object.required("apiVersion")
    } else {
        object.optional("apiVersion")
    };
    let Some(version) = version else {
        return !must;
    };
    let known = version.text() == Some(API_VERSION);
    if !known {
        version.fault(format!("is {}, should be {API_VERSION}", version.kind()));
    }
    known
}

fn slice<'n>(mut object: Mapping<'n>, owner: &mut Owner<'n>) -> Option<Slice<'n>> {
    let metadata = object.optional("metadata").and_then(|item| item.mapping());
    let metadata = metadata.map(|metadata| meta(metadata, owner));
    let (namespace, age) = metadata.unwrap_or_default();
    let ports = match object.optional("ports") {
        Some(item) => ports::read(item),
        None => Vec::new(),
    };
    let endpoints = object
        .optional("endpoints")
        .and_then(|item| item.list(false))
        .unwrap_or_default();
    let kind = object.required("addressType")?;
    let is_ipv4 = match kind.text()? {
        "IPv4" => true,
        "IPv6" => false,
        "FQDN" => {
            kind.fault("is FQDN: names are not looked up here, the slices should hold IPv4 or IPv6 addresses");
            return None;
        }
        other => {
            kind.fault(format!("is {other:?}, should be IPv4 or IPv6"));
            return None;
        }
    };
    Some(Slice {
        is_ipv4,
        namespace,
        age,
        ports,
        endpoints,
    })
}

/// The namespace and the age that a slice's metadata tell; whose it is goes to `owner`.
fn meta<'n>(mut metadata: Mapping<'n>, owner: &mut Owner<'n>) -> (Option<&'n str>, Age) {
    let namespace = metadata.optional("namespace");
    let object = metadata
        .optional("uid")
        .or_else(|| metadata.optional("name"));
    let number = |item: Option<Item<'n>>| item.and_then(|item| item.text()?.parse().ok());
    let age = Age {
        object: object.and_then(|item| item.text()).map(Arc::from),
        resource_version: number(metadata.optional("resourceVersion")),
        generation: number(metadata.optional("generation")),
    };
    let service = metadata
        .optional("labels")
        .and_then(|labels| labels.mapping()?.optional(SERVICE_LABEL));
    if let Some(item) = namespace {
        same(
            &mut owner.namespace,
            item,
            "all slices should be of one namespace",
        );
    }
    if let Some(item) = service {
        same(
            &mut owner.service,
            item,
            "all slices should be of one service",
        );
    }
    (namespace.and_then(|item| item.text()), age)
}

/// Whose the slices are, as far as they say.
#[derive(Default)]
struct Owner<'n> {
    namespace: Option<Item<'n>>,
    service: Option<Item<'n>>,
}

fn same<'n>(known: &mut Option<Item<'n>>, next: Item<'n>, right: &str) {
    let Some(text) = next.text() else { return };
    let first = *known.get_or_insert(next);
    if let Some(before) = first.text()
        && before != text
    {
        let line = first.at().line;
        next.fault(format!(
            "is {text:?} here and {before:?} in line {line}; {right}"
        ));
    }
}

/// An endpoint as its slice shows it; nothing when it has no address.
fn endpoint(item: Item<'_>, slice: &Slice<'_>, place: usize, port: u16) -> Option<Shown> {
    let mut entry = item.mapping()?;
    let conditions = entry.optional("conditions").and_then(|item| item.mapping());
    let (ready, serving, terminating) = conditions.map_or(UNSAID, states);
    let target = entry.optional("targetRef").and_then(|item| item.mapping());
    let target = target.map(|target| reference(target, slice.namespace));
    let (uid, pod) = target.unwrap_or_default();
    let zone = entry.optional("zone").and_then(|item| item.text());
    // Only the first has a meaning; the others may go one day, says Kubernetes.
    let first = *entry.optional("addresses")?.list(false)?.first()?;
    let address = SocketAddr::new(ip(first, slice.is_ipv4)?, port);
    Some(Shown {
        key: match uid {
            Some(uid) => uid.into(),
            None => address.to_string().as_str().into(),
        },
        has_uid: uid.is_some(),
        address,
        pod,
        zone: zone.map(Arc::from),
        ready,
        serving,
        terminating,
        slice: place,
    })
}

/// Ready, serving, terminating. What is not said is as Kubernetes has it for controllers that are old or not its own.
fn states(mut conditions: Mapping<'_>) -> (bool, bool, bool) {
    let (ready, serving, terminating) = UNSAID;
    let mut condition = |key, unsaid| {
        conditions
            .optional(key)
            .map_or(unsaid, |item| item.boolean().unwrap_or(unsaid))
    };
    (
        condition("ready", ready),
        condition("serving", serving),
        condition("terminating", terminating),
    )
}

/// The uid and, where it is a pod, the name of what an endpoint stands for.
fn reference<'n>(
    mut target: Mapping<'n>,
    namespace: Option<&'n str>,
) -> (Option<&'n str>, Option<Arc<str>>) {
    let mut text = |key| target.optional(key).and_then(|item| item.text());
    let uid = text("uid").filter(|uid| !uid.is_empty());
    let is_pod = text("kind").is_none_or(|kind| kind == "Pod");
    let namespace = text("namespace").or(namespace);
    let pod = match (namespace, text("name")) {
        (Some(namespace), Some(name)) if is_pod => Some(format!("{namespace}/{name}").into()),
        _ => None,
    };
    (uid, pod)
}

fn ip(item: Item<'_>, is_ipv4: bool) -> Option<IpAddr> {
    let text = item.text()?;
    let parsed = if is_ipv4 {
        text.parse().map(|ip: Ipv4Addr| ip.into())
    } else {
        text.parse().map(|ip: Ipv6Addr| ip.into())
    };
    if parsed.is_err() {
        let family = if is_ipv4 { "IPv4" } else { "IPv6" };
        item.fault(format!(
            "is {text:?}, should be an {family} address as the slice says"
        ));
    }
    parsed.ok()
}

const API_VERSION: &str = "discovery.k8s.io/v1";

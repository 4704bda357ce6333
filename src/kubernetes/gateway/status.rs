//! What a class, a Gateway and a route are told, as the API has it; nothing where they say it already. Pure.

use serde_json::{Value, json};

use super::api::{ClassSpec, GROUP, Gateway, GatewayClass, Kind, Object, Reference};
use super::conditions::Condition;
use super::listeners::Entry;
use super::occasion;
use super::routes::Told;
use crate::kubernetes::desk::{Resource, Status};
use crate::kubernetes::objects::Name;
use crate::kubernetes::part::GatewaySettings;

/// What we do of the Gateway API beyond what everybody has to, and that, by the API's own names.
const FEATURES: [&str; 21] = [
    "GRPCRoute",
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendTimeout",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
];

pub(super) fn class(
    name: &Name,
    class: &GatewayClass,
    spec: &ClassSpec,
    now: &str,
) -> Option<Status> {
    let accepted = match spec.parameters_ref {
        None => Condition::holds("Accepted"),
        Some(_) => Condition::fails(
            "Accepted",
            "InvalidParameters",
            "parametersRef is not supported: tidegate's own config has its settings",
        ),
    };
    let features: Vec<_> = FEATURES.map(|name| json!({ "name": name })).into();
    let conditions = occasion(class, now).write(&[accepted], &class.status["conditions"]);
    let wanted = json!({ "conditions": conditions, "supportedFeatures": features });
    differing(name, class, wanted)
}

pub(super) fn gateway(
    name: &Name,
    gateway: &Gateway,
    entries: &[Entry],
    addresses: Option<&[String]>,
    now: &str,
) -> Option<Status> {
    let occasion = occasion(gateway, now);
    let served = entries.iter().filter(|it| it.served_by.is_some()).count();
    let accepted = match served == entries.len() {
        true => Condition::holds("Accepted"),
        false if served > 0 => Condition::warns(
            "Accepted",
            "ListenersNotValid",
            "some listeners are not served, see their conditions",
        ),
        false => Condition::fails(
            "Accepted",
            "ListenersNotValid",
            "no listener is served, see their conditions",
        ),
    };
    let programmed = match served {
        0 => Condition::fails("Programmed", "Invalid", "no listener is served"),
        _ => Condition::holds("Programmed"),
    };
    let known = gateway.status["listeners"].as_array();
    let listener = |entry: &Entry| {
        let before = known.and_then(|all| all.iter().find(|it| it["name"] == *entry.name));
        let before = before.map_or(&Value::Null, |it| &it["conditions"]);
        let kinds = entry.kinds.iter();
        json!({
            "name": entry.name,
            "supportedKinds": kinds.map(|kind| json!({ "group": GROUP, "kind": kind })).collect::<Vec<_>>(),
            "attachedRoutes": entry.attached,
            "conditions": occasion.write(&entry.conditions, before),
        })
    };
    let mut wanted = json!({
        "conditions": occasion.write(&[accepted, programmed], &gateway.status["conditions"]),
        "listeners": entries.iter().map(listener).collect::<Vec<_>>(),
    });
    if let Some(addresses) = addresses {
        let one = |address: &String| match address.parse::<std::net::IpAddr>() {
            Ok(_) => json!({ "type": "IPAddress", "value": address }),
            Err(_) => json!({ "type": "Hostname", "value": address }),
        };
        wanted["addresses"] = addresses.iter().map(one).collect();
    }
    differing(name, gateway, wanted)
}

/// What a route is told by us stands beside what others tell it.
pub(super) fn route<S: Kind>(
    name: &Name,
    route: &Object<S>,
    told: &[Told<'_>],
    settings: &GatewaySettings,
    now: &str,
) -> Option<Status> {
    let occasion = occasion(route, now);
    let is_ours = |it: &&Value| it["controllerName"] == *settings.controller;
    let known = route.status["parents"].as_array();
    let known = known.map(|all| &**all).unwrap_or_default();
    let parent = |one: &Told<'_>| {
        let reference = reference(one.parent);
        let before = known
            .iter()
            .find(|it| is_ours(it) && it["parentRef"] == reference);
        let before = before.map_or(&Value::Null, |it| &it["conditions"]);
        json!({
            "parentRef": reference,
            "controllerName": settings.controller,
            "conditions": occasion.write(&one.conditions, before),
        })
    };
    let others = known.iter().filter(|it| !is_ours(it)).cloned();
    let parents: Vec<Value> = others.chain(told.iter().map(parent)).collect();
    if parents.is_empty() && known.is_empty() {
        return None;
    }
    differing(name, route, json!({ "parents": parents }))
}

fn reference(parent: &Reference) -> Value {
    let mut value = json!({
        "group": parent.group.as_deref().unwrap_or(GROUP),
        "kind": parent.kind.as_deref().unwrap_or("Gateway"),
        "name": parent.name,
    });
    if let Some(namespace) = &parent.namespace {
        value["namespace"] = json!(namespace);
    }
    if let Some(section) = &parent.section_name {
        value["sectionName"] = json!(section);
    }
    if let Some(port) = parent.port {
        value["port"] = json!(port);
    }
    value
}

/// The status, where the object has another one.
fn differing<S: Kind>(name: &Name, object: &Object<S>, wanted: Value) -> Option<Status> {
    let entries = wanted.as_object()?;
    if entries.iter().all(|(key, it)| object.status[key] == *it) {
        return None;
    }
    Some(Status {
        resource: Resource {
            group: GROUP,
            version: S::VERSION,
            kind: S::NAME,
            plural: S::PLURAL,
            words: S::STATUS,
        },
        name: name.clone(),
        version: object.metadata.resource_version.clone(),
        status: wanted,
    })
}

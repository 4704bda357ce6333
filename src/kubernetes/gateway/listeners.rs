//! A Gateway's listeners: which listener of ours each is, what it is told, and who may attach to it. Pure.
//!
//! A Gateway opens no ports here. tidegate has the listeners of its config; one of a Gateway is served by the one that the
//! config names for its port, or else by the one that has this port itself. Any other port is told so.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;

use super::World;
use super::api::{GROUP, Gateway, Kind, Listener};
use super::conditions::Condition;
use super::grants::{From, is_granted};
use super::hosts::{self, host};
use crate::kubernetes::certificates::Certificates;
use crate::kubernetes::objects::{Name, Objects};
use crate::kubernetes::part::GatewaySettings;
use crate::net::tls::{Held, Offer};
use crate::route::Host;

/// A listener of a Gateway of ours.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) gateway: Name,
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) host: Host,
    /// Narrower ones of other listeners on the same listener of ours, which have these for themselves.
    pub(super) narrower: Vec<Host>,
    /// Ours that serves it; nothing when none does.
    pub(super) served_by: Option<Arc<str>>,
    pub(super) kinds: Vec<&'static str>,
    from: Who,
    pub(super) offers: Vec<Offer>,
    pub(super) conditions: Vec<Condition>,
    /// Routes that have attached.
    pub(super) attached: usize,
}

/// Whose routes may attach.
#[derive(Debug)]
enum Who {
    Same,
    All,
    Selected(LabelSelector),
    Nobody,
}

/// What both kinds of routes are called.
pub(super) const HTTP: &str = super::api::HttpSpec::NAME;
pub(super) const GRPC: &str = super::api::GrpcSpec::NAME;

/// The listeners of a Gateway.
pub(super) fn entries(
    name: &Name,
    gateway: &Gateway,
    world: &World<'_>,
    settings: &GatewaySettings,
    certificates: &mut Certificates,
) -> Vec<Entry> {
    let listeners = gateway.spec.as_ref().map(|spec| &*spec.listeners);
    let listeners = listeners.unwrap_or_default();
    let read = |listener: &Listener| {
        let mut conditions = Vec::new();
        let conflict = conflict(listener, listeners);
        let place = place(listener, settings);
        let (kinds, kinds_fault) = kinds(listener);
        let (offers, refs_fault) = secrets(name, listener, world, certificates);
        let (accepted, served_by) = match (&conflict, place) {
            (Some((reason, text)), _) => (Condition::fails("Accepted", reason, *text), None),
            (None, Err((reason, text))) => (Condition::fails("Accepted", reason, text), None),
            (None, Ok(place)) => (Condition::holds("Accepted"), Some(place)),
        };
        let resolved = match kinds_fault.or(refs_fault) {
            Some((reason, text)) => Condition::fails("ResolvedRefs", reason, text),
            None => Condition::holds("ResolvedRefs"),
        };
        // Without any certificate of its own there is nothing to show.
        let is_served = accepted.holds && (!is_https(listener) || !offers.is_empty());
        conditions.push(match is_served {
            true => Condition::holds("Programmed"),
            false => Condition::fails(
                "Programmed",
                "Invalid",
                "the listener is not served, see the other conditions",
            ),
        });
        conditions.push(match conflict {
            Some((reason, text)) => Condition::warns("Conflicted", reason, text),
            None => Condition::fails("Conflicted", "NoConflicts", ""),
        });
        conditions.extend([accepted, resolved]);
        Entry {
            gateway: name.clone(),
            name: listener.name.clone(),
            port: listener.port,
            host: host(listener.hostname.as_deref()),
            narrower: Vec::new(),
            served_by: served_by.filter(|_| is_served),
            kinds,
            from: who(listener),
            offers,
            conditions,
            attached: 0,
        }
    };
    listeners.iter().map(read).collect()
}

/// Lets every listener know which hosts are not its own: a request is only for the listener with the narrowest host that it
/// has, by each listener of ours.
pub(super) fn isolate(all: &mut [&mut Entry]) {
    let served: Vec<_> = all
        .iter()
        .filter_map(|entry| Some((entry.served_by.clone()?, entry.host.clone())))
        .collect();
    for entry in all {
        let others = served.iter().filter(|(listener, host)| {
            Some(listener) == entry.served_by.as_ref()
                && *host != entry.host
                && hosts::covers(&entry.host, host)
        });
        entry.narrower = others.map(|(_, host)| host.clone()).collect();
        entry.narrower.sort_by_key(ToString::to_string);
        entry.narrower.dedup();
    }
}

impl Entry {
    /// The hosts among these of the listener that others have for themselves; none when those have all of them.
    pub(super) fn others(&self, host: &Host) -> Option<Arc<[Host]>> {
        if self.narrower.iter().any(|other| hosts::covers(other, host)) {
            return None;
        }
        let others = self.narrower.iter();
        Some(
            others
                .filter(|other| hosts::covers(host, other))
                .cloned()
                .collect(),
        )
    }

    /// Whether a route of this kind in this namespace may attach.
    pub(super) fn allows(
        &self,
        kind: &str,
        namespace: &str,
        namespaces: &Objects<Namespace>,
    ) -> bool {
        self.kinds.contains(&kind)
            && match &self.from {
                Who::Same => namespace == self.gateway.namespace,
                Who::All => true,
                Who::Selected(selector) => namespaces
                    .find(&Name::new("", namespace))
                    .is_some_and(|it| selects(selector, it)),
                Who::Nobody => false,
            }
    }

    /// The hosts that a route with these hostnames has here.
    pub(super) fn hosts(&self, hostnames: &[String]) -> Vec<Host> {
        if hostnames.is_empty() {
            return vec![self.host.clone()];
        }
        let own = hostnames.iter().map(|text| host(Some(text)));
        own.filter_map(|own| hosts::common(&self.host, &own))
            .collect()
    }
}

fn is_https(listener: &Listener) -> bool {
    listener.protocol == "HTTPS"
}

/// Two listeners of a Gateway that a client could not tell apart.
fn conflict(listener: &Listener, all: &[Listener]) -> Option<(&'static str, &'static str)> {
    let others = || {
        all.iter()
            .filter(|it| it.name != listener.name && it.port == listener.port)
    };
    if others().any(|it| it.protocol != listener.protocol) {
        let text = "another listener speaks another protocol on the same port";
        return Some(("ProtocolConflict", text));
    }
    let own = host(listener.hostname.as_deref());
    if others().any(|it| host(it.hostname.as_deref()) == own) {
        let text = "another listener has the same port and hostname";
        return Some(("HostnameConflict", text));
    }
    None
}

/// The listener of ours that serves one.
fn place(
    listener: &Listener,
    settings: &GatewaySettings,
) -> Result<Arc<str>, (&'static str, String)> {
    let is_tls = match &*listener.protocol {
        "HTTP" => false,
        "HTTPS" => true,
        other => {
            let text = format!("{other} is not served here; HTTP and HTTPS are");
            return Err(("UnsupportedProtocol", text));
        }
    };
    let tls = listener.tls.as_ref();
    let mode = tls.and_then(|tls| tls.mode.as_deref());
    if is_tls && mode.is_some_and(|mode| mode != "Terminate") {
        let text = "TLS is only terminated here: mode should be Terminate".to_owned();
        return Err(("UnsupportedValue", text));
    }
    if tls.is_some_and(|tls| tls.frontend_validation.is_some()) {
        let text = "clients' certificates are asked for by tidegate's config alone".to_owned();
        return Err(("UnsupportedValue", text));
    }
    let found = settings
        .ports
        .iter()
        .find(|port| port.number == listener.port);
    match found {
        Some(port) if port.tls == is_tls => Ok(port.listener.clone()),
        Some(port) => {
            let has = if port.tls { "TLS" } else { "no TLS" };
            let text = format!("tidegate's listener {} has {has}", port.listener);
            Err(("PortUnavailable", text))
        }
        None => {
            let text = format!(
                "no listener of tidegate is for port {}: name one under kubernetes.gateway.ports in its config",
                listener.port
            );
            Err(("PortUnavailable", text))
        }
    }
}

/// What is wrong: a reason, and the words.
type Fault = (&'static str, String);

/// The kinds of routes that may attach.
fn kinds(listener: &Listener) -> (Vec<&'static str>, Option<Fault>) {
    let asked = &listener.allowed_routes.kinds;
    if asked.is_empty() {
        return (vec![HTTP, GRPC], None);
    }
    let mut kinds = Vec::new();
    let mut fault = None;
    for one in asked {
        let group = one.group.as_deref().unwrap_or(GROUP);
        match [HTTP, GRPC].into_iter().find(|it| *it == one.kind) {
            Some(known) if group == GROUP => kinds.push(known),
            _ => {
                let text = format!("routes of kind {} are not served", one.kind);
                fault.get_or_insert(("InvalidRouteKinds", text));
            }
        }
    }
    (kinds, fault)
}

fn who(listener: &Listener) -> Who {
    let namespaces = &listener.allowed_routes.namespaces;
    match (namespaces.from.as_deref(), &namespaces.selector) {
        (None | Some("Same"), _) => Who::Same,
        (Some("All"), _) => Who::All,
        (Some("Selector"), Some(selector)) => Who::Selected(selector.clone()),
        _ => Who::Nobody,
    }
}

/// The certificates that a listener shows. One that cannot be used is told, and the others are shown.
fn secrets(
    gateway: &Name,
    listener: &Listener,
    world: &World<'_>,
    certificates: &mut Certificates,
) -> (Vec<Offer>, Option<Fault>) {
    if !is_https(listener) {
        return (Vec::new(), None);
    }
    let references = listener.tls.iter().flat_map(|tls| &tls.certificate_refs);
    let mut offers = Vec::new();
    let mut fault = None;
    let mut is_named = false;
    for reference in references {
        is_named = true;
        let is_secret = reference.group.as_deref().unwrap_or_default().is_empty()
            && reference.kind.as_deref().unwrap_or("Secret") == "Secret";
        let namespace = reference.namespace.as_deref();
        let name = Name::new(namespace.unwrap_or(&gateway.namespace), &reference.name);
        let from = From {
            kind: super::api::GatewaySpec::NAME,
            namespace: &gateway.namespace,
        };
        let found: Result<Held, Fault> = if !is_secret {
            let text = "certificates are in Secrets, and in nothing else".to_owned();
            Err(("InvalidCertificateRef", text))
        } else if !is_granted(world.grants, from, "Secret", &name) {
            let text = format!("no ReferenceGrant lets this Gateway use secret {name}");
            Err(("RefNotPermitted", text))
        } else {
            certificates
                .find(world.secrets, &name)
                .map_err(|wrong| ("InvalidCertificateRef", format!("secret {name} {wrong}")))
        };
        match found {
            Ok(held) => offers.push(Offer {
                names: names(listener),
                held,
            }),
            Err(wrong) => {
                fault.get_or_insert(wrong);
            }
        }
    }
    if !is_named {
        let text = "an HTTPS listener needs tls.certificateRefs".to_owned();
        fault = Some(("InvalidCertificateRef", text));
    }
    (offers, fault)
}

/// The names that a certificate is shown for: the listener's, or its own where that has none of its own.
fn names(listener: &Listener) -> Vec<String> {
    match host(listener.hostname.as_deref()) {
        Host::Exact(name) => vec![name],
        _ => Vec::new(),
    }
}

/// Whether a selector is for a namespace.
fn selects(selector: &LabelSelector, namespace: &Namespace) -> bool {
    let labels = namespace.labels();
    let equal = selector.match_labels.iter().flatten();
    let mut asked = selector.match_expressions.iter().flatten();
    equal
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && asked.all(|one| {
            let values = one.values.as_deref().unwrap_or_default();
            let has = labels.get(&one.key);
            match &*one.operator {
                "In" => has.is_some_and(|it| values.contains(it)),
                "NotIn" => has.is_none_or(|it| !values.contains(it)),
                "Exists" => has.is_some(),
                "DoesNotExist" => has.is_none(),
                _ => false,
            }
        })
}

//! One endpoint slice, reduced to what is used of it: a cluster has many.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use tracing::warn;

use super::watch::Kept;
use crate::discovery::slices::{Age, SERVICE_LABEL, UNSAID};

/// A slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) name: Arc<str>,
    /// A slice deleted and made again has the name of the old one and another uid.
    pub(super) uid: Arc<str>,
    pub(super) service: Arc<str>,
    /// Grows with every change, over all objects; nothing when it is no number, as some servers have it.
    pub(super) version: Option<u64>,
    pub(super) is_ipv4: bool,
    pub(super) ports: Vec<(Arc<str>, Option<u16>)>,
    /// The same allocation for as long as nothing of them changes.
    pub(super) places: Arc<[Place]>,
}

/// An endpoint in a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) ip: IpAddr,
    pub(super) uid: Option<Arc<str>>,
    pub(super) pod: Option<Arc<str>>,
    pub(super) zone: Option<Arc<str>>,
    pub(super) ready: bool,
    pub(super) serving: bool,
    pub(super) terminating: bool,
}

impl Kept<EndpointSlice> for Slice {
    /// Nothing of one of no service, or of names instead of addresses.
    fn of(object: EndpointSlice) -> Option<Self> {
        let metadata = object.metadata;
        let name: Arc<str> = metadata.name?.into();
        let namespace = metadata.namespace.unwrap_or_default();
        let service = metadata.labels?.remove(SERVICE_LABEL)?;
        let is_ipv4 = match object.address_type.as_str() {
            "IPv4" => true,
            "IPv6" => false,
            other => {
                warn!(slice = %name, namespace, kind = other, "an endpoint slice without addresses is passed over");
                return None;
            }
        };
        let version = metadata.resource_version;
        let mut zones = Vec::new();
        let place = |endpoint| Place::of(endpoint, is_ipv4, &namespace, &name, &mut zones);
        Some(Self {
            places: object.endpoints.into_iter().filter_map(place).collect(),
            uid: metadata.uid.unwrap_or_default().into(),
            service: service.into(),
            version: version.and_then(|version| version.parse().ok()),
            is_ipv4,
            ports: object
                .ports
                .unwrap_or_default()
                .into_iter()
                .filter_map(port)
                .collect(),
            name,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Slice {
    /// Shares with an earlier version of the same slice what has not changed.
    pub(super) fn share(&mut self, before: &Self) {
        if self.places == before.places {
            self.places = before.places.clone();
            return;
        }
        // Only ever this one's, until it is taken up.
        let Some(places) = Arc::get_mut(&mut self.places) else {
            return;
        };
        let known: HashMap<&Option<Arc<str>>, &Place> = before
            .places
            .iter()
            .map(|place| (&place.uid, place))
            .collect();
        for place in places.iter_mut().filter(|place| place.uid.is_some()) {
            if let Some(known) = known.get(&place.uid) {
                place.share(known);
            }
        }
    }

    /// What tells the newer of two.
    pub(super) fn age(&self) -> Age {
        Age {
            object: Some(self.uid.clone()),
            resource_version: self.version,
            generation: None,
        }
    }
}

impl Place {
    /// `zones`: those that were met so far. There are few, and many endpoints in each.
    fn of(
        endpoint: Endpoint,
        is_ipv4: bool,
        namespace: &str,
        slice: &str,
        zones: &mut Vec<Arc<str>>,
    ) -> Option<Self> {
        // Only the first has a meaning; the others may go one day, says Kubernetes.
        let text = endpoint.addresses.into_iter().next()?;
        let ip = if is_ipv4 {
            text.parse().map(|ip: Ipv4Addr| ip.into())
        } else {
            text.parse().map(|ip: Ipv6Addr| ip.into())
        };
        let Ok(ip) = ip else {
            warn!(
                slice,
                namespace,
                address = text,
                "an endpoint without an address of its slice's family is passed over"
            );
            return None;
        };
        let (uid, pod) = endpoint
            .target_ref
            .map(|target| reference(target, namespace))
            .unwrap_or_default();
        let said = endpoint.conditions.unwrap_or_default();
        let (ready, serving, terminating) = UNSAID;
        Some(Self {
            ip,
            uid,
            pod,
            zone: endpoint.zone.map(|zone| shared(zone, zones)),
            ready: said.ready.unwrap_or(ready),
            serving: said.serving.unwrap_or(serving),
            terminating: said.terminating.unwrap_or(terminating),
        })
    }

    /// The same text in the allocations of an earlier version.
    fn share(&mut self, before: &Self) {
        self.uid.clone_from(&before.uid);
        if self.pod == before.pod {
            self.pod.clone_from(&before.pod);
        }
        if self.zone == before.zone {
            self.zone.clone_from(&before.zone);
        }
    }
}

fn shared(zone: String, zones: &mut Vec<Arc<str>>) -> Arc<str> {
    if let Some(known) = zones.iter().find(|known| ***known == *zone) {
        return known.clone();
    }
    let zone: Arc<str> = zone.into();
    zones.push(zone.clone());
    zone
}

/// The uid and, where it is a pod, the name of what an endpoint stands for.
fn reference(target: ObjectReference, namespace: &str) -> (Option<Arc<str>>, Option<Arc<str>>) {
    let is_pod = target.kind.is_none_or(|kind| kind == "Pod");
    let namespace = target.namespace.unwrap_or_else(|| namespace.to_owned());
    let pod = target.name.filter(|_| is_pod);
    (
        target.uid.filter(|uid| !uid.is_empty()).map(Arc::from),
        pod.map(|name| format!("{namespace}/{name}").into()),
    )
}

/// A TCP port; the others can never be meant.
fn port(port: EndpointPort) -> Option<(Arc<str>, Option<u16>)> {
    let is_tcp = port.protocol.is_none_or(|protocol| protocol == "TCP");
    let number = port.port.and_then(|number| u16::try_from(number).ok());
    is_tcp.then(|| (port.name.unwrap_or_default().into(), number))
}

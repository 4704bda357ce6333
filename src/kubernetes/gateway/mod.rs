//! The Gateway API, turned into routes, services and certificates, and what its objects are told. Pure.
//!
//! A GatewayClass is ours by its `controllerName`, a Gateway by its class. A route attaches to each listener that it names
//! and that allows it, and asks there for the hosts that both agree on. What comes first of two that ask the same is the
//! oldest. Whatever is wrong with an object is said in its conditions, and the rest of it works.

mod api;
mod conditions;
mod filters;
mod grants;
mod hosts;
mod listeners;
mod routes;
mod rules;
mod status;
#[cfg(test)]
mod tests;
mod timeouts;

use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use kube::{Resource, ResourceExt};

use super::certificates::Certificates;
use super::desk::Status;
use super::draft::Draft;
use super::objects::{Name, Objects};
use super::part::{About, GatewaySettings};
pub(super) use api::{Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant};
use api::{Kind, Object};
use conditions::Occasion;
use listeners::Entry;

/// Everything that the objects may speak of.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'w> {
    pub(super) classes: &'w Objects<GatewayClass>,
    pub(super) gateways: &'w Objects<Gateway>,
    pub(super) http: &'w Objects<HttpRoute>,
    pub(super) grpc: &'w Objects<GrpcRoute>,
    pub(super) grants: &'w Objects<ReferenceGrant>,
    pub(super) namespaces: &'w Objects<Namespace>,
    pub(super) services: &'w Objects<Service>,
    pub(super) secrets: &'w Objects<Secret>,
    /// Whether pods are watched.
    pub(super) pods: bool,
}

/// Adds what the objects mean, and says which statuses differ from what they should be. `now` is RFC 3339.
pub(super) fn translate(
    world: World<'_>,
    settings: &GatewaySettings,
    addresses: Option<&[String]>,
    certificates: &mut Certificates,
    draft: &mut Draft,
    now: &str,
) -> Vec<Status> {
    tell_unreadable(world.gateways, draft);
    tell_unreadable(world.http, draft);
    tell_unreadable(world.grpc, draft);
    tell_unreadable(world.grants, draft);
    let mut statuses = Vec::new();
    let mut classes = Vec::new();
    for (name, class) in world.classes.all() {
        let spec = class.spec.as_ref().ok();
        if let Some(spec) = spec.filter(|spec| spec.controller_name == settings.controller) {
            classes.push(&*name.name);
            statuses.extend(status::class(name, class, spec, now));
        }
    }
    let mut gateways = Vec::new();
    for (name, gateway) in oldest_first(world.gateways) {
        let spec = gateway.spec.as_ref().ok();
        if spec.is_some_and(|spec| classes.contains(&&*spec.gateway_class_name)) {
            let entries = listeners::entries(name, gateway, &world, settings, certificates);
            gateways.push((name, gateway, entries));
        }
    }
    for (_, _, entries) in &gateways {
        for entry in entries {
            if let Some(listener) = &entry.served_by {
                entry
                    .offers
                    .iter()
                    .for_each(|offer| draft.offer(listener, offer.clone()));
            }
        }
    }
    let mut all: Vec<&mut Entry> = gateways
        .iter_mut()
        .flat_map(|(.., entries)| entries)
        .collect();
    listeners::isolate(&mut all);
    statuses.extend(routes::http(&world, settings, &mut all, draft, now));
    statuses.extend(routes::grpc(&world, settings, &mut all, draft, now));
    for (name, gateway, entries) in &gateways {
        statuses.extend(status::gateway(name, gateway, entries, addresses, now));
    }
    statuses
}

/// Objects whose spec is none: nobody can say whose they are, so that only an event can tell.
fn tell_unreadable<S: Kind>(objects: &Objects<Object<S>>, draft: &mut Draft) {
    for (name, object) in objects.all() {
        if let Err(wrong) = &object.spec {
            let about = About {
                api_version: S::API_VERSION,
                kind: S::NAME,
                name: name.clone(),
                uid: object.uid().unwrap_or_default(),
            };
            draft.note(&about, "Unreadable", format!("it is passed over: {wrong}"));
        }
    }
}

/// In the order in which they came about, those of one second by their names.
fn oldest_first<K: Resource>(objects: &Objects<K>) -> Vec<(&Name, &K)> {
    let mut all: Vec<_> = objects.all().map(|(name, it)| (name, &**it)).collect();
    // Stable: those of one second stay in the order of their names.
    all.sort_by_key(|(_, it)| {
        let created = it.meta().creation_timestamp.as_ref();
        created.map(|time| std::time::SystemTime::from(time.0))
    });
    all
}

/// Of which version, and when, an object is told something.
fn occasion<'o>(object: &impl ResourceExt, now: &'o str) -> Occasion<'o> {
    Occasion {
        generation: object.meta().generation,
        now,
    }
}

//! Ingress v1, turned into routes, services and certificates. Pure.
//!
//! What is not supported breaks nothing else: it is told of ([`Note`](super::part::Note)), and the rest of the Ingress
//! works. A path whose backend cannot be served answers 503, rather than let a wider path serve something else. Of two
//! Ingresses that want the same host and path the oldest has it.

mod annotations;
mod class;
mod rules;
mod status;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, IngressTLS};
use kube::ResourceExt;

use super::certificates::Certificates;
use super::draft::Draft;
use super::objects::{Name, Objects};
use super::part::{About, IngressSettings};
use crate::net::tls::Offer;
use crate::route::Host;

pub(super) use annotations::{Answer, answer};
use class::Classes;
pub(super) use status::{addresses, statuses};

/// Everything that an Ingress may speak of.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'w> {
    pub(super) ingresses: &'w Objects<Ingress>,
    pub(super) classes: &'w Objects<IngressClass>,
    pub(super) services: &'w Objects<Service>,
    pub(super) secrets: &'w Objects<Secret>,
    /// Whether pods are watched.
    pub(super) pods: bool,
}

/// An Ingress of ours under way.
struct Writing<'w> {
    world: World<'w>,
    settings: &'w IngressSettings,
    about: About,
    /// Whether it is served at all.
    is_open: bool,
    /// Whose clients have to speak https.
    secured: Secured,
    draft: &'w mut Draft,
}

/// The hosts of an Ingress whose clients have to speak https.
#[derive(Debug)]
enum Secured {
    Nobody,
    Some(Vec<Host>),
    All,
}

/// The Ingresses that are ours, the oldest first: it wins.
pub(super) fn ours<'w>(
    world: &World<'w>,
    settings: &'w IngressSettings,
) -> Vec<(&'w Name, &'w Ingress)> {
    let classes = Classes::new(settings, world.classes);
    let all = world.ingresses.all();
    let mut ours: Vec<_> = all
        .map(|(name, ingress)| (name, &**ingress))
        .filter(|(_, ingress)| classes.is_ours(ingress))
        .collect();
    // Stable: those of one second stay in the order of their names.
    ours.sort_by_key(|(_, ingress)| {
        let created = ingress.metadata.creation_timestamp.as_ref();
        created.map(|time| std::time::SystemTime::from(time.0))
    });
    ours
}

/// Adds what these Ingresses mean.
pub(super) fn translate(
    world: World<'_>,
    settings: &IngressSettings,
    ours: &[(&Name, &Ingress)],
    certificates: &mut Certificates,
    draft: &mut Draft,
) {
    let mut defaults = Vec::new();
    for (name, ingress) in ours {
        let mut writing = Writing {
            world,
            settings,
            about: about(name, ingress),
            is_open: true,
            secured: Secured::of(ingress, settings.https.is_some()),
            draft,
        };
        if !writing.annotations(ingress) {
            continue;
        }
        let is_open = writing.is_open;
        let Some(spec) = &ingress.spec else {
            continue;
        };
        writing.certificates(spec.tls.as_deref().unwrap_or_default(), certificates);
        writing.rules(spec.rules.as_deref().unwrap_or_default());
        if let Some(backend) = &spec.default_backend {
            defaults.push((name, ingress, backend, is_open));
        }
    }
    // After all others: what somebody asks for by name comes before what somebody has for the rest.
    for (name, ingress, backend, is_open) in defaults {
        let mut writing = Writing {
            world,
            settings,
            about: about(name, ingress),
            is_open,
            secured: Secured::of(ingress, settings.https.is_some()),
            draft,
        };
        let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref());
        writing.default_backend(rules.unwrap_or_default(), backend);
    }
}

fn about(name: &Name, ingress: &Ingress) -> About {
    About {
        api_version: "networking.k8s.io/v1",
        kind: "Ingress",
        name: name.clone(),
        uid: ingress.uid().unwrap_or_default(),
    }
}

impl Writing<'_> {
    fn note(&mut self, reason: &'static str, text: impl Into<String>) {
        self.draft.note(&self.about, reason, text);
    }

    /// What the annotations of ingress-nginx come to. False when the Ingress is not to be looked at any further.
    fn annotations(&mut self, ingress: &Ingress) -> bool {
        for (key, value) in ingress.annotations() {
            match answer(key, value) {
                Some((Answer::Changes, text)) => {
                    self.note("AnnotationIgnored", format!("{key} is ignored: {text}"));
                }
                Some((Answer::Guards, text)) => {
                    self.is_open = false;
                    let text = format!(
                        "{key} keeps somebody out, which tidegate does not: requests are answered 503 until the annotation \
                         is gone; {text}"
                    );
                    self.note("AnnotationUnsupported", text);
                }
                _ => {}
            }
        }
        // It would have to share its paths with another one.
        !annotations::is_canary(ingress.annotations())
    }

    /// A Secret that cannot be used breaks TLS for its own hosts and nothing else.
    fn certificates(&mut self, all: &[IngressTLS], certificates: &mut Certificates) {
        if all.is_empty() {
            return;
        }
        let Some(listener) = &self.settings.https else {
            self.note(
                "TlsNotServed",
                "spec.tls is ignored: no listener is named for it; name one under kubernetes.ingress.https in tidegate's config",
            );
            return;
        };
        for tls in all {
            // Without a Secret the listener's own certificate is shown.
            let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else {
                continue;
            };
            let name = Name::new(&self.about.name.namespace, secret);
            match certificates.find(self.world.secrets, &name) {
                Ok(held) => self.draft.offer(
                    listener,
                    Offer {
                        names: tls.hosts.clone().unwrap_or_default(),
                        held,
                    },
                ),
                Err(wrong) => self.note("SecretUnusable", format!("secret {name} {wrong}")),
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! What Ingress manifests would come to here, before anything is installed (`tidegate check --ingress`).
//!
//! The manifests are translated as the controller would do it, whatever class they are of now, and each Ingress gets a
//! verdict and lines that say why. Services that the files hold are looked at; of others it is taken for granted that they
//! and their ports are there.

mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressSpec};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::certificates::Certificates;
use super::draft::Draft;
use super::ingress::{self, Answer, World};
use super::objects::{Name, Objects};
use super::part::{IngressSettings, Note, Part};
use crate::document::Fault;

/// Manifests, read from files.
#[derive(Debug, Default)]
pub struct Manifests {
    ingresses: Vec<Found>,
    services: BTreeMap<Name, Service>,
    /// Objects of other kinds, which are passed over.
    others: usize,
}

/// An Ingress and where it stands.
#[derive(Debug)]
struct Found {
    place: String,
    name: Name,
    ingress: Ingress,
}

/// What becomes of an Ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is served as it is.
    Works,
    /// It is served, and some of it otherwise than it asks.
    Differs,
    /// Nothing of it is served.
    Fails,
}

/// What becomes of an Ingress, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// `FILE: document 2, line 14`.
    pub place: String,
    /// `namespace/name`.
    pub name: String,
    /// In one word.
    pub verdict: Verdict,
    /// Why: a word that says what kind of line it is, and a text.
    pub lines: Vec<(&'static str, String)>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Works => "works",
            Self::Differs => "works, but not all of it as it asks",
            Self::Fails => "will not work",
        })
    }
}

impl Manifests {
    /// Adds those of a file: YAML of one or several documents, or JSON, or the lists that kubectl prints.
    ///
    /// # Errors
    /// Everything that cannot be read, in the order of the text. What can be read has been added.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), Vec<Fault>> {
        read::add(self, file, text)
    }

    /// How many objects are neither an Ingress nor a Service.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others
    }

    /// What becomes of each Ingress, in the order of the files.
    #[must_use]
    pub fn judge(&self) -> Vec<Judgement> {
        let services = Objects::of(self.all_services());
        let mut together: Vec<_> = self.ingresses.iter().collect();
        together.sort_by_key(|found| {
            let created = found.ingress.metadata.creation_timestamp.as_ref();
            let created = created.map(|time| std::time::SystemTime::from(time.0));
            (created, found.name.clone())
        });
        let (_, conflicts) = translate(&services, &together);
        self.ingresses
            .iter()
            .map(|found| {
                let (part, mut notes) = translate(&services, &[found]);
                let own = conflicts
                    .iter()
                    .filter(|note| note.about.name == found.name);
                notes.extend(own.filter(|note| note.reason == CONFLICT).cloned());
                notes.dedup();
                judge(found, &part, &notes)
            })
            .collect()
    }

    /// Those of the files, and stand-ins for those that are only named.
    fn all_services(&self) -> Vec<Service> {
        let mut ports: BTreeMap<Name, Vec<Value>> = BTreeMap::new();
        for found in &self.ingresses {
            for backend in backends(found.ingress.spec.as_ref()) {
                let Some(service) = &backend.service else {
                    continue;
                };
                let name = Name::new(&found.name.namespace, &service.name);
                let port = service.port.clone().unwrap_or_default();
                let port = json!({ "name": port.name, "port": port.number.unwrap_or(1) });
                let known = ports.entry(name).or_default();
                if !known.contains(&port) {
                    known.push(port);
                }
            }
        }
        let stand_in = |(name, ports): (Name, Vec<Value>)| {
            let object = json!({
                "metadata": { "namespace": name.namespace, "name": name.name },
                "spec": { "ports": ports },
            });
            serde_json::from_value(object).ok()
        };
        let missing = ports
            .into_iter()
            .filter(|(name, _)| !self.services.contains_key(name));
        let all = self.services.values().cloned();
        all.chain(missing.filter_map(stand_in)).collect()
    }
}

fn translate(services: &Objects<Service>, found: &[&Found]) -> (Part, Vec<Note>) {
    let settings = IngressSettings {
        https: Some("https".into()),
        ..IngressSettings::default()
    };
    let (ingresses, classes, secrets) = Default::default();
    let secrets: Objects<Secret> = secrets;
    let world = World {
        ingresses: &ingresses,
        classes: &classes,
        services,
        secrets: &secrets,
        pods: false,
    };
    let found: Vec<_> = found.iter().map(|one| (&one.name, &one.ingress)).collect();
    let mut draft = Draft::default();
    ingress::translate(
        world,
        &settings,
        &found,
        &mut Certificates::default(),
        &mut draft,
    );
    draft.finish()
}

fn judge(found: &Found, part: &Part, notes: &[Note]) -> Judgement {
    let mut lines = Vec::new();
    let spec = found.ingress.spec.as_ref();
    for (matcher, service) in &part.routes {
        lines.push(("route", format!("{matcher} -> {service}")));
    }
    let tls = spec
        .and_then(|spec| spec.tls.as_deref())
        .unwrap_or_default();
    for one in tls {
        let hosts = one.hosts.clone().unwrap_or_default().join(", ");
        lines.push((
            "tls",
            match &one.secret_name {
                Some(secret) => format!("{hosts} by secret {}/{secret}", found.name.namespace),
                None => format!("{hosts} by the listener's own certificate"),
            },
        ));
    }
    lines.extend(class(&found.ingress).map(|text| ("class", text)));
    let mut differs = false;
    for note in notes {
        // Secrets are seldom in files, and annotations have lines of their own.
        if !matches!(
            note.reason,
            "SecretUnusable" | "AnnotationIgnored" | "AnnotationUnsupported"
        ) {
            differs = true;
            lines.push(("differs", note.text.clone()));
        }
    }
    for (key, value) in found.ingress.annotations() {
        let Some((answer, text)) = ingress::answer(key, value) else {
            continue;
        };
        let (word, is_other) = match answer {
            Answer::Works => ("works", false),
            Answer::Harmless => ("ignored", false),
            Answer::Changes => ("differs", true),
            Answer::Guards => ("fails", true),
        };
        differs |= is_other;
        lines.push((word, format!("{key}: {text}")));
    }
    let annotations = found.ingress.annotations();
    if !tls.is_empty() && REDIRECTS.iter().all(|it| !annotations.contains_key(*it)) {
        differs = true;
        lines.push(("differs", PLAIN.to_owned()));
    }
    let leads = |service: &crate::endpoint::ServiceName| {
        let mut services = part.services.iter();
        let found = services.find(|one| one.settings.name == *service);
        found.is_some_and(|one| matches!(one.source, crate::discovery::Settings::Kubernetes(_)))
    };
    let verdict = match part
        .routes
        .iter()
        .any(|(_, action)| action.services().any(leads))
    {
        false => Verdict::Fails,
        true if differs => Verdict::Differs,
        true => Verdict::Works,
    };
    if part.routes.is_empty() {
        lines.push(("fails", "no request would be routed by it".to_owned()));
    }
    Judgement {
        place: found.place.clone(),
        name: found.name.to_string(),
        verdict,
        lines,
    }
}

/// What to do about the class.
fn class(ingress: &Ingress) -> Option<String> {
    let settings = IngressSettings::default();
    let named = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref());
    let legacy = ingress.annotations().get("kubernetes.io/ingress.class");
    let right = format!("set ingressClassName: {}", settings.class);
    match named.or(legacy.map(String::as_str)) {
        Some(name) if name == settings.class => None,
        Some(name) => Some(format!(
            "{name}; {right} (or that of an IngressClass of {})",
            settings.controller
        )),
        None => Some(format!(
            "none; {right}, or make an IngressClass of {} the default",
            settings.controller
        )),
    }
}

fn backends(spec: Option<&IngressSpec>) -> impl Iterator<Item = &IngressBackend> {
    spec.into_iter().flat_map(|spec| {
        let rules = spec.rules.iter().flatten();
        let paths = rules
            .filter_map(|rule| rule.http.as_ref())
            .flat_map(|http| &http.paths);
        let backends = paths.map(|path| &path.backend);
        spec.default_backend.iter().chain(backends)
    })
}

const CONFLICT: &str = "Conflict";
const REDIRECTS: [&str; 2] = [
    "nginx.ingress.kubernetes.io/ssl-redirect",
    "nginx.ingress.kubernetes.io/force-ssl-redirect",
];
const PLAIN: &str = "http and https serve the same: ingress-nginx sends clients of http to https wherever there is TLS, \
                     tidegate only with the annotation nginx.ingress.kubernetes.io/ssl-redirect: \"true\"";

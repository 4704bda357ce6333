//! The rules of an Ingress: hosts, paths and backends.

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressRule};
use kube::ResourceExt;

use super::{Secured, Writing, annotations};
use crate::control::DesiredService;
use crate::discovery::Port;
use crate::kubernetes::backend::{nowhere, resolve};
use crate::kubernetes::objects::Name;
use crate::route::{
    Action, Changes, Conditions, Host, Matcher, Path, Redirect, RedirectStatus, Scheme, Timeouts,
    To,
};

impl Writing<'_> {
    pub(super) fn rules(&mut self, rules: &[IngressRule]) {
        for rule in rules {
            let Some(host) = self.host(rule) else {
                continue;
            };
            let paths = rule.http.as_ref().map(|http| &*http.paths);
            for path in paths.unwrap_or_default() {
                if let Some(matched) = self.path(path) {
                    let service = self.backend(&path.backend);
                    self.route(&host, matched, service);
                }
            }
        }
    }

    /// For what no path takes: on the hosts of the Ingress, and on those that nobody has.
    pub(super) fn default_backend(&mut self, rules: &[IngressRule], backend: &IngressBackend) {
        let service = self.backend(backend);
        for rule in rules.iter().filter(|rule| has_host(rule)) {
            if let Some(host) = self.host(rule) {
                let matcher = Matcher::new(host, Path::any());
                // Somebody has a path for everything there, and that is no conflict.
                let is_new = self.draft.route(matcher.clone(), service.clone(), "");
                if is_new.is_ok() {
                    self.send_to_https(matcher);
                }
            }
        }
        self.route(&Host::Any, Path::any(), service);
    }

    fn route(&mut self, host: &Host, path: Path, service: DesiredService) {
        let matcher = Matcher::new(host.clone(), path);
        let words = matcher.to_string();
        let owner = self.about.name.to_string();
        if let Err(first) = self.draft.route(matcher.clone(), service, &owner) {
            let text = if first == owner {
                format!("{words} is there twice: the first one has it")
            } else {
                format!("{words} belongs to ingress {first}, which is older: it has it")
            };
            self.note("Conflict", text);
            return;
        }
        self.send_to_https(matcher);
    }

    /// Sends clients of http elsewhere, where the Ingress asks for that.
    fn send_to_https(&mut self, matcher: Matcher) {
        if !self.is_open || !self.secured.has(&matcher.host) {
            return;
        }
        let matcher = Matcher {
            conditions: Conditions {
                scheme: Some(Scheme::Http),
                ..Conditions::default()
            },
            ..matcher
        };
        let action = Action {
            to: To::Redirect(Redirect {
                scheme: Some(Scheme::Https),
                status: RedirectStatus::PermanentRedirect,
                ..Redirect::default()
            }),
            changes: Changes::default(),
            timeouts: Timeouts::default(),
        };
        // It comes with a route that is new, so it is new.
        let _ = self.draft.lead(matcher, action, &[], "");
    }

    fn host(&mut self, rule: &IngressRule) -> Option<Host> {
        let Some(text) = rule.host.as_deref().filter(|text| !text.is_empty()) else {
            return Some(Host::Any);
        };
        let host = host(text);
        if host.is_none() {
            let text = format!(
                "host {text:?} is no host name, as shop.example.com or *.example.com; its rule is left out"
            );
            self.note("HostInvalid", text);
        }
        host
    }

    fn path(&mut self, path: &HTTPIngressPath) -> Option<Path> {
        let text = path.path.as_deref().unwrap_or_default();
        let kind = &*path.path_type;
        let read = match kind {
            "Exact" => written(text).map(Path::Exact),
            "Prefix" => written(text).map(|text| Path::Prefix(without_slash(&text))),
            "ImplementationSpecific" if text.is_empty() => Ok(Path::any()),
            "ImplementationSpecific" => {
                literal(text).map(|text| Path::Prefix(without_slash(&text)))
            }
            _ => Err("has an unknown pathType"),
        };
        read.map_err(|wrong| {
            let text = format!("path {text:?} of type {kind} {wrong}; it is left out");
            self.note("PathInvalid", text);
        })
        .ok()
    }

    /// The service of a backend. One that cannot be served is told of.
    fn backend(&mut self, backend: &IngressBackend) -> DesiredService {
        if !self.is_open {
            return nowhere(&format!("{}:unsupported", self.about.name));
        }
        let namespace = self.about.name.namespace.clone();
        let Some(service) = &backend.service else {
            let resource = backend.resource.as_ref();
            let named = resource.map_or("a backend without a service".to_owned(), |resource| {
                format!("the backend {} {}", resource.kind, resource.name)
            });
            let text =
                format!("{named} is not supported, only services are; requests are answered 503");
            self.note("BackendUnsupported", text);
            return nowhere(&format!("{}:unsupported", self.about.name));
        };
        let name = Name::new(&namespace, &service.name);
        let port = service.port.as_ref().and_then(|port| {
            let number = port.number.and_then(|number| u16::try_from(number).ok());
            let by_name = port.name.clone().map(Port::Name);
            by_name.or(number.filter(|number| *number > 0).map(Port::Number))
        });
        let Some(port) = port else {
            let text = format!("service {name} is named without a port; requests are answered 503");
            self.note("PortNotFound", text);
            return nowhere(&format!("{name}:none"));
        };
        let found = resolve(self.world.services, &name, &port, self.world.pods);
        if let Some(fault) = &found.fault {
            self.note(fault.reason(), fault.to_string());
        }
        found.service
    }
}

impl Secured {
    /// The hosts of an Ingress whose clients have to speak https.
    pub(super) fn of(ingress: &Ingress, is_tls_served: bool) -> Self {
        let asks = |name| annotations::is_true(ingress.annotations(), name);
        let tls = ingress.spec.as_ref().and_then(|spec| spec.tls.as_deref());
        if asks("force-ssl-redirect") {
            return Self::All;
        }
        if !is_tls_served || !asks("ssl-redirect") {
            return Self::Nobody;
        }
        let of = tls.unwrap_or_default().iter();
        let hosts = of.flat_map(|tls| tls.hosts.iter().flatten());
        Self::Some(hosts.filter_map(|text| host(text)).collect())
    }

    fn has(&self, host: &Host) -> bool {
        match self {
            Self::Nobody => false,
            Self::All => true,
            Self::Some(hosts) => hosts.contains(host) || hosts.iter().any(|one| covers(one, host)),
        }
    }
}

/// Whether the wildcard of a certificate is for a host.
fn covers(wildcard: &Host, host: &Host) -> bool {
    match (wildcard, host) {
        (Host::Child(domain), Host::Exact(name)) => name
            .split_once('.')
            .is_some_and(|(_, parent)| parent == domain),
        _ => false,
    }
}

fn has_host(rule: &IngressRule) -> bool {
    rule.host.as_ref().is_some_and(|host| !host.is_empty())
}

/// A host: exact, or `*.` for one label more.
fn host(text: &str) -> Option<Host> {
    let text = text.to_ascii_lowercase();
    let label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(known)
    };
    let is_host = |text: &str| text.len() <= 253 && text.split('.').all(label);
    match text.strip_prefix("*.") {
        Some(domain) => is_host(domain).then(|| Host::Child(domain.to_owned())),
        None => is_host(&text).then_some(Host::Exact(text)),
    }
}

fn written(text: &str) -> Result<String, &'static str> {
    if !text.starts_with('/') {
        return Err("should begin with /");
    }
    if text.contains(['?', '#']) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("should be a path as clients send it, percent-encoded and without a query");
    }
    Ok(text.to_owned())
}

/// What ingress-nginx would take for a regular expression is none here, and as a text it would match nothing.
fn literal(text: &str) -> Result<String, &'static str> {
    if text.contains(['(', ')', '[', ']', '{', '}', '^', '$', '*', '+', '|', '\\']) {
        return Err(
            "is a regular expression, which is not supported: write the prefixes it stands for",
        );
    }
    written(text)
}

fn without_slash(text: &str) -> String {
    let path = text.trim_end_matches('/');
    if path.is_empty() { "/" } else { path }.to_owned()
}

//! A route's rules: what they ask of a request, and what becomes of it. Pure.
//!
//! What is not supported breaks only itself: a match that cannot be made is left out, a rule whose filter cannot be served
//! answers 500, as does the share of a backend that cannot be. Each is told.

use http::{HeaderName, HeaderValue, Method};

use super::World;
use super::api::{BackendRef, Filter, GrpcMatch, GrpcRule, HttpMatch, HttpRule, Matched};
use super::filters::field_name;
use super::grants::{From, is_granted};
use super::timeouts::timeouts;
use crate::control::DesiredService;
use crate::discovery::Port;
use crate::endpoint::ServiceName;
use crate::kubernetes::backend::resolve;
use crate::kubernetes::objects::Name;
use crate::route::{Conditions, Path, Share, Timeouts, may_be_asked};
use crate::snapshot::{Protocol, ServiceSettings};

/// A rule of either kind of route.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) matches: Vec<(Path, Conditions)>,
    pub(super) filters: Vec<Filter>,
    pub(super) timeouts: Timeouts,
    pub(super) shares: Vec<Share>,
    pub(super) services: Vec<DesiredService>,
}

/// What is told of a route's rules.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// What is not supported.
    pub(super) values: Vec<String>,
    /// Backends that cannot be, by the reason of the condition.
    pub(super) references: Vec<(&'static str, String)>,
}

/// Reads rules, for a route in a namespace.
pub(super) struct Reader<'r> {
    pub(super) world: World<'r>,
    pub(super) from: From<'r>,
    /// What the endpoints are spoken to by, whatever their Service says.
    pub(super) protocol: Option<Protocol>,
    pub(super) faults: Faults,
}

impl Reader<'_> {
    pub(super) fn http(&mut self, rule: &HttpRule) -> Rule {
        for (is_there, what) in [
            (rule.retry.is_some(), "retry"),
            (rule.session_persistence.is_some(), "sessionPersistence"),
        ] {
            if is_there {
                self.tell(format!("{what} of a rule is ignored"));
            }
        }
        let every = [HttpMatch::default()];
        let matches = match &*rule.matches {
            [] => &every[..],
            matches => matches,
        };
        let read = matches.iter().map(http_match);
        let matches = self.those_that_can(read);
        let (timeouts, faults) = timeouts(rule.timeouts.as_ref());
        faults.into_iter().for_each(|fault| self.tell(fault));
        Rule {
            timeouts,
            ..self.rule(matches, &rule.filters, &rule.backend_refs)
        }
    }

    pub(super) fn grpc(&mut self, rule: &GrpcRule) -> Rule {
        if rule.session_persistence.is_some() {
            self.tell("sessionPersistence of a rule is ignored".into());
        }
        let every = [GrpcMatch::default()];
        let matches = match &*rule.matches {
            [] => &every[..],
            matches => matches,
        };
        let read = matches.iter().map(grpc_match);
        let matches = self.those_that_can(read);
        self.rule(matches, &rule.filters, &rule.backend_refs)
    }

    fn tell(&mut self, text: String) {
        if !self.faults.values.contains(&text) {
            self.faults.values.push(text);
        }
    }

    fn those_that_can<T>(&mut self, read: impl Iterator<Item = Result<T, String>>) -> Vec<T> {
        let mut all = Vec::new();
        for one in read {
            match one {
                Ok(one) => all.push(one),
                Err(wrong) => self.tell(format!("a match is left out: {wrong}")),
            }
        }
        all
    }

    fn rule(
        &mut self,
        matches: Vec<(Path, Conditions)>,
        filters: &[Filter],
        backends: &[BackendRef],
    ) -> Rule {
        let mut services = Vec::new();
        let shares = backends.iter().map(|backend| {
            let weight = backend.weight.unwrap_or(1);
            let service = self.backend(backend);
            let name = service.as_ref().map(|it| it.settings.name.clone());
            services.extend(service.filter(|_| weight > 0));
            Share {
                service: name,
                weight,
            }
        });
        Rule {
            matches,
            filters: filters.to_vec(),
            timeouts: Timeouts::default(),
            shares: shares.collect(),
            services,
        }
    }

    /// The service of ours for a backend; none for one that cannot be, which is told.
    fn backend(&mut self, backend: &BackendRef) -> Option<DesiredService> {
        let to = &backend.to;
        let namespace = to.namespace.as_deref().unwrap_or(self.from.namespace);
        let name = Name::new(namespace, &to.name);
        let group = to.group.as_deref().unwrap_or_default();
        let kind = to.kind.as_deref().unwrap_or("Service");
        let fault = if !group.is_empty() || kind != "Service" {
            Some(("InvalidKind", format!("{kind} {name} is no Service")))
        } else if !is_granted(self.world.grants, self.from, "Service", &name) {
            let text = format!("no ReferenceGrant lets this route use service {name}");
            Some(("RefNotPermitted", text))
        } else if to.port.is_none() {
            Some((
                "BackendNotFound",
                format!("service {name} is named without a port"),
            ))
        } else if !backend.filters.is_empty() {
            self.tell(format!(
                "filters of a backend are not supported: the share of service {name} is answered 500"
            ));
            return None;
        } else {
            None
        };
        let port = Port::Number(to.port.unwrap_or_default());
        let found = match fault {
            None => {
                let found = resolve(self.world.services, &name, &port, self.world.pods);
                match found.fault {
                    None => Ok(found.service),
                    Some(fault) => Err(("BackendNotFound", fault.what())),
                }
            }
            Some(fault) => Err(fault),
        };
        match found {
            Ok(service) => Some(self.speaking(service)),
            Err((reason, text)) => {
                let text = format!("{text}; its share is answered 500");
                if !self
                    .faults
                    .references
                    .iter()
                    .any(|(_, known)| *known == text)
                {
                    self.faults.references.push((reason, text));
                }
                None
            }
        }
    }

    /// The same service spoken to by the route's protocol. It is another one than that which the Service asks for.
    fn speaking(&self, service: DesiredService) -> DesiredService {
        match self.protocol {
            Some(protocol) if service.settings.protocol != protocol => {
                let name = format!("{}+h2c", service.settings.name);
                let settings = ServiceSettings {
                    protocol,
                    name: ServiceName::from(&*name),
                    ..(*service.settings).clone()
                };
                DesiredService {
                    settings: settings.into(),
                    ..service
                }
            }
            _ => service,
        }
    }
}

fn http_match(one: &HttpMatch) -> Result<(Path, Conditions), String> {
    let path = match &one.path {
        None => Path::any(),
        Some(path) => {
            let value = path.value.clone().unwrap_or_else(|| "/".into());
            if !value.starts_with('/') || value.contains(['?', '#']) {
                return Err(format!("path {value:?} is none"));
            }
            match path.by.as_deref() {
                None | Some("PathPrefix") => Path::Prefix(value),
                Some("Exact") => Path::Exact(value),
                Some(other) => return Err(format!("paths are not matched by {other}")),
            }
        }
    };
    let method = match &one.method {
        None => None,
        Some(text) => {
            let method = Method::from_bytes(text.as_bytes());
            Some(method.map_err(|_| format!("method {text:?} is none"))?)
        }
    };
    let mut query: Vec<(String, String)> = Vec::new();
    for matched in &one.query_params {
        let value = exact(matched)?;
        // Of several of a name the first counts.
        if query.iter().all(|(name, _)| *name != matched.name) {
            query.push((matched.name.clone(), value.to_owned()));
        }
    }
    let conditions = Conditions {
        method,
        headers: headers(&one.headers)?,
        query,
        ..Conditions::default()
    };
    Ok((path, conditions))
}

/// A call of gRPC is a request for `/service/method`.
fn grpc_match(one: &GrpcMatch) -> Result<(Path, Conditions), String> {
    let path = match &one.method {
        None => Path::any(),
        Some(call) => {
            if let Some(other) = call.by.as_deref().filter(|by| *by != "Exact") {
                return Err(format!("methods are not matched by {other}"));
            }
            match (call.service.as_deref(), call.method.as_deref()) {
                (Some(service), Some(method)) => Path::Exact(format!("/{service}/{method}")),
                (Some(service), None) => Path::Prefix(format!("/{service}")),
                (None, Some(method)) => {
                    return Err(format!("method {method} is named without a service"));
                }
                (None, None) => Path::any(),
            }
        }
    };
    let conditions = Conditions {
        headers: headers(&one.headers)?,
        ..Conditions::default()
    };
    Ok((path, conditions))
}

fn headers(all: &[Matched]) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for matched in all {
        let value = exact(matched)?;
        let name = field_name(&matched.name, may_be_asked)?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("header {name} cannot have the value {value:?}"))?;
        // Of several of a name the first counts.
        if headers.iter().all(|(known, _)| *known != name) {
            headers.push((name, value));
        }
    }
    Ok(headers)
}

fn exact(matched: &Matched) -> Result<&str, String> {
    match matched.by.as_deref() {
        None | Some("Exact") => Ok(matched.value.as_deref().unwrap_or_default()),
        Some(other) => Err(format!("{} is not matched by {other}", matched.name)),
    }
}

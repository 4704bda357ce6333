//! Where a route leads: a Service and one of its ports, turned into a service of ours. Pure.
//!
//! A Service or port that is not there breaks nothing but the routes to it: they lead to a service without endpoints, which
//! answers 503 until it is there.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::objects::{Name, Objects};
use crate::control::DesiredService;
use crate::discovery::{self, KubernetesService, Port};
use crate::endpoint::ServiceName;
use crate::snapshot::{Protocol, ServiceSettings};

/// A service as a route has it, and what is wrong with it.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pub(super) service: DesiredService,
    pub(super) fault: Option<Fault>,
}

/// Why a service has no endpoints and will have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    NoService(Name),
    NoPort { service: Name, port: Port },
    NotTcp { service: Name, port: Port },
    ExternalName(Name),
}

impl Fault {
    /// In CamelCase, as events and conditions have it.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoService(_) => "ServiceNotFound",
            Self::NoPort { .. } => "PortNotFound",
            Self::NotTcp { .. } => "PortNotTcp",
            Self::ExternalName(_) => "ExternalNameUnsupported",
        }
    }
}

impl Fault {
    /// What is wrong, without what follows from it: that is not the same everywhere.
    pub(super) fn what(&self) -> String {
        match self {
            Self::NoService(name) => format!("service {name} does not exist"),
            Self::NoPort { service, port } => {
                format!("service {service} has no port {}", Word(port))
            }
            Self::NotTcp { service, port } => {
                format!("port {} of service {service} is not TCP", Word(port))
            }
            Self::ExternalName(name) => format!(
                "service {name} is of type ExternalName, which is not followed: its name could lead anywhere"
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = match self {
            Self::NoService(_) => " until it does",
            Self::NoPort { .. } => " until it has",
            Self::NotTcp { .. } | Self::ExternalName(_) => "",
        };
        write!(out, "{}; requests are answered 503{until}", self.what())
    }
}

/// A port as it is written.
struct Word<'p>(&'p Port);

impl fmt::Display for Word<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Port::Name(name) => out.write_str(name),
            Port::Number(number) => write!(out, "{number}"),
        }
    }
}

/// The service of ours for a port of a Service: by the port's number or name in the Service, not in its pods.
pub(super) fn resolve(
    services: &Objects<Service>,
    service: &Name,
    port: &Port,
    pods: bool,
) -> Backend {
    let found = find(services, service, port);
    let (word, source, protocol, fault) = match found {
        Ok(found) => {
            let name = found.name.clone().unwrap_or_default();
            let word = if name.is_empty() {
                found.port.to_string()
            } else {
                name.clone()
            };
            let source = discovery::Settings::Kubernetes(KubernetesService {
                namespace: service.namespace.clone(),
                service: service.name.clone(),
                // Slices have the port's name in common with the Service; their numbers are the pods'.
                port: Some(Port::Name(name)),
                pods,
            });
            (word, source, protocol(found), None)
        }
        Err(fault) => (
            Word(port).to_string(),
            discovery::Settings::List(Vec::new()),
            Protocol::default(),
            Some(fault),
        ),
    };
    let name = ServiceName::from(&*format!("{service}:{word}"));
    Backend {
        service: DesiredService {
            settings: Arc::new(ServiceSettings {
                protocol,
                ..ServiceSettings::named(name)
            }),
            source,
        },
        fault,
    }
}

/// A service that has no endpoints and will have none, for what cannot be served.
pub(super) fn nowhere(name: &str) -> DesiredService {
    DesiredService {
        settings: Arc::new(ServiceSettings::named(ServiceName::from(name))),
        source: discovery::Settings::List(Vec::new()),
    }
}

fn find<'s>(
    services: &'s Objects<Service>,
    name: &Name,
    port: &Port,
) -> Result<&'s ServicePort, Fault> {
    let Some(service) = services.find(name) else {
        return Err(Fault::NoService(name.clone()));
    };
    let spec = service.spec.as_ref();
    if spec.is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName")) {
        return Err(Fault::ExternalName(name.clone()));
    }
    let ports = spec.and_then(|spec| spec.ports.as_deref());
    let is_meant = |one: &&ServicePort| match port {
        Port::Name(name) => one.name.as_ref() == Some(name),
        Port::Number(number) => one.port == i32::from(*number),
    };
    let meant: Vec<_> = ports.unwrap_or_default().iter().filter(is_meant).collect();
    // A number may stand for two ports, one of them UDP.
    let is_tcp = |one: &ServicePort| one.protocol.as_deref().is_none_or(|word| word == "TCP");
    let (service, port) = (name.clone(), port.clone());
    match meant.iter().find(|one| is_tcp(one)) {
        Some(found) => Ok(found),
        None if meant.is_empty() => Err(Fault::NoPort { service, port }),
        None => Err(Fault::NotTcp { service, port }),
    }
}

/// What the pods speak, as the Service says it (KEP-3726).
fn protocol(port: &ServicePort) -> Protocol {
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c" | "grpc") => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: &Value) -> Objects<Service> {
        let object = json!({ "metadata": { "namespace": "shop", "name": "web" }, "spec": spec });
        Objects::of([serde_json::from_value::<Service>(object).unwrap()])
    }

    fn resolved(spec: &Value, port: &Port) -> Backend {
        resolve(&service(spec), &Name::new("shop", "web"), port, false)
    }

    #[test]
    fn a_port_by_number_or_name_is_the_same_service() {
        let spec = json!({ "ports": [
            { "name": "http", "port": 80, "targetPort": 8080 },
            { "name": "rpc", "port": 81, "appProtocol": "kubernetes.io/h2c" },
        ] });
        for port in [Port::Number(80), Port::Name("http".into())] {
            let backend = resolved(&spec, &port);
            assert_eq!(backend.fault, None);
            assert_eq!(backend.service.settings.name.as_str(), "shop/web:http");
            assert_eq!(backend.service.settings.protocol, Protocol::Http1);
            let discovery::Settings::Kubernetes(source) = backend.service.source else {
                panic!();
            };
            assert_eq!(source.port, Some(Port::Name("http".into())));
        }
        let rpc = resolved(&spec, &Port::Number(81));
        assert_eq!(rpc.service.settings.protocol, Protocol::Http2);
    }

    #[test]
    fn the_only_port_needs_no_name() {
        let backend = resolved(&json!({ "ports": [{ "port": 80 }] }), &Port::Number(80));
        assert_eq!(backend.service.settings.name.as_str(), "shop/web:80");
        let discovery::Settings::Kubernetes(source) = backend.service.source else {
            panic!();
        };
        assert_eq!(source.port, Some(Port::Name(String::new())));
    }

    #[test]
    fn what_is_not_there_leads_to_a_service_without_endpoints() {
        let ports = json!({ "ports": [{ "port": 80 }, { "port": 53, "protocol": "UDP" }] });
        let named = json!({ "type": "ExternalName", "externalName": "example.com" });
        for (spec, number, reason) in [
            (&ports, 81, "PortNotFound"),
            (&ports, 53, "PortNotTcp"),
            (&named, 80, "ExternalNameUnsupported"),
        ] {
            let backend = resolved(spec, &Port::Number(number));
            assert_eq!(backend.fault.unwrap().reason(), reason);
            let name = format!("shop/web:{number}");
            assert_eq!(backend.service.settings.name.as_str(), name);
            assert_eq!(
                backend.service.source,
                discovery::Settings::List(Vec::new())
            );
        }
        let other = Name::new("shop", "gone");
        let backend = resolve(&service(&ports), &other, &Port::Number(80), false);
        assert_eq!(backend.fault, Some(Fault::NoService(other)));
    }
}

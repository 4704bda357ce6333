//! The config in force, in the words of the file.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::path::Path;

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::admin::{self, Peers, SocketFile};
use crate::balance::{HashKey, Policy};
use crate::discovery::{self, KubernetesService, Port};
use crate::document::{write_duration, write_percent, write_size};
use crate::endpoint::ServiceName;
use crate::kubernetes::{self as cluster, Publish};
use crate::net::tls;
use crate::route::{self, Action, Edits, NewPath, Redirect, Share, To};
use crate::server;
use crate::snapshot::{Affinity, HealthCheck, Probe, ServiceSettings};

use super::listener::{TLS_VERSIONS, UNDERSCORES};
use super::route::host_words;
use super::service::{ALL_DRAINING, BALANCE};
use super::upstream::PROTOCOLS;
use super::{Config, Route, Service};

impl Config {
    /// The config in force, every default filled in, under the keys of the file: what `GET /api/v1/config` answers, and a
    /// config file that reads as this one. Files are named and their content is not shown, so there is no secret in it.
    #[must_use]
    pub fn describe(&self) -> Value {
        json!({
            "listeners": self.listeners.iter().map(listener).collect::<Vec<_>>(),
            "routes": self.routes.iter().map(route).collect::<Vec<_>>(),
            "services": self.services.iter().map(service).collect::<Vec<_>>(),
            "kubernetes": self.kubernetes.as_ref().map(section),
            "admin": {
                "address": self.admin.address.to_string(),
                "socket": socket(&self.admin),
                "token_file": self.admin.token_file.as_deref().map(written),
                "per_endpoint_metrics": self.admin.per_endpoint_metrics,
                "probes_address": self.admin.probes_address,
                "calls_per_second": self.admin.calls_per_second,
                "hosts": self.admin.hosts,
                "hook_token_file": self.admin.hook_token_file.as_deref().map(written),
            },
            "shutdown": {
                "wait_period": write_duration(self.shutdown.wait_period),
                "grace_period": write_duration(self.shutdown.grace_period),
                "upgrade_timeout": write_duration(self.shutdown.upgrade_timeout),
            },
            "access_log": { "sample": self.access_log_sample },
            "log": { "level": self.log_level },
            "state_dir": self.state_dir.as_deref().map(written),
            "peers": peers(&self.admin.peers),
            "webhook": self.admin.webhook.map(|limit| json!({ "limit": write_duration(limit) })),
            "reload_on_change": self.reload_on_change,
            "user": self.user,
            "workers": self.workers.map_or(json!("auto"), |n| json!(n)),
        })
    }
}

fn socket(admin: &admin::Settings) -> Option<Value> {
    let SocketFile { mode, owner, group } = &admin.socket;
    let is_file = admin.address.tcp().is_none();
    is_file.then(|| json!({ "mode": format!("{mode:04o}"), "owner": owner, "group": group }))
}

fn section(section: &cluster::Settings) -> Value {
    json!({
        "namespaces": section.namespaces,
        "pods": section.pods,
        "lease": {
            "name": section.lease.name,
            "duration": write_duration(section.lease.duration),
        },
        "ingress": section.ingress.as_ref().map(|ingress| json!({
            "class": ingress.class,
            "controller": ingress.controller,
            "https": ingress.https,
            "publish": publish(&ingress.publish),
        })),
        "gateway": section.gateway.as_ref().map(|gateway| json!({
            "controller": gateway.controller,
            "ports": gateway.ports.iter()
                .map(|port| (port.number.to_string(), json!(port.listener)))
                .collect::<serde_json::Map<_, _>>(),
            "publish": publish(&gateway.publish),
        })),
    })
}

fn publish(publish: &Publish) -> Value {
    match publish {
        Publish::Nothing => Value::Null,
        Publish::Addresses(addresses) => json!(addresses),
        Publish::Service { namespace, name } => json!({ "namespace": namespace, "service": name }),
    }
}

fn listener(listener: &server::Settings) -> Value {
    let networks = listener.trusted_proxies.iter().map(ToString::to_string);
    json!({
        "name": &*listener.name,
        "address": listener.address,
        "trusted_proxies": networks.collect::<Vec<_>>(),
        "proxy_protocol": listener.proxy_protocol,
        "underscores": word(&UNDERSCORES, &listener.underscores),
        "debug_headers": listener.debug_headers,
        "tls": listener.tls.as_ref().map(tls),
        "http2": listener.http2,
        "timeouts": {
            "header": write_duration(listener.timeouts.header),
            "body": write_duration(listener.timeouts.body),
            "request": write_duration(listener.timeouts.request),
            "keep_alive": write_duration(listener.timeouts.keep_alive),
            "ping": write_duration(listener.timeouts.ping),
            "max_connection_age": write_duration(listener.timeouts.max_connection_age),
        },
        "limits": {
            "header_size": write_size(listener.limits.header_bytes.into()),
            "headers": listener.limits.headers,
            "target_size": write_size(listener.limits.target_bytes.into()),
            "connections": listener.limits.connections,
            "connections_per_client": listener.limits.connections_per_client,
            "streams": listener.limits.streams,
            "streams_per_client": listener.limits.streams_per_client,
            "stream_window": write_size(listener.limits.stream_window.into()),
            "connection_window": write_size(listener.limits.connection_window.into()),
            "resets": listener.limits.resets,
            "stream_errors": listener.limits.stream_errors,
        },
    })
}

fn tls(tls: &tls::Settings) -> Value {
    let certificate =
        |it: &tls::Certificate| json!({ "cert": written(&it.cert), "key": written(&it.key) });
    json!({
        "certificates": tls.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "min_version": word(&TLS_VERSIONS, &tls.min_version),
        "client_certificates": tls.clients.as_ref().map(|clients| {
            json!({ "ca": written(&clients.authorities), "required": !clients.optional })
        }),
    })
}

fn route(it: &Route) -> Value {
    let (exact, path) = match &it.matcher.path {
        route::Path::Exact(path) => (Some(path), None),
        route::Path::Prefix(path) => (None, Some(path)),
    };
    let Action {
        to,
        changes,
        timeouts,
    } = &it.action;
    let (service, services, redirect) = match to {
        To::Services(shares) => match &**shares {
            [Share { service, weight: 1 }] => {
                (service.as_ref().map(ServiceName::as_str), None, None)
            }
            shares => (
                None,
                Some(shares.iter().map(share).collect::<Vec<_>>()),
                None,
            ),
        },
        To::Redirect(redirect) => (None, None, Some(self::redirect(redirect))),
    };
    json!({
        "host": host_words(&it.matcher.host),
        "exact": exact,
        "path": path,
        "listeners": it.matcher.conditions.listeners,
        "method": it.matcher.conditions.method.as_ref().map(Method::as_str),
        "headers": fields(&it.matcher.conditions.headers),
        "query": it.matcher.conditions.query.iter().cloned().collect::<BTreeMap<_, _>>(),
        "service": service,
        "services": services,
        "redirect": redirect,
        "rewrite": changes.has_target().then(|| with_path(
            json!({ "host": changes.host }),
            changes.path.as_ref(),
        )),
        "request_headers": edits(&changes.request),
        "response_headers": edits(&changes.response),
        "timeouts": (!timeouts.is_none()).then(|| json!({
            "request": timeouts.request.map(write_duration),
            "attempt": timeouts.attempt.map(write_duration),
        })),
    })
}

fn fields(fields: &[(HeaderName, HeaderValue)]) -> Value {
    let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields = fields.iter();
    fields
        .map(|(name, it)| (name.as_str(), value(it)))
        .collect()
}

fn share(share: &Share) -> Value {
    json!({ "service": share.service.as_ref().map(ServiceName::as_str), "weight": share.weight })
}

fn redirect(redirect: &Redirect) -> Value {
    let said = json!({
        "scheme": redirect.scheme.map(route::Scheme::word),
        "host": redirect.host,
        "port": redirect.port,
        "status": redirect.status.code(),
    });
    with_path(said, redirect.path.as_ref())
}

fn with_path(mut said: Value, path: Option<&NewPath>) -> Value {
    match path {
        Some(NewPath::Whole(path)) => said["path"] = json!(path),
        Some(NewPath::Prefix { to, .. }) if to.is_empty() => said["prefix"] = json!("/"),
        Some(NewPath::Prefix { to, .. }) => said["prefix"] = json!(to),
        None => {}
    }
    said
}

fn edits(edits: &Edits) -> Option<Value> {
    let remove = edits.remove.iter().map(HeaderName::as_str);
    (!edits.is_none()).then(|| {
        json!({
            "set": fields(&edits.set),
            "add": fields(&edits.add),
            "remove": remove.collect::<Vec<_>>(),
        })
    })
}

fn service(service: &Service) -> Value {
    let ServiceSettings {
        name,
        balance,
        affinity: affine,
        protocol,
        tls,
        drain,
        all_draining,
        timeouts,
        retry,
        limits,
        slow_start,
        upgrades,
        health,
    } = &*service.settings;
    json!({
        "name": name.as_str(),
        "source": source(&service.source),
        "balance": balance_word(balance),
        "hash_on": hash_on(balance),
        "affinity": affinity(affine),
        "protocol": word(&PROTOCOLS, protocol),
        "tls": tls.as_ref().map(|connector| upstream_tls(connector.settings())),
        "drain": {
            "timeout": write_duration(drain.timeout),
            "idle_grace": write_duration(drain.idle_grace),
            "spread": write_duration(drain.spread),
            "websocket_close_code": drain.websocket_close.code(),
        },
        "all_draining": word(&ALL_DRAINING, all_draining),
        "connect_timeout": write_duration(timeouts.connect),
        "request_timeout": write_duration(timeouts.request),
        "idle_timeout": write_duration(timeouts.idle),
        "tunnel_idle_timeout": write_duration(timeouts.tunnel_idle),
        "upstream_keep_alive": write_duration(timeouts.upstream_keep_alive),
        "upstream_ping": write_duration(timeouts.upstream_ping),
        "retry": { "attempts": retry.attempts, "budget": write_percent(retry.budget) },
        "limits": {
            "connections_per_endpoint": limits.connections_per_endpoint,
            "pending": limits.pending,
            "request_body": write_size(limits.request_body),
        },
        "slow_start": write_duration(*slow_start),
        "upgrades": upgrades.iter().map(|name| &**name).collect::<Vec<_>>(),
        "health": health.as_ref().map(health_check),
    })
}

fn health_check(check: &HealthCheck) -> Value {
    let (kind, asked) = match &check.probe {
        Probe::Tcp => ("tcp", json!(true)),
        Probe::Http(path) => ("http", json!(path)),
        Probe::Grpc(service) => ("grpc", json!(service)),
    };
    json!({
        kind: asked,
        "interval": write_duration(check.interval),
        "timeout": write_duration(check.timeout),
        "healthy": check.healthy,
        "unhealthy": check.unhealthy,
    })
}

fn upstream_tls(tls: &tls::UpstreamSettings) -> Value {
    let pair =
        |it: &tls::Certificate| json!({ "cert": written(&it.cert), "key": written(&it.key) });
    json!({
        "server_name": tls.server_name,
        "ca": tls.authorities.as_deref().map(written),
        "client_certificate": tls.certificate.as_ref().map(pair),
        "dangerously_unverified": tls.unverified,
    })
}

fn source(source: &discovery::Settings) -> Value {
    match source {
        discovery::Settings::List(addresses) => json!({ "list": addresses }),
        discovery::Settings::File { path, port } => {
            json!({ "file": { "path": written(path), "port": port.as_ref().map(port_word) } })
        }
        discovery::Settings::Kubernetes(it) => {
            let mut service = kubernetes(it);
            service["pods"] = json!(it.pods);
            json!({ "kubernetes": service })
        }
    }
}

fn kubernetes(service: &KubernetesService) -> Value {
    json!({
        "namespace": service.namespace,
        "service": service.service,
        "port": service.port.as_ref().map(port_word),
    })
}

fn peers(peers: &Peers) -> Value {
    match peers {
        Peers::List(addresses) => json!(addresses),
        Peers::Kubernetes(service) => json!({ "kubernetes": kubernetes(service) }),
    }
}

fn port_word(port: &Port) -> Value {
    match port {
        Port::Name(name) => json!(name),
        Port::Number(number) => json!(number),
    }
}

fn affinity(affinity: &Affinity) -> Value {
    match affinity {
        Affinity::None => json!("none"),
        Affinity::Connection => json!("connection"),
        Affinity::Cookie {
            name,
            keep_until_deadline,
        } => json!({ "cookie": name, "keep_until_deadline": keep_until_deadline }),
        Affinity::Header {
            name,
            keep_until_deadline,
        } => json!({ "header": name.as_str(), "keep_until_deadline": keep_until_deadline }),
    }
}

fn balance_word(policy: &Policy) -> &'static str {
    let same = discriminant(policy);
    BALANCE
        .iter()
        .find(|(_, known)| discriminant(*known) == same)
        .map_or("", |(word, _)| word)
}

fn hash_on(policy: &Policy) -> Option<Value> {
    match policy {
        Policy::Hash(HashKey::ClientAddress) => Some(json!("client_address")),
        Policy::Hash(HashKey::Header(name)) => Some(json!({ "header": name.as_str() })),
        Policy::Hash(HashKey::Cookie(name)) => Some(json!({ "cookie": name })),
        _ => None,
    }
}

/// A path as text: one that is not Unicode would be no JSON.
fn written(path: &Path) -> String {
    path.display().to_string()
}

/// The word of the file for a value.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> Option<&'static str> {
    words
        .iter()
        .find(|(_, known)| known == value)
        .map(|(word, _)| *word)
}

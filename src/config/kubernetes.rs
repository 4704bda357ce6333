//! `kubernetes`: what a cluster's objects add to the config.

use std::net::IpAddr;
use std::sync::Arc;

use crate::document::{Item, Value};
use crate::kubernetes::{
    GatewayPort, GatewaySettings, IngressSettings, LeaseSettings, Publish, Settings,
};
use crate::server;

use super::route::exact_host;
use super::source::object_name;
use super::values::{Seen, take};

/// Reads the section. `listeners` are those of the file, if they can be read.
pub(super) fn section(item: &Item<'_>, listeners: Option<&[server::Settings]>) -> Option<Settings> {
    let mut keys = item.mapping()?;
    let mut settings = Settings {
        namespaces: Vec::new(),
        pods: false,
        lease: LeaseSettings::default(),
        ingress: None,
        gateway: None,
    };
    take(
        &mut settings.namespaces,
        keys.optional("namespaces"),
        namespaces,
    );
    take(&mut settings.pods, keys.optional("pods"), Item::boolean);
    take(&mut settings.lease, keys.optional("lease"), lease);
    let ingress_item = keys.optional("ingress");
    let gateway_item = keys.optional("gateway");
    let is_anything = ingress_item.is_some() || gateway_item.is_some();
    take(&mut settings.ingress, ingress_item, |item| {
        ingress(item).map(Some)
    });
    take(&mut settings.gateway, gateway_item, |item| {
        gateway(item, listeners).map(Some)
    });
    keys.finish();
    if !is_anything {
        item.fault(
            "does nothing without ingress or gateway: add one, as { ingress: {} }, or remove the section",
        );
    }
    Some(settings)
}

fn ingress(item: &Item<'_>) -> Option<IngressSettings> {
    let mut keys = item.mapping()?;
    let mut settings = IngressSettings::default();
    take(&mut settings.class, keys.optional("class"), object_name);
    take(
        &mut settings.controller,
        keys.optional("controller"),
        controller,
    );
    take(&mut settings.https, keys.optional("https"), |item| {
        item.name().map(|name| Some(Arc::from(name)))
    });
    take(&mut settings.publish, keys.optional("publish"), publish);
    keys.finish();
    Some(settings)
}

fn gateway(item: &Item<'_>, listeners: Option<&[server::Settings]>) -> Option<GatewaySettings> {
    let mut keys = item.mapping()?;
    let mut settings = GatewaySettings::default();
    take(
        &mut settings.controller,
        keys.optional("controller"),
        controller,
    );
    take(&mut settings.ports, keys.optional("ports"), |item| {
        ports(item, listeners)
    });
    // Those of the listeners themselves, where nothing else is said of them.
    for listener in listeners.unwrap_or_default() {
        let number = listener.address.port();
        if number > 0 && settings.ports.iter().all(|port| port.number != number) {
            settings.ports.push(GatewayPort {
                number,
                listener: listener.name.clone(),
                tls: listener.tls.is_some(),
            });
        }
    }
    settings.ports.sort_by_key(|port| port.number);
    take(&mut settings.publish, keys.optional("publish"), publish);
    keys.finish();
    Some(settings)
}

/// The ports of Gateways' listeners, and the listener of ours that serves each.
fn ports(item: &Item<'_>, listeners: Option<&[server::Settings]>) -> Option<Vec<GatewayPort>> {
    let mapping = item.mapping()?;
    let read = mapping.entries.iter().filter_map(|(key, node)| {
        let item = Item {
            key: &key.text,
            node,
            faults: mapping.faults,
        };
        let number = key.text.parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            let wrong = "should be a port, as { 80: http }";
            mapping.faults.add(key.at, &key.text, wrong);
        }
        let name = item.name()?;
        let found = listeners?.iter().find(|listener| *listener.name == *name);
        if found.is_none() {
            item.fault(format!("is {name:?}, which is no listener"));
        }
        Some(GatewayPort {
            number: number?,
            listener: name.into(),
            tls: found?.tls.is_some(),
        })
    });
    Some(read.collect())
}

fn lease(item: &Item<'_>) -> Option<LeaseSettings> {
    let mut keys = item.mapping()?;
    let mut lease = LeaseSettings::default();
    take(&mut lease.name, keys.optional("name"), object_name);
    take(&mut lease.duration, keys.optional("duration"), |item| {
        let duration = item.duration()?;
        if duration.subsec_nanos() != 0 || !(1..=3600).contains(&duration.as_secs()) {
            item.fault("should be whole seconds, from 1s to 1h");
        }
        Some(duration)
    });
    keys.finish();
    Some(lease)
}

/// Addresses and names, or a Service that has some.
fn publish(item: &Item<'_>) -> Option<Publish> {
    if matches!(item.node.value, Value::Mapping(_)) {
        let mut keys = item.mapping()?;
        let mut name = |key: &'static str| keys.required(key).and_then(|item| object_name(&item));
        let (namespace, service) = (name("namespace"), name("service"));
        keys.finish();
        return Some(Publish::Service {
            namespace: namespace?,
            name: service?,
        });
    }
    let read = |item: &Item<'_>| {
        let text = item.name()?;
        if text.parse::<IpAddr>().is_ok() {
            return Some(text.to_owned());
        }
        exact_host(text)
            .map_err(|wrong| item.fault(format!("is {text:?}, {wrong}")))
            .ok()
    };
    Some(Publish::Addresses(
        item.list(false)?.iter().filter_map(read).collect(),
    ))
}

/// Whether the section is there, before it is its turn to be read: then the file may route nothing itself.
pub(super) fn is_there(root: &Item<'_>) -> bool {
    find(*root, "kubernetes").is_some()
}

/// Whether Gateways are served: then any listener may show certificates of theirs.
pub(super) fn has_gateway(root: &Item<'_>) -> bool {
    find(*root, "kubernetes").is_some_and(|section| find(section, "gateway").is_some())
}

/// The listener that shows certificates of Secrets, as far as it can be told before the section is read.
pub(super) fn https<'n>(root: &Item<'n>) -> Option<(Item<'n>, &'n str)> {
    let ingress = find(find(*root, "kubernetes")?, "ingress")?;
    let https = find(ingress, "https")?;
    match &https.node.value {
        Value::Scalar { text, .. } => Some((https, text)),
        _ => None,
    }
}

fn find<'n>(item: Item<'n>, key: &str) -> Option<Item<'n>> {
    let Value::Mapping(entries) = &item.node.value else {
        return None;
    };
    let (key, node) = entries.iter().find(|(known, _)| known.text == key)?;
    (!node.is_null()).then_some(Item {
        key: &key.text,
        node,
        ..item
    })
}

/// Notes a fault when the listener that is to show certificates cannot.
pub(super) fn judge_https(https: Option<(Item<'_>, &str)>, listeners: &[server::Settings]) {
    let Some((item, name)) = https else { return };
    match listeners.iter().find(|listener| *listener.name == *name) {
        None => item.fault(format!(
            "is {name:?}, which is no listener; name one with tls"
        )),
        Some(listener) if listener.tls.is_none() => item.fault(format!(
            "is {name:?}, a listener without tls; give it some, as tls: {{ certificates: [] }}"
        )),
        Some(_) => {}
    }
}

fn namespaces(list: &Item<'_>) -> Option<Vec<String>> {
    let mut seen = Seen::default();
    let read = |item: &Item<'_>| {
        let name = object_name(item)?;
        seen.note(item, &name, &format!("namespace {name}"));
        Some(name)
    };
    Some(list.list(false)?.iter().filter_map(read).collect())
}

/// As IngressClasses have it: a domain and a path.
fn controller(item: &Item<'_>) -> Option<String> {
    let text = item.name()?;
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    if text.len() > 250 || !text.bytes().all(known) {
        item.fault(format!(
            "is {text:?}, should be a domain and a path, as tidegate.dev/ingress"
        ));
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn read(rest: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            "listeners:\n\
             - {{ name: http, address: \"127.0.0.1:80\" }}\n\
             - {{ name: https, address: \"127.0.0.1:443\", tls: {{ certificates: [] }} }}\n{rest}"
        );
        Config::parse(&text, Path::new("/x.yaml"))
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn objects_may_stand_for_everything_that_the_file_routes() {
        let config = read("kubernetes: { ingress: { https: https } }\n").unwrap();
        assert!(config.routes.is_empty() && config.services.is_empty());
        let settings = config.kubernetes.clone().unwrap();
        assert!(settings.namespaces.is_empty());
        let ingress = settings.ingress.unwrap();
        assert_eq!(
            (&*ingress.class, &*ingress.controller),
            ("tidegate", "tidegate.dev/ingress")
        );
        let again = config.describe().to_string();
        assert_eq!(Config::parse(&again, &config.path).unwrap(), config);
        let empty = "routes: []\nservices: []\nkubernetes: { ingress: { https: https } }\n";
        assert_eq!(read(empty).unwrap(), config);
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        for (rest, begins, contains) in [
            (
                "kubernetes: { ingress: { https: http } }",
                "3:65",
                "is empty",
            ),
            (
                "kubernetes: { ingress: { https: tls } }",
                "3:65",
                "is empty",
            ),
            (
                "kubernetes: { namespaces: [a, a], ingress: { https: https } }",
                "4:31: namespaces",
                "namespace a is there twice",
            ),
            (
                "kubernetes: { ingress: { class: A, https: https } }",
                "4:33: class",
                "as Kubernetes has them",
            ),
            (
                "kubernetes: { ingress: { controller: a b, https: https } }",
                "4:38: controller",
                "a domain and a path",
            ),
            (
                "routes: [{ service: web }]\nkubernetes: { ingress: { https: https } }",
                "4:21: service",
                "which is no service",
            ),
        ] {
            let faults = read(rest).unwrap_err();
            assert!(
                faults[0].starts_with(begins) && faults[0].contains(contains),
                "{rest}: {faults:?}"
            );
        }
        let faults = read("kubernetes: { ingress: { https: http } }").unwrap_err();
        assert!(
            faults[1].contains("a listener without tls"),
            "it has none: {faults:?}"
        );
    }

    #[test]
    fn a_gateways_ports_are_served_by_the_listeners_that_have_or_are_given_them() {
        let config = read(
            "kubernetes: { gateway: { ports: { 80: https, 8080: http }, publish: [a.test] } }\n",
        )
        .unwrap();
        let settings = config.kubernetes.clone().unwrap().gateway.unwrap();
        assert_eq!(settings.controller, "tidegate.dev/gateway");
        let ports = settings.ports.iter();
        let ports: Vec<_> = ports.map(|it| (it.number, &*it.listener, it.tls)).collect();
        assert_eq!(
            ports,
            [
                (80, "https", true),
                (443, "https", true),
                (8080, "http", false)
            ]
        );
        let again = config.describe().to_string();
        assert_eq!(Config::parse(&again, &config.path).unwrap(), config);
        for (gateway, begins, contains) in [
            ("ports: { 80: htp }", "4:39: 80", "is no listener"),
            ("ports: { x: http }", "4:35: x", "a port"),
            ("ports: { 0: http }", "4:35: 0", "a port"),
            ("controller: a b", "4:38: controller", "a domain"),
        ] {
            let faults = read(&format!("kubernetes: {{ gateway: {{ {gateway} }} }}")).unwrap_err();
            assert!(
                faults[0].starts_with(begins) && faults[0].contains(contains),
                "{gateway}: {faults:?}"
            );
        }
    }

    #[test]
    fn a_section_that_does_nothing_is_a_fault() {
        let faults = read("kubernetes: {}\n").unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.contains("does nothing")),
            "{faults:?}"
        );
    }
}

//! Where the Ingresses of ours are reached, for their `status.loadBalancer`. Pure.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

use crate::kubernetes::desk::{Resource, Status};
use crate::kubernetes::objects::{Name, Objects};
use crate::kubernetes::part::Publish;

/// The Ingresses that do not say yet where they are reached.
pub(in crate::kubernetes) fn statuses(
    ours: &[(&Name, &Ingress)],
    publish: &Publish,
    services: &Objects<Service>,
) -> Vec<Status> {
    let Some(wanted) = addresses(publish, services) else {
        return Vec::new();
    };
    let differs = ours.iter().filter(|(_, ingress)| said(ingress) != wanted);
    differs
        .map(|(name, ingress)| Status {
            resource: INGRESSES,
            name: (*name).clone(),
            version: ingress.metadata.resource_version.clone(),
            status: json!({ "loadBalancer": { "ingress": json_of(&wanted) } }),
        })
        .collect()
}

/// Addresses and names, in order; nothing when nobody wants them written, or they are not known.
pub(in crate::kubernetes) fn addresses(
    publish: &Publish,
    services: &Objects<Service>,
) -> Option<Vec<String>> {
    let mut all = match publish {
        Publish::Nothing => return None,
        Publish::Addresses(addresses) => addresses.clone(),
        Publish::Service { namespace, name } => of(services.find(&Name::new(namespace, name))?),
    };
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// Where a Service is reached from outside.
fn of(service: &Service) -> Vec<String> {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.as_deref());
    let points = points.unwrap_or_default().iter();
    let points = points.filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone()));
    let spec = service.spec.as_ref();
    let external = spec.and_then(|spec| spec.external_ips.clone());
    points.chain(external.unwrap_or_default()).collect()
}

/// What an Ingress says, in order. What else it says of its ports is not ours.
fn said(ingress: &Ingress) -> Vec<String> {
    let status = ingress.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.as_deref());
    let points = points.unwrap_or_default().iter();
    let mut all: Vec<_> = points
        .filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone()))
        .collect();
    all.sort_unstable();
    all
}

fn json_of(addresses: &[String]) -> Value {
    if addresses.is_empty() {
        return Value::Null;
    }
    let one = |address: &String| match address.parse::<std::net::IpAddr>() {
        Ok(_) => json!({ "ip": address }),
        Err(_) => json!({ "hostname": address }),
    };
    addresses.iter().map(one).collect()
}

const INGRESSES: Resource = Resource {
    group: "networking.k8s.io",
    version: "v1",
    kind: "Ingress",
    plural: "ingresses",
    words: "ingresses/status",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let ingress = |points: Value| -> Ingress {
            serde_json::from_value(json!({
                "metadata": { "namespace": "shop", "name": "a", "resourceVersion": "7" },
                "status": { "loadBalancer": { "ingress": points } },
            }))
            .unwrap()
        };
        let service: Service = serde_json::from_value(json!({
            "metadata": { "namespace": "tidegate", "name": "tidegate" },
            "spec": { "externalIPs": ["203.0.113.9"] },
            "status": { "loadBalancer": { "ingress": [{ "hostname": "lb.example.com" }] } },
        }))
        .unwrap();
        let services = Objects::of([service]);
        let name = Name::new("shop", "a");
        let by = |publish: &Publish, points: Value| {
            let statuses = statuses(&[(&name, &ingress(points))], publish, &services);
            statuses
                .first()
                .map(|one| one.status["loadBalancer"]["ingress"].clone())
        };
        let service = |name: &str| Publish::Service {
            namespace: "tidegate".into(),
            name: name.into(),
        };
        let wanted = json!([{ "ip": "203.0.113.9" }, { "hostname": "lb.example.com" }]);
        assert_eq!(by(&service("tidegate"), json!(null)), Some(wanted.clone()));
        assert_eq!(by(&service("tidegate"), wanted.clone()), None);
        assert_eq!(by(&service("gone"), wanted.clone()), None, "not known");
        assert_eq!(by(&Publish::Nothing, wanted.clone()), None);
        let none = Publish::Addresses(Vec::new());
        assert_eq!(by(&none, wanted), Some(Value::Null));
        assert_eq!(by(&none, json!(null)), None);
    }
}

//! Manifests, read: every object knows its file, its document and its line.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Map, Number, Value as Json};

use super::{Found, Manifests};
use crate::document::{Fault, Node, Value, parse};
use crate::kubernetes::objects::Name;

/// Where an object stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    file: &'p str,
    document: usize,
}

pub(super) fn add(manifests: &mut Manifests, file: &str, text: &str) -> Result<(), Vec<Fault>> {
    let documents = parse(text).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    let written = documents.iter().filter(|document| !document.is_null());
    for (index, node) in written.enumerate() {
        let place = Place {
            file,
            document: index + 1,
        };
        object(manifests, place, node, "", &mut faults);
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// An object, or those that it lists. Inside a list of one kind objects need not say what they are.
fn object(
    manifests: &mut Manifests,
    place: Place<'_>,
    node: &Node,
    listed: &str,
    faults: &mut Vec<Fault>,
) {
    let mut fault = |about: &str, what: String| {
        let document = place.document;
        let message = format!("document {document}: {what}");
        let key = about.to_owned();
        faults.push(Fault {
            at: node.at,
            key,
            message,
        });
    };
    let kind = text(node, "kind").unwrap_or(listed);
    let version = text(node, "apiVersion").unwrap_or(NETWORKING);
    if let (Some(items), true) = (find(node, "items"), kind.ends_with("List")) {
        let Value::Sequence(items) = &items.value else {
            if !items.is_null() {
                fault(kind, "items should be a list".into());
            }
            return;
        };
        let of = kind.strip_suffix("List").unwrap_or_default();
        for item in items {
            object(manifests, place, item, of, faults);
        }
        return;
    }
    let metadata = find(node, "metadata");
    let named = |key: &str| metadata.and_then(|metadata| text(metadata, key));
    let name = Name::new(
        named("namespace").unwrap_or("default"),
        named("name").unwrap_or_default(),
    );
    let about = format!("{kind} {name}");
    match kind {
        "" => fault("", "no object of Kubernetes: it has no kind".into()),
        "Ingress" | "Service" if name.name.is_empty() => {
            fault(kind, "it has no metadata.name".into());
        }
        "Ingress" if version != NETWORKING => fault(
            &about,
            format!(
                "is of {version}, which no cluster serves any more; convert it to {NETWORKING}"
            ),
        ),
        "Ingress" => match serde_json::from_value::<Ingress>(json(node)) {
            Ok(ingress) => manifests.ingresses.push(Found {
                place: format!(
                    "{}: document {}, line {}",
                    place.file, place.document, node.at.line
                ),
                name,
                ingress,
            }),
            Err(error) => fault(&about, format!("cannot be read: {error}")),
        },
        "Service" => match serde_json::from_value::<Service>(json(node)) {
            Ok(mut service) => {
                service.metadata.namespace = Some(name.namespace.clone());
                manifests.services.insert(name, service);
            }
            Err(error) => fault(&about, format!("cannot be read: {error}")),
        },
        _ => manifests.others += 1,
    }
}

fn find<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Mapping(entries) => {
            let mut entries = entries.iter();
            entries.find_map(|(known, value)| (known.text == key).then_some(value))
        }
        _ => None,
    }
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match &find(node, key)?.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// As kubectl would send it.
fn json(node: &Node) -> Json {
    match &node.value {
        _ if node.is_null() => Json::Null,
        Value::Scalar { text, plain: true } => match &**text {
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            text => {
                let number = text.parse().ok().map(|number: i64| Number::from(number));
                let number = number.or_else(|| Number::from_f64(text.parse().ok()?));
                number.map_or_else(|| Json::String(text.to_owned()), Json::Number)
            }
        },
        Value::Scalar { text, .. } => Json::String(text.clone()),
        Value::Sequence(nodes) => Json::Array(nodes.iter().map(json).collect()),
        Value::Mapping(entries) => {
            let entries = entries.iter();
            Json::Object(
                entries
                    .map(|(key, value)| (key.text.clone(), json(value)))
                    .collect::<Map<_, _>>(),
            )
        }
    }
}

const NETWORKING: &str = "networking.k8s.io/v1";

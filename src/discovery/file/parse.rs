//! What an endpoint file says, whichever of its two formats it is written in.

use super::{native, slices};
use crate::discovery::{Observation, Port};
use crate::document::{self, Fault, Faults, Item, Node, Position, Value};

/// Reads an endpoint file: tidegate's own format, or Kubernetes `EndpointSlice` documents; the content tells them apart.
/// `port` says which port of the slices is meant; the own format has no use for it.
///
/// # Errors
/// Every fault, in the order of the text. An empty text is one: an empty set is written `endpoints: []` (P9).
pub fn parse(text: &str, port: Option<&Port>) -> Result<Observation, Vec<Fault>> {
    let documents = document::parse(text).map_err(|fault| vec![fault])?;
    // A separator with nothing behind it, as templates leave them, is no document of anybody's.
    let documents: Vec<&Node> = documents.iter().filter(|node| !node.is_null()).collect();
    let faults = Faults::new();
    let endpoints = match documents.as_slice() {
        [] => {
            let start = Position { line: 1, column: 1 };
            faults.add(
                start,
                "",
                "is empty; an empty set is written `endpoints: []`",
            );
            Vec::new()
        }
        all if all.iter().any(|node| is_kubernetes(node)) => slices::read(all, port, &faults),
        [own] => native::read(Item::root(own, &faults)),
        [_, second, ..] => {
            faults.add(
                second.at,
                "",
                "is a second document; all endpoints belong into one `endpoints` list",
            );
            Vec::new()
        }
    };
    if faults.is_empty() {
        Ok(endpoints.into())
    } else {
        Err(faults.into_sorted())
    }
}

/// Every object of Kubernetes says what it is; the own format has no such keys.
fn is_kubernetes(node: &Node) -> bool {
    let Value::Mapping(entries) = &node.value else {
        return false;
    };
    entries
        .iter()
        .any(|(key, _)| matches!(key.text.as_str(), "apiVersion" | "kind"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    const OWN: &str = "endpoints:\n  - { address: \"127.0.0.1:9001\", id: web-1, state: ready, weight: 1, zone: a }\n  - address: 127.0.0.1:9002\n    state: draining\n    drain_timeout: 60s\n";

    const SLICES: &str = r#"apiVersion: v1
items:
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
  - addresses: [10.0.0.1]
    conditions: { ready: true, serving: true, terminating: false }
    targetRef: { kind: Pod, name: web-a, namespace: shop, uid: u-a }
    zone: a
  - addresses: ["10.0.0.2"]
    conditions: { ready: null }
  kind: EndpointSlice
  metadata:
    labels: { kubernetes.io/service-name: web }
    name: web-1
    resourceVersion: "12"
  ports: [{ name: http, port: 8080, protocol: TCP }]
kind: List
"#;

    /// What a text is mutated by: what has a meaning somewhere does the most harm elsewhere.
    const PIECES: [&str; 24] = [
        "",
        "\n",
        " ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!str ",
        "---\n",
        "|",
        "null",
        "true",
        "9999999999999999999",
        "\t",
        "#",
        "\u{0}",
        "ä",
        "endpoints",
    ];

    fn mutated() -> impl Strategy<Value = String> {
        let change = (any::<Index>(), 0..12_usize, select(&PIECES[..]));
        (
            select(vec![OWN, SLICES]),
            prop::collection::vec(change, 1..6),
        )
            .prop_map(|(text, changes)| {
                let mut chars: Vec<char> = text.chars().collect();
                for (place, length, piece) in changes {
                    let start = place.index(chars.len() + 1);
                    let end = (start + length).min(chars.len());
                    chars.splice(start..end, piece.chars());
                }
                chars.into_iter().collect()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn never_panics_on_any_text(text in "\\PC{0,200}|[ -~\n\t]{0,200}") {
            let _ = parse(&text, None);
        }

        #[test]
        fn never_panics_on_a_mutated_text(text in mutated(), port in 0..3_u8) {
            let port = match port {
                0 => None,
                1 => Some(Port::Name("http".into())),
                _ => Some(Port::Number(8080)),
            };
            if let Ok(observation) = parse(&text, port.as_ref()) {
                let keys: std::collections::HashSet<_> =
                    observation.endpoints().map(|endpoint| &endpoint.key).collect();
                prop_assert_eq!(keys.len(), observation.len());
            }
        }

        #[test]
        fn believes_no_text_that_ends_before_the_last_endpoint(end in 0..OWN.len()) {
            // What is cut inside the first endpoint has no endpoint that could be missed.
            if let Ok(observation) = parse(&OWN[..end], None) {
                prop_assert!(!observation.is_empty());
            }
        }

        #[test]
        fn believes_no_list_of_slices_that_is_cut_short(end in 0..SLICES.len() - "kind: List\n".len()) {
            prop_assert!(parse(&SLICES[..end], None).is_err());
        }
    }

    #[test]
    fn reads_what_the_mutations_start_from() {
        assert_eq!(parse(OWN, None).unwrap().len(), 2);
        assert_eq!(parse(SLICES, None).unwrap().len(), 2);
    }
}

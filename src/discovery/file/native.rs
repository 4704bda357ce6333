//! tidegate's own format: one list of endpoints.

use std::collections::HashMap;
use std::sync::Arc;

use crate::discovery::{Observed, ObservedState};
use crate::document::{Item, Mapping, Position};
use crate::endpoint::EndpointKey;

/// Reads the one document. Faults go to where `root` sends them; with any of them the result means nothing.
pub(super) fn read(root: Item<'_>) -> Vec<Observed> {
    let Some(mut top) = root.mapping() else {
        return Vec::new();
    };
    let list = match top.find("endpoints") {
        // A file that is cut short right here must not pass for an empty set.
        Some(item) if item.node.is_null() => {
            item.fault("is empty; an empty set is written `endpoints: []`");
            None
        }
        Some(item) => item.list(false),
        None => {
            top.faults.add(top.at, "endpoints", "is missing");
            None
        }
    };
    top.finish();
    let items = list.unwrap_or_default();
    let mut endpoints = Vec::with_capacity(items.len());
    let mut known: HashMap<EndpointKey, Position> = HashMap::with_capacity(items.len());
    for item in items {
        let Some(entry) = item.mapping() else {
            continue;
        };
        let Some((endpoint, named)) = endpoint(entry) else {
            continue;
        };
        match known.get(&endpoint.key) {
            Some(first) => named.fault(format!(
                "{:?} stands here and in line {}; each endpoint has an id of its own",
                endpoint.key.as_str(),
                first.line
            )),
            None => {
                known.insert(endpoint.key.clone(), named.at());
                endpoints.push(endpoint);
            }
        }
    }
    endpoints
}

/// One endpoint, and the item that names it.
fn endpoint<'n>(mut entry: Mapping<'n>) -> Option<(Observed, Item<'n>)> {
    let place = entry.required("address");
    let id = entry.optional("id");
    let state = entry.optional("state").map(|item| item.word(&STATES));
    let weight = entry.optional("weight").map(|item| item.integer(0..=1000));
    let zone = entry.optional("zone").map(name);
    let drain_timeout = entry.optional("drain_timeout").map(|item| item.duration());
    entry.finish();

    let place = place?;
    let address = place.socket_address()?;
    if address.port() == 0 {
        place.fault(format!("is {address}: nobody listens on port 0"));
    }
    let key = match id {
        Some(id) => name(id)?.into(),
        None => address.to_string().as_str().into(),
    };
    let endpoint = Observed {
        key,
        address,
        pod: None,
        zone: zone.flatten().map(Arc::from),
        weight: weight.flatten().map_or(1, |weight| weight as u32),
        state: state.flatten().unwrap_or(ObservedState::Ready),
        drain_timeout: drain_timeout.flatten(),
        latched: false,
        pod_end: None,
    };
    Some((endpoint, id.unwrap_or(place)))
}

/// A name that can stand in a log line, a label and a URL.
fn name(item: Item<'_>) -> Option<&str> {
    let name = item.name()?;
    if name.len() > NAME_LENGTH_MAX {
        item.fault(format!("is longer than {NAME_LENGTH_MAX} bytes"));
        return None;
    }
    if name.chars().any(char::is_control) {
        item.fault(format!("is {name:?}, should be without control characters"));
        return None;
    }
    Some(name)
}

/// Who lists an endpoint as draining says that it still serves; what does not is `not_ready`, or not listed.
const STATES: [(&str, ObservedState); 3] = [
    ("ready", ObservedState::Ready),
    ("not_ready", ObservedState::NotReady),
    ("draining", ObservedState::Draining { serving: true }),
];

/// What Kubernetes allows for its names.
const NAME_LENGTH_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::parse;
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text, None).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    fn endpoints(text: &str) -> Vec<Observed> {
        parse(text, None)
            .unwrap()
            .endpoints()
            .map(|endpoint| (**endpoint).clone())
            .collect()
    }

    #[test]
    fn reads_every_key_and_has_defaults() {
        let found = endpoints(
            "endpoints:\n  - { address: \"127.0.0.1:9001\", id: web-1, state: not_ready, weight: 0, zone: a, drain_timeout: 60s }\n  - address: \"[0:0::1]:80\"\n  - { address: 127.0.0.1:9001, id: 7, state: draining, weight: 1000, zone: null }\n",
        );
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[0],
            Observed {
                key: "web-1".into(),
                address: "127.0.0.1:9001".parse().unwrap(),
                pod: None,
                zone: Some("a".into()),
                weight: 0,
                state: ObservedState::NotReady,
                drain_timeout: Some(Duration::from_secs(60)),
                latched: false,
                pod_end: None,
            }
        );
        assert_eq!(
            found[1],
            Observed {
                key: "[::1]:80".into(),
                address: "[::1]:80".parse().unwrap(),
                pod: None,
                zone: None,
                weight: 1,
                state: ObservedState::Ready,
                drain_timeout: None,
                latched: false,
                pod_end: None,
            }
        );
        assert_eq!(found[2].key.as_str(), "7");
        assert_eq!(found[2].state, ObservedState::Draining { serving: true });
    }

    #[test]
    fn tells_an_empty_set_from_an_empty_file() {
        assert!(endpoints("endpoints: []\n").is_empty());
        assert!(endpoints("---\n# nothing left\nendpoints: [ ]\n---\n").is_empty());
        for empty in [
            "",
            "\n\n",
            "# a comment\n",
            "---\n",
            "null\n",
            "~",
            "\u{feff}",
        ] {
            assert_eq!(
                faults(empty),
                ["1:1: is empty; an empty set is written `endpoints: []`"],
                "{empty:?}"
            );
        }
        assert_eq!(
            faults("endpoints:\n"),
            ["1:10: endpoints: is empty; an empty set is written `endpoints: []`"]
        );
        assert_eq!(faults("{}"), ["1:1: endpoints: is missing"]);
    }

    #[test]
    fn names_every_fault_and_its_place() {
        let line = |entry: &str| {
            let said = faults(&format!("endpoints:\n  - {entry}\n"));
            assert_eq!(said.len(), 1, "{said:#?}");
            said[0].clone()
        };
        assert_eq!(line("{ id: a }"), "2:5: address: is missing");
        assert_eq!(
            line("{ address: 1.2.3.4:80, wieght: 3 }"),
            "2:28: wieght: is no known key; did you mean weight?"
        );
        for (entry, said) in [
            ("", "is empty, should be a mapping"),
            ("1.2.3.4:80", "should be a mapping"),
            ("{ address: 1.2.3.4 }", "should be an address and a port"),
            ("{ address: 1.2.3.4:0 }", "nobody listens on port 0"),
            ("{ address: web:80 }", "names are not looked up here"),
            (
                "{ address: 1.2.3.4:80, state: redy }",
                "did you mean ready?",
            ),
            ("{ address: 1.2.3.4:80, weight: 1001 }", "from 0 to 1000"),
            ("{ address: 1.2.3.4:80, weight: -1 }", "from 0 to 1000"),
            ("{ address: 1.2.3.4:80, drain_timeout: 60 }", "has no unit"),
            ("{ address: 1.2.3.4:80, id: \"\" }", "is empty"),
            (
                "{ address: 1.2.3.4:80, id: \"a\\nb\" }",
                "control characters",
            ),
            ("{ address: 1.2.3.4:80, zone: [a] }", "zone: is a list"),
        ] {
            assert!(line(entry).contains(said), "{entry}: {}", line(entry));
        }
        let long = format!("{{ address: 1.2.3.4:80, id: {} }}", "x".repeat(254));
        assert!(line(&long).contains("longer than 253"));
        assert!(faults("- 1.2.3.4:80\n")[0].contains("is a list, should be a mapping"));
        assert_eq!(
            faults("endpoint: []\n"),
            [
                "1:1: endpoints: is missing",
                "1:1: endpoint: is no known key; did you mean endpoints?"
            ]
        );
        assert!(
            faults("endpoints: []\n---\nendpoints: []\n")[0]
                .starts_with("3:1: is a second document")
        );
        assert!(faults("endpoints: [\n")[0].contains("is not YAML"));
    }

    #[test]
    fn names_both_lines_of_an_id_that_stands_twice() {
        let said = faults(
            "endpoints:\n  - { address: 1.2.3.4:80, id: a }\n  - { address: 1.2.3.4:81, id: b }\n  - { address: 1.2.3.4:82, id: a }\n  - { address: 1.2.3.4:83, id: 1.2.3.4:84 }\n  - { address: 1.2.3.4:84 }\n",
        );
        assert_eq!(
            said,
            [
                "4:32: id: \"a\" stands here and in line 2; each endpoint has an id of its own",
                "6:16: address: \"1.2.3.4:84\" stands here and in line 5; each endpoint has an id of its own"
            ]
        );
    }
}

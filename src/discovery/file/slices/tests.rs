use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::parse;
use crate::discovery::slices::{Age, Shown, merge};
use crate::discovery::{Observed, ObservedState, Port};

const READY: ObservedState = ObservedState::Ready;
const NOT_READY: ObservedState = ObservedState::NotReady;
const SERVING: ObservedState = ObservedState::Draining { serving: true };
const SILENT: ObservedState = ObservedState::Draining { serving: false };

/// A slice with a port 80 named http.
fn slice(metadata: &str, endpoints: &[&str]) -> String {
    let mut text = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{ {metadata} }}\naddressType: IPv4\nports: [{{ name: http, port: 80 }}]\nendpoints:\n"
    );
    for endpoint in endpoints {
        writeln!(text, "- {endpoint}").unwrap();
    }
    text
}

fn pod(uid: &str, ip: &str, conditions: &str) -> String {
    format!(
        "{{ addresses: [{ip}], conditions: {{ {conditions} }}, targetRef: {{ kind: Pod, namespace: shop, name: pod-{uid}, uid: {uid} }} }}"
    )
}

fn read(text: &str, port: Option<&Port>) -> Vec<Observed> {
    parse(text, port)
        .unwrap()
        .endpoints()
        .map(|endpoint| (**endpoint).clone())
        .collect()
}

fn faults(text: &str, port: Option<&Port>) -> Vec<String> {
    let faults = parse(text, port).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

/// Key, address and state of each.
fn brief(endpoints: &[Observed]) -> Vec<(&str, String, ObservedState)> {
    endpoints
        .iter()
        .map(|endpoint| {
            (
                endpoint.key.as_str(),
                endpoint.address.to_string(),
                endpoint.state,
            )
        })
        .collect()
}

fn states(text: &str) -> Vec<(String, ObservedState)> {
    read(text, None)
        .into_iter()
        .map(|endpoint| (endpoint.key.to_string(), endpoint.state))
        .collect()
}

#[test]
fn reads_what_kubectl_prints() {
    let json = r#"{
    "apiVersion": "v1",
    "items": [
        {
            "addressType": "IPv4",
            "apiVersion": "discovery.k8s.io/v1",
            "endpoints": [
                {
                    "addresses": [
                        "10.244.1.7"
                    ],
                    "conditions": {
                        "ready": true,
                        "serving": true,
                        "terminating": false
                    },
                    "hints": { "forZones": [ { "name": "a" } ] },
                    "nodeName": "node-1",
                    "targetRef": {
                        "kind": "Pod",
                        "name": "web-6d4cf56db6-abcde",
                        "namespace": "shop",
                        "uid": "2f5a4c1e-0000-4000-8000-000000000001"
                    },
                    "zone": "eu-1a"
                }
            ],
            "kind": "EndpointSlice",
            "metadata": {
                "annotations": { "endpoints.kubernetes.io/last-change-trigger-time": "2024-01-01T00:00:00Z" },
                "generation": 3,
                "labels": { "kubernetes.io/service-name": "web", "app": "web \/ \u00fc" },
                "name": "web-x7k2p",
                "namespace": "shop",
                "resourceVersion": "4711",
                "uid": "aa"
            },
            "ports": [
                { "appProtocol": null, "name": "", "port": 8080, "protocol": "TCP" }
            ]
        }
    ],
    "kind": "List",
    "metadata": {
        "resourceVersion": ""
    }
}
"#;
    let found = read(json, None);
    assert_eq!(
        found,
        [Observed {
            key: "2f5a4c1e-0000-4000-8000-000000000001".into(),
            address: "10.244.1.7:8080".parse().unwrap(),
            pod: Some("shop/web-6d4cf56db6-abcde".into()),
            zone: Some("eu-1a".into()),
            weight: 1,
            state: READY,
            drain_timeout: None,
            latched: true,
            pod_end: None,
        }]
    );
    assert_eq!(read(&json.replace("    ", "\t"), None), found);
}

#[test]
fn reads_one_several_and_lists() {
    let one = slice("name: a", &[&pod("a", "10.0.0.1", "")]);
    assert_eq!(states(&one), [("a".into(), READY)]);
    let two = slice("name: b", &[&pod("b", "10.0.0.2", "")]);
    assert_eq!(states(&format!("{one}---\n# nothing\n{two}")).len(), 2);
    let bare = "{ addressType: IPv4, ports: [{ name: http, port: 80 }], endpoints: [{ addresses: [10.0.0.3] }] }";
    let typed =
        format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSliceList\nitems: [{bare}]\n");
    assert_eq!(states(&typed), [("10.0.0.3:80".into(), READY)]);
    assert_eq!(states(&format!("{typed}{one}")).len(), 2);
    for empty in ["[]", "null"] {
        assert!(states(&format!("apiVersion: v1\nkind: List\nitems: {empty}\n")).is_empty());
    }
    assert!(states("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nendpoints: null\nports: null\n").is_empty());
}

#[test]
fn refuses_what_it_does_not_mean() {
    for (text, said) in [
        ("apiVersion: v1\nitems: []\n", "1:1: kind: is missing"),
        ("apiVersion: v1\nkind: List\n", "1:1: items: is missing"),
        (
            "apiVersion: v1\nkind: Endpoints\n",
            "2:7: kind: is \"Endpoints\", should be EndpointSlice or a List of them",
        ),
        (
            "kind: EndpointSlice\naddressType: IPv4\n",
            "1:1: apiVersion: is missing",
        ),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n",
            "1:13: apiVersion: is \"discovery.k8s.io/v1beta1\", should be discovery.k8s.io/v1",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: [{ kind: Service }]\n",
            "3:17: kind: is \"Service\", should be EndpointSlice",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: [{ apiVersion: v1 }]\n",
            "3:9: kind: is missing",
        ),
        (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n",
            "1:1: addressType: is missing",
        ),
        (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: FQDN\n",
            "3:14: addressType: is FQDN: names are not looked up here, the slices should hold IPv4 or IPv6 addresses",
        ),
        (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: ipv4\n",
            "3:14: addressType: is \"ipv4\", should be IPv4 or IPv6",
        ),
        (
            "endpoints: []\n---\nkind: EndpointSlice\napiVersion: discovery.k8s.io/v1\naddressType: IPv4\n",
            "1:1: kind: is missing",
        ),
    ] {
        assert_eq!(faults(text, None), [said], "{text}");
    }
    let wrong = slice(
        "name: a",
        &[
            "{ addresses: [\"::1\"] }",
            "{ addresses: [1.2.3.4], conditions: { ready: 1 } }",
            "7",
        ],
    );
    let said = faults(&wrong, None);
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(
        said[0].contains("is \"::1\", should be an IPv4 address as the slice says"),
        "{said:#?}"
    );
    assert!(said[1].contains("should be true or false"), "{said:#?}");
    assert!(said[2].contains("should be a mapping"), "{said:#?}");
}

#[test]
fn reads_conditions_with_kubernetes_defaults() {
    for (conditions, state) in [
        ("", READY),
        ("ready: null, serving: null, terminating: null", READY),
        ("ready: true", READY),
        ("ready: true, serving: false", READY),
        ("ready: false", NOT_READY),
        ("ready: false, serving: true", NOT_READY),
        ("ready: true, terminating: true", SERVING),
        ("ready: true, serving: false, terminating: true", SILENT),
        ("ready: false, serving: true, terminating: true", SERVING),
        ("ready: false, serving: false, terminating: true", SILENT),
        ("ready: false, terminating: true", SERVING),
        ("terminating: true", SERVING),
    ] {
        let text = slice("name: a", &[&pod("a", "10.0.0.1", conditions)]);
        assert_eq!(states(&text), [("a".into(), state)], "{conditions}");
    }
    let text = slice(
        "name: a",
        &[
            "{ addresses: [10.0.0.1] }",
            "{ addresses: [10.0.0.2], conditions: null, targetRef: null, zone: null }",
        ],
    );
    assert_eq!(states(&text).len(), 2);
}

#[test]
fn takes_the_first_address_and_passes_over_what_has_none() {
    let text = slice(
        "name: a",
        &[
            "{ addresses: [10.0.0.1, 10.0.0.2] }",
            "{ addresses: [] }",
            "{ addresses: null }",
            "{ conditions: { ready: true } }",
        ],
    );
    assert_eq!(states(&text), [("10.0.0.1:80".into(), READY)]);
}

#[test]
fn knows_an_endpoint_by_its_uid_or_else_its_address() {
    let text = slice(
        "name: a, namespace: shop",
        &[
            "{ addresses: [10.0.0.1], targetRef: { kind: Pod, name: web-1, uid: u1 } }",
            "{ addresses: [10.0.0.2], targetRef: { kind: Pod, namespace: other, name: web-2 } }",
            "{ addresses: [10.0.0.3], targetRef: { kind: Node, name: node-3, uid: u3 }, zone: z }",
            "{ addresses: [10.0.0.4], targetRef: { uid: \"\" } }",
        ],
    );
    let found = read(&text, None);
    let brief: Vec<_> = found
        .iter()
        .map(|e| {
            (
                e.key.as_str(),
                e.pod.as_deref(),
                e.zone.as_deref(),
                e.latched,
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            ("10.0.0.4:80", None, None, false),
            ("u3", None, Some("z"), true),
            ("10.0.0.2:80", Some("other/web-2"), None, false),
            ("u1", Some("shop/web-1"), None, true),
        ]
    );
}

#[test]
fn chooses_the_port() {
    let slice = |ports: &str, ip: &str| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nports: {ports}\nendpoints: [{{ addresses: [{ip}] }}]\n"
        )
    };
    let both = slice(
        "[{ name: http, port: 80 }, { name: metrics, port: 90 }, { name: dns, port: 53, protocol: UDP }]",
        "10.0.0.1",
    );
    let other = slice("[{ name: http, port: 81 }]", "10.0.0.2");
    let none = slice("null", "10.0.0.3");
    let all = format!("{both}{other}{none}");
    let addresses = |text: &str, port: Option<&Port>| -> Vec<String> {
        read(text, port)
            .iter()
            .map(|e| e.address.to_string())
            .collect()
    };
    let name = |name: &str| Port::Name(name.into());
    assert_eq!(
        addresses(&all, Some(&name("http"))),
        ["10.0.0.1:80", "10.0.0.2:81"]
    );
    assert_eq!(addresses(&all, Some(&name("metrics"))), ["10.0.0.1:90"]);
    assert_eq!(addresses(&all, Some(&Port::Number(81))), ["10.0.0.2:81"]);
    // The one port of each, under one name.
    let same = format!(
        "{other}{}{none}",
        slice(
            "[{ name: http, port: 82 }, { port: 53, protocol: UDP }]",
            "10.0.0.4"
        )
    );
    assert_eq!(addresses(&same, None), ["10.0.0.2:81", "10.0.0.4:82"]);
    assert_eq!(addresses(&none, None), Vec::<String>::new());
    assert_eq!(addresses(&none, Some(&name("http"))), Vec::<String>::new());
    let unnamed = slice("[{ name: null, port: 80 }]", "10.0.0.5");
    assert_eq!(addresses(&unnamed, None), ["10.0.0.5:80"]);
    assert_eq!(addresses(&unnamed, Some(&name(""))), ["10.0.0.5:80"]);

    let said = |text: &str, port: Option<&Port>| faults(text, port)[0].clone();
    assert_eq!(
        said(&both, None),
        "5:35: ports: there are several, http, metrics; say in the config which is meant, as `port: NAME`"
    );
    assert!(said(&format!("{other}{unnamed}"), None).contains("several, 80, http"));
    assert!(
        said(&slice("[{ port: 80 }, { port: 81 }]", "10.0.0.1"), None).contains("several, 80, 81")
    );
    assert_eq!(
        said(&all, Some(&name("htp"))),
        "5:9: ports: \"htp\" is a port of no slice; there are http, metrics"
    );
    assert_eq!(
        said(&all, Some(&Port::Number(53))),
        "5:9: ports: 53 is a port of no slice; there are http, metrics"
    );
    assert!(
        said(&slice("[{ name: http }]", "10.0.0.1"), None)
            .contains("port: is missing, should be the number")
    );
    assert!(said(&slice("[{ port: 70000 }]", "10.0.0.1"), None).contains("from 1 to 65535"));
}

#[test]
fn refuses_slices_of_several_services() {
    let labelled = |service: &str, namespace: &str| {
        slice(
            &format!("namespace: {namespace}, labels: {{ kubernetes.io/service-name: {service} }}"),
            &[],
        )
    };
    assert!(
        states(&format!(
            "{}{}{}",
            labelled("web", "shop"),
            slice("name: x, labels: null", &[]),
            labelled("web", "shop")
        ))
        .is_empty()
    );
    let said = faults(
        &format!("{}{}", labelled("web", "shop"), labelled("api", "shop")),
        None,
    );
    assert!(
        said[0]
            .contains("is \"api\" here and \"web\" in line 4; all slices should be of one service"),
        "{said:#?}"
    );
    let said = faults(
        &format!("{}{}", labelled("web", "shop"), labelled("web", "test")),
        None,
    );
    assert!(said[0].contains("one namespace"), "{said:#?}");
}

#[test]
fn counts_an_endpoint_in_two_slices_once() {
    let moving = |first: &str, second: &str, one: &str, two: &str| {
        let text = format!(
            "{}{}",
            slice(first, &[&pod("a", "10.0.0.1", one)]),
            slice(second, &[&pod("a", "10.0.0.2", two)])
        );
        let found = read(&text, None);
        assert_eq!(found.len(), 1);
        (found[0].address.ip().to_string(), found[0].state)
    };
    let old = "name: one, resourceVersion: \"99\"";
    let new = "name: two, resourceVersion: \"100\"";
    let one = String::from("10.0.0.1");
    let two = String::from("10.0.0.2");
    assert_eq!(
        moving(old, new, "", "ready: false"),
        (two.clone(), NOT_READY)
    );
    assert_eq!(moving(new, old, "", "ready: false"), (one.clone(), READY));
    // Terminating is never unlearned, however old the slice that says it.
    assert_eq!(
        moving(old, new, "terminating: true", ""),
        (two.clone(), SERVING)
    );
    assert_eq!(
        moving(new, old, "", "terminating: true"),
        (one.clone(), SERVING)
    );
    assert_eq!(
        moving(new, old, "serving: false", "terminating: true"),
        (one.clone(), SILENT)
    );
    // Not comparable: the later in the text.
    assert_eq!(
        moving("name: one", "name: two", "", "ready: false"),
        (two.clone(), NOT_READY)
    );
    assert_eq!(
        moving(
            "name: one, generation: 9",
            "name: two, generation: 2",
            "",
            ""
        ),
        (two.clone(), READY)
    );
    assert_eq!(
        moving(
            "name: one, resourceVersion: x",
            "name: two, resourceVersion: \"1\"",
            "",
            ""
        ),
        (two.clone(), READY)
    );
    // The same slice twice.
    assert_eq!(
        moving(
            "name: one, generation: 9",
            "name: one, generation: 2",
            "",
            ""
        ),
        (one, READY)
    );
    assert_eq!(moving(old, old, "", ""), (two, READY));

    // Without a uid there is no latch: what is newer is so.
    let bare =
        |conditions: &str| format!("{{ addresses: [10.0.0.1], conditions: {{ {conditions} }} }}");
    let text = format!(
        "{}{}",
        slice(old, &[&bare("terminating: true")]),
        slice(new, &[&bare("")])
    );
    assert_eq!(states(&text), [("10.0.0.1:80".into(), READY)]);
}

#[test]
fn takes_a_pod_of_both_families_once() {
    let six = |uid: &str, ip: &str, conditions: &str| {
        slice(
            "name: six, resourceVersion: \"9\"",
            &[&pod(uid, &format!("\"{ip}\""), conditions)],
        )
        .replace("IPv4", "IPv6")
    };
    let four = |uid: &str, ip: &str, conditions: &str| {
        slice(
            "name: four, resourceVersion: \"1\"",
            &[&pod(uid, ip, conditions)],
        )
    };
    let text = format!(
        "{}{}{}",
        four("a", "10.0.0.1", ""),
        six("a", "fd00::1", ""),
        six("b", "fd00::2", "")
    );
    assert_eq!(
        brief(&read(&text, None)),
        [
            ("a", "10.0.0.1:80".into(), READY),
            ("b", "[fd00::2]:80".into(), READY)
        ]
    );
    let text = format!(
        "{}{}",
        six("a", "fd00::1", ""),
        four("a", "10.0.0.1", "terminating: true")
    );
    assert_eq!(
        brief(&read(&text, None)),
        [("a", "[fd00::1]:80".into(), SERVING)]
    );
}

#[test]
fn uses_only_the_better_of_two_at_one_address() {
    let ready = "";
    let not_ready = "ready: false";
    let serving = "ready: false, terminating: true";
    let silent = "ready: false, serving: false, terminating: true";
    for (one, two, expected) in [
        (ready, ready, [NOT_READY, READY]),
        (ready, serving, [READY, SILENT]),
        (serving, ready, [SILENT, READY]),
        (ready, silent, [READY, SILENT]),
        (ready, not_ready, [READY, NOT_READY]),
        (serving, serving, [SILENT, SERVING]),
        (serving, silent, [SERVING, SILENT]),
        (silent, serving, [SILENT, SERVING]),
        (serving, not_ready, [SERVING, NOT_READY]),
        (not_ready, serving, [NOT_READY, SERVING]),
        (silent, not_ready, [SILENT, NOT_READY]),
    ] {
        let one_slice = slice(
            "name: a",
            &[&pod("a", "10.0.0.1", one), &pod("b", "10.0.0.1", two)],
        );
        let two_slices = format!(
            "{}{}",
            slice(
                "name: a, resourceVersion: \"9\"",
                &[&pod("a", "10.0.0.1", one)]
            ),
            slice(
                "name: b, resourceVersion: \"1\"",
                &[&pod("b", "10.0.0.1", two)]
            )
        );
        for text in [one_slice, two_slices] {
            let found: Vec<_> = states(&text).into_iter().map(|(_, state)| state).collect();
            assert_eq!(found, expected, "{one} / {two}");
        }
    }
    let text = slice(
        "name: a",
        &["a", "b", "c"]
            .map(|uid| pod(uid, "10.0.0.1", ""))
            .each_ref()
            .map(String::as_str),
    );
    assert_eq!(
        states(&text),
        [
            ("a".into(), NOT_READY),
            ("b".into(), NOT_READY),
            ("c".into(), READY)
        ]
    );
}

/// What a random slice shows of one endpoint. Few uids and addresses, so that they meet.
#[derive(Debug, Clone)]
struct Entry {
    uid: Option<u8>,
    host: u8,
    ready: bool,
    serving: bool,
    terminating: bool,
}

/// A random slice: family, version, entries.
#[derive(Debug, Clone)]
struct Random {
    is_ipv4: bool,
    version: Option<u64>,
    entries: Vec<Entry>,
}

fn slices_strategy() -> impl Strategy<Value = Vec<Random>> {
    let entry = (
        prop::option::weighted(0.8, 0..6_u8),
        1..6_u8,
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(uid, host, ready, serving, terminating)| Entry {
            uid,
            host,
            ready,
            serving,
            terminating,
        });
    let slice = (
        prop::bool::weighted(0.7),
        prop::option::weighted(0.7, 0..4_u64),
        prop::collection::vec(entry, 0..6),
    )
        .prop_map(|(is_ipv4, version, entries)| Random {
            is_ipv4,
            version,
            entries,
        });
    let slices = prop::collection::vec(slice, 0..5);
    // Some slices come twice, as a list may have them that was taken while they moved.
    (slices, any::<[bool; 5]>())
        .prop_map(|(slices, again)| {
            let twice: Vec<Random> = slices
                .iter()
                .zip(again)
                .filter(|(_, again)| *again)
                .map(|(slice, _)| slice.clone())
                .collect();
            slices.into_iter().chain(twice).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn ip(is_ipv4: bool, host: u8) -> String {
    if is_ipv4 {
        format!("10.0.0.{host}")
    } else {
        format!("fd00::{host}")
    }
}

fn written(slices: &[Random]) -> String {
    let mut text = String::from("apiVersion: v1\nkind: List\nitems: [");
    for (place, slice) in slices.iter().enumerate() {
        let family = if slice.is_ipv4 { "IPv4" } else { "IPv6" };
        let version = slice
            .version
            .map(|version| format!(", resourceVersion: \"{version}\""))
            .unwrap_or_default();
        write!(text, "{{ kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {{ name: s{place}{version} }}, addressType: {family}, ports: [{{ port: 80 }}], endpoints: [").unwrap();
        for entry in &slice.entries {
            let target = entry
                .uid
                .map(|uid| format!(", targetRef: {{ uid: u{uid} }}"))
                .unwrap_or_default();
            write!(
                text,
                "{{ addresses: [\"{}\"], conditions: {{ ready: {}, serving: {}, terminating: {} }}{target} }},",
                ip(slice.is_ipv4, entry.host), entry.ready, entry.serving, entry.terminating
            )
            .unwrap();
        }
        text.push_str("] },");
    }
    text.push_str("]\n");
    text
}

/// The rules once more, slow and literal: from each endpoint's point of view.
fn model(slices: &[Random]) -> HashMap<String, (String, ObservedState)> {
    let address = |slice: &Random, entry: &Entry| {
        let ip = ip(slice.is_ipv4, entry.host);
        if slice.is_ipv4 {
            format!("{ip}:80")
        } else {
            format!("[{ip}]:80")
        }
    };
    let key = |slice: &Random, entry: &Entry| {
        entry
            .uid
            .map_or_else(|| address(slice, entry), |uid| format!("u{uid}"))
    };
    let all: Vec<(&Random, &Entry)> = slices
        .iter()
        .flat_map(|slice| slice.entries.iter().map(move |entry| (slice, entry)))
        .collect();
    let keys: HashSet<String> = all.iter().map(|(slice, entry)| key(slice, entry)).collect();
    let mut chosen: Vec<(String, usize, String, ObservedState)> = Vec::new();
    for name in keys {
        let mine: Vec<usize> = (0..all.len())
            .filter(|i| key(all[*i].0, all[*i].1) == name)
            .collect();
        let primary: Vec<usize> = mine
            .iter()
            .copied()
            .filter(|i| all[*i].0.is_ipv4 == slices[0].is_ipv4)
            .collect();
        let of = if primary.is_empty() { &mine } else { &primary };
        let mut best = of[0];
        for next in of {
            let older = match (all[*next].0.version, all[best].0.version) {
                (Some(next), Some(best)) => next < best,
                _ => false,
            };
            if !older {
                best = *next;
            }
        }
        let terminating = if name.starts_with('u') {
            mine.iter().any(|i| all[*i].1.terminating)
        } else {
            all[best].1.terminating
        };
        let Entry { ready, serving, .. } = *all[best].1;
        let state = match (terminating, ready) {
            (true, _) => ObservedState::Draining { serving },
            (false, true) => READY,
            (false, false) => NOT_READY,
        };
        chosen.push((name, best, address(all[best].0, all[best].1), state));
    }
    let worth = |state| {
        [SILENT, NOT_READY, SERVING, READY]
            .iter()
            .position(|s| *s == state)
            .unwrap()
    };
    let demoted = |state| match state {
        READY | NOT_READY => NOT_READY,
        _ => SILENT,
    };
    chosen
        .iter()
        .map(|(name, place, address, state)| {
            let is_beaten = chosen.iter().any(|(_, other_place, other_address, other)| {
                other_address == address && (worth(*other), other_place) > (worth(*state), place)
            });
            (
                name.clone(),
                (
                    address.clone(),
                    if is_beaten { demoted(*state) } else { *state },
                ),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn merges_as_the_model_does(slices in slices_strategy()) {
        let found = read(&written(&slices), None);
        let expected = model(&slices);
        prop_assert_eq!(found.len(), expected.len());
        let terminating: HashSet<String> = slices
            .iter()
            .flat_map(|slice| &slice.entries)
            .filter(|entry| entry.terminating)
            .filter_map(|entry| Some(format!("u{}", entry.uid?)))
            .collect();
        let mut ready_at = HashSet::new();
        for endpoint in &found {
            let known = &expected[endpoint.key.as_str()];
            prop_assert_eq!(&(endpoint.address.to_string(), endpoint.state), known);
            if endpoint.state == READY {
                prop_assert!(!terminating.contains(endpoint.key.as_str()), "a terminating endpoint is ready");
                prop_assert!(ready_at.insert(endpoint.address), "two are ready at one address");
            }
        }
        prop_assert!(found.is_sorted_by_key(|endpoint| (endpoint.pod.clone(), endpoint.key.clone())));
    }

    #[test]
    fn does_not_care_for_the_order_of_versioned_slices(
        slices in slices_strategy().prop_map(|slices| {
            // Each with a version of its own, of one family, and no two pods at one address: nothing is left to the text.
            slices.into_iter().zip(10..).map(|(mut slice, version)| {
                slice.version = Some(version);
                slice.is_ipv4 = true;
                slice.entries.dedup_by_key(|entry| entry.uid);
                for entry in &mut slice.entries {
                    entry.host = entry.uid.map_or(99, |uid| uid + 1);
                }
                slice.entries.sort_by_key(|entry| entry.uid);
                slice.entries.dedup_by_key(|entry| entry.uid);
                slice
            }).collect::<Vec<_>>()
        }).prop_flat_map(|slices| (Just(slices.clone()), Just(slices).prop_shuffle()))
    ) {
        prop_assert_eq!(read(&written(&slices.0), None), read(&written(&slices.1), None));
    }
}

#[test]
fn compares_generations_only_within_one_slice() {
    let shown = |slice: usize, ready: bool| Shown {
        key: "a".into(),
        has_uid: true,
        address: "10.0.0.1:80".parse().unwrap(),
        pod: None,
        zone: None,
        ready,
        serving: true,
        terminating: false,
        slice,
    };
    let age = |object: &str, generation| Age {
        object: Some(object.into()),
        resource_version: None,
        generation: Some(generation),
    };
    let first = |ages: &[Age]| merge(vec![shown(0, true), shown(1, false)], ages, true)[0].state;
    assert_eq!(first(&[age("x", 2), age("x", 1)]), READY);
    assert_eq!(first(&[age("x", 2), age("y", 1)]), NOT_READY);
}

use proptest::prelude::*;
use serde_json::{Value, json};

use super::api::GROUP;
use super::hosts::{common, host};
use super::*;
use crate::kubernetes::part::{GatewayPort, Part};
use crate::route::{Ask, Host, RouteTable, Scheme};

/// Everything in a cluster, by kind.
#[derive(Default)]
struct Cluster {
    gateways: Vec<Value>,
    http: Vec<Value>,
    grpc: Vec<Value>,
    grants: Vec<Value>,
}

/// What it comes to.
struct Outcome {
    part: Part,
    notes: Vec<crate::kubernetes::part::Note>,
    statuses: Vec<Status>,
}

fn gateway(listeners: &Value) -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": "gate", "generation": 3, "resourceVersion": "5" },
        "spec": { "gatewayClassName": "tidegate", "listeners": listeners },
    })
}

/// A listener for HTTP on port 80.
fn plain() -> Value {
    json!({ "name": "web", "port": 80, "protocol": "HTTP" })
}

fn route(name: &str, rules: &Value) -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": name, "generation": 7 },
        "spec": { "parentRefs": [{ "name": "gate" }], "hostnames": ["shop.test"], "rules": rules },
    })
}

fn to(service: &str) -> Value {
    json!([{ "name": service, "port": 80 }])
}

/// With more keys in its spec, or others.
fn with(mut object: Value, keys: &Value) -> Value {
    for (key, value) in keys.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

fn objects<K: serde::de::DeserializeOwned + Resource>(all: Vec<Value>) -> Objects<K> {
    Objects::of(
        all.into_iter()
            .map(|it| serde_json::from_value(it).unwrap()),
    )
}

impl Cluster {
    fn reads(self) -> Outcome {
        let service = |namespace: &str, name: &str| {
            json!({ "metadata": { "namespace": namespace, "name": name },
                "spec": { "ports": [{ "name": "http", "port": 80 }] } })
        };
        let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
        let data = |text: String| k8s_openapi::ByteString(text.into_bytes());
        let secret = |namespace: &str| Secret {
            type_: Some("kubernetes.io/tls".into()),
            data: Some(
                [
                    ("tls.crt".into(), data(made.cert.pem())),
                    ("tls.key".into(), data(made.signing_key.serialize_pem())),
                ]
                .into(),
            ),
            ..serde_json::from_value(
                json!({ "metadata": { "namespace": namespace, "name": "cert" } }),
            )
            .unwrap()
        };
        let namespace = |name: &str, team: &str| json!({ "metadata": { "name": name, "labels": { "team": team } } });
        let class = json!({ "metadata": { "name": "tidegate", "generation": 2 },
            "spec": { "controllerName": "tidegate.dev/gateway" } });
        let other =
            json!({ "metadata": { "name": "other" }, "spec": { "controllerName": "else" } });
        let port = |number, listener: &str, tls| GatewayPort {
            number,
            listener: listener.into(),
            tls,
        };
        let settings = GatewaySettings {
            ports: vec![port(80, "http", false), port(443, "https", true)],
            ..GatewaySettings::default()
        };
        let world = World {
            classes: &objects(vec![class, other]),
            gateways: &objects(self.gateways),
            http: &objects(self.http),
            grpc: &objects(self.grpc),
            grants: &objects(self.grants),
            namespaces: &objects(vec![namespace("shop", "a"), namespace("other", "b")]),
            services: &objects(vec![
                service("shop", "web"),
                service("shop", "api"),
                service("other", "far"),
            ]),
            secrets: &Objects::of([secret("shop"), secret("other")]),
            pods: false,
        };
        let mut draft = Draft::default();
        let statuses = translate(
            world,
            &settings,
            None,
            &mut Certificates::default(),
            &mut draft,
            "now",
        );
        let (part, notes) = draft.finish();
        Outcome {
            part,
            notes,
            statuses,
        }
    }
}

impl Outcome {
    fn status(&self, kind: &str, name: &str) -> &Value {
        let mut all = self.statuses.iter();
        let found = all.find(|it| it.resource.kind == kind && it.name.name == name);
        &found
            .unwrap_or_else(|| panic!("{kind} {name}: {:?}", self.statuses))
            .status
    }

    /// The conditions of a route's first parent, as `Type=True Reason`.
    fn told(&self, kind: &str, name: &str) -> Vec<String> {
        conditions(&self.status(kind, name)["parents"][0]["conditions"])
    }

    /// Those of a Gateway's listener.
    fn told_of(&self, listener: usize) -> Vec<String> {
        conditions(&self.status("Gateway", "gate")["listeners"][listener]["conditions"])
    }

    /// Where a request goes.
    fn leads(
        &self,
        listener: &str,
        host: &str,
        target: &str,
        headers: &http::HeaderMap,
    ) -> Option<String> {
        let table = RouteTable::build(self.part.routes.iter().cloned());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let ask = Ask {
            listener,
            host,
            path,
            query,
            method: &http::Method::GET,
            headers,
            ends_here: &|_| false,
            scheme: &|| Scheme::Http,
        };
        table.find(&ask).map(ToString::to_string)
    }

    fn goes(&self, host: &str, target: &str) -> Option<String> {
        self.leads("http", host, target, &http::HeaderMap::new())
    }
}

fn conditions(all: &Value) -> Vec<String> {
    let all = all.as_array().unwrap().iter();
    all.map(|it| format!("{}={} {}", it["type"], it["status"], it["reason"]).replace('"', ""))
        .collect()
}

#[test]
fn a_route_goes_where_it_says_and_everybody_is_told() {
    let outcome = Cluster {
        gateways: vec![gateway(&json!([plain()]))],
        http: vec![route("main", &json!([
            { "backendRefs": to("web") },
            { "matches": [{ "path": { "type": "Exact", "value": "/api" } },
                { "headers": [{ "name": "X-Canary", "value": "on" }], "queryParams": [{ "name": "v", "value": "2" }] }],
              "backendRefs": [{ "name": "web", "port": 80, "weight": 9 }, { "name": "api", "port": 80 }] },
        ]))],
        ..Cluster::default()
    }.reads();
    assert_eq!(
        outcome.goes("shop.test", "/x").as_deref(),
        Some("shop/web:http")
    );
    let both = Some("shop/web:http 9, shop/api:http 1".to_owned());
    assert_eq!(outcome.goes("shop.test", "/api"), both);
    let canary = http::HeaderMap::from_iter([("x-canary".parse().unwrap(), "on".parse().unwrap())]);
    assert_eq!(outcome.leads("http", "shop.test", "/x?v=2", &canary), both);
    assert_eq!(
        outcome.leads("https", "shop.test", "/x", &canary),
        None,
        "another listener"
    );
    assert_eq!(outcome.goes("other.test", "/x"), None);
    assert_eq!(
        outcome.told("HTTPRoute", "main"),
        ["Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs"]
    );
    let status = &outcome.status("HTTPRoute", "main")["parents"][0];
    assert_eq!(status["conditions"][0]["observedGeneration"], 7);
    assert_eq!(
        status["parentRef"],
        json!({ "group": GROUP, "kind": "Gateway", "name": "gate" })
    );
    assert_eq!(status["controllerName"], "tidegate.dev/gateway");
    assert_eq!(
        outcome.told_of(0),
        [
            "Programmed=True Programmed",
            "Conflicted=False NoConflicts",
            "Accepted=True Accepted",
            "ResolvedRefs=True ResolvedRefs"
        ]
    );
    let gate = outcome.status("Gateway", "gate");
    assert_eq!(gate["listeners"][0]["attachedRoutes"], 1);
    assert_eq!(
        conditions(&gate["conditions"]),
        ["Accepted=True Accepted", "Programmed=True Programmed"]
    );
    let class = outcome.status("GatewayClass", "tidegate");
    assert_eq!(conditions(&class["conditions"]), ["Accepted=True Accepted"]);
    let features: Vec<_> = class["supportedFeatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].to_string())
        .collect();
    assert!(features.is_sorted() && features.contains(&"\"HTTPRouteMethodMatching\"".to_owned()));
    assert!(
        outcome.statuses.iter().all(|it| it.name.name != "other"),
        "not ours"
    );
}

#[test]
fn what_is_said_already_is_not_said_again() {
    let cluster = |parents: Value| Cluster {
        gateways: vec![gateway(&json!([plain()]))],
        http: vec![{
            let mut object = route("main", &json!([{ "backendRefs": to("web") }]));
            object["status"] = json!({ "parents": parents });
            object
        }],
        ..Cluster::default()
    };
    let foreign =
        json!({ "parentRef": { "name": "x" }, "controllerName": "else", "conditions": [] });
    let first = cluster(json!([foreign])).reads();
    let mut said = first.status("HTTPRoute", "main")["parents"].clone();
    assert_eq!(said[0], foreign, "what others say stays");
    said[1]["conditions"][0]["lastTransitionTime"] = json!("before");
    let second = cluster(said.clone()).reads();
    assert!(
        second
            .statuses
            .iter()
            .all(|it| it.resource.kind != "HTTPRoute"),
        "{:?}",
        second.statuses
    );
    // Another message does not make it another state.
    said[1]["conditions"][0]["message"] = json!("old");
    let third = cluster(said).reads();
    let told = &third.status("HTTPRoute", "main")["parents"][1]["conditions"][0];
    assert_eq!(
        (&told["lastTransitionTime"], &told["message"]),
        (&json!("before"), &json!(""))
    );
}

#[test]
fn what_cannot_be_breaks_only_itself() {
    let one = |keys: Value| {
        let mut rule =
            json!({ "matches": [{ "path": { "value": "/x" } }], "backendRefs": to("web") });
        for (key, value) in keys.as_object().unwrap() {
            rule[key] = value.clone();
        }
        Cluster {
            gateways: vec![gateway(&json!([plain()]))],
            http: vec![route("main", &json!([rule, { "backendRefs": to("api") }]))],
            ..Cluster::default()
        }
        .reads()
    };
    let filter =
        |kind: &str, key: &str, it: Value| json!({ "filters": [{ "type": kind, key: it }] });
    for (keys, leads, told) in [
        (
            json!({ "backendRefs": to("gone") }),
            "nowhere",
            "ResolvedRefs=False BackendNotFound",
        ),
        (
            json!({ "backendRefs": [{ "name": "web", "port": 81 }] }),
            "nowhere",
            "ResolvedRefs=False BackendNotFound",
        ),
        (
            json!({ "backendRefs": [{ "name": "web" }] }),
            "nowhere",
            "ResolvedRefs=False BackendNotFound",
        ),
        (
            json!({ "backendRefs": [{ "name": "far", "namespace": "other", "port": 80 }] }),
            "nowhere",
            "ResolvedRefs=False RefNotPermitted",
        ),
        (
            json!({ "backendRefs": [{ "kind": "Bucket", "group": "x", "name": "web" }] }),
            "nowhere",
            "ResolvedRefs=False InvalidKind",
        ),
        (
            json!({ "backendRefs": [{ "name": "gone", "port": 80 }, { "name": "web", "port": 80, "weight": 3 }] }),
            "nowhere 1, shop/web:http 3",
            "ResolvedRefs=False BackendNotFound",
        ),
        (
            json!({ "backendRefs": [] }),
            "nowhere",
            "ResolvedRefs=True ResolvedRefs",
        ),
        (
            filter("RequestMirror", "requestMirror", json!({})),
            "nowhere",
            "PartiallyInvalid=True UnsupportedValue",
        ),
        (
            filter(
                "RequestHeaderModifier",
                "requestHeaderModifier",
                json!({ "set": [{ "name": "Host", "value": "x" }] }),
            ),
            "nowhere",
            "PartiallyInvalid=True UnsupportedValue",
        ),
        (
            filter(
                "URLRewrite",
                "urlRewrite",
                json!({ "path": { "type": "ReplaceFullPath", "replaceFullPath": "/a/../b" } }),
            ),
            "nowhere",
            "PartiallyInvalid=True UnsupportedValue",
        ),
        (
            json!({ "timeouts": { "request": "1s", "backendRequest": "2s" } }),
            "shop/web:http",
            "PartiallyInvalid=True UnsupportedValue",
        ),
        (
            json!({ "timeouts": { "request": "1.5s" } }),
            "shop/web:http",
            "PartiallyInvalid=True UnsupportedValue",
        ),
        (
            json!({ "matches": [{ "path": { "type": "RegularExpression", "value": "/x.*" } }] }),
            "shop/api:http",
            "PartiallyInvalid=True UnsupportedValue",
        ),
        (
            json!({ "matches": [{ "path": { "value": "/x" }, "headers": [{ "name": "X-Forwarded-For", "value": "1" }] }] }),
            "shop/api:http",
            "PartiallyInvalid=True UnsupportedValue",
        ),
    ] {
        let outcome = one(keys.clone());
        assert_eq!(
            outcome.goes("shop.test", "/x").as_deref(),
            Some(leads),
            "{keys}"
        );
        assert_eq!(
            outcome.goes("shop.test", "/y").as_deref(),
            Some("shop/api:http"),
            "{keys}"
        );
        let all = outcome.told("HTTPRoute", "main");
        assert!(all.iter().any(|it| it == told), "{keys}: {all:?}");
    }
    // A spec that cannot be read is passed over, and nobody else.
    let outcome = Cluster {
        gateways: vec![gateway(&json!([plain()]))],
        http: vec![
            with(route("odd", &json!([])), &json!({ "rules": "none" })),
            route("main", &json!([{ "backendRefs": to("web") }])),
        ],
        ..Cluster::default()
    }
    .reads();
    assert_eq!(
        outcome.goes("shop.test", "/").as_deref(),
        Some("shop/web:http")
    );
    assert_eq!(outcome.notes[0].reason, "Unreadable");
    assert_eq!(outcome.notes[0].about.name, Name::new("shop", "odd"));
}

#[test]
fn filters_are_what_the_action_does() {
    let act = |matched: Value, filter: Value| {
        let outcome = Cluster {
            gateways: vec![gateway(&json!([plain()]))],
            http: vec![route(
                "main",
                &json!([{ "matches": [matched], "filters": [filter], "backendRefs": to("web") }]),
            )],
            ..Cluster::default()
        }
        .reads();
        outcome.part.routes[0].1.clone()
    };
    let prefix = json!({ "path": { "value": "/x" } });
    let action = act(
        prefix.clone(),
        json!({ "type": "URLRewrite", "urlRewrite": {
        "hostname": "a.internal", "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/" } } }),
    );
    assert_eq!(action.changes.host.as_deref(), Some("a.internal"));
    assert_eq!(
        action.changes.path,
        Some(crate::route::NewPath::prefix("/x", ""))
    );
    let action = act(
        prefix.clone(),
        json!({ "type": "RequestRedirect", "requestRedirect": { "statusCode": 301 } }),
    );
    let crate::route::To::Redirect(redirect) = action.to else {
        panic!()
    };
    assert_eq!(
        (redirect.port, redirect.status.code()),
        (Some(80), 301),
        "the listener's own port"
    );
    let action = act(
        prefix,
        json!({ "type": "RequestRedirect", "requestRedirect": { "scheme": "https" } }),
    );
    let crate::route::To::Redirect(redirect) = action.to else {
        panic!()
    };
    assert_eq!((redirect.port, redirect.status.code()), (None, 302));
    let action = act(
        json!({ "path": { "type": "Exact", "value": "/x" } }),
        json!({ "type": "URLRewrite", "urlRewrite": {
        "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/y" } } }),
    );
    assert_eq!(action.to_string(), "nowhere", "there is no prefix");
}

#[test]
fn calls_of_grpc_are_paths_to_endpoints_that_speak_http2() {
    let rules = json!([{ "matches": [
        { "method": { "service": "a.Shop", "method": "Buy" } }, { "method": { "service": "a.Cart" } },
        { "method": { "method": "Lonely" } },
    ], "backendRefs": to("web") }]);
    let outcome = Cluster {
        gateways: vec![gateway(&json!([plain()]))],
        grpc: vec![route("calls", &rules)],
        ..Cluster::default()
    }
    .reads();
    let to = Some("shop/web:http+h2c");
    assert_eq!(outcome.goes("shop.test", "/a.Shop/Buy").as_deref(), to);
    assert_eq!(outcome.goes("shop.test", "/a.Cart/Add").as_deref(), to);
    assert_eq!(outcome.goes("shop.test", "/a.Shop/Sell"), None);
    let settings = &outcome.part.services[0].settings;
    assert_eq!(settings.protocol, crate::snapshot::Protocol::Http2);
    assert!(
        outcome
            .told("GRPCRoute", "calls")
            .contains(&"PartiallyInvalid=True UnsupportedValue".to_owned())
    );
}

#[test]
fn a_route_attaches_where_it_may() {
    let listeners = json!([
        plain(),
        { "name": "any", "port": 80, "protocol": "HTTP", "hostname": "*.shop.test",
          "allowedRoutes": { "namespaces": { "from": "All" } } },
        { "name": "team", "port": 80, "protocol": "HTTP", "hostname": "team.test",
          "allowedRoutes": { "namespaces": { "from": "Selector", "selector": { "matchLabels": { "team": "b" } } } } },
        { "name": "calls", "port": 80, "protocol": "HTTP", "hostname": "calls.test",
          "allowedRoutes": { "kinds": [{ "kind": "GRPCRoute" }], "namespaces": { "from": "All" } } },
    ]);
    let attach = |parent: Value, namespace: &str, hostnames: Value| {
        let mut object = route("main", &json!([{ "backendRefs": to("web") }]));
        object["metadata"]["namespace"] = json!(namespace);
        let mut parent = parent;
        parent["name"] = json!("gate");
        parent["namespace"] = json!("shop");
        let object = with(
            object,
            &json!({ "parentRefs": [parent], "hostnames": hostnames }),
        );
        let outcome = Cluster {
            gateways: vec![gateway(&listeners)],
            http: vec![object],
            ..Cluster::default()
        }
        .reads();
        let hosts: Vec<_> = outcome
            .part
            .routes
            .iter()
            .map(|(matcher, _)| matcher.host.to_string())
            .collect();
        let told = outcome.told("HTTPRoute", "main")[0].clone();
        (told.split(' ').nth(1).unwrap().to_owned(), hosts)
    };
    for (parent, namespace, hostnames, told, hosts) in [
        (
            json!({}),
            "shop",
            json!(["a.shop.test"]),
            "Accepted",
            vec!["a.shop.test", "a.shop.test"],
        ),
        (
            json!({ "sectionName": "any" }),
            "other",
            json!([]),
            "Accepted",
            vec!["*.shop.test"],
        ),
        (
            json!({ "sectionName": "any" }),
            "other",
            json!(["*.test", "x.test"]),
            "Accepted",
            vec!["*.shop.test"],
        ),
        (
            json!({ "sectionName": "any" }),
            "other",
            json!(["shop.test"]),
            "NoMatchingListenerHostname",
            vec![],
        ),
        (
            json!({ "sectionName": "web" }),
            "other",
            json!([]),
            "NotAllowedByListeners",
            vec![],
        ),
        (
            json!({ "sectionName": "team" }),
            "other",
            json!([]),
            "Accepted",
            vec!["team.test"],
        ),
        (
            json!({ "sectionName": "team" }),
            "shop",
            json!([]),
            "NotAllowedByListeners",
            vec![],
        ),
        (
            json!({ "sectionName": "calls" }),
            "shop",
            json!([]),
            "NotAllowedByListeners",
            vec![],
        ),
        (
            json!({ "sectionName": "gone" }),
            "shop",
            json!([]),
            "NoMatchingParent",
            vec![],
        ),
        (
            json!({ "port": 81 }),
            "shop",
            json!([]),
            "NoMatchingParent",
            vec![],
        ),
    ] {
        let (found, at) = attach(parent.clone(), namespace, hostnames.clone());
        assert_eq!(found, told, "{parent} {namespace} {hostnames}");
        // The same host by the same listener of ours is one route.
        let mut wanted = hosts;
        wanted.dedup();
        assert_eq!(at, wanted, "{parent} {namespace} {hostnames}");
    }
}

#[test]
fn a_grant_lets_a_route_use_another_namespace() {
    let cluster = |grant: Value| Cluster {
        gateways: vec![gateway(&json!([plain()]))],
        http: vec![route(
            "main",
            &json!([{ "backendRefs": [{ "name": "far", "namespace": "other", "port": 80 }] }]),
        )],
        grants: vec![json!({ "metadata": { "namespace": "other", "name": "let" }, "spec": grant })],
        ..Cluster::default()
    };
    let from = |kind: &str, namespace: &str| json!([{ "group": GROUP, "kind": kind, "namespace": namespace }]);
    let service = json!([{ "group": "", "kind": "Service" }]);
    for (grant, is_granted) in [
        (
            json!({ "from": from("HTTPRoute", "shop"), "to": service }),
            true,
        ),
        (
            json!({ "from": from("HTTPRoute", "shop"), "to": [{ "group": "", "kind": "Service", "name": "far" }] }),
            true,
        ),
        (
            json!({ "from": from("HTTPRoute", "shop"), "to": [{ "group": "", "kind": "Service", "name": "x" }] }),
            false,
        ),
        (
            json!({ "from": from("HTTPRoute", "else"), "to": service }),
            false,
        ),
        (
            json!({ "from": from("GRPCRoute", "shop"), "to": service }),
            false,
        ),
        (
            json!({ "from": from("HTTPRoute", "shop"), "to": [{ "group": "", "kind": "Secret" }] }),
            false,
        ),
    ] {
        let outcome = cluster(grant.clone()).reads();
        let wanted = if is_granted {
            "other/far:http"
        } else {
            "nowhere"
        };
        assert_eq!(
            outcome.goes("shop.test", "/").as_deref(),
            Some(wanted),
            "{grant}"
        );
    }
}

#[test]
fn a_listener_is_served_by_the_one_that_is_for_its_port() {
    let tls = |reference: Value| json!({ "certificateRefs": [reference] });
    let https = |tls: Value| json!({ "name": "tls", "port": 443, "protocol": "HTTPS", "hostname": "shop.test", "tls": tls });
    let own = json!({ "name": "cert" });
    let cases = [
        (
            https(tls(own.clone())),
            true,
            "ResolvedRefs=True ResolvedRefs",
        ),
        (
            https(tls(json!({ "name": "gone" }))),
            false,
            "ResolvedRefs=False InvalidCertificateRef",
        ),
        (
            https(tls(json!({ "name": "cert", "namespace": "other" }))),
            false,
            "ResolvedRefs=False RefNotPermitted",
        ),
        (
            https(tls(json!({ "name": "cert", "kind": "ConfigMap" }))),
            false,
            "ResolvedRefs=False InvalidCertificateRef",
        ),
        (
            https(json!({ "mode": "Passthrough", "certificateRefs": [own] })),
            false,
            "Accepted=False UnsupportedValue",
        ),
        (
            json!({ "name": "x", "port": 80, "protocol": "HTTPS", "tls": tls(own) }),
            false,
            "Accepted=False PortUnavailable",
        ),
        (
            json!({ "name": "x", "port": 8081, "protocol": "HTTP" }),
            false,
            "Accepted=False PortUnavailable",
        ),
        (
            json!({ "name": "x", "port": 80, "protocol": "TCP" }),
            false,
            "Accepted=False UnsupportedProtocol",
        ),
        (
            json!({ "name": "x", "port": 80, "protocol": "HTTP", "allowedRoutes": { "kinds": [{ "kind": "TCPRoute" }] } }),
            true,
            "ResolvedRefs=False InvalidRouteKinds",
        ),
    ];
    for (listener, is_served, told) in cases {
        let outcome = Cluster {
            gateways: vec![gateway(&json!([listener]))],
            ..Cluster::default()
        }
        .reads();
        let all = outcome.told_of(0);
        assert!(all.iter().any(|it| it == told), "{listener}: {all:?}");
        let programmed = all.iter().any(|it| it == "Programmed=True Programmed");
        assert_eq!(programmed, is_served, "{listener}: {all:?}");
        let shown = outcome.part.offers("https");
        assert_eq!(
            shown.len(),
            usize::from(is_served && listener["port"] == 443),
            "{listener}"
        );
        assert!(shown.iter().all(|it| it.names == ["shop.test"]));
    }
    let two = |other: Value| {
        let outcome = Cluster {
            gateways: vec![gateway(&json!([plain(), other]))],
            ..Cluster::default()
        }
        .reads();
        outcome.told_of(0)
    };
    let same = two(json!({ "name": "b", "port": 80, "protocol": "HTTP" }));
    assert!(
        same.contains(&"Conflicted=True HostnameConflict".to_owned()),
        "{same:?}"
    );
    let mixed = two(json!({ "name": "b", "port": 80, "protocol": "HTTPS", "hostname": "b.test" }));
    assert!(
        mixed.contains(&"Conflicted=True ProtocolConflict".to_owned()),
        "{mixed:?}"
    );
    let other = two(json!({ "name": "b", "port": 80, "protocol": "HTTP", "hostname": "b.test" }));
    assert!(
        other.contains(&"Conflicted=False NoConflicts".to_owned()),
        "{other:?}"
    );
}

#[test]
fn of_two_routes_that_ask_the_same_the_oldest_has_it() {
    let aged = |name: &str, service: &str, created: &str| {
        let mut object = route(name, &json!([{ "backendRefs": to(service) }]));
        object["metadata"]["creationTimestamp"] = json!(created);
        object
    };
    let outcome = Cluster {
        gateways: vec![gateway(&json!([plain()]))],
        http: vec![
            aged("a", "web", "2026-02-01T00:00:00Z"),
            aged("b", "api", "2026-01-01T00:00:00Z"),
        ],
        ..Cluster::default()
    }
    .reads();
    assert_eq!(
        outcome.goes("shop.test", "/").as_deref(),
        Some("shop/api:http")
    );
    assert_eq!(
        outcome.part.services.len(),
        1,
        "what nothing leads to is not watched"
    );
}

fn some_host() -> impl Strategy<Value = String> {
    let label = || prop::sample::select(vec!["a", "b"]);
    let name = prop::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."));
    (name, prop::bool::ANY).prop_map(|(name, wild)| if wild { format!("*.{name}") } else { name })
}

fn covers(host: &Host, name: &str) -> bool {
    match host {
        Host::Any => true,
        Host::Exact(own) => own == name,
        Host::Below(parent) | Host::Child(parent) => name.ends_with(&format!(".{parent}")),
    }
}

/// A route with something of everything.
fn rich() -> Value {
    let rule = json!({
        "matches": [{
            "path": { "type": "PathPrefix", "value": "/rich" },
            "headers": [{ "type": "Exact", "name": "x-a", "value": "1" }],
            "queryParams": [{ "name": "v", "value": "2" }],
            "method": "GET",
        }],
        "filters": [
            { "type": "RequestHeaderModifier", "requestHeaderModifier": {
                "set": [{ "name": "x-b", "value": "1" }], "add": [], "remove": ["x-c"] } },
            { "type": "URLRewrite", "urlRewrite": { "hostname": "a.test",
                "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/b" } } },
            { "type": "RequestRedirect", "requestRedirect": { "scheme": "https", "port": 1, "statusCode": 301 } },
        ],
        "backendRefs": [{ "group": "", "kind": "Service", "namespace": "shop", "name": "web", "port": 80, "weight": 2 }],
        "timeouts": { "request": "1s", "backendRequest": "500ms" },
    });
    let mut route = route("rich", &json!([rule]));
    route["spec"]["parentRefs"][0]["sectionName"] = json!("web");
    route["spec"]["parentRefs"][0]["port"] = json!(80);
    route
}

/// The pointers to everything below a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut below = |key: &str, value: &Value| {
        let at = format!("{at}/{key}");
        pointers(value, &at, found);
        found.push(at);
    };
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, it)| below(key, it)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(n, it)| below(&n.to_string(), it)),
        _ => {}
    }
}

#[test]
fn a_listener_has_its_hosts_for_itself() {
    let listener = |name: &str, port: u16, host: Option<&str>| {
        let protocol = if port == 443 { "HTTPS" } else { "HTTP" };
        json!({ "name": name, "port": port, "protocol": protocol, "hostname": host,
            "tls": { "certificateRefs": [{ "name": "cert" }] } })
    };
    let names = [
        ("any", None),
        ("wide", Some("*.test")),
        ("deep", Some("*.shop.test")),
        ("one", Some("a.shop.test")),
    ];
    let listeners = |port| names.map(|(name, host)| listener(name, port, host));
    let at = |section: &str, host: Option<&str>, service: &str, path: &str| {
        let mut route = route(
            &format!("{section}-{path}"),
            &json!([{ "matches": [{ "path": { "value": path } }],
            "backendRefs": to(service) }]),
        );
        route["spec"]["parentRefs"][0]["sectionName"] = json!(section);
        route["spec"]["hostnames"] = host.map_or(json!([]), |host| json!([host]));
        route
    };
    for (port, ours) in [(80, "http"), (443, "https")] {
        let outcome = Cluster {
            gateways: vec![gateway(&json!(listeners(port)))],
            http: vec![
                at("any", None, "web", "/any"),
                at("wide", None, "web", "/wide"),
                at("deep", None, "web", "/deep"),
                at("one", None, "web", "/one"),
                // For hosts that belong to narrower listeners: all of them, and some.
                at("wide", Some("a.shop.test"), "api", "/lost"),
                at("any", Some("*.shop.test"), "api", "/lost"),
                at("wide", Some("shop.test"), "api", "/own"),
            ],
            ..Cluster::default()
        }
        .reads();
        let paths = ["/any", "/wide", "/deep", "/one", "/lost", "/own"];
        for (host, wanted) in [
            ("else.org", "/any"),
            ("test", "/any"),
            ("x.test", "/wide"),
            ("shop.test", "/wide /own"),
            ("x.shop.test", "/deep"),
            ("x.a.shop.test", "/deep"),
            ("a.shop.test", "/one"),
            ("A.Shop.test:8080", "/one"),
        ] {
            let found = paths.into_iter().filter(|path| {
                outcome
                    .leads(ours, host, path, &http::HeaderMap::new())
                    .is_some()
            });
            assert_eq!(
                found.collect::<Vec<_>>().join(" "),
                wanted,
                "{host} by {ours}"
            );
        }
        assert_eq!(
            outcome.told("HTTPRoute", "wide-/lost"),
            ["Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs"]
        );
    }
}

#[test]
fn the_features_are_in_order_and_told_with_the_class() {
    let outcome = Cluster::default().reads();
    let features = &outcome.status("GatewayClass", "tidegate")["supportedFeatures"];
    let names = features.as_array().unwrap().iter();
    let names: Vec<_> = names.map(|it| it["name"].as_str().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
}

proptest! {
    #[test]
    fn an_odd_object_harms_no_other(
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..3),
        with in prop::sample::select(vec![
            json!(null), json!(1), json!(-1), json!(99_999), json!(""), json!("x y"), json!("*"), json!("/a?b#c"),
            json!("\r\n"), json!([]), json!([null]), json!({}), json!(true),
        ]),
        of_the_gateway: bool,
    ) {
        let mut odd = if of_the_gateway {
            let mut gate = gateway(&json!([{ "name": "tls", "port": 443, "protocol": "HTTPS", "hostname": "*.test",
                "tls": { "mode": "Terminate", "certificateRefs": [{ "name": "cert", "namespace": "shop", "kind": "Secret" }] },
                "allowedRoutes": { "namespaces": { "from": "Selector", "selector": { "matchExpressions": [
                    { "key": "team", "operator": "In", "values": ["a"] }] } }, "kinds": [{ "kind": "HTTPRoute" }] } }]));
            gate["metadata"]["name"] = json!("odd");
            gate
        } else {
            rich()
        };
        for place in places {
            let mut all = Vec::new();
            pointers(&odd["spec"], "", &mut all);
            if !all.is_empty() {
                let at = &all[place.index(all.len())];
                *odd["spec"].pointer_mut(at).unwrap() = with.clone();
            }
        }
        let (gateways, https) = if of_the_gateway { (vec![odd], vec![]) } else { (vec![], vec![odd]) };
        let outcome = Cluster {
            gateways: [gateways, vec![gateway(&json!([plain()]))]].concat(),
            http: [https, vec![route("main", &json!([{ "backendRefs": to("web") }]))]].concat(),
            ..Cluster::default()
        }
        .reads();
        let goes = outcome.goes("shop.test", "/other");
        prop_assert_eq!(goes.as_deref(), Some("shop/web:http"));
        let told = outcome.told("HTTPRoute", "main");
        prop_assert_eq!(told, ["Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs"]);
    }

    #[test]
    fn common_hosts_are_those_that_both_cover(one in some_host(), other in some_host(), name in some_host()) {
        prop_assume!(!name.starts_with('*'));
        let (one, other) = (host(Some(&one)), host(Some(&other)));
        let both = common(&one, &other);
        let wanted = covers(&one, &name) && covers(&other, &name);
        prop_assert_eq!(both.is_some_and(|both| covers(&both, &name)), wanted);
    }
}

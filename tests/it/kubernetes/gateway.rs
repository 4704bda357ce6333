//! tidegate as a controller of the Gateway API: what objects say is routed, and what they are told.

use serde_json::{Value, json};

use super::READY;
use super::api::{
    Api, GATEWAY_CLASSES, GATEWAYS, GRANTS, GRPC_ROUTES, HTTP_ROUTES, NAMESPACES, SECRETS, SERVICES,
};
use super::ingress::{HOST, answers, get, put, secret, service, shop};
use crate::support::{Client, Endpoint, Setup, StreamClient, StreamEndpoint, Tidegate, eventually};

fn start(api: &Api) -> Tidegate {
    setup(api).start()
}

fn setup(api: &Api) -> Setup {
    let text = "listeners:\n\
        - { name: http, address: \"127.0.0.1:0\" }\n\
        - { name: https, address: \"127.0.0.1:0\", tls: { certificates: [] } }\n\
        kubernetes: { gateway: { ports: { 80: http, 443: https }, publish: [203.0.113.7] } }\n\
        admin: { address: \"127.0.0.1:0\" }\n\
        workers: 2\n";
    Setup::without_file()
        .with_file("kubeconfig", &api.kubeconfig())
        .with_config(text)
}

/// A class of ours, and a Gateway of it with a listener for each protocol.
fn install(api: &Api) {
    api.set_object(NAMESPACES, &json!({ "metadata": { "name": "shop" } }));
    api.set_object(
        GATEWAY_CLASSES,
        &json!({ "metadata": { "name": "tidegate", "generation": 1 },
            "spec": { "controllerName": "tidegate.dev/gateway" } }),
    );
    api.set_object(
        GATEWAYS,
        &json!({
            "metadata": { "namespace": "shop", "name": "gate", "generation": 2 },
            "spec": { "gatewayClassName": "tidegate", "listeners": [
                { "name": "web", "port": 80, "protocol": "HTTP" },
                { "name": "tls", "port": 443, "protocol": "HTTPS", "hostname": HOST,
                  "tls": { "certificateRefs": [{ "name": "tls" }] } },
            ] },
        }),
    );
}

fn route(name: &str, section: Option<&str>, rules: &Value) -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": name, "generation": 4 },
        "spec": { "parentRefs": [{ "name": "gate", "sectionName": section }], "hostnames": [HOST], "rules": rules },
    })
}

fn to(service: &str) -> Value {
    json!([{ "name": service, "port": 80 }])
}

/// The conditions of an object, wherever they stand, once they are there.
#[track_caller]
fn told(api: &Api, plural: &'static str, name: &str, at: &str, wanted: &[&str]) {
    eventually(&format!("{name} is told {wanted:?}"), || {
        let object = api.object(plural, name)?;
        let conditions = object["status"].pointer(at)?.as_array()?.iter();
        let all: Vec<_> = conditions
            .map(|it| {
                let generation = &it["observedGeneration"];
                assert_eq!(*generation, object["metadata"]["generation"], "{object}");
                format!("{} {} {}", it["type"], it["status"], it["reason"]).replace('"', "")
            })
            .collect();
        (all == wanted).then_some(())
    });
}

#[test]
fn a_route_comes_changes_and_goes_and_everybody_is_told() {
    let (api, a, b) = shop();
    install(&api);
    let tidegate = start(&api);
    assert_eq!(get(&tidegate, "/").status, 404);
    api.set_object(
        HTTP_ROUTES,
        &route("main", None, &json!([{ "backendRefs": to("web") }])),
    );
    assert_eq!(answers(&tidegate, "/", 200).text(), "a");
    let accepted = ["Accepted True Accepted", "ResolvedRefs True ResolvedRefs"];
    told(
        &api,
        HTTP_ROUTES,
        "shop/main",
        "/parents/0/conditions",
        &accepted,
    );
    told(
        &api,
        GATEWAY_CLASSES,
        "tidegate",
        "/conditions",
        &accepted[..1],
    );
    let (yes, no) = (
        "Accepted True ListenersNotValid",
        "ResolvedRefs False InvalidCertificateRef",
    );
    told(
        &api,
        GATEWAYS,
        "shop/gate",
        "/conditions",
        &[yes, "Programmed True Programmed"],
    );
    let web = [
        "Programmed True Programmed",
        "Conflicted False NoConflicts",
        accepted[0],
        accepted[1],
    ];
    told(&api, GATEWAYS, "shop/gate", "/listeners/0/conditions", &web);
    let tls = [
        "Programmed False Invalid",
        "Conflicted False NoConflicts",
        accepted[0],
        no,
    ];
    told(&api, GATEWAYS, "shop/gate", "/listeners/1/conditions", &tls);
    let status = api.object(GATEWAYS, "shop/gate").unwrap()["status"].clone();
    assert_eq!(status["addresses"][0]["value"], "203.0.113.7");
    assert_eq!(status["listeners"][0]["attachedRoutes"], 1);
    let class = api.object(GATEWAY_CLASSES, "tidegate").unwrap();
    assert!(
        class["status"]["supportedFeatures"]
            .as_array()
            .unwrap()
            .contains(&json!({ "name": "HTTPRoute" }))
    );
    // Everything is said once, whatever else happens.
    let before = api.written("patch httproutes/status shop/main");
    let rules = json!([
        { "backendRefs": to("web") },
        { "matches": [{ "path": { "value": "/old" } }], "filters": [{ "type": "RequestRedirect",
            "requestRedirect": { "scheme": "https", "statusCode": 301 } }] },
        { "matches": [{ "path": { "value": "/api" }, "headers": [{ "name": "x-canary", "value": "on" }] }],
          "filters": [{ "type": "URLRewrite", "urlRewrite": {
              "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2" } } }],
          "backendRefs": to("api") },
    ]);
    api.set_object(HTTP_ROUTES, &route("main", None, &rules));
    let moved = answers(&tidegate, "/old/x", 301);
    assert_eq!(
        moved.head.field("location"),
        Some("https://shop.test/old/x")
    );
    let mut client = tidegate.connect();
    client.send(format!(
        "GET /api/x HTTP/1.1\r\nHost: {HOST}\r\nX-Canary: on\r\n\r\n"
    ));
    assert_eq!(client.response().text(), "b");
    assert_eq!(b.paths(), ["/v2/x"]);
    assert_eq!(
        client.get("/api/x").text(),
        "a",
        "it asks for more than this has"
    );
    told(
        &api,
        HTTP_ROUTES,
        "shop/main",
        "/parents/0/conditions",
        &accepted,
    );
    assert_eq!(api.written("patch httproutes/status shop/main"), before + 1);
    // It goes, with a request in flight: nothing new, and what is there finishes (P8).
    client.send(format!(
        "POST /held HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"
    ));
    let held = a.held();
    api.delete_object(HTTP_ROUTES, "shop/main");
    answers(&tidegate, "/", 404);
    held.answer("done");
    assert_eq!(client.response().text(), "done");
    assert_eq!(tidegate.report("a")["outcome"], "clean");
    eventually("the Gateway counts its routes", || {
        let gate = api.object(GATEWAYS, "shop/gate")?;
        (gate["status"]["listeners"][0]["attachedRoutes"] == 0).then_some(())
    });
}

#[test]
fn a_backend_that_cannot_be_is_500_and_one_without_endpoints_503() {
    let (api, _a, _b) = shop();
    install(&api);
    let share = json!([{ "name": "web", "port": 80, "weight": 3 }, { "name": "gone", "port": 80, "weight": 1 }]);
    let rules = json!([
        { "backendRefs": to("web") },
        { "matches": [{ "path": { "value": "/share" } }], "backendRefs": share },
        { "matches": [{ "path": { "value": "/empty" } }], "backendRefs": to("empty") },
        { "matches": [{ "path": { "value": "/mirror" } }], "filters": [{ "type": "RequestMirror",
            "requestMirror": { "backendRef": { "name": "web", "port": 80 } } }], "backendRefs": to("web") },
    ]);
    api.set_object(SERVICES, &service("empty"));
    api.set_object(HTTP_ROUTES, &route("main", None, &rules));
    let tidegate = start(&api);
    assert_eq!(get(&tidegate, "/").text(), "a");
    assert_eq!(get(&tidegate, "/empty").status, 503);
    assert_eq!(get(&tidegate, "/mirror").status, 500);
    let mut counts = [0, 0];
    for _ in 0..200 {
        match get(&tidegate, "/share").status {
            200 => counts[0] += 1,
            500 => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert!((20..90).contains(&counts[1]), "{counts:?}");
    let line = tidegate.logged("/mirror");
    assert_eq!(
        (&line["code"], &line["service"]),
        (&"no_service".into(), &Value::Null)
    );
    let wanted = [
        "Accepted True Accepted",
        "ResolvedRefs False BackendNotFound",
        "PartiallyInvalid True UnsupportedValue",
    ];
    told(
        &api,
        HTTP_ROUTES,
        "shop/main",
        "/parents/0/conditions",
        &wanted,
    );
}

#[test]
fn a_rule_has_its_own_time() {
    let (api, a, b) = shop();
    install(&api);
    let path = |path: &str| json!([{ "path": { "value": path } }]);
    let rules = json!([
        { "matches": path("/held/request"), "timeouts": { "request": "200ms" }, "backendRefs": to("web") },
        { "matches": path("/held/backend"), "timeouts": { "request": "1h", "backendRequest": "200ms" },
          "backendRefs": to("api") },
    ]);
    api.set_object(HTTP_ROUTES, &route("main", None, &rules));
    let tidegate = start(&api);
    for (path, endpoint) in [("/held/request", &a), ("/held/backend", &b)] {
        let mut client = tidegate.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        endpoint.held().end();
        assert_eq!(client.response().status, 504);
        assert_eq!(tidegate.logged(path)["code"], "request_timeout");
    }
    let class = api.object(GATEWAY_CLASSES, "tidegate").unwrap();
    let features = class["status"]["supportedFeatures"].to_string();
    for feature in ["HTTPRouteRequestTimeout", "HTTPRouteBackendTimeout"] {
        assert!(features.contains(feature), "{features}");
    }
    told(
        &api,
        HTTP_ROUTES,
        "shop/main",
        "/parents/0/conditions",
        &["Accepted True Accepted", "ResolvedRefs True ResolvedRefs"],
    );
}

#[test]
fn each_listener_has_its_own_routes_and_certificates() {
    let (api, _a, _b) = shop();
    let (ca, held) = secret("tls");
    api.set_object(SECRETS, &held);
    install(&api);
    let away = json!([{ "filters": [{ "type": "RequestRedirect", "requestRedirect": { "scheme": "https" } }] }]);
    api.set_object(HTTP_ROUTES, &route("plain", Some("web"), &away));
    api.set_object(
        HTTP_ROUTES,
        &route(
            "secure",
            Some("tls"),
            &json!([{ "backendRefs": to("api") }]),
        ),
    );
    let tidegate = start(&api);
    assert_eq!(get(&tidegate, "/x").status, 302);
    let mut client = Client::tls(tidegate.listener("https"), &ca);
    client.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.response().text(), "b");
    told(
        &api,
        GATEWAYS,
        "shop/gate",
        "/listeners/1/conditions",
        &[
            "Programmed True Programmed",
            "Conflicted False NoConflicts",
            "Accepted True Accepted",
            "ResolvedRefs True ResolvedRefs",
        ],
    );
}

#[test]
fn a_narrower_listener_has_its_host_for_itself() {
    let (api, _a, _b) = shop();
    let (ca, held) = secret("tls");
    api.set_object(SECRETS, &held);
    install(&api);
    let mut gate = api.object(GATEWAYS, "shop/gate").unwrap();
    let tls = json!({ "certificateRefs": [{ "name": "tls" }] });
    gate["spec"]["listeners"] = json!([
        { "name": "any", "port": 80, "protocol": "HTTP" },
        { "name": "one", "port": 80, "protocol": "HTTP", "hostname": HOST },
        { "name": "any-tls", "port": 443, "protocol": "HTTPS", "tls": tls },
        { "name": "one-tls", "port": 443, "protocol": "HTTPS", "hostname": HOST, "tls": tls },
    ]);
    api.set_object(GATEWAYS, &gate);
    for (section, path, service) in [
        ("any", "/", "web"),
        ("any-tls", "/", "web"),
        ("one", "/api", "api"),
        ("one-tls", "/api", "api"),
    ] {
        let rules =
            json!([{ "matches": [{ "path": { "value": path } }], "backendRefs": to(service) }]);
        let mut route = route(section, Some(section), &rules);
        route["spec"]["hostnames"] = json!([]);
        api.set_object(HTTP_ROUTES, &route);
    }
    let tidegate = start(&api);
    let clients = [
        tidegate.connect(),
        Client::tls(tidegate.listener("https"), &ca),
    ];
    for mut client in clients {
        let mut asks = |host: &str, path: &str| {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let answer = client.response();
            (answer.status, answer.text())
        };
        assert_eq!(asks("else.test", "/x"), (200, "a".into()));
        assert_eq!(asks("else.test", "/api"), (200, "a".into()));
        assert_eq!(asks(HOST, "/api"), (200, "b".into()));
        assert_eq!(asks(HOST, "/x").0, 404);
    }
}

#[test]
fn what_is_forbidden_is_named_and_only_waited_for_when_nothing_works_without_it() {
    let (api, _a, _b) = shop();
    install(&api);
    let rules = json!([{ "backendRefs": to("web") }]);
    api.set_object(HTTP_ROUTES, &route("main", None, &rules));
    for kind in [HTTP_ROUTES, GRPC_ROUTES, GRANTS] {
        api.forbids_to(kind, true);
    }
    let tidegate = setup(&api).start_unready();
    let forbids = |kind| format!("forbids to watch {kind} in the whole cluster");
    for kind in [HTTP_ROUTES, GRPC_ROUTES, GRANTS] {
        eventually(&forbids(kind), || {
            (tidegate.tells(&forbids(kind)) > 0).then_some(())
        });
    }
    let answer = tidegate.admin("GET", "/readyz");
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains(&forbids(HTTP_ROUTES)),
        "{}",
        answer.text()
    );
    api.forbids_to(HTTP_ROUTES, false);
    tidegate.ready();
    assert_eq!(answers(&tidegate, "/", 200).text(), "a");
}

#[test]
fn a_grant_opens_another_namespace_and_closes_it_again() {
    let (api, _a, _b) = shop();
    install(&api);
    let mut far = service("far");
    far["metadata"]["namespace"] = json!("shop");
    let mut from = route(
        "main",
        None,
        &json!([{ "backendRefs": [{ "name": "far", "namespace": "shop", "port": 80 }] }]),
    );
    // The route is elsewhere, and the Gateway takes it from there.
    from["metadata"]["namespace"] = json!("other");
    from["spec"]["parentRefs"][0]["namespace"] = json!("shop");
    let mut gate = api.object(GATEWAYS, "shop/gate").unwrap();
    gate["spec"]["listeners"][0]["allowedRoutes"] = json!({ "namespaces": { "from": "All" } });
    api.set_object(GATEWAYS, &gate);
    api.set_object(SERVICES, &far);
    let c = Endpoint::start("c");
    put(&api, "far", &c);
    api.set_object(HTTP_ROUTES, &from);
    let tidegate = start(&api);
    assert_eq!(get(&tidegate, "/").status, 500);
    let grant = json!({ "metadata": { "namespace": "shop", "name": "let" }, "spec": {
        "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "other" }],
        "to": [{ "group": "", "kind": "Service", "name": "far" }] } });
    api.set_object(GRANTS, &grant);
    assert_eq!(answers(&tidegate, "/", 200).text(), "c");
    api.delete_object(GRANTS, "shop/let");
    answers(&tidegate, "/", 500);
}

#[test]
fn a_call_of_grpc_goes_by_its_method_and_by_http2() {
    let (api, _a, _b) = shop();
    install(&api);
    let calls = StreamEndpoint::start("calls");
    api.set_object(SERVICES, &service("calls"));
    let address = calls.address();
    let conditions: Value = serde_json::from_str(READY).unwrap();
    api.put_of(
        "calls",
        "calls-1",
        &json!([{ "name": "http", "port": address.port(), "protocol": "TCP" }]),
        &json!([{ "addresses": [address.ip().to_string()], "conditions": conditions,
            "targetRef": { "kind": "Pod", "namespace": "shop", "name": "calls", "uid": "calls" } }]),
    );
    let matched = json!([{ "method": { "service": "a.Shop", "method": "Buy" } }]);
    let rules = json!([
        { "matches": matched, "backendRefs": to("calls") },
        { "matches": [{ "method": { "service": "a.Gone" } }], "backendRefs": to("gone") },
    ]);
    api.set_object(GRPC_ROUTES, &route("calls", None, &rules));
    let tidegate = start(&api);
    let mut client = StreamClient::connect(tidegate.address());
    let mut call = |path: &str| {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", HOST),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let stream = client.open_with(&fields, crate::support::stream_client::END_STREAM);
        client.answer(stream)
    };
    assert_eq!(call("/a.Shop/Buy").text(), "calls");
    assert_eq!(calls.requests()[0].path(), "/a.Shop/Buy");
    assert_eq!(call("/a.Shop/Sell").field("grpc-status"), Some("12"));
    assert_eq!(call("/a.Gone/Call").field("grpc-status"), Some("14"));
}

#[test]
fn kinds_that_nobody_has_installed_are_told_and_taken_up_once_they_are_there() {
    let (api, _a, _b) = shop();
    install(&api);
    let kinds = [GATEWAY_CLASSES, GATEWAYS, HTTP_ROUTES, GRPC_ROUTES, GRANTS];
    for plural in kinds {
        api.is_absent(plural, true);
    }
    let rules = json!([{ "backendRefs": to("web") }]);
    api.set_object(HTTP_ROUTES, &route("main", None, &rules));
    let tidegate = start(&api);
    assert_eq!(get(&tidegate, "/").status, 404);
    for plural in kinds {
        eventually("it tells what is missing", || {
            let missing = format!("knows no {plural} of gateway.networking.k8s.io/");
            (tidegate.tells(&missing) > 0).then_some(())
        });
    }
    assert!(tidegate.tells("install their definitions") > 0);
    for plural in kinds {
        api.is_absent(plural, false);
    }
    assert_eq!(answers(&tidegate, "/", 200).text(), "a");
}

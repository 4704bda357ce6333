//! tidegate as an Ingress controller: what objects say is routed, and everything that can happen to them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::READY;
use super::api::{Api, CLASSES, INGRESSES, SECRETS, SERVICES, SLICES};
use crate::support::{Client, Endpoint, Response, Setup, Tidegate, eventually};

/// What everything is called here, as the tests' clients ask for it over TLS.
pub(super) const HOST: &str = "shop.test";

fn config(rest: &str) -> String {
    config_with("", "https: https", rest)
}

/// With more keys of the section, those of `ingress`, and more lines.
fn config_with(section: &str, ingress: &str, rest: &str) -> String {
    format!(
        "listeners:\n\
         - {{ name: http, address: \"127.0.0.1:0\" }}\n\
         - {{ name: https, address: \"127.0.0.1:0\", tls: {{ certificates: [] }} }}\n\
         kubernetes: {{ {section} ingress: {{ {ingress} }} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         workers: 2\n{rest}\n"
    )
}

fn setup(api: &Api, rest: &str) -> Setup {
    setup_with(api, "", "https: https", rest)
}

pub(super) fn setup_with(api: &Api, section: &str, ingress: &str, rest: &str) -> Setup {
    Setup::without_file()
        .with_file("kubeconfig", &api.kubeconfig())
        .with_config(&config_with(section, ingress, rest))
}

/// A Service with one port, `http`.
pub(super) fn service(name: &str) -> Value {
    json!({ "metadata": { "namespace": "shop", "name": name },
        "spec": { "ports": [{ "name": "http", "port": 80 }] } })
}

pub(super) fn ingress(name: &str, class: &str, paths: &[(&str, &str)]) -> Value {
    let path = |(path, service): &(&str, &str)| {
        json!({ "path": path, "pathType": "Prefix",
            "backend": { "service": { "name": service, "port": { "number": 80 } } } })
    };
    json!({
        "metadata": { "namespace": "shop", "name": name },
        "spec": {
            "ingressClassName": class,
            "rules": [{ "host": HOST, "http": { "paths": paths.iter().map(path).collect::<Vec<_>>() } }],
        },
    })
}

/// An endpoint of a Service.
pub(super) fn put(api: &Api, service: &str, endpoint: &Endpoint) {
    let address = endpoint.address();
    let conditions: Value = serde_json::from_str(READY).unwrap();
    api.put_of(
        service,
        &format!("{service}-{}", endpoint.name()),
        &json!([{ "name": "http", "port": address.port(), "protocol": "TCP" }]),
        &json!([{
            "addresses": [address.ip().to_string()], "conditions": conditions,
            "targetRef": { "kind": "Pod", "namespace": "shop", "name": endpoint.name(), "uid": endpoint.name() },
        }]),
    );
}

fn ask(client: &mut Client, path: &str) -> Response {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.response()
}

pub(super) fn get(tidegate: &Tidegate, path: &str) -> Response {
    ask(&mut tidegate.connect(), path)
}

/// Waits until a path is answered so.
#[track_caller]
pub(super) fn answers(tidegate: &Tidegate, path: &str, status: u16) -> Response {
    eventually(&format!("{path} is answered {status}"), || {
        let answer = get(tidegate, path);
        (answer.status == status).then_some(answer)
    })
}

/// The endpoints `a` of the Service `web` and `b` of `api`.
pub(super) fn shop() -> (Api, Endpoint, Endpoint) {
    let (api, a, b) = (Api::start(), Endpoint::start("a"), Endpoint::start("b"));
    api.set_object(SERVICES, &service("web"));
    api.set_object(SERVICES, &service("api"));
    put(&api, "web", &a);
    put(&api, "api", &b);
    (api, a, b)
}

#[test]
fn an_ingress_comes_changes_and_goes() {
    let (api, a, _b) = shop();
    let tidegate = setup(&api, "").start();
    assert_eq!(get(&tidegate, "/").status, 404);
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    assert_eq!(answers(&tidegate, "/", 200).text(), "a");
    assert_eq!(get(&tidegate, "/api/x").text(), "a");
    let services = tidegate.admin("GET", "/api/v1/services").ok();
    assert_eq!(services["services"][0]["name"], "shop/web:http");
    let one = tidegate
        .admin("GET", "/api/v1/services/shop%2Fweb%3Ahttp")
        .ok();
    assert_eq!(one["endpoints"][0]["state"], "ready");
    let drain = "/api/v1/services/shop%2Fweb%3Ahttp/endpoints/a/drain";
    assert_eq!(
        tidegate.admin("POST", drain).ok()["service"],
        "shop/web:http"
    );
    tidegate.admin("DELETE", drain).ok();
    let objects = tidegate.admin("GET", "/api/v1/config").ok()["objects"].clone();
    assert_eq!(objects["routes"][0]["service"], "shop/web:http");
    // It changes: a longer path leads elsewhere.
    let both = ingress("main", "tidegate", &[("/", "web"), ("/api", "api")]);
    api.set_object(INGRESSES, &both);
    eventually("the path leads there", || {
        (get(&tidegate, "/api/x").text() == "b").then_some(())
    });
    // It goes, with a request in flight: nothing new, and what is there finishes (P8).
    let mut client = tidegate.connect();
    client.send(format!(
        "POST /held HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"
    ));
    let held = a.held();
    api.delete_object(INGRESSES, "shop/main");
    answers(&tidegate, "/", 404);
    held.answer("done");
    assert_eq!(client.response().text(), "done");
    let report = tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["in_flight_at_start"]),
        (&"clean".into(), &1.into()),
        "{report}"
    );
    eventually("nothing is left of it", || {
        let services = tidegate.admin("GET", "/api/v1/services").ok();
        services["services"].as_array()?.is_empty().then_some(())
    });
}

#[test]
fn what_is_not_there_breaks_only_its_own_route() {
    let (api, _a, _b) = shop();
    let paths = [("/", "web"), ("/gone", "gone")];
    api.set_object(INGRESSES, &ingress("main", "tidegate", &paths));
    let tidegate = setup(&api, "").start();
    assert_eq!(get(&tidegate, "/").text(), "a");
    assert_eq!(get(&tidegate, "/gone").status, 503);
    api.set_object(SERVICES, &service("gone"));
    let c = Endpoint::start("c");
    put(&api, "gone", &c);
    assert_eq!(answers(&tidegate, "/gone", 200).text(), "c");
    api.delete_object(SERVICES, "shop/gone");
    answers(&tidegate, "/gone", 503);
    assert_eq!(get(&tidegate, "/").text(), "a");
}

#[test]
fn only_ingresses_of_our_classes_are_served() {
    let (api, _a, _b) = shop();
    api.set_object(INGRESSES, &ingress("theirs", "nginx", &[("/", "web")]));
    api.set_object(INGRESSES, &ingress("ours", "inner", &[("/ours", "api")]));
    let class = |name: &str, controller: &str| json!({ "metadata": { "name": name }, "spec": { "controller": controller } });
    api.set_object(CLASSES, &class("nginx", "k8s.io/ingress-nginx"));
    let tidegate = setup(&api, "").start();
    assert_eq!(get(&tidegate, "/").status, 404);
    assert_eq!(
        get(&tidegate, "/ours").status,
        404,
        "nobody says whose it is"
    );
    api.set_object(CLASSES, &class("inner", "tidegate.dev/ingress"));
    assert_eq!(answers(&tidegate, "/ours", 200).text(), "b");
    assert_eq!(get(&tidegate, "/").status, 404);
}

/// A certificate for the host, and the Secret with it.
pub(super) fn secret(name: &str) -> (String, Value) {
    use base64::Engine as _;
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let data = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let secret = json!({
        "metadata": { "namespace": "shop", "name": name },
        "type": "kubernetes.io/tls",
        "data": { "tls.crt": data(made.cert.pem()), "tls.key": data(made.signing_key.serialize_pem()) },
    });
    (made.cert.pem(), secret)
}

#[test]
fn a_secret_is_shown_swapped_and_missed_by_its_own_host_alone() {
    let (api, _a, _b) = shop();
    let (first, held) = secret("tls");
    api.set_object(SECRETS, &held);
    let mut spec = ingress("main", "tidegate", &[("/", "web")]);
    spec["spec"]["tls"] = json!([
        { "hosts": ["gone.test"], "secretName": "gone" },
        { "hosts": [HOST], "secretName": "tls" },
    ]);
    api.set_object(INGRESSES, &spec);
    let tidegate = setup(&api, "").start();
    let https = tidegate.listener("https");
    let mut client = Client::tls(https, &first);
    assert_eq!(ask(&mut client, "/").text(), "a");
    let (second, swapped) = secret("tls");
    api.set_object(SECRETS, &swapped);
    eventually("the new one is shown", || Client::try_tls(https, &second));
    assert!(Client::try_tls(https, &first).is_none());
    assert_eq!(ask(&mut client, "/").text(), "a", "connections stay");
    // The file is read again: what objects say stays.
    assert_eq!(
        tidegate.reload(&config("access_log: { sample: 0.5 }")),
        "success"
    );
    assert!(Client::try_tls(https, &second).is_some());
    api.delete_object(SECRETS, "shop/tls");
    eventually("nothing is shown", || {
        Client::try_tls(https, &second).is_none().then_some(())
    });
    assert_eq!(get(&tidegate, "/").text(), "a", "only TLS is broken");
    assert_eq!(tidegate.tells("secret shop/gone does not exist"), 1);
}

#[test]
fn clients_of_http_are_sent_to_https_where_the_ingress_says_so() {
    let (api, _a, _b) = shop();
    let (ca, held) = secret("tls");
    api.set_object(SECRETS, &held);
    let mut shop = ingress("main", "tidegate", &[("/", "web")]);
    shop["spec"]["tls"] = json!([{ "hosts": [HOST], "secretName": "tls" }]);
    api.set_object(INGRESSES, &shop);
    let plain = "name: http, address: \"127.0.0.1:0\"";
    let text = config("").replace(plain, &format!("{plain}, trusted_proxies: [127.0.0.0/8]"));
    let setup = Setup::without_file().with_file("kubeconfig", &api.kubeconfig());
    let tidegate = setup.with_config(&text).start();
    assert_eq!(answers(&tidegate, "/x?y", 200).text(), "a");
    shop["metadata"]["annotations"] = json!({ "nginx.ingress.kubernetes.io/ssl-redirect": "true" });
    api.set_object(INGRESSES, &shop);
    let moved = answers(&tidegate, "/x?y", 308);
    assert_eq!(moved.head.field("location"), Some("https://shop.test/x?y"));
    // Not those who speak it already, to us or to a balancer in front.
    let mut client = Client::tls(tidegate.listener("https"), &ca);
    assert_eq!(ask(&mut client, "/x?y").text(), "a");
    let mut behind = tidegate.connect();
    behind.send(format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: https\r\n\r\n"
    ));
    assert_eq!(behind.response().text(), "a");
}

#[test]
fn a_server_that_is_away_or_forbids_changes_nothing() {
    let (api, _a, _b) = shop();
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    api.forbids_to(INGRESSES, true);
    let tidegate = setup(&api, "").start_unready();
    eventually("the fault is told", || {
        (tidegate.tells("forbids to watch ingresses in the whole cluster") > 0).then_some(())
    });
    let ready = tidegate.admin("GET", "/readyz");
    assert_eq!(ready.status, 503);
    assert!(
        ready.text().contains("no ingresses yet"),
        "{}",
        ready.text()
    );
    api.forbids_to(INGRESSES, false);
    tidegate.ready();
    assert_eq!(get(&tidegate, "/").text(), "a");
    api.is_away(true);
    let text = config("access_log: { sample: 0.5 }");
    assert_eq!(tidegate.reload(&text), "success");
    for _ in 0..20 {
        assert_eq!(get(&tidegate, "/").text(), "a");
    }
    assert_eq!(tidegate.admin("GET", "/readyz").status, 200);
    api.set_object(
        INGRESSES,
        &ingress("main", "tidegate", &[("/", "web"), ("/api", "api")]),
    );
    api.is_away(false);
    eventually("it is heard again", || {
        (get(&tidegate, "/api").text() == "b").then_some(())
    });
}

#[test]
fn an_ingress_whose_endpoints_cannot_be_seen_makes_nobody_unready() {
    let (api, _a, _b) = shop();
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    let tidegate = setup(&api, "").start();
    api.forbids_to(SLICES, true);
    let elsewhere = |mut object: Value| {
        object["metadata"]["namespace"] = "elsewhere".into();
        object
    };
    api.set_object(SERVICES, &elsewhere(service("web")));
    let other = ingress("other", "tidegate", &[("/other", "web")]);
    api.set_object(INGRESSES, &elsewhere(other));
    answers(&tidegate, "/other", 503);
    assert_eq!(
        tidegate.tells("forbids to watch endpointslices in namespace elsewhere"),
        1
    );
    assert_eq!(tidegate.admin("GET", "/readyz").status, 200);
    assert_eq!(get(&tidegate, "/").text(), "a");
}

#[test]
fn the_file_and_the_objects_change_without_each_other() {
    let (api, _a, _b) = shop();
    let c = Endpoint::start("c");
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    let tidegate = setup(&api, "").start();
    assert_eq!(get(&tidegate, "/").text(), "a");
    let own = |path: &str| {
        let address = c.address();
        config(&format!(
            "routes: [{{ host: {HOST}, path: {path}, service: own }}]\n\
             services: [{{ name: own, source: {{ list: [\"{address}\"] }} }}]"
        ))
    };
    assert_eq!(tidegate.reload(&own("/own")), "success");
    assert_eq!(get(&tidegate, "/own").text(), "c");
    assert_eq!(get(&tidegate, "/").text(), "a", "objects stay");
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "api")]));
    eventually("the objects change", || {
        (get(&tidegate, "/").text() == "b").then_some(())
    });
    assert_eq!(get(&tidegate, "/own").text(), "c", "the file stays");
    assert_eq!(tidegate.reload(&own("/")), "success");
    assert_eq!(get(&tidegate, "/").text(), "c", "the file comes first");
    // Without the section nothing of the objects is left, and what they had drains.
    let text = own("/own").replace("kubernetes:", "# ");
    let text = text.replace(
        "certificates: []",
        "certificates: [{ cert: a.crt, key: a.key }]",
    );
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    std::fs::write(tidegate.dir().join("a.crt"), made.cert.pem()).unwrap();
    std::fs::write(
        tidegate.dir().join("a.key"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    assert_eq!(tidegate.reload(&text), "success");
    answers(&tidegate, "/", 404);
    assert_eq!(tidegate.report("b")["outcome"], "clean");
}

#[test]
fn a_rolling_update_through_an_ingress_fails_nothing() {
    let (api, a, _b) = shop();
    let c = Endpoint::start("c");
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    let tidegate = setup(&api, "").start();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = || {
        let before = sent.load(Ordering::Relaxed);
        eventually("requests go on", || {
            (sent.load(Ordering::Relaxed) > before + 50).then_some(())
        });
    };
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        let load = || {
            let (mut client, mut failed) = (tidegate.connect(), 0);
            while !stop.load(Ordering::Relaxed) {
                client.try_send(format!(
                    "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi"
                ));
                let answer = client.try_response();
                if answer.is_none_or(|answer| answer.status != 200) {
                    failed += 1;
                    client = tidegate.connect();
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
            failed
        };
        let clients = [(); 3].map(|()| scope.spawn(load));
        more();
        // A new pod, and the old one on its way out; the Ingress changes in the middle of it.
        put(&api, "web", &c);
        more();
        api.set_object(
            INGRESSES,
            &ingress("main", "tidegate", &[("/", "web"), ("/api", "api")]),
        );
        let slice = api.object(SLICES, "shop/web-a").unwrap();
        let mut leaving = slice["endpoints"].clone();
        leaving[0]["conditions"] = json!({ "ready": false, "serving": true, "terminating": true });
        api.put_of("web", "web-a", &slice["ports"], &leaving);
        let report = tidegate.report("a");
        assert_eq!(report["started_after"]["fallback"], 0, "{report}");
        drop(a);
        more();
        api.delete("web-a");
        // Another Ingress takes the path over: the same service, without a request lost.
        let mut older = ingress("older", "tidegate", &[("/", "web")]);
        older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        api.set_object(INGRESSES, &older);
        more();
        api.delete_object(INGRESSES, "shop/main");
        more();
        stop.store(true, Ordering::Relaxed);
        let failed: usize = clients.map(|client| client.join().unwrap()).iter().sum();
        assert_eq!(failed, 0);
    });
}

/// Stops the load at its end.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_new_process_takes_over_with_what_the_objects_say() {
    let (api, _a, _b) = shop();
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    let mut tidegate = setup(&api, "").start();
    assert_eq!(get(&tidegate, "/").text(), "a");
    tidegate.upgrade();
    for _ in 0..20 {
        assert_eq!(get(&tidegate, "/").text(), "a");
    }
}

//! The admin side: the shapes of its answers, who may ask, events, reports (P13), the hook and the probes.

use serde_json::{Value, json};

use crate::support::{Client, Endpoint, Setup, eventually};

/// The names of an object's fields.
fn names(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn services_and_endpoints_have_their_shape() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    tidegate
        .file()
        .set(&[a.line("weight: 3, zone: z"), b.line("")]);
    eventually("it is read", || {
        (tidegate.lives("a")[0]["weight"] == 3).then_some(())
    });
    let all = tidegate.admin("GET", "/api/v1/services").ok();
    let one = tidegate.admin("GET", "/api/v1/services/web").ok();
    assert_eq!(
        (names(&all), &all["services"][0]["endpoints"]),
        (vec!["services"], &one["endpoints"])
    );
    assert_eq!(
        (&one["name"], &one["source"], &one["source_up"]),
        (&"web".into(), &"file".into(), &true.into())
    );
    let life = &one["endpoints"][0];
    let fields = [
        "address",
        "connections",
        "drain",
        "id",
        "in_flight",
        "pod",
        "reason",
        "state",
        "weight",
        "zone",
    ];
    assert_eq!(names(life), fields);
    assert_eq!(life["address"], a.address().to_string());
    assert_eq!(
        (&life["zone"], &life["pod"], &life["reason"], &life["drain"]),
        (&"z".into(), &Value::Null, &Value::Null, &Value::Null)
    );

    let answer = tidegate.drain("a", "");
    let fields = [
        "cut",
        "deadline",
        "drained",
        "id",
        "in_flight",
        "limited_by",
        "reason",
        "service",
        "state",
    ];
    assert_eq!(names(&answer), fields);
    assert_eq!(
        answer["cut"],
        json!({ "request": 0, "stream": 0, "tunnel": 0 })
    );
    assert_eq!(
        (&answer["service"], &answer["id"], &answer["reason"]),
        (&"web".into(), &"a".into(), &"operator".into())
    );
    let drain = &tidegate.is("a", "drained")["drain"];
    let fields = ["age_ms", "cut", "deadline", "left_ms", "reason", "since"];
    assert_eq!(names(drain), fields);
    assert!(
        drain["since"].as_str().unwrap().ends_with('Z')
            && drain["deadline"].as_str() > drain["since"].as_str()
    );
    let gone = tidegate.admin("GET", "/api/v1/services/none");
    assert_eq!((gone.status, names(&gone.json())), (404, vec!["error"]));
}

#[test]
fn a_drain_names_what_it_cannot_do() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let call = |method: &str, rest: &str| {
        let answer = tidegate.admin(method, &format!("/api/v1/services/{rest}"));
        assert!(!answer.json()["error"].as_str().unwrap_or("none").is_empty());
        answer.status
    };
    assert_eq!(call("POST", "web/endpoints/x/drain"), 404);
    assert_eq!(call("POST", "none/endpoints/a/drain"), 404);
    assert_eq!(call("POST", "web/endpoints/a/drain?timeout=5"), 400);
    assert_eq!(call("POST", "web/endpoints/a/drain?timeuot=5s"), 400);
    assert_eq!(call("POST", "web/endpoints/a/drain?wait=maybe"), 400);
    assert_eq!(call("GET", "web/endpoints/a/drain"), 405);
    assert_eq!(
        tidegate.lives("a")[0]["state"],
        "ready",
        "nothing of it drained"
    );
    tidegate
        .file()
        .set(&[a.line("state: draining"), b.line("")]);
    tidegate.is("a", "drained");
    assert_eq!(call("DELETE", "web/endpoints/a/drain"), 409);
}

#[test]
fn an_address_stands_for_an_id_when_only_one_has_it() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let answer = tidegate.drain(&a.address().to_string(), "");
    assert_eq!(answer["id"], "a");
}

#[test]
fn p13_events_tell_a_drain_from_its_beginning_to_its_report() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    let events = tidegate.events();
    tidegate.file().set(&[a.line(""), b.line("")]);
    let arrived = events.wait("state", "b");
    assert_eq!(
        (&arrived["from"], &arrived["to"]),
        (&Value::Null, &"ready".into())
    );
    tidegate.drain("a", "");
    events.wait("drain_start", "a");
    exchange.answer("ok");
    client.response();
    let end = events.wait("drain_end", "a");
    let fields = [
        "endpoint", "event", "from", "reason", "report", "service", "time", "to",
    ];
    assert_eq!(names(&end), fields);
    assert_eq!(end["report"], tidegate.report("a"));
    let all = events.all();
    let of_a: Vec<_> = all
        .iter()
        .filter(|event| event["endpoint"] == "a")
        .collect();
    let told: Vec<_> = of_a
        .iter()
        .map(|event| (event["event"].as_str().unwrap(), event["to"].as_str()))
        .collect();
    let place = |what: &(&str, Option<&str>)| {
        told.iter()
            .position(|one| one == what)
            .unwrap_or_else(|| panic!("{told:?}"))
    };
    assert!(place(&("state", Some("draining"))) < place(&("state", Some("drained"))));
}

#[test]
fn p13_every_drain_ends_in_one_report_that_tells_the_truth() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut finishing = tidegate.connect();
    finishing.ask("/held/finishing");
    let finish = a.held();
    let mut cutting = tidegate.connect();
    cutting.ask("/held/cutting");
    let cut = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    tidegate.drain("a", "?timeout=500ms");

    // It is told while it runs, with what holds it.
    let running = tidegate.admin("GET", "/api/v1/drains").ok()["running"][0].clone();
    assert_eq!(
        (&running["in_flight"], &running["ended"]),
        (&2.into(), &Value::Null)
    );
    assert_eq!(running["held_by"].as_array().unwrap().len(), 2);
    assert_eq!(names(&running["held_by"][0]), ["age_ms", "kind", "route"]);
    assert_eq!(running["held_by"][0]["kind"], "request");

    // The source follows, and is noted beside the operator.
    tidegate.file().set(&[b.line("")]);
    eventually("the source is noted", || {
        let drains = tidegate.admin("GET", "/api/v1/drains").ok();
        drains["running"][0]["seen"].get("removed").cloned()
    });
    finish.answer("ok");
    assert_eq!(finishing.response().text(), "ok");
    assert_eq!(cutting.response().status, 504);
    cut.end();
    let report = tidegate.report("a");
    let fields = [
        "address",
        "cause",
        "cut",
        "deadline",
        "duration_ms",
        "ended",
        "finished",
        "id",
        "in_flight_at_start",
        "limited_by",
        "outcome",
        "pod",
        "retried",
        "seen",
        "service",
        "since",
        "started_after",
    ];
    assert_eq!(names(&report), fields);
    assert_eq!(
        (&report["cause"], &report["outcome"]),
        (&"operator".into(), &"cut".into())
    );
    assert_eq!(
        (
            &report["in_flight_at_start"],
            &report["finished"],
            &report["cut"]["request"]
        ),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!(
        report["started_after"],
        json!({ "fallback": 0, "affinity": 0 })
    );
    assert_eq!(names(&report["seen"]), ["operator", "removed"]);
    assert!(report["duration_ms"].as_u64().unwrap() >= 500);
    let drains = tidegate.admin("GET", "/api/v1/drains").ok();
    assert_eq!(
        (
            drains["drains"].as_array().unwrap().len(),
            drains["running"].as_array().unwrap().len()
        ),
        (1, 0)
    );
    assert_eq!(
        tidegate.metric("tidegate_drains_total{outcome=\"cut\",service=\"web\"}"),
        Some(1.0)
    );
}

#[test]
fn changing_calls_need_the_token_and_reading_ones_do_not() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .admin("token_file: token")
        .with_file("token", "secret\n")
        .start();
    let path = "/api/v1/services/web/endpoints/a/drain";
    for fields in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer secret2\r\n",
        "Authorization: secret\r\n",
    ] {
        for method in ["POST", "DELETE"] {
            assert_eq!(
                tidegate.admin_with(method, path, fields).status,
                401,
                "{method} {fields}"
            );
        }
    }
    assert_eq!(tidegate.lives("a")[0]["state"], "ready");
    assert_eq!(
        tidegate
            .admin_with("POST", path, "Authorization: Bearer secret\r\n")
            .status,
        200
    );
    assert!(
        !tidegate
            .admin("GET", "/api/v1/config")
            .text()
            .contains("secret")
    );
}

#[test]
fn whoever_asks_by_a_foreign_name_or_from_a_foreign_page_is_refused() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).admin("hosts: [tide.test]").start();
    let port = tidegate.admin_address().port();
    let ask = |host: &str| {
        tidegate
            .admin_with("GET", "/api/v1/services", &format!("Host: {host}\r\n"))
            .status
    };
    for host in [
        "evil.test".to_owned(),
        format!("evil.test:{port}"),
        "127.0.0.1.evil.test".into(),
    ] {
        assert_eq!(ask(&host), 403, "{host}");
    }
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "tide.test".into(),
    ] {
        assert_eq!(ask(&host), 200, "{host}");
    }
    let drain = "/api/v1/services/web/endpoints/a/drain";
    for fields in [
        "Origin: http://evil.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        assert_eq!(
            tidegate.admin_with("POST", drain, fields).status,
            403,
            "{fields}"
        );
    }
    assert_eq!(tidegate.lives("a")[0]["state"], "ready");
}

#[test]
fn a_second_listener_has_the_probes_metrics_and_hook_only() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .admin("probes_address: \"127.0.0.1:0\"")
        .start();
    let ask = |path: &str| {
        let mut client = Client::connect(tidegate.probes_address());
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: anything.test\r\n\r\n"
        ));
        client.response().status
    };
    for path in [
        "/healthz",
        "/readyz",
        "/lbz",
        "/metrics",
        "/drain?pod=default/none",
    ] {
        assert_eq!(ask(path), 200, "{path}");
    }
    for path in ["/", "/api/v1/services", "/api/v1/config", "/api/v1/events"] {
        assert_eq!(ask(path), 404, "{path}");
    }
}

#[test]
fn the_hook_drains_a_pod_and_answers_when_it_may_stop() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::without_file();
    let endpoint = |endpoint: &Endpoint| {
        let name = endpoint.name();
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{ name: {name}, namespace: shop }}\n\
             addressType: IPv4\nports: [{{ port: {} }}]\n\
             endpoints: [{{ addresses: [127.0.0.1], targetRef: {{ kind: Pod, namespace: shop, name: {name}, uid: u-{name} }} }}]\n---\n",
            endpoint.address().port()
        )
    };
    setup.file().replace(&(endpoint(&a) + &endpoint(&b)));
    let tidegate = setup.start();
    let hook = tidegate.admin("GET", "/drain?pod=shop/a").ok();
    assert_eq!(names(&hook), ["drained", "reason", "replicas"]);
    assert_eq!(
        (&hook["drained"], hook["replicas"].as_array().unwrap().len()),
        (&true.into(), 1)
    );
    assert_eq!(tidegate.get("/").text(), "b");
    assert_eq!(tidegate.report("u-a")["cause"], "hook");

    // The other one is the last: the hook may delay its end, and never block it.
    let late = tidegate.admin("POST", "/drain?pod=shop/b&limit=200ms").ok();
    assert_eq!(late["drained"], false);
    assert_eq!(tidegate.get("/").text(), "b");
    let unknown = tidegate.admin("GET", "/drain?pod=shop/none").ok();
    assert_eq!(unknown["drained"], true, "it serves nothing here");
    for wrong in [
        "/drain",
        "/drain?pod=a",
        "/drain?ip=x",
        "/drain?pod=a/b&limit=5",
    ] {
        assert_eq!(tidegate.admin("GET", wrong).status, 400, "{wrong}");
    }
}

#[test]
fn metrics_are_there_and_go_with_their_endpoint() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .admin("per_endpoint_metrics: true")
        .start();
    for _ in 0..10 {
        tidegate.get("/");
    }
    let served = "tidegate_requests_total{code=\"200\",listener=\"http\",service=\"web\"}";
    eventually("all are counted", || {
        (tidegate.metric(served) == Some(10.0)).then_some(())
    });
    assert_eq!(
        tidegate.metric("tidegate_endpoints{service=\"web\",state=\"ready\"}"),
        Some(2.0)
    );
    let text = tidegate.admin("GET", "/metrics").text();
    for name in [
        "tidegate_request_duration_seconds_bucket",
        "tidegate_in_flight",
        "tidegate_upstream_connections",
        "tidegate_build_info",
        "tidegate_update_apply_seconds_bucket",
        "tidegate_source_staleness_seconds",
        "tidegate_downstream_connections",
        "tidegate_endpoint_requests_total{endpoint=\"a\"",
        "tidegate_endpoint_in_flight{endpoint=\"b\"",
    ] {
        assert!(text.contains(name), "{name}");
    }
    tidegate.file().set(&[b.line("")]);
    tidegate.is_gone("a");
    let left = tidegate.admin("GET", "/metrics").text();
    assert!(!left.contains("endpoint=\"a\"") && left.contains("endpoint=\"b\""));
}

#[test]
fn the_config_in_force_is_shown() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).service("balance: random").start();
    let answer = tidegate.admin("GET", "/api/v1/config").ok();
    assert_eq!(answer["last_reload"]["result"], "success");
    assert_eq!(answer["config"]["services"][0]["balance"], "random");
    assert_eq!(answer["config"]["services"][0]["drain"]["timeout"], "30s");
}

#[test]
fn the_dashboard_is_a_page() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let page = tidegate.admin("GET", "/");
    assert!(page.status == 200 && page.text().contains("<!doctype html>"));
    assert!(
        page.response
            .head
            .field("content-type")
            .unwrap()
            .starts_with("text/html")
    );
}

//! Which service a request is for, as clients and endpoints see it.

use crate::support::stream_client::INTERNAL_ERROR;
use crate::support::{Client, Endpoint, Setup, StreamClient, StreamEndpoint, Tidegate};

/// Two services, `a` and `b`, and these routes, a line each.
fn start(a: &Endpoint, b: &Endpoint, routes: &[&str]) -> Tidegate {
    Setup::config(&config(a, b, routes)).start()
}

fn config(a: &Endpoint, b: &Endpoint, routes: &[&str]) -> String {
    let routes: String = routes
        .iter()
        .map(|route| format!("  - {route}\n"))
        .collect();
    format!(
        "listeners:\n  - {{ name: http, address: 127.0.0.1:0 }}\n  - {{ name: other, address: 127.0.0.1:0 }}\nroutes:\n{routes}services:\n  \
         - {{ name: a, source: {{ list: [\"{}\"] }} }}\n  - {{ name: b, source: {{ list: [\"{}\"] }} }}\n\
         admin:\n  address: 127.0.0.1:0\nworkers: 2\n",
        a.address(),
        b.address()
    )
}

#[test]
fn an_exact_path_is_that_path_alone() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = start(&a, &b, &["{ service: a }", "{ exact: /api, service: b }"]);
    for (path, name) in [
        ("/api", "b"),
        ("/api?x=/", "b"),
        ("/api/", "a"),
        ("/api/x", "a"),
        ("/API", "a"),
        ("/%61pi", "a"),
        ("/", "a"),
    ] {
        assert_eq!(tidegate.get(path).text(), name, "{path}");
    }
}

#[test]
fn conditions_choose_and_hide_nothing() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = start(
        &a,
        &b,
        &[
            "{ service: a }",
            "{ path: /api, method: POST, service: b }",
            "{ headers: { x-canary: \"on\" }, service: b }",
            "{ query: { v: \"2\" }, service: b }",
            "{ listeners: [other], service: b }",
        ],
    );
    let mut client = tidegate.connect();
    for (head, name) in [
        ("GET /api HTTP/1.1\r\n", "a"),
        ("POST /api HTTP/1.1\r\nContent-Length: 0\r\n", "b"),
        ("GET / HTTP/1.1\r\nX-CANARY: on\r\n", "b"),
        ("GET / HTTP/1.1\r\nX-Canary: on\r\nX-Canary: on\r\n", "a"),
        // It ends here, so that the endpoint would not see by what it was chosen.
        (
            "GET / HTTP/1.1\r\nX-Canary: on\r\nConnection: x-canary\r\n",
            "a",
        ),
        ("GET /?v=2 HTTP/1.1\r\n", "b"),
        ("GET /?x&v=2&v=1 HTTP/1.1\r\n", "b"),
        ("GET /?v=%32 HTTP/1.1\r\n", "a"),
        ("GET /?v=1&v=2 HTTP/1.1\r\n", "a"),
    ] {
        client.send(format!("{head}Host: shop.test\r\n\r\n"));
        assert_eq!(client.response().text(), name, "{head}");
    }
    let mut other = Client::connect(tidegate.listener("other"));
    other.send("GET /api HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(other.response().text(), "b");
}

#[test]
fn services_have_their_shares_of_a_route() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let route = "{ services: [{ service: a, weight: 3 }, { service: b }] }";
    let nothing = "{ path: /never, services: [{ service: a }, { service: b, weight: 0 }] }";
    let tidegate = start(&a, &b, &[route, nothing]);
    let mut client = tidegate.connect();
    for _ in 0..400 {
        client.get("/x");
    }
    assert!((60..140).contains(&b.count()), "{}", b.count());
    assert_eq!(a.count() + b.count(), 400);
    for _ in 0..50 {
        assert_eq!(client.get("/never").text(), "a");
    }
}

#[test]
fn a_retry_stays_with_its_service() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::start("b"));
    let route = "{ services: [{ service: a }, { service: b }] }";
    let tidegate = start(&a, &b, &[route]);
    let mut client = tidegate.connect();
    let mut refused = 0;
    for turn in 0..40 {
        let path = format!("/{turn}");
        if client.get(&path).status == 503 {
            refused += 1;
            let line = tidegate.logged(&path);
            assert_eq!(line["service"], "a", "{line}");
            assert!(
                line["tries"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|it| it["endpoint"] != "b")
            );
        }
    }
    assert!((5..35).contains(&refused), "{refused}");
    assert_eq!(b.count(), 40 - refused);
}

#[test]
fn a_service_without_a_share_left_drains() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let split = |b_weight| {
        format!("{{ services: [{{ service: a }}, {{ service: b, weight: {b_weight} }}] }}")
    };
    let tidegate = start(&a, &b, &[&split(1)]);
    let mut client = tidegate.connect();
    while b.count() == 0 {
        client.get("/x");
    }
    tidegate.reload(&config(&a, &b, &[&split(0)]));
    let report = tidegate.report(&b.address().to_string());
    assert_eq!(report["cause"], "route");
    for _ in 0..20 {
        assert_eq!(client.get("/y").text(), "a");
    }
}

#[test]
fn a_redirect_is_answered_here() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = start(
        &a,
        &b,
        &[
            "{ service: a }",
            "{ listeners: [other], redirect: { scheme: https, status: 301 } }",
            "{ path: /old, redirect: { host: new.test, prefix: /new, status: 308 }, \
             response_headers: { set: { cache-control: no-store } } }",
        ],
    );
    let mut client = Client::connect(tidegate.listener("other"));
    client.send("GET /x?y HTTP/1.1\r\nHost: shop.test:8080\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 301);
    assert_eq!(
        response.head.field("location"),
        Some("https://shop.test/x?y")
    );
    assert_eq!(tidegate.get("/x?y").text(), "a");
    // The connection is good for more, and the method does not matter.
    let mut client = tidegate.connect();
    for method in ["GET", "DELETE", "OPTIONS"] {
        client.send(format!(
            "{method} /old//x?y HTTP/1.1\r\nHost: shop.test:81\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (308, ""));
        let location = response.head.field("location");
        assert_eq!(location, Some("http://new.test:81/new//x?y"), "{method}");
        assert_eq!(response.head.field("cache-control"), Some("no-store"));
    }
    let line = tidegate.logged("/old//x?y");
    assert_eq!(
        (&line["status"], &line["service"]),
        (&308.into(), &serde_json::Value::Null)
    );
    let mut stream = StreamClient::connect(tidegate.address());
    let answer = stream.get("/old");
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.field("location"), Some("http://new.test/new"));
    assert!(b.count() == 0 && a.count() == 1);
    // A body that nobody reads is no next request.
    client.send(
        "POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\nGET /smuggled HTTP/1.1\r\n",
    );
    assert_eq!(client.response().status, 308);
    client.end();
    assert_eq!(a.count(), 1);
}

#[test]
fn the_endpoint_gets_what_the_route_rewrites() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = start(
        &a,
        &b,
        &[
            "{ service: a, path: /api, rewrite: { host: a.internal, prefix: /v2 }, \
             request_headers: { set: { x-env: canary }, add: { x-tag: b }, remove: [x-debug] } }",
            "{ service: a, exact: /one, rewrite: { path: /other } }",
        ],
    );
    let mut client = tidegate.connect();
    client.send(
        "GET /api//x?y=/api HTTP/1.1\r\nHost: Shop.test:80\r\nX-Env: own\r\nX-Env: two\r\nX-Tag: a\r\nX-Debug: 1\r\n\
         X-Other: 2\r\nX-Gone: 3\r\nConnection: x-env, x-tag, x-gone\r\n\r\n",
    );
    client.response();
    client.send("GET http://Shop.test/api HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    client.response();
    client.get("/one?z");
    let requests = a.requests();
    let head = &requests[0].head;
    assert_eq!(head.start, "GET /v2//x?y=/api HTTP/1.1");
    // What the client says of its connection takes away what is its own, not what the route says.
    for (name, values) in [
        ("host", &["a.internal"][..]),
        ("x-forwarded-host", &["Shop.test:80"]),
        ("x-env", &["canary"]),
        ("x-tag", &["b"]),
        ("x-debug", &[]),
        ("x-gone", &[]),
        ("x-other", &["2"]),
        ("connection", &[]),
    ] {
        let found = head.values(name);
        assert_eq!(found, values, "{name} in {head:?}");
    }
    assert_eq!(requests[1].head.start, "GET /v2 HTTP/1.1");
    assert_eq!(requests[1].head.field("host"), Some("a.internal"));
    assert_eq!(requests[1].head.field("x-env"), Some("canary"));
    assert_eq!(requests[2].head.start, "GET /other?z HTTP/1.1");
    assert_eq!(
        tidegate.logged("/api//x?y=/api")["authority"],
        "Shop.test:80"
    );
    let mut stream = StreamClient::connect(tidegate.address());
    stream.get("/api/x");
    let head = a.requests().pop().unwrap().head;
    assert_eq!(head.start, "GET /v2/x HTTP/1.1");
    assert_eq!(head.field("x-env"), Some("canary"));
}

#[test]
fn the_same_is_told_to_an_endpoint_by_a_stream() {
    let a = StreamEndpoint::start("a");
    let setup = Setup::without_file();
    setup.file().set(&[a.line("")]);
    let text = "listeners:\n  - { name: http, address: 127.0.0.1:0 }\nroutes:\n  - { service: web, path: /api.Shop, \
        rewrite: { host: a.internal, prefix: /v2.Shop }, request_headers: { set: { x-env: canary } }, \
        response_headers: { set: { x-from: tidegate, content-type: text/odd } } }\nservices:\n  \
        - { name: web, protocol: h2, source: { file: { path: web.yaml } } }\nadmin:\n  address: 127.0.0.1:0\n";
    let tidegate = setup.with_config(text).start();
    let mut client = StreamClient::connect(tidegate.address());
    let answer = client.get("/api.Shop/Buy");
    assert_eq!(
        (answer.status(), answer.field("x-from")),
        (200, Some("tidegate"))
    );
    let request = a.requests().pop().unwrap();
    assert_eq!(request.path(), "/v2.Shop/Buy");
    assert_eq!(request.field(":authority"), Some("a.internal"));
    assert_eq!(request.field("x-env"), Some("canary"));
}

#[test]
fn a_tunnel_is_changed_alike() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let route = "{ service: a, path: /ws, rewrite: { prefix: /held }, request_headers: { set: { x-env: canary } }, \
                 response_headers: { set: { x-from: tidegate } } }";
    let tidegate = start(&a, &b, &[route]);
    let mut client = tidegate.connect();
    client.send(
        "GET /ws/x HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let exchange = a.held();
    exchange.switch();
    let (status, head) = client.response_head();
    assert_eq!((status, head.field("x-from")), (101, Some("tidegate")));
    assert_eq!(head.field("upgrade"), Some("websocket"));
    let request = a.requests().pop().unwrap();
    assert_eq!(request.head.start, "GET /held/x HTTP/1.1");
    assert_eq!(request.head.field("x-env"), Some("canary"));
    assert!(request.head.field("sec-websocket-key").is_some());
    exchange.send("through");
    client.read_to("through");
}

#[test]
fn how_a_response_ends_is_as_the_endpoint_says() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let route =
        "{ service: a, response_headers: { set: { content-type: text/plain }, remove: [etag] } }";
    // Nothing else is there, and the drain begins all the same.
    let text = config(&a, &b, &[route]).replace("{ name: a,", "{ name: a, all_draining: reject,");
    let tidegate = Setup::config(&text).start();
    let mut client = tidegate.connect();
    client.ask("/held/events");
    let exchange = a.held();
    exchange.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nETag: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    exchange.chunk("data: 1\n\n");
    let (status, head) = client.response_head();
    assert_eq!(
        (status, head.field("content-type"), head.field("etag")),
        (200, Some("text/plain"), None)
    );
    tidegate.admin(
        "POST",
        &format!(
            "/api/v1/services/a/endpoints/{}/drain?timeout=500ms",
            a.address()
        ),
    );
    assert_eq!(tidegate.logged("/held/events")["code"], "drain_sse_ended");
}

#[test]
fn a_route_has_its_own_time_for_the_whole_of_it() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let text = config(
        &a,
        &b,
        &[
            "{ path: /held/request, service: a, timeouts: { request: 200ms } }",
            "{ path: /held/attempt, service: a, timeouts: { attempt: 200ms } }",
            "{ path: /held/long, service: a, timeouts: { request: 0s } }",
            "{ service: a }",
        ],
    );
    let text = text.replace("name: a,", "name: a, request_timeout: 300ms,");
    let tidegate = Setup::config(&text).start();
    let mut long = tidegate.connect();
    long.ask("/held/long");
    let late = a.held();
    for path in ["/held/request", "/held/attempt"] {
        // Without an answer.
        let mut client = tidegate.connect();
        client.ask(path);
        let exchange = a.held();
        assert_eq!(client.response().status, 504);
        exchange.end();
        assert_eq!(tidegate.logged(path)["code"], "request_timeout");
        // With half of one, and something of it all the while.
        let half = format!("{path}/half");
        client.ask(&half);
        let exchange = a.held();
        exchange.begin();
        exchange.chunk("some");
        client.broken_response();
        exchange.end();
        assert_eq!(tidegate.logged(&half)["code"], "request_timeout_mid_body");
        // While the client itself is slow.
        let slow = format!("{path}/slow");
        let mut client = tidegate.connect();
        client.send(format!(
            "POST {slow} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nsome"
        ));
        let exchange = a.held();
        assert_eq!(client.response().status, 504);
        exchange.end();
        assert_eq!(tidegate.logged(&slow)["code"], "request_timeout");
    }
    // Elsewhere the service's own holds, and ends before that which has no end.
    let mut other = tidegate.connect();
    other.ask("/held/other");
    assert_eq!(other.response().status, 504);
    late.answer("late");
    assert_eq!(long.response().text(), "late");
}

/// The time ends one stream, and the others of its connection go on.
#[test]
fn a_stream_has_its_routes_time_too() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let text = config(
        &a,
        &b,
        &[
            "{ path: /held/short, service: a, timeouts: { request: 200ms } }",
            "{ service: a }",
        ],
    );
    let tidegate = Setup::config(&text).start();
    let mut client = StreamClient::connect(tidegate.address());
    let other = client.ask("/held/other");
    let late = a.held();
    // Without an answer.
    let stream = client.ask("/held/short");
    let exchange = a.held();
    let answer = client.answer(stream);
    assert_eq!((answer.status(), answer.whole), (504, true));
    exchange.end();
    assert_eq!(tidegate.logged("/held/short")["code"], "request_timeout");
    // With half of one.
    let stream = client.ask("/held/short/half");
    let exchange = a.held();
    exchange.begin();
    exchange.chunk("some");
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (false, Some(INTERNAL_ERROR)));
    exchange.end();
    let logged = tidegate.logged("/held/short/half");
    assert_eq!(logged["code"], "request_timeout_mid_body");
    // With more than the client takes.
    let mut full = StreamClient::with_window(tidegate.address(), 10);
    let stream = full.ask("/held/short/full");
    let exchange = a.held();
    exchange.begin();
    exchange.chunk(&"x".repeat(1000));
    let answer = full.answer(stream);
    assert_eq!((answer.whole, answer.reset), (false, Some(INTERNAL_ERROR)));
    exchange.end();
    late.answer("late");
    assert_eq!(client.answer(other).text(), "late");
}

//! A request and its answer, as client and endpoint see them: fields, forms and framing.

use crate::support::{Endpoint, Setup};

#[test]
fn passes_a_request_on_and_its_answer_back() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let response = tidegate.get("/x?y=1");
    assert_eq!((response.status, response.text().as_str()), (200, "a"));
    let request = &a.requests()[0];
    assert_eq!(request.head.start, "GET /x?y=1 HTTP/1.1");
    assert_eq!(request.head.field("host"), Some("shop.test"));
}

#[test]
fn forwards_the_path_that_was_sent() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    for path in [
        "//a//b",
        "/a/../b",
        "/%2e%2E/%2f",
        "/a;b=c?d=/?e",
        "/?",
        "/a%00%0d%0a",
    ] {
        client.get(path);
        assert_eq!(a.paths().last().unwrap(), path);
    }
}

#[test]
fn keeps_what_belongs_to_a_connection_on_it() {
    let a = Endpoint::start("a");
    a.answer_with(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=60\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Outer: 2\r\n\r\n",
    );
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nX-Outer: 2\r\n\r\n",
    );
    let response = client.response();
    let request = &a.requests()[0];
    for head in [&request.head, &response.head] {
        for name in [
            "x-inner",
            "keep-alive",
            "proxy-connection",
            "upgrade",
            "http2-settings",
            "connection",
        ] {
            assert_eq!(head.field(name), None, "{name} in {head:?}");
        }
        assert_eq!(head.field("x-outer"), Some("2"));
    }
}

#[test]
fn no_connection_token_removes_what_a_request_needs() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\nCookie: a=b\r\nAuthorization: Basic Yg==\r\n\
         Connection: host, content-length, cookie, authorization, x-forwarded-for, via\r\n\r\nhi",
    );
    client.response();
    let request = &a.requests()[0];
    assert_eq!(request.body, b"hi");
    for name in [
        "host",
        "content-length",
        "cookie",
        "authorization",
        "x-forwarded-for",
        "via",
    ] {
        assert!(
            request.head.field(name).is_some(),
            "{name} in {:?}",
            request.head
        );
    }
}

#[test]
fn tells_the_endpoint_who_asks_and_believes_nobody_else() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(
        "GET /x HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: bank.test\r\nForwarded: for=9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nVia: 1.0 old\r\n\r\n",
    );
    client.response();
    let head = &a.requests()[0].head;
    assert_eq!(head.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.field("x-forwarded-proto"), Some("http"));
    assert_eq!(head.field("x-forwarded-host"), Some("shop.test"));
    assert_eq!(
        (head.field("forwarded"), head.field("x-real-ip")),
        (None, None)
    );
    assert_eq!(head.values("via"), ["1.0 old", "1.1 tidegate"]);
    assert_eq!(
        tidegate.logged("/x")["client"],
        client.address().to_string()
    );
}

#[test]
fn believes_a_proxy_that_is_trusted() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("trusted_proxies: [127.0.0.0/8]")
        .start();
    let mut client = tidegate.connect();
    client.send(
        "GET /x HTTP/1.1\r\nHost: inner.test\r\nX-Forwarded-For: 1.1.1.1, 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: bank.test\r\n\r\n",
    );
    client.response();
    let head = &a.requests()[0].head;
    assert_eq!(
        head.field("x-forwarded-for"),
        Some("1.1.1.1, 9.9.9.9, 127.0.0.1")
    );
    assert_eq!(head.field("x-forwarded-proto"), Some("https"));
    assert_eq!(head.field("x-forwarded-host"), Some("bank.test"));
    assert_eq!(tidegate.logged("/x")["client"], "9.9.9.9");
}

#[test]
fn a_target_in_absolute_form_replaces_the_host() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = two_services(&a, &b, "{ host: b.test, service: b }");
    let mut client = tidegate.connect();
    client.send("GET http://b.test:8080/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().text(), "b");
    let head = &b.requests()[0].head;
    assert_eq!(head.start, "GET /x?y HTTP/1.1");
    assert_eq!(head.field("host"), Some("b.test:8080"));
}

#[test]
fn the_most_specific_host_and_then_the_longest_path_win() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let routes = "{ host: \"*.shop.test\", service: b }, { host: www.shop.test, path: /, service: a }, \
                  { path: /api, service: b }, { path: /api/old, service: a }";
    let tidegate = two_services(&a, &b, routes);
    let mut client = tidegate.connect();
    for (host, path, expected) in [
        ("x.shop.test", "/", "b"),
        ("www.shop.test", "/api", "a"),
        ("shop.test", "/", "a"),
        ("WWW.Shop.Test:80", "/", "a"),
        ("other.test", "/api/x", "b"),
        ("other.test", "/apis", "a"),
        ("other.test", "/api/old/x", "a"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), expected, "{host}{path}");
    }
}

/// Services `a` and `b` of one endpoint each; what no route takes goes to `a`.
fn two_services(a: &Endpoint, b: &Endpoint, routes: &str) -> crate::support::Tidegate {
    Setup::config(&format!(
        "listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]\n\
         routes: [{routes}, {{ service: a }}]\n\
         services:\n\
         - {{ name: a, source: {{ list: [\"{}\"] }} }}\n\
         - {{ name: b, source: {{ list: [\"{}\"] }} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        a.address(),
        b.address(),
    ))
    .start()
}

#[test]
fn where_no_route_leads_is_404_and_the_connection_goes_on() {
    let a = Endpoint::start("a");
    let tidegate = Setup::config(&format!(
        "listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]\n\
         routes: [{{ path: /api, service: web }}]\n\
         services: [{{ name: web, source: {{ list: [\"{}\"] }} }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        a.address()
    ))
    .start();
    let mut client = tidegate.connect();
    let response = client.get("/x");
    assert_eq!(response.status, 404);
    assert_eq!(response.text().lines().count(), 1);
    assert_eq!(client.get("/api").status, 200);
    assert_eq!(tidegate.logged("/x")["code"], "no_route");
    // Only where nothing more is on its way: nobody knows whether a body follows that was not asked for.
    client.send("PUT /y HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let response = client.response();
    assert_eq!(
        (response.status, response.head.field("connection")),
        (404, Some("close"))
    );
}

#[test]
fn an_answer_tells_nothing_of_its_endpoint_unless_asked() {
    let a = Endpoint::start("a");
    let quiet = Setup::of(&[&a]).start().get("/");
    let told = Setup::of(&[&a])
        .listener("debug_headers: true")
        .start()
        .get("/");
    assert!(
        quiet
            .head
            .fields
            .iter()
            .all(|(name, _)| !name.starts_with("x-tidegate"))
    );
    assert_eq!(told.head.field("x-tidegate-endpoint"), Some("a"));
    assert_eq!(told.head.field("x-tidegate-attempts"), Some("1"));
}

#[test]
fn answers_without_a_body_leave_the_connection_in_order() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!(
        (head.status, head.head.field("content-length")),
        (200, Some("1"))
    );
    for status in ["204 No Content", "304 Not Modified"] {
        client.ask("/held");
        a.held()
            .send(format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.head.field("etag"), Some("\"x\""), "{status}");
        assert_eq!(response.head.field("transfer-encoding"), None, "{status}");
    }
    assert_eq!(client.get("/").text(), "a");
    assert!(
        a.requests().iter().all(|request| request.connection == 0),
        "one upstream connection served all"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(
        "GET /held/1 HTTP/1.1\r\nHost: s\r\n\r\nPOST /held/2 HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\n\r\nhi\
         GET /held/3 HTTP/1.1\r\nHost: s\r\n\r\n",
    );
    for number in ["1", "2", "3"] {
        let exchange = a.held();
        assert_eq!(exchange.request().path(), format!("/held/{number}"));
        exchange.whole_request();
        exchange.answer(number);
        assert_eq!(client.response().text(), number);
    }
}

#[test]
fn an_http_1_0_client_gets_what_it_understands() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("GET /held HTTP/1.0\r\n\r\n");
    let exchange = a.held();
    assert_eq!(exchange.request().head.field("via"), Some("1.0 tidegate"));
    assert_eq!(
        exchange.request().head.field("host"),
        Some(tidegate.address().to_string().as_str())
    );
    exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    exchange.begin();
    exchange.chunk("some");
    exchange.chunk("thing");
    exchange.send("0\r\n\r\n");
    client.end();
    let answer = String::from_utf8_lossy(&client.unread).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.0 200 ") && !head.to_lowercase().contains("chunked"),
        "{head}"
    );
    assert_eq!(body, "something");
}

#[test]
fn an_http_1_0_client_may_keep_its_connection() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let head = client.read_to("\r\n\r\n").to_lowercase();
        assert!(head.contains("connection: keep-alive"), "{head}");
        client.read_to("a");
    }
}

#[test]
fn options_may_ask_for_everything() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("OPTIONS * HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(a.requests()[0].head.start, "OPTIONS * HTTP/1.1");
}

#[test]
fn an_upstream_connection_serves_one_request_after_the_other() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    for _ in 0..5 {
        assert_eq!(tidegate.get("/").status, 200);
    }
    assert_eq!((a.connections().len(), a.count()), (1, 5));
}

#[test]
fn an_endpoint_that_says_close_is_believed() {
    let a = Endpoint::start("a");
    a.answer_with("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let mut client = tidegate.connect();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(
            response.head.field("connection"),
            None,
            "that is not the client's connection"
        );
    }
    assert_eq!(a.connections().len(), 2);
}

#[test]
fn an_endpoints_keep_alive_is_kept_with_a_second_to_spare() {
    let a = Endpoint::start("a");
    a.answer_with("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 1\r\n\r\na");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let mut client = tidegate.connect();
    client.get("/");
    client.get("/");
    assert_eq!(
        a.connections().len(),
        2,
        "no second is left of one, so nothing is kept"
    );
}

#[test]
fn idle_upstream_connections_are_closed_after_their_time() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .service("upstream_keep_alive: 100ms")
        .start();
    tidegate.get("/");
    a.all_closed();
}

#[test]
fn an_endpoint_that_closes_an_idle_connection_costs_nothing() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    exchange.answer("1");
    client.response();
    exchange.close();
    crate::support::eventually("the closed connection is noticed while idle", || {
        (tidegate.lives("a")[0]["connections"] == 0).then_some(())
    });
    let response = client.post("/x", "once");
    assert_eq!(response.status, 200);
    assert_eq!(tidegate.logged("/x")["attempts"], 1);
}

#[test]
fn refuses_drops_or_passes_names_with_underscores() {
    let a = Endpoint::start("a");
    let head = "GET /x HTTP/1.1\r\nhost: shop.test\r\nx_real_ip: 10.0.0.1\r\nx-other: 1\r\n\r\n";
    for (key, status, reached) in [
        ("reject", 400, None),
        ("drop", 200, Some(None)),
        ("pass", 200, Some(Some("10.0.0.1"))),
    ] {
        let tidegate = Setup::of(&[&a])
            .listener(&format!("underscores: {key}"))
            .start();
        let before = a.requests().len();
        let mut client = tidegate.connect();
        client.send(head);
        assert_eq!(client.response().status, status, "{key}");
        let requests = a.requests();
        let seen = requests.get(before).map(|it| it.head.field("x_real_ip"));
        assert_eq!(seen, reached, "{key}");
    }
}

//! Which service a request is for, as clients and endpoints see it.

use crate::support::{Client, Endpoint, Setup, Tidegate};

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

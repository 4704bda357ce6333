//! CONNECT, where a service has it: the endpoint is a proxy itself and opens the way; P5 ends what goes through.

use crate::support::stream_client::{END_STREAM, NO_ERROR};
use crate::support::{Client, End, Endpoint, Exchange, Setup, StreamClient, Tidegate};

const CONNECT: &str = "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\nProxy-Authorization: Basic eA==\r\n\
    Proxy-Connection: keep-alive\r\n\r\n";

const ESTABLISHED: &str =
    "HTTP/1.1 200 Connection established\r\nX-Own: 1\r\nContent-Length: 7\r\n\r\n";

fn before(a: &Endpoint) -> Tidegate {
    Setup::of(&[a]).service("upgrades: [connect]").start()
}

/// A way opened through `a`, with `b` to take over.
fn open(endpoints: &[Endpoint; 2], request: &str) -> (Tidegate, Client, Exchange) {
    let [a, b] = endpoints;
    let tidegate = before(a);
    let mut client = tidegate.connect();
    client.send(request);
    let exchange = a.held();
    exchange.send(ESTABLISHED);
    assert_eq!(client.response_head().0, 200);
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    (tidegate, client, exchange)
}

fn pair() -> [Endpoint; 2] {
    [Endpoint::start("a"), Endpoint::start("b")]
}

#[test]
fn the_endpoint_gets_it_as_it_is_and_its_success_opens_the_way() {
    let a = Endpoint::start("a");
    let tidegate = before(&a);
    let mut client = tidegate.connect();
    client.send(format!("{CONNECT}early"));
    let exchange = a.held();
    let head = exchange.request().head;
    assert_eq!(head.start, "CONNECT shop.test:443 HTTP/1.1");
    assert_eq!(head.values("host"), ["shop.test:443"]);
    // The endpoint is the proxy that it is meant for.
    assert_eq!(head.field("proxy-authorization"), Some("Basic eA=="));
    for gone in ["proxy-connection", "transfer-encoding", "content-length"] {
        assert_eq!(head.field(gone), None, "{gone}");
    }
    tidegate.in_flight("a", 1);
    assert_eq!(exchange.request().body, b"", "not before it is open");
    exchange.send(format!("{ESTABLISHED}at once"));
    let (status, head) = client.response_head();
    assert_eq!((status, head.field("x-own")), (200, Some("1")));
    // A length means nothing here (RFC 9110, section 9.3.6).
    for gone in [
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
    ] {
        assert_eq!(head.field(gone), None, "{gone}");
    }
    assert_eq!(client.take(7), b"at once");
    assert_eq!(exchange.body_of(5), b"early");
    client.finish();
    assert_eq!(exchange.end().0, End::Fin);
    exchange.send("the other half");
    assert_eq!(client.take(14), b"the other half");
    exchange.finish();
    assert_eq!(client.end(), End::Fin);
    tidegate.in_flight("a", 0);
    let line = tidegate.logged("");
    assert_eq!(
        (&line["method"], &line["authority"], &line["status"]),
        (&"CONNECT".into(), &"shop.test:443".into(), &200.into())
    );
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&5.into(), &21.into())
    );
}

#[test]
fn a_refusal_is_passed_on_and_ends_the_connection() {
    let a = Endpoint::start("a");
    let tidegate = before(&a);
    let mut client = tidegate.connect();
    // What was sent early was not meant as a request.
    client.send(format!(
        "{CONNECT}GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n"
    ));
    a.held().send(
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nwho?",
    );
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (407, "who?"));
    assert_eq!(response.head.field("proxy-authenticate"), Some("Basic"));
    assert!(response.head.lists("connection", "close"));
    assert_eq!(client.end(), End::Fin);
    assert!(client.unread.is_empty());
    assert_eq!(a.paths(), ["shop.test:443"]);

    let nobody = Setup::without_file()
        .service("upgrades: [connect]")
        .start_unready();
    let mut client = nobody.connect();
    client.send(CONNECT);
    let response = client.response();
    assert_eq!(response.status, 503);
    assert!(response.head.lists("connection", "close"));
}

#[test]
fn it_is_refused_where_no_service_has_it() {
    let a = Endpoint::start("a");
    for service in ["upgrades: [websocket]", "upgrades: []"] {
        let tidegate = Setup::of(&[&a]).service(service).start();
        let mut client = tidegate.connect();
        client.send(CONNECT);
        let response = client.response();
        assert_eq!(response.status, 405);
        assert!(response.head.lists("allow", "GET"));
        client.end();
    }
    // It is no protocol to switch to, and a WebSocket is not allowed by it.
    let tidegate = before(&a);
    for word in ["connect", "websocket"] {
        let mut client = tidegate.connect();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: s\r\nConnection: upgrade\r\nUpgrade: {word}\r\n\r\n"
        ));
        client.read_to(" 200 OK\r\n");
        let seen = a.requests().pop().unwrap();
        assert_eq!(seen.head.values("upgrade"), [""; 0]);
    }
    assert!(a.requests().iter().all(|it| it.method() == "GET"));
}

#[test]
fn its_target_is_a_host_and_a_port() {
    let a = Endpoint::start("a");
    let tidegate = before(&a);
    for head in [
        "CONNECT shop.test HTTP/1.1\r\nHost: shop.test",
        "CONNECT shop.test: HTTP/1.1\r\nHost: shop.test:",
        "CONNECT shop.test:0 HTTP/1.1\r\nHost: shop.test:0",
        "CONNECT shop.test:99999 HTTP/1.1\r\nHost: shop.test:99999",
        "CONNECT a@shop.test:443 HTTP/1.1\r\nHost: shop.test:443",
        "CONNECT http://shop.test:443/ HTTP/1.1\r\nHost: shop.test:443",
        "CONNECT /path HTTP/1.1\r\nHost: shop.test:443",
        "CONNECT shop.test:443 HTTP/1.1\r\nHost: other.test:443",
        "CONNECT shop.test:443 HTTP/1.1\r\nX-Host: none",
        "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\nContent-Length: 4",
        "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\nTransfer-Encoding: chunked",
    ] {
        let mut client = tidegate.connect();
        client.send(format!("{head}\r\n\r\n"));
        assert_eq!(client.response().status, 400, "{head}");
    }
    assert_eq!(a.count(), 0);
}

#[test]
fn a_drain_half_closes_it_and_then_closes() {
    let endpoints = pair();
    let (tidegate, mut client, exchange) = open(&endpoints, CONNECT);
    exchange.send("hi");
    client.take(2);
    tidegate.drain("a", "?timeout=1s");
    assert_eq!(client.end(), End::Fin);
    assert!(client.unread.is_empty(), "not a byte is added");
    exchange.end();
    assert_eq!(tidegate.logged("")["code"], "drain_tunnel_cut");
    let report = tidegate.report("a");
    assert_eq!(report["cut"]["tunnel"], 1);
}

#[test]
fn a_stream_may_ask_for_it_too() {
    let endpoints = pair();
    let [a, b] = &endpoints;
    let tidegate = before(a);
    let mut client = StreamClient::connect(tidegate.address());
    let fields = [
        (":method", "CONNECT"),
        (":authority", "shop.test:443"),
        ("proxy-authorization", "Basic eA=="),
    ];
    let stream = client.open_with(&fields, 0);
    client.data(stream, b"early", 0);
    let exchange = a.held();
    let head = exchange.request().head;
    assert_eq!(head.start, "CONNECT shop.test:443 HTTP/1.1");
    assert_eq!(head.field("proxy-authorization"), Some("Basic eA=="));
    exchange.send(format!("{ESTABLISHED}at once"));
    assert_eq!(client.body_of(stream, 7), b"at once");
    assert_eq!(exchange.body_of(5), b"early");
    let answer = &client.seen().streams[&stream];
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("content-length"), None);
    client.data(stream, b"last", END_STREAM);
    assert_eq!(exchange.end().0, End::Fin);
    exchange.finish();
    assert!(client.answer(stream).whole);
    tidegate.in_flight("a", 0);

    let stream = client.open_with(&fields, 0);
    let exchange = a.held();
    exchange.send(ESTABLISHED);
    exchange.send("hi");
    client.body_of(stream, 2);
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    tidegate.drain("a", "?timeout=1s");
    let answer = client.answer(stream);
    assert!(answer.whole && answer.body == b"hi", "{answer:?}");
    exchange.end();
    // The half that is left is closed, too.
    let reset = client.until("a reset", |seen| seen.streams[&stream].reset);
    assert_eq!(reset, NO_ERROR);
    assert_eq!(tidegate.report("a")["cut"]["tunnel"], 1);
    let refused = client.open_with(
        &[(":method", "CONNECT"), (":authority", "shop.test")],
        END_STREAM,
    );
    assert_eq!(client.answer(refused).status(), 400);
}

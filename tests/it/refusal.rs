//! What tidegate refuses: broken, oversized and slow requests. Nothing of them reaches an endpoint.

use crate::support::{Client, End, Endpoint, Setup, eventually};

/// Heads that are broken, or that two readers could understand in two ways.
const BROKEN: &[&str] = &[
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "GET foo HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "GET / HTTP/9\r\nHost: a\r\n\r\n",
    "GET /\r\n\r\n",
    "no request at all\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

#[test]
fn a_broken_head_is_400_and_reaches_nobody() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for head in BROKEN {
        let mut client = tidegate.connect();
        // A second request right behind it must not be read as one.
        client.try_send(format!("{head}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 400, "{head:?}");
        assert_eq!(
            client.end(),
            End::Fin,
            "{head:?}: no reset may destroy the answer"
        );
        assert!(client.unread.is_empty(), "{head:?}");
    }
    assert_eq!(a.connections().len(), 0);
    let refused = || {
        tidegate
            .access_log()
            .iter()
            .filter(|line| line["code"] == "bad_request")
            .count()
    };
    eventually("each is logged", || {
        (refused() == BROKEN.len()).then_some(())
    });
}

#[test]
fn a_length_beside_chunks_counts_for_nothing_and_ends_the_connection() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.try_send(
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let response = client.response();
    assert!([200, 400].contains(&response.status), "{response:?}");
    assert_eq!(client.end(), End::Fin);
    for request in a.requests() {
        assert_eq!(
            (request.path(), request.body.as_slice()),
            ("/x", &b"hi"[..])
        );
        assert_eq!(request.head.field("content-length"), None);
    }
}

#[test]
fn one_length_said_twice_is_said_once() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi");
    let status = client.response().status;
    assert!(
        status == 400 || a.requests()[0].head.field("content-length") == Some("2"),
        "{status}"
    );
}

#[test]
fn a_broken_chunk_breaks_the_upload_off() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for chunks in [
        "x\r\nhi\r\n",
        "-2\r\nhi\r\n",
        "2\r\nhigh\r\n0\r\n\r\n",
        "11111111111111111\r\nhi",
        "2\nhi\n0\n\n",
    ] {
        let mut client = tidegate.connect();
        client
            .send("POST /held HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        let exchange = a.held();
        exchange.body_of(1);
        client.try_send(chunks);
        exchange.end();
        assert!(!exchange.request().whole, "{chunks:?}");
        client.end();
        assert!(
            client.unread.is_empty() || client.response().status == 400,
            "{chunks:?}"
        );
    }
}

#[test]
fn connect_and_unknown_expectations_are_refused() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for (request, status) in [
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: the-moon\r\nContent-Length: 1\r\n\r\n",
            417,
        ),
    ] {
        let mut client = tidegate.connect();
        client.send(request);
        assert_eq!(client.response().status, status);
        assert_eq!(client.end(), End::Fin);
    }
    assert_eq!(a.connections().len(), 0);
}

#[test]
fn what_is_too_large_is_refused_with_its_own_status() {
    let a = Endpoint::start("a");
    let limits = "limits: { header_size: 8KiB, headers: 20, target_size: 1KiB }";
    let tidegate = Setup::of(&[&a])
        .listener(limits)
        .service("limits: { request_body: 10B }")
        .start();
    let long = "x".repeat(2000);
    let huge = "x".repeat(100_000);
    let many: String = (0..30).map(|number| format!("X-{number}: y\r\n")).collect();
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {huge}\r\n\r\n"),
            431,
        ),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n{}",
                "x".repeat(11)
            ),
            413,
        ),
    ] {
        let mut client = tidegate.connect();
        client.try_send(&request);
        assert_eq!(client.response().status, status, "{}", &request[..40]);
        assert_eq!(client.end(), End::Fin);
    }
    assert_eq!(a.connections().len(), 0);
    assert_eq!(
        tidegate.connect().post("/", "1234567890").status,
        200,
        "what fits passes"
    );
}

#[test]
fn an_upload_that_turns_out_too_large_is_413_and_not_whole() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .service("limits: { request_body: 10B }")
        .start();
    let mut client = tidegate.connect();
    client
        .send("POST /held HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n");
    let exchange = a.held();
    exchange.body_of(5);
    client.send("6\r\n678901\r\n0\r\n\r\n");
    assert_eq!(client.response().status, 413);
    exchange.end();
    assert!(!exchange.request().whole);
}

#[test]
fn a_slow_head_is_408() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { header: 100ms }")
        .start();
    let mut client = tidegate.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    assert_eq!(client.response().status, 408);
    assert_eq!(client.end(), End::Fin);
    assert_eq!(a.connections().len(), 0);
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { header: 100ms }")
        .start();
    let mut client = tidegate.connect();
    assert_eq!(client.end(), End::Fin);
    assert!(client.unread.is_empty(), "nobody asked anything");
}

#[test]
fn an_idle_connection_is_closed_after_its_time_and_not_before_its_answer() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { keep_alive: 100ms }")
        .start();
    let mut busy = tidegate.connect();
    busy.ask("/held");
    let exchange = a.held();
    let mut idle = tidegate.connect();
    assert_eq!(idle.get("/").status, 200);
    assert_eq!(idle.end(), End::Fin);
    assert!(busy.is_open());
    exchange.answer("later");
    assert_eq!(busy.response().text(), "later");
    assert_eq!(busy.end(), End::Fin);
}

#[test]
fn an_upload_that_stalls_is_408_and_takes_nothing_further() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { body: 100ms }")
        .start();
    let mut client = tidegate.connect();
    client.send("POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    let exchange = a.held();
    assert_eq!(client.response().status, 408);
    assert_eq!(client.end(), End::Fin);
    exchange.end();
    tidegate.in_flight("a", 0);
}

#[test]
fn an_upload_that_takes_too_long_is_408_however_busy_it_is() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { request: 300ms }")
        .start();
    let mut client = tidegate.connect();
    client.send("POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nx");
    let exchange = a.held();
    eventually("it is over", || {
        // Never silent for long, and never done.
        client.try_send("x");
        (!client.is_open() || !client.unread.is_empty()).then_some(())
    });
    assert_eq!(client.response().status, 408);
    exchange.end();
    assert!(!exchange.request().whole);
    assert_eq!(tidegate.connect().post("/", "short").status, 200);
}

#[test]
fn a_slow_endpoint_is_504() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).service("request_timeout: 100ms").start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    let response = client.response();
    assert_eq!((response.status, response.text().lines().count()), (504, 1));
    exchange.end();
    assert_eq!(tidegate.logged("/held")["code"], "request_timeout");
    assert_eq!(
        client.get("/").status,
        200,
        "the client's connection goes on"
    );
}

#[test]
fn an_endpoint_that_falls_silent_breaks_the_answer_off() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).service("idle_timeout: 100ms").start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    exchange.begin();
    exchange.chunk("part");
    let (_, response) = client.broken_response();
    assert_eq!(response.text(), "part");
    exchange.end();
    assert_eq!(tidegate.logged("/held")["code"], "idle_timeout");
}

#[test]
fn connections_beyond_the_limit_are_closed_and_room_is_used_again() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("limits: { connections: 2 }")
        .start();
    let mut first = tidegate.connect();
    let mut second = tidegate.connect();
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    let mut third = tidegate.connect();
    third.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    third.end();
    assert!(third.unread.is_empty());
    drop(first);
    eventually("there is room again", || {
        let mut client = Client::connect(tidegate.address());
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response()
    });
    assert_eq!(second.get("/").status, 200);
}

#[test]
fn bounds_the_connections_of_one_client() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("limits: { connections_per_client: 2 }")
        .start();
    let mut kept: Vec<_> = (0..2).map(|_| tidegate.connect()).collect();
    for client in &mut kept {
        client.ask("/x");
        assert_eq!(client.response().status, 200);
    }
    assert_ne!(tidegate.connect().end(), End::Ours, "one too many");
    kept.pop();
    eventually("there is room again", || {
        let mut client = tidegate.connect();
        client.try_send("GET /x HTTP/1.1\r\nhost: shop.test\r\n\r\n");
        (client.try_response()?.status == 200).then_some(())
    });
}

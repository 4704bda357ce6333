//! What requests and answers become on their way between HTTP/2 and an endpoint of HTTP/1 (RFC 9113, section 8).

use super::{Scene, fields};
use crate::support::stream_client::{DATA, END_HEADERS, END_STREAM, HEADERS, Stream, block, frame};
use crate::support::{Exchange, StreamClient};

#[test]
fn crumbs_of_cookies_become_one_field_in_their_order() {
    let scene = Scene::start();
    let mut client = scene.client();
    let crumbs = [
        ("cookie", "a=1"),
        ("x-between", "1"),
        ("cookie", "b=2; c=3"),
        ("cookie", "d=\"4\""),
        ("x-between", "2"),
        ("cookie", "e="),
    ];
    let stream = client.open("GET", "/cookies", &crumbs, END_STREAM);
    assert_eq!(client.answer(stream).status(), 200);
    let request = &scene.a.requests()[0];
    let of = |name: &str| -> Vec<&str> {
        let all = request.head.fields.iter();
        all.filter(|it| it.0 == name)
            .map(|it| it.1.as_str())
            .collect()
    };
    assert_eq!(of("cookie"), ["a=1; b=2; c=3; d=\"4\"; e="]);
    assert_eq!(of("x-between").join(", "), "1, 2");
}

#[test]
fn the_authority_becomes_the_host() {
    let scene = Scene::start();
    let mut client = scene.client();
    let alone = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/alone"),
        ("host", "shop.test:8080"),
    ];
    let stream = client.open_with(&alone, END_STREAM);
    assert_eq!(client.answer(stream).status(), 200);
    let any_order = [
        (":path", "/order"),
        (":authority", "shop.test:8080"),
        (":scheme", "http"),
        (":method", "GET"),
    ];
    let stream = client.open_with(&any_order, END_STREAM);
    assert_eq!(client.answer(stream).status(), 200);
    for request in scene.a.requests() {
        let hosts = request.head.fields.iter().filter(|it| it.0 == "host");
        assert_eq!(hosts.count(), 1);
        assert_eq!(request.head.field("host"), Some("shop.test:8080"));
        assert!(request.head.fields.iter().all(|it| !it.0.starts_with(':')));
    }
}

/// RFC 9218: what a client says of urgency is for the endpoint, too.
#[test]
fn a_priority_passes() {
    let scene = Scene::start();
    let mut client = scene.client();
    client.frame(0x10, 0, 0, b"\0\0\0\x01u=0, i");
    let stream = client.open("GET", "/x", &[("priority", "u=1, i")], END_STREAM);
    client.frame(0x10, 0, 0, b"\0\0\0\x01u=7");
    assert_eq!(client.answer(stream).status(), 200);
    let request = &scene.a.requests()[0];
    assert_eq!(request.head.field("priority"), Some("u=1, i"));
}

#[test]
fn methods_and_targets_pass_as_they_are() {
    let scene = Scene::start();
    let mut client = scene.client();
    for (method, path) in [
        ("OPTIONS", "*"),
        ("OPTIONS", "/x"),
        ("DELETE", "/a%20b/%2e?q=%00&x=a+b"),
        ("GET", "/?"),
        ("GET", "//double//slash"),
        ("PROPFIND", "/x;y=z"),
        ("M-SEARCH", "/~a/(b)/'c'"),
    ] {
        let stream = client.open(method, path, &[], END_STREAM);
        assert_eq!(client.answer(stream).status(), 200, "{method} {path}");
        let last = scene.a.requests().pop().unwrap();
        assert_eq!(last.head.start, format!("{method} {path} HTTP/1.1"));
    }
}

/// Bodies of all methods, and ends of all kinds.
#[test]
fn a_request_ends_where_its_stream_does() {
    let scene = Scene::start();
    let mut client = scene.client();
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let stream = client.open(method, "/held", &[], 0);
        client.send(&frame(DATA, 0, stream, b"").repeat(3));
        client.data(stream, b"body", 0);
        client.data(stream, b"", END_STREAM);
        let exchange = scene.a.held();
        assert_eq!(exchange.whole_request().body, b"body", "{method}");
        exchange.answer("ok");
        assert_eq!(client.answer(stream).text(), "ok");
        let stream = client.open(method, "/held", &[], 0);
        client.data(stream, b"", END_STREAM);
        let exchange = scene.a.held();
        assert!(exchange.whole_request().body.is_empty(), "{method}");
        exchange.answer("ok");
        assert_eq!(client.answer(stream).text(), "ok");
    }
}

/// Trailers are the end, also without a field; and they say nothing of what is before them.
#[test]
fn a_request_may_end_with_trailers() {
    let scene = Scene::start();
    let mut client = scene.client();
    let framing = block(&[
        ("content-length", "9"),
        ("host", "other.test"),
        ("x-sum", "4"),
    ]);
    for trailers in [vec![], framing] {
        let stream = client.open("POST", "/held", &[], 0);
        client.data(stream, b"body", 0);
        client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
        let exchange = scene.a.held();
        let request = exchange.whole_request();
        assert_eq!(request.body, b"body");
        let known: Vec<_> = request.trailers.iter().map(|it| it.0.as_str()).collect();
        assert!(known.iter().all(|name| *name == "x-sum"), "{known:?}");
        exchange.answer("ok");
        assert_eq!(client.answer(stream).text(), "ok");
    }
}

/// A request, and what its client gets of this answer.
#[track_caller]
fn answered(scene: &Scene, client: &mut StreamClient, method: &str, answer: &str) -> Stream {
    let stream = client.open_with(
        &[&fields(method, "/held")[..], &[("te", "trailers")]].concat(),
        END_STREAM,
    );
    let exchange: Exchange = scene.a.held();
    exchange.send(answer);
    client.answer(stream)
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let scene = Scene::start();
    let mut client = scene.client();
    for (method, head, length) in [
        ("GET", "204 No Content\r\n", None),
        (
            "GET",
            "304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n",
            Some("5"),
        ),
        ("GET", "304 Not Modified\r\n", None),
        ("HEAD", "200 OK\r\nContent-Length: 5\r\n", Some("5")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n", None),
        ("HEAD", "404 Not Found\r\nContent-Length: 0\r\n", Some("0")),
        ("GET", "200 OK\r\nContent-Length: 0\r\n", Some("0")),
        (
            "POST",
            "201 Created\r\nContent-Length: 0\r\nLocation: /x\r\n",
            Some("0"),
        ),
    ] {
        let answer = answered(&scene, &mut client, method, &format!("HTTP/1.1 {head}\r\n"));
        assert!(head.starts_with(&answer.status().to_string()), "{answer:?}");
        assert!(answer.whole && answer.body.is_empty(), "{head}: {answer:?}");
        if let Some(length) = length {
            assert_eq!(answer.field("content-length"), Some(length), "{head}");
        }
    }
}

/// What is of the endpoint's connection stays there, and every name is in lower case: the client looks at each answer.
#[test]
fn fields_of_the_endpoints_connection_stay_there() {
    let scene = Scene::start();
    let mut client = scene.client();
    let answer = answered(
        &scene,
        &mut client,
        "GET",
        "HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 2\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Connection: keep-alive\r\nX-UPPER-Case: Value\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok",
    );
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.field("x-hop"), None);
    assert_eq!(answer.field("x-upper-case"), Some("Value"));
    let cookies: Vec<_> = answer
        .fields
        .iter()
        .filter(|it| it.0 == "set-cookie")
        .collect();
    assert_eq!(cookies.len(), 2, "{answer:?}");
    let answer = answered(
        &scene,
        &mut client,
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[test]
fn interim_answers_come_before_the_final_one() {
    let scene = Scene::start();
    let mut client = scene.client();
    let answer = answered(
        &scene,
        &mut client,
        "GET",
        "HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    // They may be left out (RFC 9110, section 15.2).
    assert!(
        answer
            .interim
            .iter()
            .all(|status| [102, 103].contains(status))
    );
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
}

/// A head that needs more than one frame, and a field that needs more than one by itself.
#[test]
fn large_heads_come_whole() {
    let scene = Scene::start();
    let mut client = scene.client();
    let many: String = (0..60)
        .map(|at| format!("X-Field-{at}: {}\r\n", "v".repeat(400)))
        .collect();
    let one = format!("X-Long: {}\r\n", "w".repeat(20_000));
    for head in [many, one] {
        let answer = answered(
            &scene,
            &mut client,
            "GET",
            &format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{head}\r\nok"),
        );
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
        let bytes: usize = answer.fields.iter().map(|it| it.1.len()).sum();
        assert!(bytes > 20_000, "{bytes}");
    }
    // The next one is read right, too.
    assert_eq!(client.get("/x").text(), "a");
}

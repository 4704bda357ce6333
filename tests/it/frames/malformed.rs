//! Requests that are malformed (RFC 9113, section 8): their stream is reset, or they are refused; none reaches an endpoint,
//! and the connection goes on.

use super::{Fate, Scene, fate, fields, opening};
use crate::support::StreamClient;
use crate::support::stream_client::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, block, frame,
};

/// A stream was refused, and its connection was not.
#[track_caller]
fn is_refused(client: &mut StreamClient, stream: u32, what: &str) {
    match fate(client, stream) {
        Fate::Reset(PROTOCOL_ERROR) => {}
        Fate::Whole(answer) if answer.status() == 400 => {}
        other => panic!("{what}: {other:?}"),
    }
    assert_eq!(client.get("/behind").status(), 200, "{what}");
}

/// A stream was refused, by itself or with its connection.
#[track_caller]
fn is_refused_somehow(client: &mut StreamClient, stream: u32, what: &str) {
    match fate(client, stream) {
        Fate::Reset(PROTOCOL_ERROR) | Fate::Broken(Some(PROTOCOL_ERROR)) => {}
        Fate::Whole(answer) if answer.status() == 400 => {}
        other => panic!("{what}: {other:?}"),
    }
}

/// Whether any request but the ones behind has come.
fn reached(scene: &Scene) -> Vec<String> {
    let mut paths = scene.a.paths();
    paths.retain(|path| path != "/behind" && path != "/others");
    paths
}

/// What is no name or value at all. A server may take its client for broken, and end the connection.
#[test]
fn what_is_no_field_reaches_nobody() {
    let scene = Scene::start();
    let usual = fields("GET", "/malformed");
    let refused = |fields: &[(&str, &str)]| {
        let mut client = scene.client();
        let stream = client.open_with(fields, END_STREAM);
        is_refused_somehow(&mut client, stream, &format!("{fields:?}"));
    };
    for more in [
        ("X-Upper", "1"),
        ("xUpper", "1"),
        ("", "1"),
        ("x y", "1"),
        (" x", "1"),
        ("x:y", "1"),
        ("x\ty", "1"),
        ("x\0y", "1"),
        ("x\r\ny", "1"),
        ("x\u{7f}", "1"),
        ("x\u{e9}", "1"),
        ("x", "a\0b"),
        ("x", "a\rb"),
        ("x", "a\nb"),
        ("x", "\n"),
        ("x", "a\r\ny: b"),
        ("cookie", "a=1\r\nx: y"),
        (":unknown", "1"),
        (":", "1"),
    ] {
        refused(&[&usual[..], &[more]].concat());
        // Before the others, so that they are not what is looked at.
        refused(&[&[more], &usual[..]].concat());
    }
    for method in ["", "G T", "GET\r\n", "GET / HTTP/1.1\r\n"] {
        refused(&fields(method, "/malformed"));
    }
    assert!(reached(&scene).is_empty(), "{:?}", reached(&scene));
}

#[test]
fn a_malformed_head_reaches_nobody() {
    let scene = Scene::start();
    let mut client = scene.client();
    let usual = fields("GET", "/malformed");
    let mut refused = |what: &str, fields: &[(&str, &str)]| {
        let stream = client.open_with(fields, END_STREAM);
        is_refused(&mut client, stream, what);
    };
    for more in [
        ("connection", "close"),
        ("connection", ""),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("te", "trailers;q=0.5"),
        (":status", "200"),
        (":method", "GET"),
        (":path", "/malformed"),
        (":scheme", "http"),
        (":authority", "shop.test"),
    ] {
        refused(&format!("{more:?}"), &[&usual[..], &[more]].concat());
    }
    for field in usual {
        let without: Vec<_> = usual.into_iter().filter(|own| own.0 != field.0).collect();
        if field.0 != ":authority" {
            refused(&format!("without {}", field.0), &without);
        }
        let late = [&without[..], &[("x", "1"), field]].concat();
        refused(&format!("{} behind a field", field.0), &late);
        let twice = [&[field][..], &usual].concat();
        refused(&format!("{} twice", field.0), &twice);
    }
    for (name, value) in [
        (":path", ""),
        (":path", "/a\r\nb"),
        (":path", "/a\0"),
        (":path", "relative"),
        (":scheme", ""),
        (":authority", "a\r\nb"),
        (":authority", "user@shop.test"),
    ] {
        let mut wrong = usual;
        let own = wrong.iter_mut().find(|it| it.0 == name);
        own.unwrap().1 = value;
        refused(&format!("{name}: {value:?}"), &wrong);
    }
    refused("no field at all", &[]);
    refused("no pseudo field", &[("x", "1")]);
    assert!(reached(&scene).is_empty(), "{:?}", reached(&scene));
}

#[test]
fn a_connect_names_its_target_alone() {
    let scene = Scene::start();
    let mut client = scene.client();
    for (what, fields) in [
        (
            "CONNECT with everything",
            &[
                (":method", "CONNECT"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "shop.test:80"),
            ][..],
        ),
        (
            "CONNECT with a path",
            &[
                (":method", "CONNECT"),
                (":path", "/"),
                (":authority", "shop.test:80"),
            ],
        ),
        (
            "CONNECT with a scheme",
            &[
                (":method", "CONNECT"),
                (":scheme", "http"),
                (":authority", "shop.test:80"),
            ],
        ),
        ("CONNECT to nobody", &[(":method", "CONNECT")]),
        (
            "a protocol without CONNECT",
            &[
                (":method", "GET"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "shop.test"),
            ],
        ),
        (
            "a protocol without a path",
            &[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "shop.test"),
            ],
        ),
    ] {
        let stream = client.open_with(fields, 0);
        is_refused(&mut client, stream, what);
    }
    assert!(reached(&scene).is_empty(), "{:?}", reached(&scene));
}

#[test]
fn malformed_trailers_break_their_request_off() {
    let scene = Scene::start();
    for (what, trailers, flags) in [
        ("an unknown pseudo field", &[(":x", "1")][..], END_STREAM),
        ("an upper case", &[("X-Sum", "1")], END_STREAM),
        (
            "a field of the connection",
            &[("connection", "close")],
            END_STREAM,
        ),
        (
            "a transfer coding",
            &[("transfer-encoding", "chunked")],
            END_STREAM,
        ),
        ("a line's end", &[("x-sum", "1\r\nx: y")], END_STREAM),
        ("no end", &[("x-sum", "1")], 0),
    ] {
        let mut client = scene.client();
        let stream = client.open("POST", "/held", &[], 0);
        let exchange = scene.a.held();
        client.data(stream, b"body", 0);
        exchange.body_of(4);
        client.frame(HEADERS, END_HEADERS | flags, stream, &block(trailers));
        is_refused_somehow(&mut client, stream, what);
        exchange.end();
        let request = exchange.request();
        assert!(
            !request.whole && request.trailers.is_empty(),
            "{what}: {request:?}"
        );
    }
}

/// A length that is none, or that is said in two ways.
#[test]
fn a_length_is_one_number() {
    let scene = Scene::start();
    let mut client = scene.client();
    for lengths in [
        &["5", "6"][..],
        &["5, 6"],
        &["+5"],
        &["-5"],
        &["0x5"],
        &["5 5"],
        &["five"],
        &[""],
        &["18446744073709551616"],
        &["5.0"],
    ] {
        let more: Vec<_> = lengths
            .iter()
            .map(|length| ("content-length", *length))
            .collect();
        let stream = client.open("POST", "/length", &more, 0);
        client.data(stream, b"hello", END_STREAM);
        is_refused(&mut client, stream, &format!("{lengths:?}"));
    }
    // Said with the end of the head.
    let stream = client.open("POST", "/length", &[("content-length", "5")], END_STREAM);
    is_refused(&mut client, stream, "5 bytes of nothing");
    assert!(reached(&scene).is_empty(), "{:?}", reached(&scene));
}

/// DATA of a stream that has said that its body is 5 bytes.
fn some(stream: u32, bytes: &[u8], flags: u8) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

/// Its end by trailers.
fn trailers(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &block(&[("x", "1")]),
    )
}

/// Bodies of another length.
fn wrong(it: u32) -> [Vec<u8>; 6] {
    [
        some(it, b"too long before its end", 0),
        [some(it, b"five!", 0), some(it, b"!", 0)].concat(),
        some(it, b"four", END_STREAM),
        some(it, b"", END_STREAM),
        [some(it, b"four", 0), trailers(it)].concat(),
        trailers(it),
    ]
}

/// Bodies of this length.
fn right(it: u32) -> [Vec<u8>; 4] {
    [
        some(it, b"five!", END_STREAM),
        [some(it, b"five!", 0), some(it, b"", END_STREAM)].concat(),
        [
            some(it, b"", 0),
            some(it, b"five", 0),
            some(it, b"!", END_STREAM),
        ]
        .concat(),
        [some(it, b"five!", 0), trailers(it)].concat(),
    ]
}

#[test]
fn a_body_has_the_length_that_was_said() {
    let scene = Scene::start();
    let mut client = scene.client();
    for case in 0..6 {
        let stream = client.open("POST", "/held", &[("content-length", "5")], 0);
        let exchange = scene.a.held();
        client.send(&wrong(stream)[case]);
        is_refused(&mut client, stream, &format!("{case}"));
        exchange.end();
        assert!(!exchange.request().whole, "{case}");
    }
    for case in 0..4 {
        let stream = client.open("POST", "/held", &[("content-length", "5")], 0);
        client.send(&right(stream)[case]);
        let exchange = scene.a.held();
        assert_eq!(exchange.whole_request().body, b"five!");
        exchange.answer("ok");
        assert_eq!(client.answer(stream).text(), "ok");
    }
    // Nothing is a length, too, with the head or behind it.
    for flags in [END_STREAM, 0] {
        let stream = client.open("POST", "/held", &[("content-length", "0")], flags);
        if flags == 0 {
            client.data(stream, b"", END_STREAM);
        }
        let exchange = scene.a.held();
        assert!(exchange.whole_request().body.is_empty());
        exchange.answer("ok");
        assert_eq!(client.answer(stream).text(), "ok");
    }
}

/// A stream that is malformed leaves the ones beside it alone, whatever they are doing.
#[test]
fn a_malformed_stream_is_alone() {
    let scene = Scene::start();
    let mut client = scene.client();
    let (down, up) = (
        client.ask("/held/down"),
        client.open("POST", "/held/up", &[], 0),
    );
    let mut exchanges = [scene.a.held(), scene.a.held()];
    exchanges.sort_by_key(|exchange| exchange.request().path().len());
    let [upload, download] = exchanges;
    download.begin();
    download.chunk("one");
    client.data(up, b"one", 0);
    client.body_of(down, 3);
    for _ in 0..3 {
        let stream = client.open("GET", "/malformed", &[("connection", "x")], 0);
        is_refused(&mut client, stream, "a field of the connection");
    }
    download.chunk("two");
    download.send("0\r\n\r\n");
    assert_eq!(client.answer(down).text(), "onetwo");
    client.data(up, b"two", END_STREAM);
    assert_eq!(upload.whole_request().body, b"onetwo");
    upload.answer("ok");
    assert_eq!(client.answer(up).text(), "ok");
    client.send(&opening(999, "/behind", END_STREAM));
    assert_eq!(client.answer(999).status(), 200);
}

//! HTTP/2 floods: other clients do not notice, memory stays flat, and no place in flight is left behind.

use super::resident_kib;
use crate::support::stream_client::{
    CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, INTERNAL_ERROR, PING, PREFACE, PROTOCOL_ERROR,
    REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};
use crate::support::{Endpoint, Setup, StreamClient, Tidegate, eventually};

const PRIORITY: u8 = 2;
const CONTINUATION: u8 = 9;
/// Nobody knows what it is (RFC 9113, section 5.5: ignored).
const UNKNOWN: u8 = 0xbb;

/// What an attack on a connection may cost.
const COST_KIB: u64 = 4 * 1024;

fn request(path: &str) -> Vec<u8> {
    block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", path),
    ])
}

/// Sends a flood, as much of it as is taken, and sees what becomes of everybody.
fn survives(tidegate: &Tidegate, name: &str, flood: &[u8]) {
    let mut other = StreamClient::connect(tidegate.address());
    assert_eq!(other.get("/before").status(), 200);
    let before = resident_kib(tidegate);
    let mut client = StreamClient::connect(tidegate.address());
    for piece in flood.chunks(64 * 1024) {
        // Whoever has had enough ends the connection.
        if client.try_send(piece).is_err() {
            break;
        }
    }
    assert_eq!(other.get("/after").status(), 200, "{name}");
    let grown = resident_kib(tidegate).saturating_sub(before);
    assert!(grown < COST_KIB, "{name} costs {grown} KiB");
    drop(client);
    tidegate.in_flight("a", 0);
}

#[test]
fn floods_of_frames_cost_little_and_nobody_else_notices() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).rest("access_log: { sample: 0.0 }").start();
    let opened = frame(HEADERS, END_HEADERS, 1, &request("/flood"));
    let many = |frame: Vec<u8>, count: usize| frame.repeat(count);
    let headers = frame(HEADERS, 0, 1, &request("/flood"));
    let continuations = many(frame(CONTINUATION, 0, 1, &block(&[("x-a", "b")])), 100_000);
    let empty_continuations = many(frame(CONTINUATION, 0, 1, &[]), 100_000);
    for (name, flood) in [
        ("CONTINUATION", [headers.clone(), continuations].concat()),
        (
            "empty CONTINUATION",
            [headers, empty_continuations].concat(),
        ),
        (
            "SETTINGS",
            many(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]), 100_000),
        ),
        ("PING", many(frame(PING, 0, 0, b"12345678"), 100_000)),
        (
            "PRIORITY",
            many(frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]), 100_000),
        ),
        (
            "unknown frames",
            many(frame(UNKNOWN, 0, 0, &[0; 16]), 100_000),
        ),
        (
            "empty DATA",
            [opened.clone(), many(frame(DATA, 0, 1, &[]), 100_000)].concat(),
        ),
        (
            "padding",
            // All of it is padding.
            [
                opened,
                many(frame(DATA, 8, 1, &[&[255][..], &[0; 255]].concat()), 10_000),
            ]
            .concat(),
        ),
    ] {
        survives(&tidegate, name, &flood);
    }
}

/// One long value that is remembered once and named a thousand times (an HPACK bomb).
#[test]
fn a_bomb_of_fields_costs_little() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).rest("access_log: { sample: 0.0 }").start();
    let mut bomb = request("/bomb");
    // A literal that is remembered: name "x", value of 4,000 bytes.
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend([b'y'; 4000]);
    // The newest entry of the table, again and again.
    bomb.extend([0xbe; 4_000]);
    let mut flood = Vec::new();
    for stream in (1..400).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb));
    }
    survives(&tidegate, "an HPACK bomb", &flood);
    assert!(
        !a.paths().iter().any(|path| path == "/bomb"),
        "none is served"
    );
}

/// CVE-2025-8671: the client has the server reset what it has begun to serve.
#[test]
fn streams_that_are_made_to_be_reset_are_bounded() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).rest("access_log: { sample: 0.0 }").start();
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &request("/made"),
        ));
        // No window may grow by nothing (RFC 9113, section 6.9).
        flood.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
    }
    survives(&tidegate, "made-you-reset", &flood);
}

#[test]
fn thousands_of_streams_without_a_window_cost_little() {
    let a = Endpoint::start("a");
    a.answer_with(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}",
        "x".repeat(100_000)
    ));
    let tidegate = Setup::of(&[&a]).rest("access_log: { sample: 0.0 }").start();
    let before = resident_kib(&tidegate);
    let mut client = StreamClient::with_window(tidegate.address(), 0);
    for stream in (1..10_000).step_by(2) {
        let opened = frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &request("/window"),
        );
        if client.try_send(&opened).is_err() {
            break;
        }
    }
    let mut other = StreamClient::connect(tidegate.address());
    assert_eq!(other.get("/other").status(), 200);
    let grown = resident_kib(&tidegate).saturating_sub(before);
    assert!(grown < COST_KIB, "{grown} KiB");
    drop(client);
    tidegate.in_flight("a", 0);
}

#[test]
fn as_many_streams_as_may_be_open_cost_little_while_their_window_is_closed() {
    let a = Endpoint::start("a");
    a.answer_with(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}",
        "x".repeat(1_000_000)
    ));
    // What is freed goes back to the system: nothing that the attack takes has been there before.
    let setup = Setup::of(&[&a]).environment("MIMALLOC_PURGE_DELAY", "0");
    let tidegate = setup.rest("access_log: { sample: 0.0 }").start();
    // Connections that have carried much are read in larger pieces from then on.
    let mut warm: Vec<_> = (0..128).map(|_| tidegate.connect()).collect();
    warm.iter_mut().for_each(|client| client.ask("/warm"));
    for client in &mut warm {
        assert_eq!(client.response().body.len(), 1_000_000);
    }
    drop(warm);
    tidegate.in_flight("a", 0);
    let before = resident_kib(&tidegate);
    let mut client = StreamClient::with_window(tidegate.address(), 0);
    for _ in 0..128 {
        client.ask("/window");
    }
    tidegate.in_flight("a", 128);
    client.until("every answer has begun", |seen| {
        let begun = seen.streams.values().filter(|it| !it.fields.is_empty());
        (begun.count() == 128).then_some(())
    });
    let grown = resident_kib(&tidegate).saturating_sub(before);
    eprintln!("128 streams: {grown} KiB");
    assert!(grown < COST_KIB, "{grown} KiB");
    drop(client);
    tidegate.in_flight("a", 0);
}

#[test]
fn a_stream_whose_window_stays_closed_is_given_up() {
    let a = Endpoint::start("a");
    for length in [10, 1_000_000] {
        a.answer_with(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        ));
        // What has come whole waits for its client alone, and the rest for both.
        let setup = Setup::of(&[&a]).service("idle_timeout: 200ms");
        let tidegate = setup.listener("timeouts: { body: 200ms }").start();
        let mut client = StreamClient::with_window(tidegate.address(), 0);
        let stream = client.ask("/window");
        assert_eq!(client.answer(stream).reset, Some(INTERNAL_ERROR));
        tidegate.in_flight("a", 0);
    }
}

#[test]
fn what_a_client_may_not_do_is_counted_by_its_reason() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::connect(tidegate.address());
    let wrong = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", "/wrong"),
        ("connection", "x"),
    ];
    for _ in 0..3 {
        let stream = client.open_with(&wrong, END_STREAM);
        assert_eq!(client.answer(stream).reset, Some(PROTOCOL_ERROR));
    }
    let series =
        "tidegate_downstream_http2_resets_total{listener=\"http\",reason=\"protocol_error\"}";
    eventually("they are counted", || {
        (tidegate.metric(series) == Some(3.0)).then_some(())
    });
    assert_eq!(client.get("/").status(), 200, "the connection goes on");
}

#[test]
fn one_client_has_so_many_streams_over_all_its_connections() {
    let a = Endpoint::start("a");
    let limits = "limits: { streams_per_client: 5 }";
    let tidegate = Setup::of(&[&a]).listener(limits).start();
    let mut clients = [(); 2].map(|()| StreamClient::connect(tidegate.address()));
    let mut held = Vec::new();
    for number in 0..5 {
        clients[number % 2].ask("/held");
        held.push(a.held());
    }
    for client in &mut clients {
        let refused = client.ask("/one-more");
        assert_eq!(client.answer(refused).reset, Some(REFUSED_STREAM));
    }
    assert_eq!(a.count(), 5);
    let series =
        "tidegate_downstream_http2_resets_total{listener=\"http\",reason=\"refused_stream\"}";
    eventually("they are counted", || {
        (tidegate.metric(series) == Some(2.0)).then_some(())
    });
    held.pop().unwrap().answer("done");
    tidegate.in_flight("a", 4);
    assert_eq!(clients[1].get("/").status(), 200, "there is room again");
    let mut plain = tidegate.connect();
    assert_eq!(plain.get("/").status, 200, "a connection is no stream");
}

#[test]
fn nothing_that_ends_a_line_comes_through_from_a_stream() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let usual = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", "/x"),
    ];
    let with = |name: &'static str, value: &'static str| {
        let mut fields: Vec<(&str, &str)> = usual.to_vec();
        match fields.iter_mut().find(|(own, _)| *own == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
        fields
    };
    for fields in [
        with("x", "a\r\nhost: evil"),
        with("x", "a\nb"),
        with("x", "a\rb"),
        with("x", "a\0b"),
        with("x\r\ny", "a"),
        with("x y", "a"),
        with("x:", "a"),
        with("X-Upper", "a"),
        with("", "a"),
        with(":path", "/a b"),
        with(":path", "/a\r\nhost: evil"),
        with(":path", "/a#b"),
        with(":path", "a"),
        with(":path", ""),
        with(":method", "GET / HTTP/1.1\r\n"),
        with(":method", ""),
        with(":method", "G T"),
        with(":authority", "a/b"),
        with(":authority", "u@a"),
        with(":authority", "a#b"),
        with(":authority", ""),
        with(":scheme", "ftp"),
        with(":status", "200"),
        with("transfer-encoding", "chunked"),
        with("upgrade", "h2c"),
    ] {
        let mut client = StreamClient::connect(tidegate.address());
        let stream = client.open_with(&fields, END_STREAM);
        let answer = client.until("an end", |seen| {
            if seen.ended || !seen.goaways.is_empty() {
                return Some(None);
            }
            let stream = seen.streams.get(&stream)?;
            (stream.whole || stream.reset.is_some()).then(|| Some(stream.clone()))
        });
        let refused = answer.is_none_or(|answer| answer.reset.is_some() || answer.status() == 400);
        let cut = a.paths().iter().all(|path| path == "/a");
        assert!(refused || cut, "{fields:?}");
    }
    assert!(
        a.requests()
            .iter()
            .all(|request| request.head.field("host") == Some("shop.test"))
    );
    assert!(a.paths().iter().all(|path| !path.contains(['#', ' '])));
}

#[test]
fn a_length_is_said_once_to_the_endpoint_and_is_the_bodys() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::connect(tidegate.address());
    let equal = [("content-length", "5"), ("content-length", "5")];
    let stream = client.open("POST", "/equal", &equal, 0);
    client.data(stream, b"hello", END_STREAM);
    let answer = client.answer(stream);
    if answer.status() == 200 {
        let request = &a.requests()[0];
        let lengths = request
            .head
            .fields
            .iter()
            .filter(|(name, _)| name == "content-length");
        assert_eq!((lengths.count(), request.body.len()), (1, 5));
    }
    let different = [("content-length", "5"), ("content-length", "6")];
    let stream = client.open("POST", "/different", &different, END_STREAM);
    let answer = client.answer(stream);
    assert!(
        answer.reset.is_some() || answer.status() == 400,
        "{answer:?}"
    );
    for body in ["longer than it", "it"] {
        let stream = client.open("POST", "/held", &[("content-length", "5")], 0);
        let exchange = a.held();
        client.data(stream, body.as_bytes(), END_STREAM);
        let answer = client.answer(stream);
        assert_eq!(answer.reset, Some(PROTOCOL_ERROR), "{body}");
        exchange.end();
        assert!(!exchange.request().whole, "{body}");
    }
    tidegate.in_flight("a", 0);
}

#[test]
fn a_stream_that_is_cancelled_gives_its_place_back_at_once() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::connect(tidegate.address());
    for _ in 0..10 {
        let stream = client.ask("/held");
        let exchange = a.held();
        client.frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        exchange.end();
    }
    tidegate.in_flight("a", 0);
    eventually("no connection with the endpoint is left", || {
        (a.open() == 0).then_some(())
    });
}

#[test]
fn what_only_begins_like_a_preface_is_no_request() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::silent(tidegate.address());
    let mut wrong = PREFACE.to_vec();
    wrong[20] = b'X';
    let _ = client.try_send(&[&wrong[..], b"GET /smuggled HTTP/1.1\r\nhost: s\r\n\r\n"].concat());
    let mut client = tidegate.connect();
    assert_eq!(client.get("/").status, 200);
    assert!(!a.paths().iter().any(|path| path == "/smuggled"));
}

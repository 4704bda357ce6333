//! Floods by clients that never read, or read nothing of what they have asked for: memory stays bounded, others are served,
//! and no place in flight is left behind.

use super::{Scene, asking, opening, setting};
use crate::support::stream_client::{
    CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use crate::support::{Setup, StreamClient, eventually};

/// What an attack on a connection may cost.
const COST_KIB: u64 = 4 * 1024;

/// What sockets take of a flood when nobody reads it, and more.
const FLOOD: usize = 24 << 20;

fn quiet(setup: Setup) -> Setup {
    // What is freed goes back to the system.
    setup
        .rest("access_log: { sample: 0.0 }")
        .environment("MIMALLOC_PURGE_DELAY", "0")
}

/// A client that sends this, as long as it is taken, and reads nothing at all.
#[track_caller]
fn survives(scene: &Scene, what: &str, mut client: StreamClient, flood: &[u8], cost_kib: u64) {
    let mut other = scene.client();
    assert_eq!(other.get("/before").status(), 200);
    let before = scene.tidegate.resident_kib();
    let sent = client.flood(flood);
    assert_eq!(other.get("/beside").status(), 200, "{what}");
    let grown = scene.tidegate.resident_kib().saturating_sub(before);
    assert!(grown < cost_kib, "{what}: {grown} KiB after {sent} bytes");
    eprintln!("{what}: {grown} KiB after {sent} bytes");
    drop(client);
    scene.tidegate.in_flight("a", 0);
    assert_eq!(other.get("/behind").status(), 200, "{what}");
}

fn many(frame: &[u8]) -> Vec<u8> {
    frame.repeat(FLOOD / frame.len())
}

#[test]
fn floods_that_ask_for_answers_are_not_answered_into_memory() {
    let scene = Scene::with(quiet);
    for (what, one) in [
        ("PING", frame(PING, 0, 0, b"12345678")),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        (
            "SETTINGS of windows",
            [setting(4, 1), setting(4, 2)].concat(),
        ),
        (
            "PING and SETTINGS",
            [frame(PING, 0, 0, b"12345678"), setting(1, 0)].concat(),
        ),
    ] {
        survives(&scene, what, scene.client(), &many(&one), COST_KIB);
    }
}

#[test]
fn floods_that_ask_for_nothing_cost_nothing() {
    let scene = Scene::with(quiet);
    let window = |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]);
    let open = opening(1, "/held", 0);
    for (what, first, one) in [
        ("WINDOW_UPDATE", vec![], window(0)),
        ("WINDOW_UPDATE of a stream", open.clone(), window(1)),
        ("DATA of one byte", open.clone(), frame(DATA, 0, 1, b"x")),
        ("DATA of nothing", open.clone(), frame(DATA, 0, 1, b"")),
        ("DATA of padding", open, frame(DATA, 8, 1, &[0])),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        (
            "PRIORITY of many streams",
            vec![],
            (1..20_000)
                .flat_map(|it| frame(PRIORITY, 0, it, &[0, 0, 0, 0, 1]))
                .collect(),
        ),
        ("unknown frames", vec![], frame(0xbb, 0, 0, b"")),
    ] {
        let flood = [first, one.repeat((4 << 20) / one.len())].concat();
        survives(&scene, what, scene.client(), &flood, COST_KIB);
    }
}

/// Requests whose answers nobody reads, one behind the other.
#[test]
fn floods_of_requests_cost_little() {
    let scene = Scene::with(quiet);
    let streams = || (1..400_000).step_by(2);
    let requests: Vec<u8> = streams()
        .flat_map(|it| opening(it, "/flood", END_STREAM))
        .collect();
    survives(&scene, "requests", scene.client(), &requests, COST_KIB);
    let wrong = [asking("/flood"), block(&[("connection", "x")])].concat();
    let wrong = |it| frame(HEADERS, END_HEADERS | END_STREAM, it, &wrong);
    let requests: Vec<u8> = streams().take(60_000).flat_map(wrong).collect();
    survives(
        &scene,
        "malformed requests",
        scene.client(),
        &requests,
        COST_KIB,
    );
    let cancelled = |it| {
        [
            opening(it, "/flood", 0),
            frame(RST_STREAM, 0, it, &CANCEL.to_be_bytes()),
        ]
        .concat()
    };
    let requests: Vec<u8> = streams().take(60_000).flat_map(cancelled).collect();
    survives(
        &scene,
        "requests that are reset",
        scene.client(),
        &requests,
        COST_KIB,
    );
    let uploads = |it| [opening(it, "/held", 0), frame(DATA, 0, it, b"x")].concat();
    let requests: Vec<u8> = streams().take(60_000).flat_map(uploads).collect();
    survives(
        &scene,
        "uploads without an end",
        scene.client(),
        &requests,
        2 * COST_KIB,
    );
}

/// All windows are open, and the socket is not read: what is held is what one connection may hold.
#[test]
fn large_answers_that_nobody_reads_cost_little() {
    let scene = Scene::with(quiet);
    scene.a.answer_with(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n{}",
        "x".repeat(4_000_000)
    ));
    let requests: Vec<u8> = (1..200)
        .step_by(2)
        .flat_map(|it| opening(it, "/large", END_STREAM))
        .collect();
    let mut other = scene.client();
    assert_eq!(other.get("/before").status(), 200);
    let before = scene.tidegate.resident_kib();
    let mut client = StreamClient::connect(scene.tidegate.address());
    client.send(&requests);
    eventually("all of it is asked for", || {
        (scene.a.asked("/large") == 100).then_some(())
    });
    // Others get theirs whole in the meantime.
    for _ in 0..3 {
        assert_eq!(other.get("/beside").body.len(), 4_000_000);
    }
    let grown = scene.tidegate.resident_kib().saturating_sub(before);
    eprintln!("100 answers: {grown} KiB");
    assert!(grown < UNREAD_KIB, "{grown} KiB");
    // Nothing is lost: now it reads.
    for stream in (1..200).step_by(2) {
        assert_eq!(client.answer(stream).body.len(), 4_000_000);
    }
    scene.tidegate.in_flight("a", 0);
}

/// Of a hundred streams, each of which may have 64 KiB waiting.
const UNREAD_KIB: u64 = 16 * 1024;

/// A connection may live long: of streams that are over nothing is left.
#[test]
fn thousands_of_requests_leave_nothing() {
    let scene = Scene::with(quiet);
    let mut client = scene.client();
    let mut many = |rounds: usize| {
        for _ in 0..rounds {
            let streams: Vec<_> = (0..50)
                .map(|at| match at % 5 {
                    0 => client.open("POST", "/body", &[], 0),
                    _ => client.ask("/x"),
                })
                .collect();
            for stream in streams.iter().step_by(5) {
                client.data(*stream, b"body", END_STREAM);
            }
            for stream in streams {
                assert_eq!(client.answer(stream).status(), 200);
            }
        }
    };
    many(10);
    let before = scene.tidegate.resident_kib();
    many(60);
    let grown = scene.tidegate.resident_kib().saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB");
}

/// An upload that comes byte by byte arrives so.
#[test]
fn a_drip_arrives() {
    let scene = Scene::start();
    let mut client = scene.client();
    let stream = client.open("POST", "/held", &[], 0);
    let exchange = scene.a.held();
    for count in 1..=60 {
        client.data(stream, b"x", 0);
        exchange.body_of(count);
    }
    client.data(stream, b"", END_STREAM);
    exchange.whole_request();
    exchange.answer("ok");
    assert_eq!(client.answer(stream).text(), "ok");
}

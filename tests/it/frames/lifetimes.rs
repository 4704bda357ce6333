//! What may be sent on a stream, and when: its number, its begin and its end (RFC 9113, section 5.1).

use super::{CLOSED, Fate, Scene, asking, fate, opening};
use crate::support::stream_client::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, PROTOCOL_ERROR,
    RST_STREAM, WINDOW_UPDATE, WITH_PRIORITY, block, frame,
};

const ONE: [u8; 4] = [0, 0, 0, 1];

#[test]
fn numbers_of_streams_are_odd_and_rise() {
    let scene = Scene::start();
    for stream in [2, 4, 1 << 30] {
        let even = [opening(stream, "/even", END_STREAM)];
        scene.breaks("an even number", &even, &[PROTOCOL_ERROR]);
    }
    // Lower ones are over as soon as a higher one is open.
    let lower = [
        opening(5, "/held", END_STREAM),
        opening(3, "/lower", END_STREAM),
    ];
    scene.breaks("a lower number", &lower, &CLOSED);
    let mut client = scene.client();
    client.send(&opening(5, "/x", END_STREAM));
    client.answer(5);
    let again = [opening(5, "/again", END_STREAM)];
    scene.client_breaks(client, "a number again", &again, &CLOSED);
    assert!(
        !scene
            .a
            .paths()
            .iter()
            .any(|path| ["/even", "/lower", "/again"].contains(&&**path))
    );
    // Numbers may be left out, and the highest one is as good as any.
    let mut client = scene.client();
    for stream in [7, 9, 1001, (1 << 31) - 1] {
        client.send(&opening(stream, "/x", END_STREAM));
        assert_eq!(client.answer(stream).status(), 200);
    }
}

#[test]
fn nothing_but_a_head_opens_a_stream() {
    let scene = Scene::start();
    for (what, wrong) in [
        ("DATA", frame(DATA, 0, 3, b"x")),
        ("DATA of nothing", frame(DATA, END_STREAM, 3, &[])),
        ("RST_STREAM", frame(RST_STREAM, 0, 3, &CANCEL.to_be_bytes())),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 3, &ONE)),
        (
            "CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 3, &asking("/x")),
        ),
        (
            "RST_STREAM of an even one",
            frame(RST_STREAM, 0, 2, &CANCEL.to_be_bytes()),
        ),
        (
            "WINDOW_UPDATE of an even one",
            frame(WINDOW_UPDATE, 0, 2, &ONE),
        ),
        ("DATA of an even one", frame(DATA, 0, 2, b"x")),
    ] {
        scene.breaks(what, std::slice::from_ref(&wrong), &[PROTOCOL_ERROR]);
        let behind = [opening(1, "/held", 0), wrong];
        scene.breaks(what, &behind, &[PROTOCOL_ERROR]);
    }
}

/// The client has said that nothing more comes, and the answer is still to come.
#[test]
fn nothing_follows_the_end_of_a_request() {
    let scene = Scene::start();
    let data = frame(DATA, 0, 1, b"more");
    let end = frame(DATA, END_STREAM, 1, b"");
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &asking("/again"));
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "1")]));
    for ended in [
        vec![opening(1, "/held", END_STREAM)],
        vec![opening(1, "/held", 0), frame(DATA, END_STREAM, 1, b"body")],
        vec![opening(1, "/held", 0), trailers.clone()],
    ] {
        for (what, more) in [
            ("DATA", &data),
            ("the end once more", &end),
            ("a head", &head),
            ("trailers", &trailers),
        ] {
            let frames = [&ended[..], std::slice::from_ref(more)].concat();
            scene.fails(what, &frames, &CLOSED);
        }
        let mut client = scene.client();
        client.send(&ended.concat());
        // Such frames are allowed there.
        client.frame(WINDOW_UPDATE, 0, 1, &ONE);
        client.frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
        client.settle();
        client.reset(1, CANCEL);
        assert_eq!(client.get("/behind").status(), 200);
    }
    assert_eq!(scene.a.asked("/again"), 0);
}

#[test]
fn nothing_follows_both_ends() {
    let scene = Scene::start();
    for (what, wrong) in [
        ("DATA", frame(DATA, END_STREAM, 1, b"more")),
        ("a head", opening(1, "/again", END_STREAM)),
    ] {
        let mut client = scene.client();
        client.get("/x");
        client.send(&wrong);
        client.send(&opening(3, "/held", END_STREAM));
        // The connection's end, the stream's, or, where it has been forgotten, none.
        let failed = client.until(what, |seen| {
            let reset = seen.streams.get(&1).and_then(|stream| stream.reset);
            let goaway = seen.goaways.last().map(|(_, code)| *code);
            reset.or(goaway)
        });
        assert!(CLOSED.contains(&failed), "{what}: {failed}");
    }
    assert_eq!(scene.a.asked("/again"), 0);
    // These may have been under way.
    scene.ignores(
        "late frames",
        &[
            frame(WINDOW_UPDATE, 0, 1, &ONE),
            frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()),
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        ],
    );
}

/// What a client sends behind its own RST_STREAM.
#[test]
fn nothing_follows_a_reset() {
    let scene = Scene::start();
    let reset = || frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    for (what, more) in [
        ("DATA", frame(DATA, END_STREAM, 1, b"more")),
        ("a head", opening(1, "/again", END_STREAM)),
    ] {
        let mut client = scene.client();
        client.send(&[opening(1, "/held", 0), reset(), more].concat());
        client.send(&opening(3, "/x", END_STREAM));
        // STREAM_CLOSED, of the stream or of the connection, or no word of it.
        match fate(&mut client, 3) {
            Fate::Whole(answer) => assert_eq!(answer.status(), 200, "{what}"),
            Fate::Broken(Some(code)) => assert!(CLOSED.contains(&code), "{what}: {code}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    for late in [
        frame(WINDOW_UPDATE, 0, 1, &ONE),
        reset(),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
    ] {
        let mut client = scene.client();
        client.send(&[opening(1, "/held", 0), reset(), late].concat());
        assert_eq!(client.get("/x").status(), 200);
    }
    assert_eq!(scene.a.asked("/again"), 0);
}

/// The server's RST_STREAM may meet frames that were under way (section 5.1): they are passed over, and the connection's
/// window gets back what they took of it.
#[test]
fn what_was_under_way_when_the_server_reset_is_passed_over() {
    let scene = Scene::start();
    let mut client = scene.client();
    // More than the connection's window, over many streams, each of which is reset for its head.
    for stream in (1..160).step_by(2) {
        let wrong = [&asking("/reset")[..], &block(&[("connection", "x")])].concat();
        client.frame(HEADERS, END_HEADERS, stream, &wrong);
        for _ in 0..2 {
            client.frame(DATA, 0, stream, &[b'd'; 16_000]);
        }
        client.frame(WINDOW_UPDATE, 0, stream, &ONE);
        match fate(&mut client, stream) {
            Fate::Reset(code) => assert_eq!(code, PROTOCOL_ERROR),
            Fate::Whole(answer) => assert_eq!(answer.status(), 400),
            other => panic!("{other:?}"),
        }
    }
    let stream = client.open("POST", "/held", &[], 0);
    assert_eq!(client.upload(stream, &[b'd'; 2 << 20]), 2 << 20);
    let exchange = scene.a.held();
    assert_eq!(exchange.whole_request().body.len(), 2 << 20);
    exchange.answer("ok");
    assert_eq!(client.answer(stream).text(), "ok");
    assert_eq!(scene.a.asked("/reset"), 0);
}

#[test]
fn priorities_are_passed_over() {
    let scene = Scene::start();
    scene.ignores(
        "PRIORITY",
        &[
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]),
            frame(PRIORITY, 0, 3, &[0x80, 0, 0, 1, 0]),
            frame(PRIORITY, 0, 101, &[0, 0, 0, 7, 0]),
            frame(PRIORITY, 0, 2, &[0, 0, 0, 1, 0]),
        ],
    );
    let mut client = scene.client();
    let head = [&[0x80, 0, 0, 0, 7][..], &asking("/held")].concat();
    client.frame(HEADERS, END_HEADERS | WITH_PRIORITY | END_STREAM, 1, &head);
    client.frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
    scene.a.held().answer("ok");
    assert_eq!(client.answer(1).text(), "ok");
    // A stream that depends on itself was an error once (RFC 7540), and says nothing now.
    let head = [&[0, 0, 0, 1, 7][..], &asking("/itself")].concat();
    for frames in [
        vec![frame(
            HEADERS,
            END_HEADERS | WITH_PRIORITY | END_STREAM,
            1,
            &head,
        )],
        vec![
            opening(1, "/held", 0),
            frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 7]),
            opening(3, "/x", END_STREAM),
        ],
    ] {
        let mut client = scene.client();
        client.send(&frames.concat());
        let last = if frames.len() > 1 { 3 } else { 1 };
        match fate(&mut client, last) {
            Fate::Whole(answer) => assert_eq!(answer.status(), 200),
            Fate::Reset(code) | Fate::Broken(Some(code)) => assert_eq!(code, PROTOCOL_ERROR),
            other => panic!("{other:?}"),
        }
    }
}

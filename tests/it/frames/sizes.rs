//! Frames whose size, stream, type or flags are not what they should be (RFC 9113, sections 4 to 6).

use super::{SIZE, Scene, asking, opening, setting};
use crate::support::stream_client::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_SIZE_ERROR, GOAWAY, HEADERS,
    PADDED, PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};

/// The largest payload that tidegate has said it takes.
const LARGEST: usize = 16_384;

#[test]
fn a_frame_that_is_too_large_is_an_error() {
    let scene = Scene::start();
    let large = vec![0; LARGEST + 1];
    for (what, frames) in [
        ("HEADERS", vec![frame(HEADERS, END_HEADERS, 1, &large)]),
        (
            "CONTINUATION",
            vec![
                frame(HEADERS, 0, 1, &asking("/large")),
                frame(CONTINUATION, END_HEADERS, 1, &large),
            ],
        ),
        ("SETTINGS", vec![frame(SETTINGS, 0, 0, &vec![0; 16_386])]),
        ("PING", vec![frame(PING, 0, 0, &large)]),
        ("GOAWAY", vec![frame(GOAWAY, 0, 0, &large)]),
        ("WINDOW_UPDATE", vec![frame(WINDOW_UPDATE, 0, 0, &large)]),
        (
            "the largest of all",
            vec![[255, 255, 255, 1, 4, 0, 0, 0, 1].to_vec()],
        ),
    ] {
        scene.breaks(what, &frames, &[FRAME_SIZE_ERROR]);
    }
    let upload = [opening(1, "/held", 0), frame(DATA, 0, 1, &large)];
    scene.fails("DATA", &upload, &[FRAME_SIZE_ERROR]);
    // Also where nobody knows what it is: it is looked at before it is passed over.
    scene.breaks(
        "an unknown frame",
        &[frame(0xbb, 0, 0, &large)],
        &[FRAME_SIZE_ERROR],
    );
}

#[test]
fn the_largest_frames_are_taken() {
    let scene = Scene::start();
    let mut client = scene.client();
    let mut fields = asking("/held");
    // Padding of a head: a field that is not remembered.
    let value = vec![b'v'; LARGEST - fields.len() - 6];
    fields.extend([0, 1, b'x', 0x7f]);
    let over = value.len() - 127;
    fields.extend([(over & 0x7f) as u8 | 0x80, (over >> 7) as u8]);
    fields.extend(&value);
    assert_eq!(fields.len(), LARGEST);
    client.frame(HEADERS, END_HEADERS, 1, &fields);
    client.frame(DATA, END_STREAM, 1, &vec![b'd'; LARGEST]);
    let exchange = scene.a.held();
    let request = exchange.whole_request();
    assert_eq!(request.body.len(), LARGEST);
    assert_eq!(request.head.field("x").map(str::len), Some(value.len()));
    exchange.answer("ok");
    assert_eq!(client.answer(1).text(), "ok");
}

#[test]
fn a_frame_of_the_wrong_size_is_an_error() {
    let scene = Scene::start();
    let open = || opening(1, "/held", 0);
    for (what, frames) in [
        ("SETTINGS of 5", vec![frame(SETTINGS, 0, 0, &[0; 5])]),
        ("SETTINGS of 7", vec![frame(SETTINGS, 0, 0, &[0; 7])]),
        (
            "an acknowledgement that says something",
            vec![frame(SETTINGS, ACK, 0, &[0; 6])],
        ),
        ("PING of 7", vec![frame(PING, 0, 0, &[0; 7])]),
        ("PING of 9", vec![frame(PING, 0, 0, &[0; 9])]),
        ("PING of nothing", vec![frame(PING, ACK, 0, &[])]),
        (
            "RST_STREAM of 3",
            vec![open(), frame(RST_STREAM, 0, 1, &[0; 3])],
        ),
        (
            "RST_STREAM of 5",
            vec![open(), frame(RST_STREAM, 0, 1, &[0; 5])],
        ),
        (
            "WINDOW_UPDATE of 3",
            vec![frame(WINDOW_UPDATE, 0, 0, &[1; 3])],
        ),
        (
            "WINDOW_UPDATE of 5",
            vec![frame(WINDOW_UPDATE, 0, 0, &[1; 5])],
        ),
        (
            "WINDOW_UPDATE of a stream",
            vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1, 0])],
        ),
        ("GOAWAY of 7", vec![frame(GOAWAY, 0, 0, &[0; 7])]),
    ] {
        scene.breaks(what, &frames, &SIZE);
    }
    for size in [4, 6] {
        let priority = [open(), frame(PRIORITY, 0, 1, &vec![0; size])];
        scene.fails("PRIORITY", &priority, &SIZE);
    }
    // Too short for what their flags say is in them (section 4.2).
    let padded = [open(), frame(DATA, PADDED, 1, &[])];
    scene.fails("DATA without the length of its padding", &padded, &SIZE);
    for flags in [PADDED, 32, PADDED | 32] {
        let head = [frame(HEADERS, END_HEADERS | flags, 1, &[])];
        scene.breaks("HEADERS without what it needs", &head, &SIZE);
    }
}

#[test]
fn a_frame_on_the_wrong_stream_is_an_error() {
    let scene = Scene::start();
    for (what, wrong) in [
        ("DATA of the connection", frame(DATA, 0, 0, b"x")),
        (
            "HEADERS of the connection",
            frame(HEADERS, END_HEADERS, 0, &asking("/x")),
        ),
        (
            "RST_STREAM of the connection",
            frame(RST_STREAM, 0, 0, &CANCEL.to_be_bytes()),
        ),
        ("PRIORITY of the connection", frame(PRIORITY, 0, 0, &[0; 5])),
        (
            "CONTINUATION of the connection",
            frame(CONTINUATION, END_HEADERS, 0, &[]),
        ),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[])),
        ("PING of a stream", frame(PING, 0, 1, &[0; 8])),
        ("GOAWAY of a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        (
            "PUSH_PROMISE",
            frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                &[&[0, 0, 0, 2][..], &asking("/x")].concat(),
            ),
        ),
        (
            "PUSH_PROMISE of the connection",
            frame(PUSH_PROMISE, END_HEADERS, 0, &[0; 4]),
        ),
    ] {
        scene.breaks(what, std::slice::from_ref(&wrong), &[PROTOCOL_ERROR]);
        let behind = [opening(1, "/held", 0), wrong];
        if !what.ends_with("of a stream") {
            scene.breaks(what, &behind, &[PROTOCOL_ERROR]);
        }
    }
    assert_eq!(scene.a.asked("/x"), 0);
}

#[test]
fn what_nobody_knows_is_passed_over() {
    let scene = Scene::start();
    scene.ignores(
        "unknown frames",
        &[
            frame(0xbb, 0xff, 0, b"of the connection"),
            frame(0xbb, 0xff, 3, b"of a stream that is not open"),
            frame(0xfe, 0, 1, b"of one that is over"),
            frame(0x0c, 0, 0, &[]),
            frame(0x10, 0, 0, b"\0\0\0\x03u=1"),
            frame(0xbb, 0, 0, &[0; LARGEST]),
        ],
    );
    let known = setting(2, 0);
    scene.ignores(
        "unknown settings",
        &[known, setting(0, 1), setting(0xabcd, u32::MAX)],
    );
    scene.ignores(
        "unknown flags of PING",
        &[frame(PING, 0xfe, 0, b"12345678")],
    );
    scene.ignores(
        "unknown flags of SETTINGS",
        &[frame(SETTINGS, 0xfe, 0, &[])],
    );
    let window = 1u32.to_be_bytes();
    scene.ignores(
        "unknown flags of WINDOW_UPDATE",
        &[frame(WINDOW_UPDATE, 0xff, 0, &window)],
    );
    // Unknown flags and the reserved bit of a request's own frames.
    let mut client = scene.client();
    client.frame(HEADERS, END_HEADERS | 0xd2, 1 | 1 << 31, &asking("/held"));
    client.frame(0xbb, 0xff, 1, b"in a request");
    client.frame(DATA, 0xf6, 1 | 1 << 31, b"some ");
    client.frame(DATA, END_STREAM | 0xf6, 1, b"body");
    let exchange = scene.a.held();
    assert_eq!(exchange.whole_request().body, b"some body");
    exchange.answer("ok");
    assert_eq!(client.answer(1).text(), "ok");
    // The reserved bit of a window counts for nothing, and not for a window that is too large.
    client.frame(WINDOW_UPDATE, 0, 1 << 31, &(1 | 1u32 << 31).to_be_bytes());
    assert_eq!(client.get("/behind").status(), 200);
}

#[test]
fn a_ping_is_answered_with_what_it_says() {
    let scene = Scene::start();
    let mut client = scene.client();
    // The client looks at each answer.
    for payload in [[0; 8], [255; 8], *b"a\0b\r\nc\x7fd"] {
        client.frame(PING, 0, 0, &payload);
    }
    // One that nobody has asked for is passed over.
    client.frame(PING, ACK, 0, b"nobodys!");
    client.settle();
    assert_eq!(client.seen().pings, 0);
}

/// The client leaves: what it has opened is finished.
#[test]
fn a_goaway_of_the_client_leaves_what_is_open() {
    let scene = Scene::start();
    let mut client = scene.client();
    let streams = [client.ask("/held"), client.open("POST", "/held", &[], 0)];
    let exchanges = [scene.a.held(), scene.a.held()];
    let mut payload = vec![0; 8];
    payload.extend(b"and why");
    client.frame(GOAWAY, 0, 0, &payload);
    client.data(streams[1], b"body", END_STREAM);
    for exchange in &exchanges {
        exchange.whole_request();
        exchange.answer("ok");
    }
    for stream in streams {
        assert_eq!(client.answer(stream).text(), "ok");
    }
}

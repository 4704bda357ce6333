//! Windows towards the server, and padding (RFC 9113, sections 6.1, 6.2 and 6.9): what is taken, what is given back, and what
//! becomes of a client that takes more than it may.

use super::{Fate, Scene, asking, fate, opening};
use crate::support::stream_client::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    HEADERS, PADDED, PROTOCOL_ERROR, STREAM_CLOSED, WITH_PRIORITY, block, frame,
};
use crate::support::{Endpoint, Exchange, Setup, StreamClient};

/// What uploads of the tests have: smaller windows are not to be had.
const WINDOW: usize = 64 * 1024;

fn narrow(setup: Setup) -> Setup {
    setup.listener("limits: { stream_window: 64KiB, connection_window: 64KiB }")
}

/// A payload with so many bytes of padding.
fn padded(payload: &[u8], padding: u8) -> Vec<u8> {
    let zeros = vec![0; usize::from(padding)];
    [&[padding][..], payload, &zeros].concat()
}

#[test]
fn padding_is_taken_off() {
    let scene = Scene::start();
    let mut client = scene.client();
    for (stream, padding) in (1..).step_by(2).zip([0, 1, 7, 100, 255]) {
        let fields = padded(&asking("/held"), padding);
        client.frame(HEADERS, END_HEADERS | PADDED, stream, &fields);
        client.frame(DATA, PADDED, stream, &padded(b"some ", padding));
        client.frame(DATA, PADDED, stream, &padded(b"", padding));
        client.frame(DATA, PADDED, stream, &padded(b"body", padding));
        let trailers = padded(&block(&[("x-sum", "9")]), padding);
        client.frame(
            HEADERS,
            END_HEADERS | END_STREAM | PADDED,
            stream,
            &trailers,
        );
        let exchange = scene.a.held();
        let request = exchange.whole_request();
        assert_eq!(
            (request.path(), &request.body[..]),
            ("/held", &b"some body"[..])
        );
        assert_eq!(request.trailers, [("x-sum".to_owned(), "9".to_owned())]);
        exchange.answer("ok");
        assert_eq!(client.answer(stream).text(), "ok");
    }
    // With a priority, and in pieces: padding is in the first one alone.
    let fields = asking("/pieces");
    let (front, back) = fields.split_at(9);
    let first = padded(&[&[0, 0, 0, 0, 16][..], front].concat(), 9);
    client.frame(HEADERS, PADDED | WITH_PRIORITY | END_STREAM, 101, &first);
    client.frame(CONTINUATION, END_HEADERS | PADDED, 101, back);
    assert_eq!(client.answer(101).status(), 200);
    assert_eq!(scene.a.asked("/pieces"), 1);
}

#[test]
fn padding_is_no_longer_than_its_frame() {
    let scene = Scene::start();
    let open = || opening(1, "/held", 0);
    for payload in [&[1][..], &[5, 0, 0, 0, 0], &[255; 200]] {
        let data = [open(), frame(DATA, PADDED, 1, payload)];
        scene.breaks("DATA", &data, &[PROTOCOL_ERROR]);
        let head = [frame(
            HEADERS,
            END_HEADERS | END_STREAM | PADDED,
            1,
            payload,
        )];
        scene.breaks("HEADERS", &head, &[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
    }
    // The priority is not there for padding.
    let head = [frame(
        HEADERS,
        END_HEADERS | PADDED | WITH_PRIORITY,
        1,
        &padded(&[0; 4], 3),
    )];
    scene.breaks(
        "a priority of padding",
        &head,
        &[FRAME_SIZE_ERROR, PROTOCOL_ERROR],
    );
    // All of it is padding.
    let mut client = scene.client();
    client.send(&open());
    client.frame(DATA, PADDED, 1, &padded(b"", 255));
    client.frame(DATA, PADDED | END_STREAM, 1, &[0]);
    let exchange = scene.a.held();
    assert!(exchange.whole_request().body.is_empty());
    exchange.answer("ok");
    assert_eq!(client.answer(1).text(), "ok");
}

/// Padding takes of the windows, and is given back with what it surrounds.
#[test]
fn padding_is_given_back() {
    let scene = Scene::with(narrow);
    let mut client = scene.client();
    let stream = client.open("POST", "/held", &[], 0);
    let exchange = scene.a.held();
    let payload = padded(&[b'd'; 200], 255);
    let mut body = 0;
    // Five times the windows.
    while body < 200 * WINDOW * 5 / payload.len() {
        if client.may_send(stream) < payload.len() {
            client.until_window(stream, payload.len());
        }
        client.frame(DATA, PADDED, stream, &payload);
        body += 200;
    }
    client.data(stream, b"", END_STREAM);
    assert_eq!(exchange.whole_request().body, vec![b'd'; body]);
    exchange.answer("ok");
    assert_eq!(client.answer(stream).text(), "ok");
}

/// The endpoint's only connection is taken: requests wait, and nothing of their bodies is read.
fn occupied(limits: &str) -> (Scene, StreamClient, Exchange) {
    let scene = Scene::with(|setup| {
        setup
            .listener(limits)
            .service("limits: { connections_per_endpoint: 1 }")
    });
    let mut client = scene.client();
    client.ask("/held");
    let exchange = scene.a.held();
    (scene, client, exchange)
}

#[test]
fn more_than_a_window_is_an_error() {
    let (scene, first, exchange) = occupied("limits: { stream_window: 64KiB }");
    let mut client = scene.client();
    client.send(&opening(1, "/waits", 0));
    // To the last byte it is right.
    for _ in 0..4 {
        client.data(1, &[b'd'; 16_384], 0);
    }
    client.settle();
    assert!(client.seen().goaways.is_empty(), "{:?}", client.seen());
    // A server may keep the front of a body for a second attempt, but not all of this.
    let _ = client.try_send(&frame(DATA, 0, 1, &[b'd'; 16_384]).repeat(60));
    match fate(&mut client, 1) {
        Fate::Reset(code) | Fate::Broken(Some(code)) => assert_eq!(code, FLOW_CONTROL_ERROR),
        other => panic!("{other:?}"),
    }
    exchange.answer("ok");
    drop(first);
}

/// Each stream keeps to its window, and all together take too much.
#[test]
fn more_than_the_connections_window_ends_it() {
    let (scene, first, exchange) =
        occupied("limits: { stream_window: 1MiB, connection_window: 64KiB }");
    let mut client = scene.client();
    let mut flood = Vec::new();
    for stream in (1..200).step_by(2) {
        flood.extend(opening(stream, "/waits", 0));
        flood.extend(frame(DATA, 0, stream, &[b'd'; 16_384]));
    }
    let _ = client.try_send(&flood);
    client.end();
    let code = client.seen().goaways.last().map(|(_, code)| *code);
    assert_eq!(code, Some(FLOW_CONTROL_ERROR));
    exchange.answer("ok");
    drop(first);
}

#[test]
fn uploads_larger_than_all_windows_reach_an_endpoint_that_reads_late() {
    let scene = Scene::with(narrow);
    scene.a.deaf(true);
    let mut client = scene.client();
    let body: Vec<u8> = (0..16_000_000u32).map(|at| (at / 251) as u8).collect();
    let stream = client.open("POST", "/held", &[], 0);
    // Until tidegate and the sockets have enough.
    let mut sent = 0;
    while sent < body.len() && client.may_send(stream) > 0 {
        let piece = client.may_send(stream).min(body.len() - sent);
        client.data(stream, &body[sent..sent + piece], 0);
        sent += piece;
        client.settle();
    }
    assert!(sent < body.len(), "nobody reads");
    scene.a.deaf(false);
    assert_eq!(client.upload(stream, &body[sent..]), body.len() - sent);
    let exchange = scene.a.held();
    assert!(exchange.whole_request().body == body);
    exchange.answer("ok");
    assert_eq!(client.answer(stream).text(), "ok");
}

/// What nobody reads any more is given back to the connection: of uploads that were answered early, cancelled or refused.
#[test]
fn what_is_not_read_is_given_back() {
    let scene = Scene::with(|setup| {
        setup
            .listener("limits: { stream_window: 64KiB, connection_window: 64KiB }")
            .service("limits: { request_body: 100KiB }")
    });
    let mut client = scene.client();
    for round in 0..6 {
        // Too long, as is found in the middle.
        let long = client.open("POST", "/held", &[], 0);
        assert!(client.upload(long, &[b'd'; 1 << 20]) < 1 << 20);
        assert_eq!(client.answer(long).status(), 413);
        scene.a.held().end();
        // Answered early by the endpoint.
        let early = client.open("POST", "/held", &[], 0);
        let exchange = scene.a.held();
        client.data(early, &[b'd'; 10_000], 0);
        exchange.answer("enough");
        assert_eq!(client.answer(early).text(), "enough");
        // Cancelled.
        let cancelled = client.open("POST", "/held", &[], 0);
        let exchange = scene.a.held();
        client.data(cancelled, &[b'd'; 10_000], 0);
        client.reset(cancelled, CANCEL);
        exchange.end();
        // Malformed.
        let more = [("connection", "close")];
        let malformed = client.open("POST", "/malformed", &more, 0);
        client.data(malformed, &[b'd'; 10_000], END_STREAM);
        assert!(client.answer(malformed).is_over());
        let whole = client.open("POST", "/held", &[], 0);
        assert_eq!(client.upload(whole, &[b'd'; 90_000]), 90_000, "{round}");
        let exchange = scene.a.held();
        assert_eq!(exchange.whole_request().body.len(), 90_000);
        exchange.answer("ok");
        assert_eq!(client.answer(whole).text(), "ok");
    }
}

/// The same where the request has not reached anybody, and the whole body waits: it is cancelled, or found to be wrong.
#[test]
fn what_waits_unread_is_given_back() {
    let (scene, mut client, exchange) =
        occupied("limits: { stream_window: 64KiB, connection_window: 64KiB }");
    for round in 0..6 {
        let stream = client.open("POST", "/waits", &[("content-length", "50000")], 0);
        client.until_window(stream, 16_384);
        for _ in 0..3 {
            client.until_window(stream, 16_384);
            client.data(stream, &[b'd'; 16_384], 0);
        }
        client.settle();
        if round % 2 == 0 {
            client.reset(stream, CANCEL);
        } else {
            client.data(stream, b"too short", END_STREAM);
            assert!(client.answer(stream).is_over());
        }
    }
    exchange.answer("ok");
    let whole = client.open("POST", "/whole", &[], 0);
    assert_eq!(client.upload(whole, &[b'd'; 200_000]), 200_000);
    assert_eq!(client.answer(whole).status(), 200);
    assert_eq!(scene.a.asked("/waits"), 0);
}

/// The same of what should not have come: more than was promised, or behind the end.
#[test]
fn what_is_in_error_is_given_back() {
    let scene = Scene::with(narrow);
    let mut client = scene.client();
    for round in 0..6 {
        let long = client.open("POST", "/long", &[("content-length", "5")], 0);
        client.until_window(long, 16_000);
        client.data(long, &[b'd'; 16_000], 0);
        let reset = client.answer(long).reset;
        assert_eq!(reset, Some(PROTOCOL_ERROR), "{round}");
        let ended = client.ask("/held");
        let exchange = scene.a.held();
        client.until_window(ended, 16_000);
        client.data(ended, &[b'd'; 16_000], 0);
        let reset = client.answer(ended).reset;
        assert_eq!(reset, Some(STREAM_CLOSED), "{round}");
        exchange.end();
    }
}

/// The same of what its own window does not let through.
#[test]
fn more_than_a_window_is_given_back() {
    let (scene, mut client, exchange) =
        occupied("limits: { stream_window: 64KiB, connection_window: 256KiB }");
    for round in 0..20 {
        let stream = client.open("POST", "/waits", &[], 0);
        for _ in 0..5 {
            // The connection's window has room for it: that is what another stream would have.
            client.until_window(stream + 2, 16_384);
            client.data(stream, &[b'd'; 16_384], 0);
        }
        let reset = client.answer(stream).reset;
        assert_eq!(reset, Some(FLOW_CONTROL_ERROR), "{round}");
    }
    exchange.answer("ok");
    assert_eq!(scene.a.asked("/waits"), 0);
}

/// The same of what comes behind a refusal, whose answer still waits for the client.
#[test]
fn what_comes_behind_a_refusal_is_given_back() {
    let scene = Scene::with(|setup| narrow(setup).service("limits: { request_body: 20KiB }"));
    let mut client = StreamClient::with_window(scene.tidegate.address(), 0);
    client.settle();
    for _ in 0..6 {
        let stream = client.open("POST", "/held", &[], 0);
        let exchange = scene.a.held();
        client.data(stream, &[b'd'; 16_000], 0);
        exchange.body_of(16_000);
        client.data(stream, &[b'd'; 8_000], 0);
        client.until("a head", |seen| {
            (seen.streams.get(&stream)?.status() == 413).then_some(())
        });
        assert!(!client.seen().streams[&stream].is_over(), "it has a body");
        client.until_window(stream, 16_000);
        client.data(stream, &[b'd'; 16_000], 0);
        client.settle();
        exchange.end();
    }
}

/// One upload that nobody reads takes no more than its own window of the connection's.
#[test]
fn an_upload_that_stalls_holds_up_no_other() {
    let b = Endpoint::start("b");
    let scene = Scene::with(|setup| {
        setup.listener("limits: { stream_window: 64KiB, connection_window: 128KiB }")
    });
    scene.a.deaf(true);
    let mut client = scene.client();
    let stalled = client.open("POST", "/held", &[], 0);
    while client.may_send(stalled) > 0 {
        let piece = vec![b'd'; client.may_send(stalled)];
        client.data(stalled, &piece, 0);
        client.settle();
    }
    scene.tidegate.file().set(&[b.line("")]);
    scene.tidegate.is("b", "ready");
    scene.tidegate.is("a", "draining");
    let other = client.open("POST", "/held", &[], 0);
    assert_eq!(client.upload(other, &[b'd'; 1 << 20]), 1 << 20);
    let exchange = b.held();
    assert_eq!(exchange.whole_request().body.len(), 1 << 20);
    exchange.answer("ok");
    assert_eq!(client.answer(other).text(), "ok");
    scene.a.deaf(false);
    client.reset(stalled, CANCEL);
    scene.tidegate.is_gone("a");
}

/// Neither direction waits for the other.
#[test]
fn a_stream_goes_both_ways_at_once() {
    let scene = Scene::with(narrow);
    let mut client = scene.client();
    let stream = client.open("POST", "/held", &[], 0);
    let exchange = scene.a.held();
    let body: Vec<u8> = (0..3_000_000u32).map(|at| (at / 253) as u8).collect();
    exchange.begin();
    std::thread::scope(|scope| {
        scope.spawn(|| exchange.chunk(&"x".repeat(3_000_000)));
        client.body_of(stream, 100_000);
        assert_eq!(client.upload(stream, &body), body.len());
    });
    assert!(exchange.whole_request().body == body);
    exchange.send("0\r\n\r\n");
    assert_eq!(client.answer(stream).body.len(), 3_000_000);
}

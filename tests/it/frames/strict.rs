//! What is easily forgiven, and must not be (RFC 9113, sections 3.4, 5.1, 6.8, 8.1 and 8.2.1).

use rustix::process::Signal;

use super::{Fate, Scene, asking, fate, fields, opening};
use crate::support::StreamClient;
use crate::support::stream_client::{
    ACK, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PROTOCOL_ERROR, SETTINGS, WINDOW_UPDATE,
    block, frame,
};

#[test]
fn a_connection_begins_with_settings() {
    let scene = Scene::start();
    for (what, first) in [
        ("a request", opening(1, "/first", END_STREAM)),
        ("an acknowledgement", frame(SETTINGS, ACK, 0, &[])),
        ("a PING", frame(PING, 0, 0, b"12345678")),
        ("a window", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("an unknown frame", frame(0xbb, 0, 0, b"")),
    ] {
        let mut client = StreamClient::silent(scene.tidegate.address());
        client.send(PREFACE);
        let _ = client.try_send(&[first, opening(3, "/first", END_STREAM)].concat());
        // A GOAWAY may be left out.
        client.end();
        assert!(client.seen().streams.values().all(|it| !it.whole), "{what}");
    }
    assert_eq!(scene.a.asked("/first"), 0);
}

#[test]
fn trailers_have_no_pseudo_fields() {
    let scene = Scene::start();
    for trailers in [
        &[(":path", "/x")][..],
        &[(":status", "200")],
        &fields("GET", "/second"),
    ] {
        let mut client = scene.client();
        let stream = client.open("POST", "/held", &[], 0);
        let exchange = scene.a.held();
        client.data(stream, b"body", 0);
        client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(trailers));
        match fate(&mut client, stream) {
            Fate::Reset(code) | Fate::Broken(Some(code)) => assert_eq!(code, PROTOCOL_ERROR),
            Fate::Whole(answer) => assert_eq!(answer.status(), 400),
            Fate::Broken(None) => panic!("{trailers:?}"),
        }
        exchange.end();
        assert!(!exchange.request().whole, "{trailers:?}");
    }
    assert_eq!(scene.a.asked("/second"), 0);
}

#[test]
fn values_have_no_space_around_them() {
    let scene = Scene::start();
    for value in [" a", "a ", "\ta", "a\t", " "] {
        let mut client = scene.client();
        let stream = client.open("GET", "/space", &[("x", value)], END_STREAM);
        match fate(&mut client, stream) {
            Fate::Reset(code) | Fate::Broken(Some(code)) => assert_eq!(code, PROTOCOL_ERROR),
            Fate::Whole(answer) => assert_eq!(answer.status(), 400, "{value:?}"),
            Fate::Broken(None) => panic!("{value:?}"),
        }
    }
    assert_eq!(scene.a.asked("/space"), 0);
}

/// They were under way when the stream was reset.
#[test]
fn late_trailers_are_passed_over() {
    let scene = Scene::start();
    let mut client = scene.client();
    let wrong = [&asking("/reset")[..], &block(&[("connection", "x")])].concat();
    let trailers = block(&[("x-late", "1")]);
    for stream in (1..160).step_by(2) {
        client.frame(HEADERS, END_HEADERS, stream, &wrong);
        client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
    }
    assert_eq!(client.get("/x").status(), 200);
    assert_eq!(scene.a.asked("/reset"), 0);
}

/// P11: whatever belongs to a stream above the last one.
#[test]
fn a_window_of_a_stream_above_the_last_is_passed_over() {
    let mut scene =
        Scene::with(|setup| setup.rest("shutdown: { wait_period: 100ms, grace_period: 20s }"));
    let mut client = scene.client();
    let stream = client.ask("/held");
    let exchange = scene.a.held();
    scene.tidegate.signal(Signal::TERM);
    client.until("the last GOAWAY", |seen| {
        (seen.goaways.len() == 2).then_some(())
    });
    client.send(&opening(101, "/late", 0));
    client.send(&frame(WINDOW_UPDATE, 0, 101, &[0, 0, 0, 1]));
    client.settle();
    exchange.answer("ok");
    assert_eq!(client.answer(stream).text(), "ok");
    drop(client);
    assert!(scene.tidegate.exit().success());
    scene.over = true;
}

/// A client may not write our log.
#[test]
fn answers_to_pings_that_nobody_sent_are_not_logged() {
    let scene = Scene::start();
    let mut client = scene.client();
    client.send(&frame(PING, ACK, 0, b"nobodys!").repeat(1_000));
    client.settle();
    assert!(scene.tidegate.tells("PING") < 10);
}

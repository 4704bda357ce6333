//! How connections and streams end (P5, P11; RFC 9113, sections 5.4, 6.8 and 8.1): what GOAWAY names, what is still served
//! behind it, and what a client's own end leaves.

use rustix::process::Signal;

use super::{Fate, Scene, fate, opening, setting};
use crate::support::StreamClient;
use crate::support::stream_client::{
    CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, PING, PROTOCOL_ERROR, frame,
};

/// The largest number of a stream: none is excluded yet.
const LAST: u32 = (1 << 31) - 1;

/// Whoever gets a GOAWAY may send again what is above it, and nothing else.
#[test]
fn a_goaway_for_an_error_names_the_last_stream_that_was_served() {
    let scene = Scene::start();
    let mut client = scene.client();
    for stream in [1, 3, 7] {
        client.send(&opening(stream, "/held", END_STREAM));
        drop(scene.a.held());
    }
    let wrong = frame(DATA, 0, 0, b"x");
    client.send(&[wrong, opening(9, "/behind", END_STREAM)].concat());
    client.end();
    assert_eq!(client.seen().goaways, [(7, PROTOCOL_ERROR)]);
    // Before any stream.
    let mut client = scene.client();
    client.send(&frame(PING, 0, 5, &[0; 8]));
    client.end();
    assert_eq!(client.seen().goaways, [(0, PROTOCOL_ERROR)]);
    assert_eq!(scene.a.asked("/behind"), 0);
    scene.tidegate.in_flight("a", 0);
}

/// P11: what is open goes on in every way, what is new is not looked at, and nobody takes it for an error.
#[test]
fn behind_the_last_goaway_nothing_is_opened_and_all_else_goes_on() {
    let mut scene =
        Scene::with(|setup| setup.rest("shutdown: { wait_period: 100ms, grace_period: 20s }"));
    let mut client = scene.client();
    let (down, up) = (
        client.ask("/held/down"),
        client.open("POST", "/held/upload", &[], 0),
    );
    let mut exchanges = [scene.a.held(), scene.a.held()];
    exchanges.sort_by_key(|exchange| exchange.request().path().len());
    let [download, upload] = exchanges;
    download.begin();
    scene.tidegate.signal(Signal::TERM);
    client.until("the last GOAWAY", |seen| {
        (seen.goaways.len() == 2).then_some(())
    });
    assert_eq!(client.seen().goaways, [(LAST, NO_ERROR), (up, NO_ERROR)]);
    // New ones, which nobody answers; and what belongs to them.
    for stream in [101, 103] {
        client.send(&opening(stream, "/late", 0));
        client.data(stream, b"body", 0);
        client.reset(stream, CANCEL);
    }
    // What they remember in the table of fields counts (RFC 9113, section 4.3).
    client.frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        105,
        &[&[0x82, 0x86, 0x84][..], b"\x41\x09shop.test"].concat(),
    );
    client.send(&setting(4, 1 << 20));
    client.settle();
    client.data(up, b"some ", 0);
    download.chunk("one");
    client.body_of(down, 3);
    client.data(up, b"body", END_STREAM);
    assert_eq!(upload.whole_request().body, b"some body");
    upload.answer("taken");
    assert_eq!(client.answer(up).text(), "taken");
    download.chunk("two");
    download.send("0\r\n\r\n");
    assert_eq!(client.answer(down).text(), "onetwo");
    client.end();
    assert_eq!(client.seen().goaways.len(), 2);
    assert_eq!(scene.a.count(), 2);
    drop(client);
    assert!(scene.tidegate.exit().success());
    scene.over = true;
}

/// P11: a stream that was opened before the client could know is served, at the last moment, too.
#[test]
fn behind_the_first_goaway_everything_is_served() {
    let mut scene =
        Scene::with(|setup| setup.rest("shutdown: { wait_period: 300ms, grace_period: 20s }"));
    let mut client = scene.client();
    client.answer_pings(false);
    let held = client.ask("/held");
    let exchange = scene.a.held();
    scene.tidegate.signal(Signal::TERM);
    client.until("a PING", |seen| (seen.pings == 1).then_some(()));
    assert_eq!(client.seen().goaways, [(LAST, NO_ERROR)]);
    let late = client.open("POST", "/held/late", &[], 0);
    let other = scene.a.held();
    exchange.answer("ok");
    assert_eq!(client.answer(held).text(), "ok");
    client.data(late, b"body", END_STREAM);
    assert_eq!(other.whole_request().body, b"body");
    other.answer("late");
    assert_eq!(client.answer(late).text(), "late");
    client.end();
    assert_eq!(client.seen().goaways, [(LAST, NO_ERROR), (late, NO_ERROR)]);
    drop(client);
    assert!(scene.tidegate.exit().success());
    scene.over = true;
}

/// An answer that comes before the upload is over is whole; then the client is told to stop, or may go on.
#[test]
fn an_early_answer_is_whole_and_the_upload_no_error() {
    let scene = Scene::start();
    let mut client = scene.client();
    for _ in 0..3 {
        let stream = client.open("POST", "/held", &[], 0);
        let exchange = scene.a.held();
        client.data(stream, b"some", 0);
        exchange.body_of(4);
        exchange
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\nConnection: close\r\n\r\nenough");
        let answer = client.answer(stream);
        assert_eq!((answer.status(), answer.text().as_str()), (403, "enough"));
        assert!(answer.whole, "{answer:?}");
        assert!([None, Some(NO_ERROR)].contains(&answer.reset), "{answer:?}");
        drop(exchange);
        // What the client had sent by then, and its end, are no errors.
        client.data(stream, b" more", 0);
        client.data(stream, b" of it", END_STREAM);
        client.settle();
        let reset = client.seen().streams[&stream].reset;
        assert!([None, Some(NO_ERROR)].contains(&reset), "{reset:?}");
        scene.tidegate.in_flight("a", 0);
    }
    assert_eq!(client.get("/behind").status(), 200);
}

/// A client that closes its half of the connection may be gone, or wait for its answers: both end, and soon.
#[test]
fn a_client_that_sends_no_more_is_answered_or_let_go() {
    let scene = Scene::start();
    let mut client = scene.client();
    let asked = [(); 2].map(|()| (client.ask("/held"), scene.a.held()));
    client.open("POST", "/held", &[], 0);
    let upload = scene.a.held();
    client.finish();
    for (_, exchange) in &asked {
        exchange.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    for (stream, _) in &asked {
        match fate(&mut client, *stream) {
            Fate::Whole(answer) => assert_eq!(answer.text(), "ok"),
            Fate::Broken(_) | Fate::Reset(_) => {}
        }
    }
    // The upload can never be whole.
    upload.end();
    assert!(!upload.request().whole);
    client.end();
    scene.tidegate.in_flight("a", 0);
}

/// Wherever its frames are cut, and whatever it was doing.
#[test]
fn a_client_that_disappears_within_a_frame_leaves_nothing() {
    let scene = Scene::start();
    let open = opening(3, "/never", END_STREAM);
    let data = frame(DATA, END_STREAM, 1, b"the rest");
    for (what, cut) in [
        ("a frame's head", &open[..4]),
        ("a head", &open[..20]),
        ("DATA", &data[..12]),
        ("DATA's head", &data[..8]),
        ("nothing", &[]),
    ] {
        let mut client = StreamClient::connect(scene.tidegate.address());
        client.send(&opening(1, "/held", 0));
        client.data(1, b"begun", 0);
        let exchange = scene.a.held();
        exchange.body_of(5);
        client.send(cut);
        drop(client);
        exchange.end();
        assert!(!exchange.request().whole, "{what}");
        scene.tidegate.in_flight("a", 0);
    }
    assert_eq!(scene.a.asked("/never"), 0);
}

/// Also where the answer is under way, and nobody takes it.
#[test]
fn a_client_that_disappears_within_an_answer_leaves_nothing() {
    let scene = Scene::start();
    for window in [0, 10, 100_000] {
        let mut client = StreamClient::with_window(scene.tidegate.address(), window);
        let exchanges: Vec<_> = (0..5)
            .map(|_| {
                client.ask("/held");
                let exchange = scene.a.held();
                exchange.begin();
                exchange.chunk(&"x".repeat(50_000));
                exchange
            })
            .collect();
        scene.tidegate.in_flight("a", 5);
        drop(client);
        scene.tidegate.in_flight("a", 0);
        for exchange in exchanges {
            exchange.end();
        }
    }
}

/// P11: a client that does not say that it knows is not waited for.
#[test]
fn a_goaway_that_nobody_answers_is_followed_by_the_last_one() {
    let scene = Scene::with(|setup| setup.listener("timeouts: { keep_alive: 100ms, ping: 0s }"));
    let mut client = scene.client();
    client.answer_pings(false);
    assert_eq!(client.get("/x").status(), 200);
    client.end();
    assert_eq!(client.seen().goaways, [(LAST, NO_ERROR), (1, NO_ERROR)]);
}

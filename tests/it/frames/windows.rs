//! Windows towards the client (RFC 9113, sections 5.2 and 6.9). The client sees for itself that none is overrun.

use super::{Fate, Scene, acknowledged, fate, opening, set, setting};
use crate::support::stream_client::{
    CANCEL, END_STREAM, FLOW_CONTROL_ERROR, PREFACE, PROTOCOL_ERROR, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::support::{Exchange, StreamClient, eventually};

/// What the connection's window begins with.
const CONNECTION: usize = 65_535;

/// Lets so much more through, of a stream or of the connection (0).
fn more(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A client of few bytes: streams begin with this window, and the connection with its usual one.
fn narrow(scene: &Scene, window: u32) -> StreamClient {
    let mut client = StreamClient::with_window(scene.tidegate.address(), window);
    acknowledged(&mut client, 1);
    client
}

/// A body that shows whether pieces are lost, doubled or swapped.
fn body(bytes: usize) -> String {
    let mut body: String = (0..bytes / 8 + 1).map(|at| format!("{at:08}")).collect();
    body.truncate(bytes);
    body
}

/// Asks for a body, which has been read by tidegate as far as it wants to.
fn ask(scene: &Scene, client: &mut StreamClient, bytes: usize) -> (u32, Exchange) {
    let stream = client.ask("/held");
    let exchange = scene.a.held();
    exchange.answer(&body(bytes));
    (stream, exchange)
}

/// What has come of a body once everything that may come has: exactly so much.
#[track_caller]
fn has(client: &mut StreamClient, stream: u32, bytes: usize) {
    client.body_of(stream, bytes);
    // More would have to come before this.
    client.settle();
    let have = &client.seen().streams[&stream].body;
    assert_eq!(have.len(), bytes);
    assert!(body(bytes).as_bytes() == have, "another body");
}

#[test]
fn a_body_waits_for_its_window_and_for_the_connections() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 10);
    let (stream, _exchange) = ask(&scene, &mut client, 100_000);
    has(&mut client, stream, 10);
    client.send(&more(stream, 1));
    has(&mut client, stream, 11);
    client.send(&more(stream, 99));
    has(&mut client, stream, 110);
    // The connection's window is what is left.
    client.send(&more(stream, 1 << 20));
    has(&mut client, stream, CONNECTION);
    client.send(&more(0, 1));
    has(&mut client, stream, CONNECTION + 1);
    client.send(&more(0, 1 << 20));
    assert_eq!(client.answer(stream).text(), body(100_000));
}

#[test]
fn a_body_comes_byte_by_byte() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 1);
    let (stream, _exchange) = ask(&scene, &mut client, 300);
    for bytes in 1..300 {
        client.body_of(stream, bytes);
        client.send(&more(stream, 1));
    }
    assert_eq!(client.answer(stream).text(), body(300));
}

/// Neither a head, nor a body of nothing, nor trailers need a window.
#[test]
fn what_is_no_data_needs_no_window() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 0);
    let head = client.open("HEAD", "/head", &[], END_STREAM);
    assert_eq!(client.answer(head).status(), 200);
    let empty = client.ask("/held");
    scene.a.held().answer("");
    assert_eq!(client.answer(empty).status(), 200);
    let trailers = client.open("GET", "/held", &[("te", "trailers")], END_STREAM);
    let exchange = scene.a.held();
    exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n0\r\nx-sum: 0\r\n\r\n");
    let answer = client.answer(trailers);
    assert_eq!((answer.status(), answer.body.len()), (200, 0));
    // The end of a body that has come whole needs none either.
    let exact = client.ask("/held");
    let exchange = scene.a.held();
    exchange.begin();
    exchange.chunk("five!");
    client.send(&more(exact, 5));
    client.body_of(exact, 5);
    exchange.send("0\r\n\r\n");
    assert_eq!(client.answer(exact).text(), "five!");
}

/// Trailers need no window, but they come behind the body, which does.
#[test]
fn trailers_wait_for_their_body() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 4);
    let stream = client.open("GET", "/held", &[("te", "trailers")], END_STREAM);
    let exchange = scene.a.held();
    exchange.begin();
    exchange.chunk("some body");
    exchange.send("0\r\nx-sum: 9\r\n\r\n");
    client.body_of(stream, 4);
    client.settle();
    assert!(!client.seen().streams[&stream].whole);
    client.send(&more(stream, 4));
    client.body_of(stream, 8);
    client.settle();
    assert!(!client.seen().streams[&stream].whole);
    client.send(&more(stream, 1));
    let answer = client.answer(stream);
    assert_eq!(answer.text(), "some body");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "9".to_owned())]);
}

#[test]
fn the_first_window_may_change_while_bodies_are_under_way() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 1_000);
    let (one, _one) = ask(&scene, &mut client, 5_000);
    has(&mut client, one, 1_000);
    // Up: all streams get the difference.
    set(&mut client, 4, 1_500);
    has(&mut client, one, 1_500);
    // Down: the window is 1,000 below nothing, and must be filled up first.
    set(&mut client, 4, 500);
    client.send(&more(one, 999));
    has(&mut client, one, 1_500);
    client.send(&more(one, 1));
    has(&mut client, one, 1_500);
    client.send(&more(one, 1));
    has(&mut client, one, 1_501);
    // One that is new begins with what holds now.
    let (other, _other) = ask(&scene, &mut client, 5_000);
    has(&mut client, other, 500);
    set(&mut client, 4, 0);
    set(&mut client, 4, 600);
    has(&mut client, other, 600);
    has(&mut client, one, 1_601);
    // Several in one frame, or at once: the last one counts.
    let (first, last) = (setting(4, 0), setting(4, 700));
    client.send(&frame(SETTINGS, 0, 0, &[&first[9..], &last[9..]].concat()));
    has(&mut client, other, 700);
    client.send(&[setting(4, 1), setting(4, 100_000)].concat());
    for stream in [one, other] {
        assert_eq!(client.answer(stream).text(), body(5_000));
    }
}

/// Also before the stream's own answer has begun.
#[test]
fn a_window_may_be_opened_ahead_of_the_body() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 0);
    let stream = client.ask("/held");
    client.send(&more(stream, 3_000));
    set(&mut client, 4, 50);
    let exchange = scene.a.held();
    exchange.answer(&body(4_000));
    has(&mut client, stream, 3_050);
    client.send(&more(stream, 950));
    assert_eq!(client.answer(stream).text(), body(4_000));
}

/// Settings that come with the preface hold for what comes with them.
#[test]
fn the_first_settings_hold_for_the_first_request() {
    let scene = Scene::start();
    let mut client = StreamClient::silent(scene.tidegate.address());
    client.send(
        &[
            PREFACE.to_vec(),
            setting(4, 7),
            opening(1, "/held", END_STREAM),
        ]
        .concat(),
    );
    let exchange = scene.a.held();
    exchange.answer(&body(100));
    has(&mut client, 1, 7);
    client.send(&more(1, 100));
    assert_eq!(client.answer(1).text(), body(100));
}

#[test]
fn a_window_that_grows_too_large_is_an_error() {
    let scene = Scene::start();
    let most = (1u32 << 31) - 1;
    // `client` has given 2^30 to the connection, and to each stream.
    let whole = [more(0, most)];
    scene.breaks("the connection's window", &whole, &[FLOW_CONTROL_ERROR]);
    let steps = [more(0, 1 << 29), more(0, 1 << 29)];
    scene.breaks("the same in steps", &steps, &[FLOW_CONTROL_ERROR]);
    let stream = [opening(1, "/held", 0), more(1, most)];
    scene.fails("a stream's window", &stream, &[FLOW_CONTROL_ERROR]);
    let steps = [opening(1, "/held", 0), more(1, 1 << 29), more(1, 1 << 29)];
    scene.fails("the same in steps", &steps, &[FLOW_CONTROL_ERROR]);
    let settings = [opening(1, "/held", 0), more(1, 1 << 29), setting(4, most)];
    scene.breaks("a stream's by SETTINGS", &settings, &[FLOW_CONTROL_ERROR]);
    for window in [1 << 31, u32::MAX] {
        scene.breaks(
            "the first window",
            &[setting(4, window)],
            &[FLOW_CONTROL_ERROR],
        );
    }
    // The largest ones are right.
    let mut client = narrow(&scene, most);
    client.send(&more(0, most - CONNECTION as u32));
    let (stream, _exchange) = ask(&scene, &mut client, 200_000);
    assert_eq!(client.answer(stream).text(), body(200_000));
    let mut client = narrow(&scene, 0);
    let (stream, _exchange) = ask(&scene, &mut client, 100);
    client.send(&more(stream, most));
    assert_eq!(client.answer(stream).text(), body(100));
}

#[test]
fn a_window_that_grows_by_nothing_is_an_error() {
    let scene = Scene::start();
    scene.breaks("the connection's", &[more(0, 0)], &[PROTOCOL_ERROR]);
    let stream = [opening(1, "/held", 0), more(1, 0)];
    scene.fails("a stream's", &stream, &[PROTOCOL_ERROR]);
    // The reserved bit counts for nothing.
    scene.breaks("the connection's", &[more(0, 1 << 31)], &[PROTOCOL_ERROR]);
    // The connection may go on, and its other streams with it.
    let mut client = scene.client();
    let (stream, exchange) = (client.ask("/held"), scene.a.held());
    client.send(&more(stream, 0));
    if let Fate::Reset(code) = fate(&mut client, stream) {
        assert_eq!(code, PROTOCOL_ERROR);
        assert_eq!(client.get("/x").status(), 200);
    }
    exchange.end();
}

/// Whoever takes nothing holds up nobody but himself: not others of his connection, while that has a window ...
#[test]
fn a_stream_that_waits_holds_up_no_other() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 100);
    let (stalled, _stalled) = ask(&scene, &mut client, 1_000_000);
    has(&mut client, stalled, 100);
    for _ in 0..5 {
        let (stream, _exchange) = ask(&scene, &mut client, 10_000);
        client.send(&more(stream, 10_000));
        assert_eq!(client.answer(stream).text(), body(10_000));
    }
    has(&mut client, stalled, 100);
    client.send(&[more(stalled, 2_000_000), more(0, 2_000_000)].concat());
    assert_eq!(client.answer(stalled).text(), body(1_000_000));
}

/// ... and what a stream that was reset had not sent yet is not lost for the connection.
#[test]
fn a_reset_takes_nothing_of_the_connections_window() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 1 << 20);
    let (first, one) = ask(&scene, &mut client, 1_000_000);
    has(&mut client, first, CONNECTION);
    // Much of it waits for the connection's window; it is given up.
    client.reset(first, CANCEL);
    one.end();
    scene.tidegate.in_flight("a", 0);
    client.send(&more(0, 20_000));
    let (second, _two) = ask(&scene, &mut client, 20_000);
    assert_eq!(client.answer(second).text(), body(20_000));
}

/// The same where it is the socket that it waits for.
#[test]
fn what_a_reset_leaves_unsent_is_left_to_others() {
    let scene = Scene::start();
    let window = 12 << 20;
    let mut client = narrow(&scene, window);
    client.send(&more(0, window - CONNECTION as u32));
    // More than sockets take, which nobody reads; and it is for the windows to let it all through.
    scene.a.answer_with(answer(window as usize));
    let streams = [(); 8].map(|()| client.ask("/reset"));
    eventually("all are under way", || {
        (scene.a.asked("/reset") == streams.len()).then_some(())
    });
    client.until("some of it", |seen| (seen.data > 0).then_some(()));
    for stream in streams {
        client.reset(stream, CANCEL);
    }
    scene.tidegate.in_flight("a", 0);
    client.settle();
    let came = client.seen().data;
    scene.a.answer_with(answer(window as usize - came));
    let rest = client.ask("/rest");
    assert!(client.answer(rest).whole);
}

/// A whole answer of so many bytes.
fn answer(bytes: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{}",
        body(bytes)
    )
}

/// Many large bodies under a small window of the connection: each gets its share.
#[test]
fn a_narrow_connection_is_shared() {
    let scene = Scene::start();
    let mut client = narrow(&scene, 1 << 24);
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(client.ask("/held"));
    }
    let exchanges: Vec<_> = streams.iter().map(|_| scene.a.held()).collect();
    let body = body(400_000);
    std::thread::scope(|scope| {
        for exchange in &exchanges {
            let body = &body;
            scope.spawn(move || exchange.answer(body));
        }
        let began = client.until("every answer begins", |seen| {
            let begun = |stream| {
                seen.streams
                    .get(stream)
                    .is_some_and(|it| it.status() == 200)
            };
            (streams.iter().all(begun) && seen.data >= CONNECTION).then_some(seen.data)
        });
        let mut given = 0;
        while given < 1_000_000 {
            client.send(&more(0, 20_000));
            given += 20_000;
            client.until("it is used", |seen| {
                (seen.data >= began + given).then_some(())
            });
        }
        // A fair share of this is 106,000.
        for stream in &streams {
            let have = client.seen().streams[stream].body.len();
            assert!(have > 20_000, "{have} of {given}: {stream}");
        }
        client.send(&more(0, 1 << 30));
        for stream in &streams {
            assert!(client.answer(*stream).body == body.as_bytes());
        }
    });
}

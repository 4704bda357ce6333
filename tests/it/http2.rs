//! HTTP/2 from clients: how it is chosen, what a request becomes, and how each stream ends.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::stream_client::{
    CANCEL, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, INTERNAL_ERROR, NO_ERROR, PREFACE,
    PROTOCOL_ERROR, RST_STREAM, SETTINGS, block, frame,
};
use crate::support::{Endpoint, Setup, StreamClient, Tidegate, eventually};

/// Drains `a`, which alone has had requests so far, with `b` there instead; its deadline comes soon.
fn drain_to(tidegate: &Tidegate, a: &Endpoint, b: &Endpoint, timeout: &str) {
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    tidegate.drain("a", &format!("?timeout={timeout}"));
}

fn connect(tidegate: &Tidegate) -> StreamClient {
    StreamClient::connect(tidegate.address())
}

#[test]
fn is_chosen_by_the_first_bytes_however_they_are_split() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let answer = client.get("/x?y=1");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "a"));
    assert!(answer.field("date").is_some() && answer.field("connection").is_none());
    assert_eq!(a.requests()[0].head.start, "GET /x?y=1 HTTP/1.1");

    let mut client = StreamClient::silent(tidegate.address());
    let (front, back) = PREFACE.split_at(5);
    client.send(front);
    // Nobody has taken these bytes for a request: another connection has been served since.
    assert_eq!(tidegate.get("/y").status, 200);
    client.send(back);
    client.send(&frame(SETTINGS, 0, 0, &[]));
    assert_eq!(client.get("/z").text(), "a");
}

#[test]
fn is_not_spoken_where_it_is_turned_off() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).listener("http2: false").start();
    let mut client = tidegate.connect();
    client.send(PREFACE);
    client.end();
    assert!(!String::from_utf8_lossy(&client.unread).contains("200"));
    assert_eq!(tidegate.get("/x").status, 200);
}

#[test]
fn is_preferred_by_alpn() {
    let a = Endpoint::start("a");
    let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let ca = made.cert.pem();
    let tls = "tls: { certificates: [{ cert: a.crt, key: a.key }] }";
    for (keys, offers, chosen) in [
        ("", &["http/1.1", "h2"][..], Some("h2")),
        ("", &["http/1.1"], Some("http/1.1")),
        (", http2: false", &["h2", "http/1.1"], Some("http/1.1")),
        ("", &[], None),
    ] {
        let tidegate = Setup::of(&[&a])
            .with_file("a.crt", &ca)
            .with_file("a.key", &made.signing_key.serialize_pem())
            .listener(&format!("{tls}{keys}"))
            .start();
        let (mut client, got) = StreamClient::tls(tidegate.address(), &ca, offers);
        assert_eq!(got.as_deref(), chosen, "{offers:?}");
        if chosen == Some("h2") {
            client.begin(None);
            assert_eq!(client.get("/tls").text(), "a");
            let head = &a.requests()[0].head;
            assert_eq!(head.field("x-forwarded-proto"), Some("https"));
        }
    }
}

#[test]
fn becomes_one_plain_request() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let fields = [
        ("cookie", "a=1"),
        ("te", "trailers"),
        ("cookie", "b=2"),
        ("host", "shop.test"),
    ];
    let stream = client.open("POST", "/held", &fields, 0);
    client.data(stream, b"hello", 0);
    let trailers = frame(1, 4 | END_STREAM, stream, &block(&[("x-sum", "5")]));
    client.send(&trailers);
    let exchange = a.held();
    let request = exchange.whole_request();
    assert_eq!(request.head.field("host"), Some("shop.test"));
    assert_eq!(request.head.field("cookie"), Some("a=1; b=2"));
    assert_eq!(request.head.field("te"), Some("trailers"));
    assert_eq!(request.head.field("via"), Some("2.0 tidegate"));
    assert_eq!(request.head.field("transfer-encoding"), Some("chunked"));
    assert_eq!(request.body, b"hello");
    assert_eq!(request.trailers, [("x-sum".to_owned(), "5".to_owned())]);
    exchange.begin();
    exchange.chunk("world");
    exchange.send("0\r\nx-sum: 5\r\n\r\n");
    let answer = client.answer(stream);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "world"));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "5".to_owned())]);
    assert!(answer.whole && answer.reset.is_none());
}

#[test]
fn answers_head_and_sized_bodies_with_their_length() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let stream = client.open("HEAD", "/x", &[], END_STREAM);
    let answer = client.answer(stream);
    assert_eq!((answer.status(), answer.body.len()), (200, 0));
    assert_eq!(answer.field("content-length"), Some("1"));
    let nowhere = Setup::without_file().start_unready();
    let answer = connect(&nowhere).get("/x");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    let length = answer.body.len().to_string();
    assert_eq!(answer.field("content-length"), Some(&*length));
}

#[test]
fn refuses_what_can_be_read_in_two_ways() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).listener("limits: { headers: 10 }").start();
    let mut client = connect(&tidegate);
    let usual = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/x"),
        (":authority", "shop.test"),
    ];
    for (more, status) in [
        (&[("host", "other.test")][..], 400),
        (&[("host", "shop.test"), ("host", "shop.test")], 400),
        (&[("x-a", "1"); 11], 431),
        (&[("expect", "tea")], 417),
    ] {
        let stream = client.open_with(&[&usual[..], more].concat(), END_STREAM);
        assert_eq!(client.answer(stream).status(), status, "{more:?}");
    }
    let nowhere = client.open_with(&usual[..3], END_STREAM);
    assert_eq!(client.answer(nowhere).status(), 400);
    let tunnel = client.open_with(&[(":method", "CONNECT"), (":authority", "a:1")], END_STREAM);
    assert_eq!(client.answer(tunnel).status(), 405);
    // What h2 itself finds malformed.
    for more in [
        ("connection", "close"),
        ("te", "gzip"),
        ("content-length", "3"),
    ] {
        let stream = client.open_with(&[&usual[..], &[more]].concat(), END_STREAM);
        let reset = client.answer(stream).reset;
        assert_eq!(reset, Some(PROTOCOL_ERROR), "{more:?}");
    }
    assert_eq!(a.count(), 0);
    assert_eq!(client.get("/after").status(), 200);
}

#[test]
fn asks_for_the_body_once_it_is_wanted() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let stream = client.open("POST", "/held", &[("expect", "100-continue")], 0);
    client.until("an interim answer", |seen| {
        let interim = &seen.streams.get(&stream)?.interim;
        (interim == &[100]).then_some(())
    });
    client.data(stream, b"body", END_STREAM);
    let exchange = a.held();
    assert_eq!(exchange.whole_request().body, b"body");
    exchange.answer("ok");
    let answer = client.answer(stream);
    assert_eq!((answer.interim, answer.body), (vec![100], b"ok".to_vec()));
}

/// P3, P14: streams finish at a draining endpoint, new ones go elsewhere, and the connection does not notice.
#[test]
fn streams_in_flight_finish_while_others_go_elsewhere() {
    let (a, b) = (Endpoint::start("a"), Endpoint::refusing("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let (down, up) = (
        client.ask("/held/down"),
        client.open("POST", "/held/up", &[], 0),
    );
    let exchanges = [a.held(), a.held()];
    let (download, upload) = match &exchanges {
        [one, other] if one.request().path() == "/held/down" => (one, other),
        [one, other] => (other, one),
    };
    download.begin();
    download.chunk("first");
    client.body_of(down, 5);
    client.data(up, b"first", 0);
    upload.body_of(5);
    tidegate.in_flight("a", 2);
    b.listen();
    tidegate
        .file()
        .set(&[a.line("state: draining"), b.line("")]);
    tidegate.is("a", "draining");
    tidegate.is("b", "ready");
    assert_eq!(client.get("/new").text(), "b");
    client.data(up, b" second", END_STREAM);
    assert_eq!(upload.whole_request().body, b"first second");
    upload.answer("taken");
    assert_eq!(client.answer(up).text(), "taken");
    download.chunk(" second");
    download.send("0\r\n\r\n");
    assert_eq!(client.answer(down).text(), "first second");
    let report = tidegate.report("a");
    assert_eq!(report["outcome"], "clean");
    assert!(client.seen().goaways.is_empty(), "{:?}", client.seen());
    assert_eq!(client.get("/same").status(), 200);
}

/// P5: no response byte yet is a 504, and the stream ends like any other.
#[test]
fn the_deadline_answers_what_has_no_head_yet() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let stream = client.ask("/held");
    let exchange = a.held();
    drain_to(&tidegate, &a, &b, "100ms");
    let answer = client.answer(stream);
    assert_eq!((answer.status(), answer.reset), (504, None));
    assert!(answer.whole);
    assert_eq!(
        tidegate.logged("/held")["code"],
        "drain_deadline_no_headers"
    );
    exchange.end();
}

/// P5: a body in progress is reset and must not look whole.
#[test]
fn the_deadline_resets_a_body_in_progress() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let stream = client.ask("/held");
    let exchange = a.held();
    exchange.begin();
    exchange.chunk("part");
    client.body_of(stream, 4);
    drain_to(&tidegate, &a, &b, "100ms");
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (false, Some(INTERNAL_ERROR)));
    assert_eq!(tidegate.logged("/held")["code"], "drain_deadline_mid_body");
    assert_eq!(tidegate.report("a")["cut"]["request"], 1);
}

/// P5: also when the client takes nothing, so that nothing of the body can be asked for.
#[test]
fn the_deadline_resets_a_body_that_nobody_takes() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::with_window(tidegate.address(), 10);
    let stream = client.ask("/held");
    let exchange = a.held();
    exchange.begin();
    exchange.chunk(&"x".repeat(1000));
    client.body_of(stream, 10);
    let drained = Instant::now();
    drain_to(&tidegate, &a, &b, "100ms");
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (false, Some(INTERNAL_ERROR)));
    assert!(
        drained.elapsed() < Duration::from_secs(2),
        "{:?}",
        drained.elapsed()
    );
    assert_eq!(tidegate.report("a")["outcome"], "cut");
}

/// P5: an upload is answered 504, and then told to stop.
#[test]
fn the_deadline_answers_an_upload_and_stops_it() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let stream = client.open("POST", "/held", &[], 0);
    client.data(stream, b"part", 0);
    a.held().body_of(4);
    drain_to(&tidegate, &a, &b, "100ms");
    let answer = client.until("an end", |seen| {
        let stream = seen.streams.get(&stream)?;
        stream.reset.is_some().then(|| stream.clone())
    });
    assert_eq!((answer.status(), answer.whole), (504, true));
    assert_eq!(answer.reset, Some(NO_ERROR));
    assert_eq!(
        tidegate.logged("/held")["code"],
        "drain_deadline_mid_upload"
    );
}

/// An upload that is too long or stalls is answered, and then told to stop; the connection goes on.
#[test]
fn an_upload_that_is_refused_is_told_to_stop() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { body: 200ms }")
        .service("limits: { request_body: 10B }")
        .start();
    let mut client = connect(&tidegate);
    let told = client.open("POST", "/held/1", &[("content-length", "11")], 0);
    let long = client.open("POST", "/held/2", &[], 0);
    client.data(long, b"eleven byte", 0);
    let stalled = client.open("POST", "/held/3", &[], 0);
    client.data(stalled, b"two", 0);
    for (stream, status) in [(told, 413), (long, 413), (stalled, 408)] {
        let answer = client.until("an end", |seen| {
            let stream = seen.streams.get(&stream)?;
            stream.reset.is_some().then(|| stream.clone())
        });
        assert_eq!((answer.status(), answer.whole), (status, true));
        assert_eq!(answer.reset, Some(NO_ERROR));
        assert_eq!(answer.field("connection"), None);
    }
    assert_eq!(client.get("/after").status(), 200);
}

#[test]
fn an_event_stream_ends_well_at_the_deadline() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let stream = client.ask("/held");
    let exchange = a.held();
    exchange.begin_events();
    exchange.chunk("data: 1\n\n");
    client.body_of(stream, 9);
    drain_to(&tidegate, &a, &b, "1s");
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (true, None));
    assert_eq!(tidegate.logged("/held")["code"], "drain_sse_ended");
}

/// A body that the endpoint breaks off must not look whole.
#[test]
fn a_body_that_breaks_off_is_reset() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let stream = client.ask("/held");
    let exchange = a.held();
    exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart");
    client.body_of(stream, 4);
    exchange.close();
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (false, Some(INTERNAL_ERROR)));
}

#[test]
fn a_reset_gives_the_place_back() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    let streams = [client.ask("/held/1"), client.ask("/held/2")];
    let exchanges = [a.held(), a.held()];
    exchanges[0].begin();
    tidegate.in_flight("a", 2);
    for stream in streams {
        client.reset(stream, CANCEL);
    }
    tidegate.in_flight("a", 0);
    for exchange in &exchanges {
        exchange.end();
    }
    assert_eq!(tidegate.logged("/held/1")["code"], "client_closed");
    assert_eq!(client.get("/after").status(), 200);
}

/// As over HTTP/1: most who do this have closed the connection. Whoever waits for an answer can close its end after it.
#[test]
fn a_client_that_closes_its_end_is_taken_to_be_gone() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    assert_eq!(client.get("/before").status(), 200);
    client.ask("/held");
    let exchange = a.held();
    client.finish();
    exchange.end();
    client.end();
    assert_eq!(tidegate.logged("/held")["code"], "client_closed");
}

#[test]
fn a_client_that_goes_gives_its_places_back() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = connect(&tidegate);
    client.ask("/held/1");
    client.open("POST", "/held/2", &[], 0);
    let _exchanges = [a.held(), a.held()];
    tidegate.in_flight("a", 2);
    drop(client);
    tidegate.in_flight("a", 0);
}

/// P11: GOAWAY twice, to an idle client, too; what is opened between the two is served.
#[test]
fn leaving_says_goaway_twice_and_serves_what_comes_between() {
    let a = Endpoint::start("a");
    let mut tidegate = Setup::of(&[&a])
        .rest("shutdown: { wait_period: 500ms, grace_period: 20s }")
        .start();
    let (mut idle, mut busy) = (connect(&tidegate), connect(&tidegate));
    assert_eq!(idle.get("/x").status(), 200);
    let held = busy.ask("/held");
    let exchange = a.held();
    busy.answer_pings(false);
    tidegate.signal(Signal::TERM);
    let goaway = |seen: &crate::support::stream_client::Seen| seen.goaways.first().copied();
    assert_eq!(busy.until("GOAWAY", goaway), (LAST, NO_ERROR));
    // The answer to tidegate's PING is on its way: streams opened meanwhile are served.
    let between = busy.get("/between");
    assert_eq!(between.text(), "a");
    busy.until("a PING", |seen| (seen.pings > 0).then_some(()));
    exchange.answer("finished");
    assert_eq!(busy.answer(held).text(), "finished");
    idle.end();
    assert_eq!(idle.seen().goaways, [(LAST, NO_ERROR), (1, NO_ERROR)]);
    busy.end();
    assert_eq!(busy.seen().goaways.len(), 2);
    assert_eq!(busy.seen().goaways[1], (3, NO_ERROR));
    assert!(tidegate.exit().success());
}

/// The largest number of a stream: none is excluded yet.
const LAST: u32 = (1 << 31) - 1;

/// P11: what is in flight at the end of the budget is told, stream by stream.
#[test]
fn the_end_of_the_budget_ends_every_stream() {
    let a = Endpoint::start("a");
    let mut tidegate = Setup::of(&[&a])
        .rest("shutdown: { wait_period: 0s, grace_period: 2s }")
        .start();
    let mut client = connect(&tidegate);
    let (silent, speaking) = (client.ask("/held/silent"), client.ask("/held/speaking"));
    let exchanges = [a.held(), a.held()];
    let speaks = exchanges
        .iter()
        .find(|it| it.request().path() == "/held/speaking");
    speaks.unwrap().begin();
    tidegate.signal(Signal::TERM);
    assert_eq!(client.answer(silent).status(), 504);
    assert_eq!(client.answer(speaking).reset, Some(INTERNAL_ERROR));
    client.end();
    assert!(tidegate.exit().success());
}

/// P11: an answer that the endpoint has given whole, and the client does not take, is in nobody's hands but ours.
#[test]
fn the_end_of_the_budget_tells_a_client_that_takes_nothing() {
    let a = Endpoint::start("a");
    let mut tidegate = Setup::of(&[&a])
        .rest("shutdown: { wait_period: 0s, grace_period: 2s }")
        .start();
    let mut client = StreamClient::with_window(tidegate.address(), 10);
    let stream = client.ask("/held");
    let exchange = a.held();
    exchange.answer(&"x".repeat(1000));
    client.body_of(stream, 10);
    tidegate.in_flight("a", 0);
    tidegate.signal(Signal::TERM);
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (false, Some(INTERNAL_ERROR)));
    assert!(tidegate.exit().success());
}

#[test]
fn an_idle_connection_is_let_go_with_goaway() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { keep_alive: 200ms }")
        .start();
    let mut client = connect(&tidegate);
    assert_eq!(client.get("/x").status(), 200);
    client.end();
    assert_eq!(client.seen().goaways, [(LAST, NO_ERROR), (1, NO_ERROR)]);
    let series = "tidegate_downstream_connections_closed_total{how=\"idle\",listener=\"http\"}";
    eventually("it is counted", || {
        (tidegate.metric(series) == Some(1.0)).then_some(())
    });
}

#[test]
fn a_connection_of_age_ends_well() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { max_connection_age: 300ms }")
        .start();
    let mut client = connect(&tidegate);
    let stream = client.ask("/held");
    let exchange = a.held();
    client.until("GOAWAY", |seen| (!seen.goaways.is_empty()).then_some(()));
    exchange.answer("finished");
    assert_eq!(client.answer(stream).text(), "finished");
    client.end();
    let mut old = tidegate.connect();
    let end = eventually("a response announces the end", || {
        let response = old.get("/x");
        response
            .head
            .lists("connection", "close")
            .then(Instant::now)
    });
    assert!(end.elapsed() < Duration::from_secs(5));
    old.end();
}

/// A client that gives no sign of life is given up, and its places with it.
#[test]
fn a_dead_client_is_found_by_a_ping() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { ping: 500ms }")
        .start();
    let (mut dead, mut alive) = (connect(&tidegate), connect(&tidegate));
    dead.answer_pings(false);
    dead.ask("/held/dead");
    alive.ask("/held/alive");
    let exchanges = [a.held(), a.held()];
    alive.until("PINGs", |seen| (seen.pings >= 2).then_some(()));
    tidegate.in_flight("a", 1);
    dead.end();
    assert_eq!(dead.seen().pings, 1);
    let alive_one = exchanges
        .iter()
        .find(|it| it.request().path() == "/held/alive");
    alive_one.unwrap().answer("ok");
    assert_eq!(alive.answer(1).text(), "ok");
    let series = "tidegate_downstream_connections_closed_total{how=\"forced\",listener=\"http\"}";
    assert_eq!(tidegate.metric(series), Some(1.0));
}

#[test]
fn a_preface_that_does_not_come_is_not_waited_for() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { header: 200ms }")
        .start();
    for sent in [&PREFACE[..10], &PREFACE[..23]] {
        let mut client = tidegate.connect();
        client.send(sent);
        assert_eq!(client.response().status, 408);
    }
}

/// A head that comes byte by byte is not waited for, whether its frame has no end or no END_HEADERS.
#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { header: 200ms }")
        .start();
    let whole = frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")]));
    for sent in [&whole[..5], &whole[..12], &whole[..]] {
        let mut client = connect(&tidegate);
        client.settle();
        client.send(sent);
        client.end();
    }
    let slow = tidegate.access_log();
    assert!(
        slow.iter().all(|line| line["code"] == "slow_head"),
        "{slow:?}"
    );
}

/// Opening and resetting streams (CVE-2023-44487) ends the connection, and others do not notice.
#[test]
fn rapid_resets_end_the_connection() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut other = connect(&tidegate);
    let mut client = connect(&tidegate);
    let mut flood = Vec::new();
    let fields = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", "/flood"),
    ]);
    for stream in (1..4000).step_by(2) {
        flood.extend(frame(1, 4 | END_STREAM, stream, &fields));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    // It may be cut short.
    let _ = client.try_send(&flood);
    client.end();
    assert_eq!(client.seen().goaways.last().unwrap().1, ENHANCE_YOUR_CALM);
    assert_eq!(other.get("/other").status(), 200);
    eventually("the access log tells of it", || {
        let lines = tidegate.access_log();
        lines.into_iter().find(|line| line["code"] == "http2_error")
    });
    tidegate.in_flight("a", 0);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).listener("limits: { streams: 2 }").start();
    let mut client = connect(&tidegate);
    client.settle();
    assert_eq!(client.seen().settings.get(&3), Some(&2));
    let streams = [
        client.ask("/held"),
        client.ask("/held"),
        client.ask("/held"),
    ];
    assert_eq!(client.answer(streams[2]).reset, Some(7), "REFUSED_STREAM");
    for exchange in [a.held(), a.held()] {
        exchange.answer("ok");
    }
    assert_eq!(client.answer(streams[0]).text(), "ok");
}

/// P13: each stream is a request with a line of its own.
#[test]
fn each_stream_is_accounted_for() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let mut client = connect(&tidegate);
    client.get("/one");
    client.get("/two");
    let (one, two) = (tidegate.logged("/one"), tidegate.logged("/two"));
    assert_eq!(one["authority"], "shop.test");
    assert_eq!(
        (&one["status"], &two["status"]),
        (&Value::from(200), &Value::from(200))
    );
    assert_eq!(one["connection_request"], 1);
    assert_eq!(two["connection_request"], 2);
    assert_eq!(one["connection"], two["connection"]);
}

//! HTTP/2 to endpoints: who shares a connection, how a drain ends it (P1, P3, P4, P5), and what is sent again (P10).

use crate::support::stream_client::{
    CANCEL, END_HEADERS, END_STREAM, HEADERS, INTERNAL_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, block,
};
use crate::support::stream_endpoint::{Call, Manner};
use crate::support::{
    Client, Endpoint, SLACK, Setup, StreamClient, StreamEndpoint, Tidegate, eventually,
};

/// By prior knowledge, one worker.
fn before(endpoints: &[&StreamEndpoint], keys: &str) -> Tidegate {
    let setup = Setup::without_file();
    let lines: Vec<_> = endpoints.iter().map(|endpoint| endpoint.line("")).collect();
    setup.file().set(&lines);
    let keys = format!("protocol: h2{keys}");
    setup.service(&keys).workers(1).start()
}

fn asking(tidegate: &Tidegate, method: &str, path: &str) -> Client {
    let mut client = tidegate.connect();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: s\r\nContent-Length: 4\r\n\r\nonce"
    ));
    client
}

fn held(tidegate: &Tidegate, endpoint: &StreamEndpoint, method: &str) -> (Client, Call) {
    let client = asking(tidegate, method, "/held/x");
    let call = endpoint.held();
    call.whole();
    (client, call)
}

#[test]
fn requests_share_a_connection_and_the_log_counts_them() {
    let a = StreamEndpoint::start("a");
    let tidegate = before(&[&a], "");
    let mut all: Vec<_> = (0..20)
        .map(|_| {
            let mut client = tidegate.connect();
            client.ask("/held/x");
            client
        })
        .collect();
    let calls: Vec<_> = (0..20).map(|_| a.held()).collect();
    assert_eq!(a.connections().len(), 1, "a dial under way is shared, too");
    calls.iter().for_each(|call| call.answer("a"));
    all.iter_mut()
        .for_each(|client| assert_eq!(client.response().text(), "a"));
    tidegate.get("/last");
    let line = tidegate.logged("/last");
    assert_eq!(
        (&line["reused"], &line["connection_request"]),
        (&true.into(), &21.into())
    );
    let request = a.requests().pop().unwrap();
    assert!(request.field(":authority").is_some());
    assert_eq!(request.field(":scheme"), Some("http"));
    assert_eq!(request.field("via"), Some("1.1 tidegate"));
    assert!(request.field("connection").is_none() && request.field("host").is_none());
}

#[test]
fn the_endpoints_limit_of_streams_is_obeyed() {
    let manner = Manner {
        streams: 2,
        ..Manner::default()
    };
    let a = StreamEndpoint::with("a", manner);
    let limits = ", limits: { connections_per_endpoint: 1 }";
    let tidegate = before(&[&a], limits);
    let (mut first, call) = held(&tidegate, &a, "GET");
    let (_second, _other) = held(&tidegate, &a, "GET");
    let mut third = asking(&tidegate, "GET", "/held/third");
    // A draining endpoint would not wait for one that has no place: it waits in front.
    tidegate.in_flight("a", 2);
    assert_eq!(a.count(), 2);
    call.answer("a");
    assert_eq!(first.response().text(), "a");
    a.held().answer("third");
    assert_eq!(third.response().text(), "third");
    assert_eq!(a.connections().len(), 1);

    let b = StreamEndpoint::with("b", manner);
    let tidegate = before(&[&b], "");
    let _all: Vec<_> = (0..5).map(|_| held(&tidegate, &b, "GET")).collect();
    assert_eq!(
        b.connections().len(),
        3,
        "two streams each, as many as it takes"
    );
}

/// Clients that take nothing of their answers, on the connection that everybody shares.
#[test]
fn streams_that_stall_hold_up_nobody_elses() {
    const STALLED: usize = 480;
    let manner = Manner {
        streams: 600,
        ..Manner::default()
    };
    let a = StreamEndpoint::with("a", manner);
    let tidegate = before(&[&a], "");
    let mut stalled = [(); 4].map(|()| StreamClient::with_window(tidegate.address(), 0));
    for number in 0..STALLED {
        stalled[number % 4].ask("/held/x");
    }
    let calls: Vec<_> = (0..STALLED).map(|_| a.held()).collect();
    for call in &calls {
        call.head(&[(":status", "200")], 0);
        call.body(&[b'x'; 60 * 1024]);
    }
    let mut other = tidegate.connect();
    other.ask("/held/y");
    let call = a.held();
    call.head(&[(":status", "200"), ("content-length", "1000000")], 0);
    let taking = std::thread::spawn(move || other.response());
    call.body(&vec![b'y'; 1_000_000]);
    assert_eq!(taking.join().unwrap().body.len(), 1_000_000);
    assert_eq!(a.connections().len(), 1, "all share it");
    drop(stalled);
    tidegate.in_flight("a", 0);
}

#[test]
fn p4_an_idle_connection_closes_without_a_byte_and_a_busy_one_with_its_last_stream() {
    let (a, b) = (StreamEndpoint::start("a"), StreamEndpoint::start("b"));
    let tidegate = before(&[&a], "");
    assert_eq!(tidegate.get("/").text(), "a");
    // The answer's windows are given back by now, or not at all.
    let before_drain = a.connections()[0].bytes;
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let start = tokio::time::Instant::now();
    tidegate.drain("a", "");
    assert!(a.closed(0) - start < SLACK);
    let link = &a.connections()[0];
    assert_eq!((link.goaways, link.bytes - before_drain), (0, 0));

    let (c, d) = (StreamEndpoint::start("c"), StreamEndpoint::start("d"));
    let tidegate = before(&[&c], "");
    let (mut client, call) = held(&tidegate, &c, "POST");
    tidegate.file().set(&[c.line(""), d.line("")]);
    tidegate.is("d", "ready");
    tidegate.drain("c", "");
    for _ in 0..20 {
        assert_eq!(tidegate.get("/").text(), "d", "P1: no new stream");
    }
    assert_eq!(c.count(), 1);
    assert!(c.connections()[0].ended.is_none(), "P3: untouched");
    call.answer("done");
    assert_eq!(client.response().text(), "done");
    let ended = tokio::time::Instant::now();
    c.closed(0);
    assert!(ended.elapsed() < SLACK);
    assert_eq!(tidegate.report("c")["outcome"], "clean");
}

#[test]
fn p1_a_request_that_waits_for_a_connection_goes_elsewhere() {
    let manner = Manner {
        silent: true,
        ..Manner::default()
    };
    let (a, b) = (
        StreamEndpoint::with("a", manner),
        StreamEndpoint::start("b"),
    );
    let tidegate = before(&[&a], ", connect_timeout: 20s");
    let mut client = asking(&tidegate, "POST", "/x");
    tidegate.in_flight("a", 1);
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let answer = tidegate.drain("a", "?wait=true");
    assert_eq!(answer["drained"], true);
    assert_eq!(client.response().text(), "b");
    assert_eq!((a.count(), b.count()), (0, 1));
    assert_eq!(tidegate.logged("/x")["attempts"], 1);
    a.closed(0);
}

#[test]
fn p10_what_an_endpoint_refuses_goes_elsewhere_by_any_method() {
    for method in ["GET", "POST", "PATCH"] {
        let a = StreamEndpoint::start("a");
        let tidegate = before(&[&a], "");
        let (mut client, call) = held(&tidegate, &a, method);
        call.reset(REFUSED_STREAM);
        let again = a.held();
        assert_eq!(again.whole().body, b"once", "{method}");
        again.answer("ok");
        assert_eq!(client.response().text(), "ok", "{method}");
        let line = tidegate.logged("/held/x");
        assert_eq!(line["tries"][0]["reason"], "refused_stream");

        let b = StreamEndpoint::start("b");
        let tidegate = before(&[&b], "");
        let (mut first, processed) = held(&tidegate, &b, method);
        let (mut second, left_out) = held(&tidegate, &b, method);
        left_out.goaway(processed.request().stream);
        let again = b.held();
        assert_eq!(
            again.request().connection,
            1,
            "{method}: a fresh connection"
        );
        again.answer("ok");
        assert_eq!(second.response().text(), "ok", "{method}");
        processed.answer("as it was");
        assert_eq!(first.response().text(), "as it was", "{method}");
        b.closed(0);
    }
}

#[test]
fn p10_another_reset_or_a_connection_that_closes_is_what_the_table_says() {
    let a = StreamEndpoint::start("a");
    let tidegate = before(&[&a], "");
    let (mut client, call) = held(&tidegate, &a, "GET");
    call.reset(INTERNAL_ERROR);
    assert_eq!(client.response().status, 502);
    assert_eq!(a.count(), 1, "a reset is an answer");

    for (method, again) in [("GET", true), ("POST", false)] {
        let a = StreamEndpoint::start("a");
        let tidegate = before(&[&a], "");
        let (mut client, call) = held(&tidegate, &a, method);
        call.close();
        assert_eq!(client.response().status, 502, "{method}: it was fresh");

        let (mut warm, call) = held(&tidegate, &a, "GET");
        call.answer("warm");
        warm.response();
        let (mut client, call) = held(&tidegate, &a, method);
        call.close();
        if again {
            a.held().answer("ok");
            assert_eq!(client.response().text(), "ok");
        } else {
            assert_eq!(client.response().status, 502);
        }
    }
}

#[test]
fn an_endpoint_that_gives_no_sign_of_life_is_given_up() {
    let manner = Manner {
        dead: true,
        ..Manner::default()
    };
    let a = StreamEndpoint::with("a", manner);
    let tidegate = before(&[&a], ", upstream_ping: 100ms");
    let (mut client, _call) = held(&tidegate, &a, "POST");
    assert_eq!(client.response().status, 502);
    assert_eq!(a.connections()[0].pings, 1);
    a.closed(0);

    let alive = StreamEndpoint::start("b");
    let tidegate = before(&[&alive], ", upstream_ping: 100ms");
    let (mut client, call) = held(&tidegate, &alive, "POST");
    alive.wait("it is asked three times", |record| {
        (record.connections[0].pings == 3).then_some(())
    });
    call.answer("alive");
    assert_eq!(client.response().text(), "alive");
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let a = StreamEndpoint::start("a");
    let tidegate = before(&[&a], "");
    let large = vec![b'x'; 1024 * 1024];
    let mut client = tidegate.connect();
    client.send("POST /held/large HTTP/1.1\r\nHost: s\r\nContent-Length: 1048576\r\n\r\n");
    let call = a.held();
    client.send(&large);
    assert_eq!(call.whole().body.len(), large.len());
    call.head(&[(":status", "200")], 0);
    call.body(&large);
    call.data(b"", END_STREAM);
    assert_eq!(client.response().body.len(), large.len());

    let mut client = StreamClient::connect(tidegate.address());
    let stream = client.open("POST", "/held/x", &[("te", "trailers")], 0);
    let call = a.held();
    client.data(stream, b"abc", 0);
    let trailers = block(&[("x-sum", "1"), ("host", "evil")]);
    client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
    let request = call.whole();
    assert_eq!(request.body, b"abc");
    assert_eq!(request.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    assert_eq!(request.field("te"), Some("trailers"));
    call.head(&[(":status", "200"), ("content-length", "3")], 0);
    call.data(b"abc", 0);
    call.head(&[("x-sum", "2"), ("host", "evil")], END_STREAM);
    let answer = client.answer(stream);
    assert_eq!(answer.body, b"abc");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "2".to_owned())]);

    let mut client = tidegate.connect();
    client.send("POST /held/y HTTP/1.1\r\nHost: s\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
    let call = a.held();
    let request = call.whole();
    assert_eq!((&*request.body, request.trailers.len()), (&b"abc"[..], 1));
    call.head(&[(":status", "103")], 0);
    call.head(&[(":status", "200"), ("trailer", "x-sum")], 0);
    call.data(b"abc", 0);
    call.head(&[("x-sum", "2")], END_STREAM);
    client.read_to("3\r\nabc\r\n0\r\nx-sum: 2\r\n\r\n");
}

/// What is whole by its length is over for the client and the drain, and the endpoint is not told that nobody wanted it.
#[test]
fn an_end_that_comes_late_is_waited_for_by_nobody_and_not_reset() {
    let manner = Manner {
        streams: 1,
        ..Manner::default()
    };
    let a = StreamEndpoint::with("a", manner);
    let tidegate = before(&[&a], ", limits: { connections_per_endpoint: 1 }");
    for method in ["GET", "POST", "HEAD"] {
        let mut client = asking(&tidegate, method, "/held/late");
        let call = a.held();
        call.whole();
        call.head(&[(":status", "200"), ("content-length", "3")], 0);
        if method == "HEAD" {
            assert_eq!(client.response_to_head().status, 200);
        } else {
            call.data(b"abc", 0);
            assert_eq!(client.response().text(), "abc", "{method}");
        }
        tidegate.in_flight("a", 0);
        // The endpoint takes one stream at a time: another waits for the end, and without a place (P1).
        let mut after = tidegate.connect();
        after.ask("/after");
        let mut bad = tidegate.connect();
        bad.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
        assert_eq!(bad.response().status, 400, "it came later");
        tidegate.in_flight("a", 0);
        call.data(b"", END_STREAM);
        assert_eq!(after.response().text(), "a");
        assert_eq!(call.request().reset, None, "{method}");
    }
    assert_eq!(a.connections().len(), 1);
}

#[test]
fn an_end_that_does_not_come_is_a_reset_and_holds_up_no_drain() {
    let (a, b) = (StreamEndpoint::start("a"), StreamEndpoint::start("b"));
    let tidegate = before(&[&a], "");
    let whole = || {
        let (mut client, call) = held(&tidegate, &a, "GET");
        call.head(&[(":status", "200"), ("content-length", "3")], 0);
        call.data(b"abc", 0);
        assert_eq!(client.response().text(), "abc");
        tidegate.in_flight("a", 0);
        call
    };
    let start = tokio::time::Instant::now();
    assert_eq!(whole().reset_by_peer(), CANCEL);
    let after = start.elapsed().as_millis();
    assert!((900..1000 + SLACK.as_millis()).contains(&after), "{after}");
    // More than was said is not waited for.
    let call = whole();
    let start = tokio::time::Instant::now();
    call.data(b"d", 0);
    assert_eq!(call.reset_by_peer(), PROTOCOL_ERROR);
    assert!(start.elapsed() < SLACK);
    // P4, P6: the connection is idle.
    let call = whole();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let start = tokio::time::Instant::now();
    let answer = tidegate.drain("a", "?wait=true");
    assert_eq!(answer["drained"], true);
    assert!(a.closed(0) - start < SLACK);
    assert_eq!(call.request().reset, None, "not a byte");
}

#[test]
fn a_client_that_leaves_cancels_its_stream_and_no_other() {
    let a = StreamEndpoint::start("a");
    let tidegate = before(&[&a], "");
    let (client, left) = held(&tidegate, &a, "GET");
    let (mut other, stays) = held(&tidegate, &a, "GET");
    client.reset();
    assert_eq!(left.reset_by_peer(), CANCEL);
    tidegate.in_flight("a", 1);
    stays.answer("here");
    assert_eq!(other.response().text(), "here");
}

#[test]
fn p5_the_deadline_cuts_streams() {
    let (a, b) = (StreamEndpoint::start("a"), StreamEndpoint::start("b"));
    let tidegate = before(&[&a], "");
    let (mut silent, first) = held(&tidegate, &a, "GET");
    let (mut half, second) = held(&tidegate, &a, "GET");
    second.head(&[(":status", "200")], 0);
    second.data(b"half", 0);
    half.read_to("half");
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let answer = tidegate.drain("a", "?timeout=100ms&wait=true");
    assert_eq!(answer["cut"]["request"], 2);
    assert_eq!(silent.response().status, 504);
    half.end();
    assert_eq!(
        (first.reset_by_peer(), second.reset_by_peer()),
        (CANCEL, CANCEL)
    );
    a.closed(0);
}

#[test]
fn a_body_of_another_length_than_was_said_does_not_look_whole() {
    let a = StreamEndpoint::start("a");
    let tidegate = before(&[&a], "");
    for (body, flags) in [(&b"short"[..], END_STREAM), (&b"much too long"[..], 0)] {
        let (mut client, call) = held(&tidegate, &a, "GET");
        call.head(&[(":status", "200"), ("content-length", "10")], 0);
        call.data(body, flags);
        client.broken_response();
    }
    let (mut client, call) = held(&tidegate, &a, "GET");
    call.head(&[(":status", "200"), ("content-length", "x")], 0);
    assert_eq!(client.response().status, 502);
}

#[test]
fn an_endpoint_that_speaks_something_else_is_told_of_and_gets_no_request() {
    let a = Endpoint::start("a");
    a.answer_with("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let tidegate = Setup::of(&[&a]).service("protocol: h2").workers(1).start();
    assert_eq!(asking(&tidegate, "POST", "/x").response().status, 503);
    eventually("the log tells", || {
        (tidegate.tells("does not speak HTTP/2") > 0).then_some(())
    });
    assert_eq!(tidegate.logged("/x")["code"], "connect_failed");
}

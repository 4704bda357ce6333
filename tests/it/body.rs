//! Bodies on their way: streamed both ways as they come, and never taken for whole when they are not.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::{End, Endpoint, Setup, Tidegate, eventually};

#[test]
fn streams_an_answer_as_it_comes() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    exchange.begin();
    exchange.chunk("first");
    client.read_to("first");
    exchange.chunk("second");
    exchange.send("0\r\n\r\n");
    client.read_to("second\r\n0\r\n\r\n");
}

#[test]
fn streams_an_upload_as_it_comes() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client
        .send("POST /held HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let exchange = a.held();
    assert_eq!(exchange.body_of(5), b"first");
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(exchange.whole_request().body, b"firstsecond");
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
}

#[test]
fn an_answer_may_come_before_the_upload_is_over() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client
        .send("POST /held HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let exchange = a.held();
    exchange.begin();
    exchange.chunk("echo");
    client.read_to("echo");
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(exchange.whole_request().body, b"firstsecond");
    exchange.send("0\r\n\r\n");
    client.read_to("0\r\n\r\n");
}

#[test]
fn trailers_pass_both_ways() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(
        "POST /held HTTP/1.1\r\nHost: s\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Sum: 1\r\nContent-Length: 7\r\nHost: evil\r\n\r\n",
    );
    let exchange = a.held();
    let request = exchange.whole_request();
    assert_eq!(request.head.field("te"), Some("trailers"));
    assert_eq!(
        request.trailers,
        [("x-sum".into(), "1".into())],
        "and no field that belongs into a head"
    );
    exchange.send("HTTP/1.1 200 OK\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Check: 2\r\n\r\n");
    let response = client.response();
    let trailers: Vec<_> = response
        .trailers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    assert_eq!(trailers, [("x-check".to_owned(), "2")]);
}

#[test]
fn an_expectation_is_met_once_and_by_tidegate() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("PUT /x HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("hi");
    assert_eq!(client.response().status, 200);
    let request = &a.requests()[0];
    assert_eq!(
        (request.body.as_slice(), request.head.field("expect")),
        (&b"hi"[..], None)
    );
}

/// RFC 9110, section 6.5.1: whoever does not read trailers gets the body without them.
#[test]
fn trailers_are_for_clients_that_read_them() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Check: 2\r\n\r\n";
    a.held().send(answer);
    let response = client.response();
    assert_eq!(
        (response.text().as_str(), response.trailers.len()),
        ("a", 0)
    );
    assert_eq!(client.get("/").text(), "a");
}

#[test]
fn interim_answers_do_not_shift_the_final_one() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    exchange.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    exchange.answer("final");
    let mut response = client.response();
    while response.status < 200 {
        response = client.response();
    }
    assert_eq!(response.text(), "final");
    assert_eq!(client.get("/").text(), "a");
}

#[test]
fn a_body_that_ends_with_its_connection_passes_whole() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    exchange.send("HTTP/1.0 200 OK\r\n\r\nold style");
    exchange.close();
    assert_eq!(client.response().text(), "old style");
    assert_eq!(
        client.get("/").text(),
        "a",
        "the client's connection goes on"
    );
}

#[test]
fn a_broken_answer_never_looks_whole() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for (number, (start, breaks)) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            End::Fin,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            End::Reset,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
            End::Fin,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n3\r\nab",
            End::Reset,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nxyz\r\n",
            End::Ours,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = tidegate.connect();
        client.ask(&format!("/held/{number}"));
        let exchange = a.held();
        exchange.send(start);
        match breaks {
            End::Fin => exchange.close(),
            End::Reset => exchange.reset(),
            // What it sends is broken, not its connection.
            End::Ours => drop(exchange),
        }
        let (_, response) = client.broken_response();
        assert_eq!(response.status, 200, "{start:?}");
        assert!(response.text().starts_with("short"), "{start:?}");
        assert_eq!(
            tidegate.logged(&format!("/held/{number}"))["code"],
            "upstream_closed_mid_body"
        );
    }
}

#[test]
fn what_is_no_answer_becomes_502_and_its_connection_is_not_used_again() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let mut client = tidegate.connect();
    for (number, answer) in [
        "garbage\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        client.ask(&format!("/held/{number}"));
        let exchange = a.held();
        exchange.send(answer);
        let response = client.response();
        assert_eq!(response.status, 502, "{answer:?}");
        exchange.end();
        assert_eq!(
            tidegate.logged(&format!("/held/{number}"))["code"],
            "bad_response"
        );
    }
    assert_eq!(
        client.get("/").text(),
        "a",
        "the client's connection goes on"
    );
}

#[test]
fn bytes_after_an_answer_reach_nobody() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert_eq!(client.response().text(), "1");
    exchange.end();
    assert_eq!(client.get("/").text(), "a");
}

#[test]
fn a_client_that_goes_away_takes_its_work_with_it() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut waiting = tidegate.connect();
    waiting.ask("/held/waiting");
    let unanswered = a.held();
    let mut reading = tidegate.connect();
    reading.ask("/held/reading");
    let answered = a.held();
    answered.begin();
    answered.chunk("part");
    reading.read_to("part");
    tidegate.in_flight("a", 2);
    waiting.reset();
    reading.reset();
    unanswered.end();
    answered.end();
    tidegate.in_flight("a", 0);
    for path in ["/held/waiting", "/held/reading"] {
        assert_eq!(tidegate.logged(path)["code"], "client_closed");
    }
}

#[test]
fn an_upload_that_breaks_off_never_looks_whole() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for framing in [
        "Content-Length: 10\r\n\r\nshort",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ] {
        let mut client = tidegate.connect();
        client.send(format!("POST /held HTTP/1.1\r\nHost: s\r\n{framing}"));
        let exchange = a.held();
        exchange.body_of(5);
        client.reset();
        exchange.end();
        assert!(!exchange.request().whole, "{framing}");
    }
}

#[test]
fn a_client_may_say_that_it_has_no_more_requests() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("GET / HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().head.field("connection"), Some("close"));
    assert_eq!(client.end(), End::Fin);
}

#[test]
fn a_client_that_closes_its_end_is_taken_to_be_gone() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    // Most who do this have closed the connection; whoever waits for an answer can close its end after it.
    client.finish();
    exchange.end();
    assert_eq!(client.end(), End::Fin);
    assert_eq!(tidegate.logged("/held")["code"], "client_closed");
}

#[test]
fn a_slow_reader_slows_the_endpoint_and_fills_no_memory() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let before = peak_kib(&tidegate);
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let sending = thread::spawn(move || {
        exchange.begin();
        let chunk = "x".repeat(MIB);
        for _ in 0..BODY_MIB {
            exchange.chunk(&chunk);
            counter.fetch_add(1, Ordering::SeqCst);
        }
        exchange.send("0\r\n\r\n");
    });
    stands_still(&sent);
    assert!(
        sent.load(Ordering::SeqCst) < BODY_MIB,
        "somebody keeps it all"
    );
    assert_eq!(client.response().body.len(), BODY_MIB * MIB);
    sending.join().unwrap();
    let grown = peak_kib(&tidegate) - before;
    assert!(grown < 16 * 1024, "{grown} KiB for one body");
}

#[test]
fn a_slow_endpoint_slows_the_upload_and_fills_no_memory() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let before = peak_kib(&tidegate);
    let mut client = tidegate.connect();
    client.send(format!(
        "POST /held HTTP/1.1\r\nHost: s\r\nContent-Length: {}\r\n\r\n",
        BODY_MIB * MIB
    ));
    let exchange = a.held();
    a.deaf(true);
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let sending = thread::spawn(move || {
        let chunk = "x".repeat(MIB);
        for _ in 0..BODY_MIB {
            client.send(&chunk);
            counter.fetch_add(1, Ordering::SeqCst);
        }
        client
    });
    stands_still(&sent);
    assert!(
        sent.load(Ordering::SeqCst) < BODY_MIB,
        "somebody keeps it all"
    );
    a.deaf(false);
    assert_eq!(exchange.whole_request().body.len(), BODY_MIB * MIB);
    exchange.answer("ok");
    assert_eq!(sending.join().unwrap().response().text(), "ok");
    let grown = peak_kib(&tidegate) - before;
    assert!(grown < 16 * 1024, "{grown} KiB for one body");
}

/// Waits until a counter has not moved for many looks.
fn stands_still(counter: &AtomicUsize) {
    let (mut last, mut looks) = (0, 0);
    eventually("it stands still", || {
        let now = counter.load(Ordering::SeqCst);
        looks = if now == last { looks + 1 } else { 0 };
        last = now;
        (looks == 100).then_some(())
    });
}

const MIB: usize = 1024 * 1024;

/// More than all socket buffers on the way together.
const BODY_MIB: usize = 64;

/// The most memory it has ever had.
fn peak_kib(tidegate: &Tidegate) -> u64 {
    let path = format!("/proc/{}/status", tidegate.pid().as_raw_nonzero());
    let status = fs::read_to_string(path).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

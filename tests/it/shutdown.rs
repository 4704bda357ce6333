//! P11: tidegate's own end loses nothing, keeps its budget, and tells how it went.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Client, End, Endpoint, SLACK, Setup, Tidegate, eventually};

fn leaving_within(a: &Endpoint, wait: &str, grace: &str) -> Tidegate {
    let shutdown = format!("shutdown: {{ wait_period: {wait}, grace_period: {grace} }}");
    Setup::of(&[a]).rest(&shutdown).start()
}

/// Waits until nobody accepts any longer.
fn refuses(tidegate: &Tidegate) {
    eventually("connections are refused", || {
        TcpStream::connect(tidegate.address())
            .is_err()
            .then_some(())
    });
}

#[test]
fn what_the_budget_becomes_is_told_at_start_and_when_it_leaves() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "2s", "42s");
    let outline = [2_000, 12_000, 39_500, 42_000];
    let names = [
        "accepting_until_ms",
        "idle_closed_until_ms",
        "cut_after_ms",
        "over_after_ms",
    ];
    let tells = |line: &serde_json::Value| names.map(|name| line[name].as_u64().unwrap());
    let plan = tidegate.told("what SIGTERM will begin").unwrap();
    assert_eq!(tells(&plan), outline);
    tidegate.signal(Signal::TERM);
    let leaving = eventually("it leaves", || tidegate.told("leaving"));
    assert_eq!(tells(&leaving), outline);
    assert_eq!(tidegate.exit().code(), Some(0));
}

#[test]
fn while_it_waits_it_serves_and_ever_more_answers_announce_the_end() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "1500ms", "10s");
    let mut client = tidegate.connect();
    assert_eq!(client.get("/").head.field("connection"), None);
    tidegate.signal(Signal::TERM);
    eventually("/lbz fails", || {
        (tidegate.admin("GET", "/lbz").status == 503).then_some(())
    });
    assert_eq!(
        tidegate.admin("GET", "/readyz").status,
        200,
        "it may be the last one that serves"
    );
    assert_eq!(
        tidegate.get("/").status,
        200,
        "new connections are accepted"
    );
    let announced = eventually("an answer announces it", || {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        response.head.field("connection").map(str::to_owned)
    });
    assert_eq!(announced, "close");
    assert_eq!(client.end(), End::Fin);
    drop(client);
    refuses(&tidegate);
    assert_eq!(tidegate.exit().code(), Some(0));
    let last = tidegate.told("tidegate has left").unwrap();
    assert_eq!(
        (&last["cut"], &last["access_log_lost"]),
        (&0.into(), &0.into())
    );
    assert_eq!(
        tidegate.access_log().len(),
        a.count(),
        "every request is in the log"
    );
}

#[test]
fn what_is_in_flight_finishes_after_the_listeners_are_closed() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "50ms", "5s");
    let mut downloading = tidegate.connect();
    downloading.ask("/held/download");
    let download = a.held();
    download.begin();
    download.chunk("before");
    downloading.read_to("before");
    let mut uploading = tidegate.connect();
    uploading.send("POST /held/upload HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbefore\r\n");
    let upload = a.held();
    upload.body_of(6);
    tidegate.signal(Signal::TERM);
    refuses(&tidegate);
    download.chunk("after");
    download.send("0\r\n\r\n");
    downloading.read_to("after\r\n0\r\n\r\n");
    assert_eq!(downloading.end(), End::Fin);
    uploading.send("5\r\nafter\r\n0\r\n\r\n");
    assert_eq!(upload.whole_request().body, b"beforeafter");
    upload.answer("done");
    let response = uploading.response();
    assert_eq!(
        (response.text().as_str(), response.head.field("connection")),
        ("done", Some("close"))
    );
    drop((downloading, uploading));
    assert_eq!(tidegate.exit().code(), Some(0));
    assert_eq!(tidegate.told("tidegate has left").unwrap()["cut"], 0);
}

#[test]
fn idle_connections_are_closed_and_the_process_ends_long_before_its_budget() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "50ms", "2s");
    let start = Instant::now();
    let mut clients: Vec<_> = (0..10).map(|_| tidegate.connect()).collect();
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.get("/").status, 200));
    tidegate.signal(Signal::TERM);
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.end(), End::Fin));
    assert!(clients.iter().all(|client| client.unread.is_empty()));
    assert_eq!(tidegate.exit().code(), Some(0));
    // A quarter of what is left after the wait, at most.
    assert!(
        start.elapsed() < Duration::from_millis(1100) + SLACK,
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn what_is_left_at_the_end_of_the_budget_is_cut_each_in_its_way() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "50ms", "2s");
    let mut waiting = tidegate.connect();
    waiting.ask("/held/waiting");
    let wait = a.held();
    let mut reading = tidegate.connect();
    reading.ask("/held/reading");
    let read = a.held();
    read.begin();
    read.chunk("part");
    reading.read_to("part");
    let mut listening = tidegate.connect();
    listening.ask("/held/listening");
    let listen = a.held();
    listen.begin_events();
    listen.chunk("data: 1\n\n");
    listening.read_to("data: 1\n\n");
    let start = Instant::now();
    tidegate.signal(Signal::TERM);
    listening.read_to("0\r\n\r\n");
    assert_eq!(waiting.response().status, 504);
    reading.end();
    assert!(
        !String::from_utf8_lossy(&reading.unread).contains("0\r\n"),
        "it never looks whole"
    );
    for exchange in [wait, read, listen] {
        exchange.end();
    }
    assert_eq!(tidegate.exit().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(2) + SLACK,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(tidegate.told("tidegate has left").unwrap()["cut"], 2);
    let codes: Vec<_> = ["waiting", "reading", "listening"]
        .map(|path| tidegate.logged(&format!("/held/{path}"))["code"].clone())
        .into();
    assert_eq!(
        codes,
        [
            "drain_deadline_no_headers",
            "drain_deadline_mid_body",
            "drain_sse_ended"
        ]
    );
}

#[test]
fn whoever_the_kernel_has_accepted_is_served() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "0s", "4s");
    tidegate.signal(Signal::STOP);
    let mut clients: Vec<_> = (0..10).map(|_| tidegate.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("/"));
    tidegate.signal(Signal::TERM);
    tidegate.signal(Signal::CONT);
    for client in &mut clients {
        assert_eq!(client.response().text(), "a");
    }
    drop(clients);
    assert_eq!(tidegate.exit().code(), Some(0));
}

#[test]
fn an_interrupt_does_not_wait_but_finishes() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "59s", "60s");
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    tidegate.signal(Signal::INT);
    refuses(&tidegate);
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    drop(client);
    assert_eq!(tidegate.exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second, code) in [
        (Signal::TERM, Signal::TERM, 143),
        (Signal::TERM, Signal::INT, 130),
        (Signal::INT, Signal::TERM, 143),
    ] {
        let a = Endpoint::start("a");
        let mut tidegate = leaving_within(&a, "30s", "60s");
        let mut client = tidegate.connect();
        client.ask("/held");
        let _exchange = a.held();
        tidegate.signal(first);
        eventually("it leaves", || tidegate.told("leaving"));
        tidegate.signal(second);
        assert_eq!(tidegate.exit().code(), Some(code));
    }
}

#[test]
fn a_pipelined_request_behind_the_last_one_destroys_no_answer() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "0s", "4s");
    let mut client = tidegate.connect();
    client.send("GET /held HTTP/1.1\r\nHost: s\r\n\r\n");
    let exchange = a.held();
    tidegate.signal(Signal::TERM);
    refuses(&tidegate);
    client.send("GET /never HTTP/1.1\r\nHost: s\r\n\r\n");
    exchange.answer(&"x".repeat(300_000));
    let response = client.response();
    assert_eq!(
        (response.body.len(), response.head.field("connection")),
        (300_000, Some("close"))
    );
    assert_eq!(client.end(), End::Fin);
    drop(client);
    assert_eq!(tidegate.exit().code(), Some(0));
}

#[test]
fn a_request_that_races_with_the_closing_of_its_idle_connection_is_answered_or_never_read() {
    let a = Endpoint::start("a");
    let mut tidegate = leaving_within(&a, "0s", "1s");
    let mut clients: Vec<Client> = (0..20).map(|_| tidegate.connect()).collect();
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.get("/").status, 200));
    tidegate.signal(Signal::TERM);
    let mut answered = 0;
    for client in &mut clients {
        client.try_send("GET /late HTTP/1.1\r\nHost: s\r\n\r\n");
        answered += usize::from(client.try_response().is_some());
    }
    let seen = a.paths().iter().filter(|path| *path == "/late").count();
    assert_eq!(answered, seen, "what reached an endpoint was answered");
    assert_eq!(tidegate.exit().code(), Some(0));
}

//! P5 and `interface.md`: gRPC clients are told by a status, at a place where they can read it.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::stream_client::{END_STREAM, StreamClient};
use crate::support::{Client, Endpoint, Exchange, SLACK, Setup, Tidegate, eventually};

fn call(kind: &str) -> String {
    format!(
        "POST /held HTTP/1.1\r\nHost: s\r\nTE: trailers\r\nContent-Type: application/{kind}\r\n\
         Content-Length: 6\r\n\r\n\0\0\0\0\x01x"
    )
}

/// A call in flight at `a`, which is about to drain, with `b` to take over.
fn calling(kind: &str) -> (Tidegate, Client, Exchange, [Endpoint; 2]) {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(call(kind));
    let exchange = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    (tidegate, client, exchange, [a, b])
}

fn begin(exchange: &Exchange, kind: &str, piece: &str) {
    exchange.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/{kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    exchange.chunk(piece);
}

#[test]
fn our_own_failures_are_trailers_alone() {
    let gone = Endpoint::refusing("gone");
    let tidegate = Setup::of(&[&gone]).start();
    let mut client = tidegate.connect();
    client.send(call("grpc+proto").replace("/held", "/x"));
    let response = client.response();
    assert_eq!((response.status, response.text()), (200, String::new()));
    assert_eq!(response.head.field("grpc-status"), Some("14"));
    assert_eq!(
        response.head.field("content-type"),
        Some("application/grpc+proto")
    );
    assert!(response.head.field("grpc-message").is_some());
    assert_eq!(tidegate.logged("/x")["code"], "connect_failed");
}

#[test]
fn without_an_answer_the_deadline_is_a_status() {
    let (tidegate, mut client, exchange, _endpoints) = calling("grpc");
    tidegate.drain("a", "?timeout=300ms");
    let response = client.response();
    assert_eq!(response.head.field("grpc-status"), Some("14"));
    exchange.end();
    assert_eq!(
        tidegate.logged("/held")["code"],
        "drain_deadline_no_headers"
    );
}

#[test]
fn a_stream_ends_with_a_status_behind_the_message() {
    let (tidegate, mut client, exchange, _endpoints) = calling("grpc");
    begin(&exchange, "grpc", "\0\0\0\0\x02A");
    client.read_to("A");
    finish_behind_the_deadline(&tidegate, &exchange);
    assert_eq!(
        client.read_to("0\r\n"),
        "\r\n1\r\nB\r\n0\r\n",
        "not a byte more"
    );
    let trailers = client.read_to("\r\n\r\n");
    assert!(trailers.contains("grpc-status: 14"), "{trailers}");
    exchange.end();
    assert_eq!(tidegate.logged("/held")["code"], "drain_deadline_mid_body");
    assert_eq!(tidegate.report("a")["cut"]["stream"], 1);
}

/// The message's last byte and another message come when the deadline has been acted upon (P5) and a boundary is awaited.
fn finish_behind_the_deadline(tidegate: &Tidegate, exchange: &Exchange) {
    tidegate.drain("a", "?timeout=300ms");
    let acted = Instant::now() + Duration::from_millis(550) + SLACK;
    eventually("the deadline is over", || {
        (Instant::now() > acted).then_some(())
    });
    exchange.chunk("B\0\0\0\0\x01C");
}

#[test]
fn a_stream_over_http2_ends_with_a_status_too() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::connect(tidegate.address());
    let fields = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("host", "shop.test"),
    ];
    let stream = client.open("POST", "/held", &fields, 0);
    client.data(stream, b"\0\0\0\0\x01x", END_STREAM);
    let exchange = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    begin(&exchange, "grpc", "\0\0\0\0\x02A");
    client.body_of(stream, 6);
    finish_behind_the_deadline(&tidegate, &exchange);
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (true, None));
    assert_eq!(answer.body, b"\0\0\0\0\x02AB");
    let status = ("grpc-status".to_owned(), "14".to_owned());
    assert!(answer.trailers.contains(&status), "{:?}", answer.trailers);
}

#[test]
fn inside_a_message_it_is_aborted() {
    for kind in ["grpc", "grpc-web-text"] {
        let (tidegate, mut client, exchange, _endpoints) = calling(kind);
        begin(&exchange, kind, "\0\0\0\0\x02a");
        client.read_to("a");
        let start = Instant::now();
        tidegate.drain("a", "?timeout=300ms");
        client.end();
        assert!(
            !client.unread.ends_with(b"0\r\n\r\n"),
            "it must not look whole"
        );
        let waited = start.elapsed() > Duration::from_secs(2);
        assert_eq!(waited, kind == "grpc");
        exchange.end();
    }
}

#[test]
fn a_client_that_reads_no_trailers_sees_an_abort() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(call("grpc").replace("TE: trailers\r\n", ""));
    let exchange = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    begin(&exchange, "grpc", "\0\0\0\0\x01A");
    client.read_to("A");
    tidegate.drain("a", "?timeout=300ms");
    client.end();
    assert!(
        !client.unread.ends_with(b"0\r\n\r\n"),
        "it must not look whole"
    );
}

#[test]
fn grpc_web_ends_with_its_own_frame() {
    let (tidegate, mut client, exchange, _endpoints) = calling("grpc-web+proto");
    begin(&exchange, "grpc-web+proto", "\0\0\0\0\x01a");
    tidegate.drain("a", "?timeout=300ms");
    let response = client.response();
    assert_eq!(response.body[..6], *b"\0\0\0\0\x01a");
    assert_eq!(response.body[6], 0x80);
    assert_eq!(response.body[10] as usize, response.body.len() - 11);
    assert!(String::from_utf8_lossy(&response.body).contains("grpc-status: 14\r\n"));
    exchange.end();
}

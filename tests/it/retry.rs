//! P10, row by row: only what is safe is sent again, once, within a budget.

use rustix::process::Signal;

use crate::support::{Client, Endpoint, Exchange, Setup, Tidegate, eventually};

const METHODS: [&str; 8] = [
    "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH",
];

#[test]
fn a_refused_connection_sends_any_method_elsewhere() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).service("balance: round_robin").start();
    for method in METHODS {
        for turn in 0..2 {
            let mut client = tidegate.connect();
            client.send(request(method, &format!("/{method}/{turn}"), "once"));
            assert_eq!(answer_to(method, &mut client), 200, "{method}");
        }
    }
    assert_eq!(b.count(), 2 * METHODS.len(), "each once");
    let line = eventually("one was tried at the other endpoint first", || {
        tidegate
            .access_log()
            .into_iter()
            .find(|line| line["attempts"] == 2)
    });
    assert_eq!(
        (&line["endpoint"], &line["tries"][0]["endpoint"]),
        (&"b".into(), &"a".into())
    );
    assert_eq!(line["tries"][0]["reason"], "connect_failed");
}

#[test]
fn a_connection_that_does_not_come_about_in_time_sends_any_method_elsewhere() {
    let (a, b) = (Endpoint::silent("a"), Endpoint::start("b"));
    let service = "balance: round_robin, connect_timeout: 100ms";
    let tidegate = Setup::of(&[&a, &b]).service(service).workers(1).start();
    for turn in 0..2 {
        assert_eq!(
            tidegate.connect().post(&format!("/{turn}"), "once").text(),
            "b"
        );
    }
    assert_eq!(b.count(), 2);
    let tries: Vec<_> = (0..2)
        .map(|turn| tidegate.logged(&format!("/{turn}"))["tries"].clone())
        .collect();
    assert!(
        tries
            .iter()
            .any(|tries| tries[0]["reason"] == "connect_timeout"),
        "{tries:?}"
    );
}

#[test]
fn an_endpoint_that_accepts_no_more_serves_on_by_the_connections_it_has() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let mut client = tidegate.connect();
    client.get("/warm");
    a.refuse();
    assert_eq!(client.post("/x", "once").text(), "a");
    let mut held = tidegate.connect();
    held.ask("/held");
    let _exchange = a.held();
    assert_eq!(client.get("/").status, 503, "the one connection is in use");
    a.listen();
    assert_eq!(client.get("/").text(), "a");
}

#[test]
fn the_only_endpoint_is_tried_again_and_then_it_is_503_or_504() {
    let refusing = Endpoint::refusing("a");
    let tidegate = Setup::of(&[&refusing]).start();
    let response = tidegate.get("/x");
    assert_eq!(
        (response.status, response.head.field("retry-after")),
        (503, Some("1"))
    );
    let line = tidegate.logged("/x");
    assert_eq!(
        (&line["attempts"], &line["code"]),
        (&2.into(), &"connect_failed".into())
    );

    let silent = Endpoint::silent("a");
    let tidegate = Setup::of(&[&silent])
        .service("connect_timeout: 50ms")
        .start();
    assert_eq!(tidegate.get("/x").status, 504);
    assert_eq!(tidegate.logged("/x")["code"], "connect_timeout");
}

#[test]
fn a_pooled_connection_found_closed_before_the_write_costs_no_method_anything() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    for method in METHODS {
        let mut client = tidegate.connect();
        client.ask("/held");
        let warm = a.held();
        warm.answer("warm");
        client.response();
        let before = a.count();
        // It finds the request and the closed connection at the same moment.
        tidegate.signal(Signal::STOP);
        warm.close();
        client.send(request(method, "/x", "once"));
        tidegate.signal(Signal::CONT);
        assert_eq!(answer_to(method, &mut client), 200, "{method}");
        assert_eq!(a.count(), before + 1, "{method}");
        assert_eq!(
            a.requests().last().unwrap().number,
            1,
            "{method}: on a fresh connection"
        );
    }
}

#[test]
fn a_reused_connection_that_closes_without_an_answer_is_retried_once_for_idempotent_methods() {
    for method in METHODS {
        let a = Endpoint::start("a");
        let tidegate = Setup::of(&[&a]).workers(1).start();
        let (mut client, exchange) =
            on_a_reused_connection(&tidegate, &a, &request(method, "/held/x", "body"));
        exchange.whole_request();
        exchange.close();
        if ["POST", "PATCH"].contains(&method) {
            assert_eq!(answer_to(method, &mut client), 502, "{method}");
            assert_eq!(a.count(), 2, "{method} was sent once");
            continue;
        }
        let again = a.held();
        assert_eq!(
            again.request().number,
            1,
            "{method}: a retry takes a fresh connection"
        );
        assert_eq!(
            again.whole_request().body,
            b"body",
            "{method}: with its whole body"
        );
        again.answer("ok");
        assert_eq!(answer_to(method, &mut client), 200, "{method}");
        let line = tidegate.logged("/held/x");
        assert_eq!(
            (&line["attempts"], &line["reused"]),
            (&2.into(), &false.into())
        );
        assert_eq!(line["tries"][0]["reason"], "reused_connection_closed");
        assert_eq!(line["tries"][0]["connection_request"], 2);
        let retries = "tidegate_retries_total{reason=\"reused_connection_closed\",service=\"web\"}";
        assert_eq!(tidegate.metric(retries), Some(1.0));
        assert_eq!(
            tidegate.metric("tidegate_upstream_reuse_race_total{service=\"web\"}"),
            Some(1.0)
        );
    }
}

#[test]
fn a_retry_is_not_retried() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let (mut client, exchange) =
        on_a_reused_connection(&tidegate, &a, &request("GET", "/held/x", ""));
    exchange.reset();
    a.held().reset();
    assert_eq!(client.response().status, 502);
    assert_eq!(a.count(), 3, "the warm one, and two attempts");
}

#[test]
fn a_retry_goes_to_another_endpoint_on_a_fresh_connection() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .service("balance: round_robin")
        .workers(1)
        .start();
    let mut client = tidegate.connect();
    for _ in 0..4 {
        client.get("/");
    }
    client.ask("/held");
    let (first, second) = if eventually("it is somewhere", || at_one_of(&a, &b)) {
        (&a, &b)
    } else {
        (&b, &a)
    };
    first.held().close();
    let again = second.held();
    assert_eq!(again.request().number, 1);
    again.answer("ok");
    assert_eq!(client.response().text(), "ok");
}

/// Whether a held request is at the first one, once it is at either.
fn at_one_of(a: &Endpoint, b: &Endpoint) -> Option<bool> {
    let has = |endpoint: &Endpoint| endpoint.paths().iter().any(|path| path == "/held");
    (has(a) || has(b)).then(|| has(a))
}

#[test]
fn a_fresh_connection_that_closes_after_the_write_is_never_retried() {
    for method in METHODS {
        let (a, b) = (Endpoint::start("a"), Endpoint::refusing("b"));
        let tidegate = Setup::of(&[&a, &b]).start();
        let mut client = tidegate.connect();
        client.send(request(method, "/held/x", "once"));
        a.held().close();
        assert_eq!(answer_to(method, &mut client), 502, "{method}");
        assert_eq!(a.count(), 1, "{method}");
        let line = tidegate.logged("/held/x");
        assert_eq!(line["code"], "upstream_closed");
    }
}

#[test]
fn nothing_is_retried_once_a_byte_of_an_answer_has_come() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    for part in [
        "H",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let before = a.count();
        let (mut client, exchange) =
            on_a_reused_connection(&tidegate, &a, &request("GET", "/held/x", ""));
        exchange.send(part);
        exchange.close();
        let mut response = client.response();
        while response.status < 200 {
            response = client.response();
        }
        assert_eq!(response.status, 502, "{part:?}");
        assert_eq!(a.count(), before + 2, "{part:?}");
    }
}

#[test]
fn an_answer_of_5xx_is_an_answer() {
    let a = Endpoint::start("a");
    a.answer_with("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let tidegate = Setup::of(&[&a]).start();
    let response = tidegate.get("/");
    assert_eq!(
        (response.status, response.head.field("retry-after")),
        (503, None),
        "not tidegate's own"
    );
    assert_eq!(a.count(), 1);
}

#[test]
fn a_body_that_is_not_remembered_is_not_sent_twice() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let body = "x".repeat(65 * 1024);
    let (mut client, exchange) =
        on_a_reused_connection(&tidegate, &a, &request("PUT", "/held/x", &body));
    exchange.whole_request();
    exchange.close();
    assert_eq!(client.response().status, 502);
    assert_eq!(a.count(), 2);
}

#[test]
fn a_long_body_of_which_nothing_was_sent_goes_elsewhere_whole() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .service("balance: round_robin")
        .workers(1)
        .start();
    let body = "x".repeat(300 * 1024);
    for _ in 0..2 {
        assert_eq!(tidegate.connect().post("/", &body).status, 200);
    }
    assert!(
        b.requests()
            .iter()
            .all(|request| request.body.len() == body.len())
    );
}

#[test]
fn with_one_attempt_nothing_is_retried() {
    let a = Endpoint::refusing("a");
    let tidegate = Setup::of(&[&a]).service("retry: { attempts: 1 }").start();
    assert_eq!(tidegate.get("/x").status, 503);
    assert_eq!(tidegate.logged("/x")["attempts"], 1);
}

#[test]
fn retries_have_a_budget_of_ten_a_second_and_a_share_of_requests() {
    let a = Endpoint::refusing("a");
    let tidegate = Setup::of(&[&a]).service("retry: { budget: 20% }").start();
    let mut client = tidegate.connect();
    for _ in 0..300 {
        assert_eq!(client.get("/").status, 503);
    }
    let retries = tidegate
        .metric("tidegate_retries_total{reason=\"connect_failed\",service=\"web\"}")
        .unwrap();
    // A hundred are free in ten seconds, and a fifth of the requests so far comes on top.
    assert!(
        (120.0..=160.0).contains(&retries),
        "{retries} retries of 300 requests"
    );
}

/// A request as it is sent.
fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn answer_to(method: &str, client: &mut Client) -> u16 {
    if method == "HEAD" {
        client.response_to_head().status
    } else {
        client.response().status
    }
}

/// Sends a held request so that it is the second one of its upstream connection. There must be one worker.
fn on_a_reused_connection(tidegate: &Tidegate, a: &Endpoint, request: &str) -> (Client, Exchange) {
    let mut client = tidegate.connect();
    client.get("/warm");
    client.send(request);
    let exchange = a.held();
    assert!(exchange.request().number > 1);
    (client, exchange)
}

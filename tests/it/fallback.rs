//! P7: never a 503 while something can serve, and never a lie about it.

use std::thread;

use tokio::time::Instant;

use crate::support::{Endpoint, Setup, eventually};

#[test]
fn the_last_endpoint_serves_on_and_says_that_it_drains() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.get("/");
    let answer = tidegate.drain("a", "");
    assert_eq!(
        (&answer["state"], &answer["reason"]),
        (&"draining".into(), &"fallback".into())
    );
    assert_eq!(answer["drained"], false);
    assert!(
        answer["deadline"].is_null(),
        "its drain proper has not begun: {answer}"
    );
    assert_eq!(client.get("/x").text(), "a");
    let request = a.requests().pop().unwrap();
    assert_eq!(
        request.head.field("connection"),
        Some("close"),
        "so that no connection outlives the drain"
    );
    assert_eq!(tidegate.logged("/x")["endpoint_state"], "draining");
    let why = "tidegate_dispatched_to_draining_total{service=\"web\",why=\"fallback\"}";
    assert_eq!(tidegate.metric(why), Some(1.0));
    assert!(
        client.is_open(),
        "the client's connection is not the endpoint's"
    );
}

#[test]
fn the_drain_proper_begins_when_a_ready_endpoint_arrives() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let events = tidegate.events();
    tidegate.file().set(&[a.line("state: draining")]);
    events.wait_for("a is the fallback", |event| {
        event["endpoint"] == "a" && event["reason"] == "fallback"
    });
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    tidegate
        .file()
        .set(&[a.line("state: draining"), b.line("")]);
    events.wait("drain_start", "a");
    let so_far = a.count();
    for _ in 0..20 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
    assert_eq!(a.count(), so_far);
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    let report = tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["cause"]),
        (&"clean".into(), &"source".into())
    );
    assert_eq!(
        report["started_after"]["fallback"], 1,
        "counted apart, and told"
    );
}

#[test]
fn when_the_last_ready_one_leaves_those_that_drain_serve_again() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let first = eventually("it is somewhere", || match (a.count(), b.count()) {
        (0, 0) => None,
        (0, _) => Some((&b, &a)),
        _ => Some((&a, &b)),
    });
    let (busy, idle) = first;
    let exchange = busy.held();
    tidegate
        .file()
        .set(&[busy.line("state: draining"), idle.line("")]);
    tidegate.is(busy.name(), "draining");
    // The other one leaves altogether: it may not be used, the draining one may.
    tidegate.file().set(&[busy.line("state: draining")]);
    eventually("the draining one serves in a new life", || {
        (tidegate.lives(busy.name()).len() == 2).then_some(())
    });
    assert_eq!(tidegate.get("/").text(), busy.name());
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
}

#[test]
fn an_endpoint_that_left_its_source_is_never_used() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    assert_eq!(tidegate.get("/").text(), "a");
    tidegate.file().set(&[]);
    tidegate.is_gone("a");
    let response = tidegate.get("/x");
    assert_eq!(
        (response.status, response.head.field("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(response.text().lines().count(), 1);
    assert_eq!(tidegate.logged("/x")["code"], "no_endpoint");
    assert_eq!(a.count(), 1);
}

#[test]
fn all_draining_may_be_told_to_reject() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).service("all_draining: reject").start();
    let answer = tidegate.drain("a", "?wait=true");
    assert_eq!(answer["drained"], true);
    assert_eq!(tidegate.get("/").status, 503);
    assert_eq!(a.count(), 0);
}

#[test]
fn a_wait_for_the_fallback_ends_with_the_truth() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let start = Instant::now();
    let answer = tidegate.drain("a", "?timeout=300ms&wait=true");
    assert!(start.elapsed().as_millis() >= 300);
    assert_eq!(
        (&answer["drained"], &answer["reason"]),
        (&false.into(), &"fallback".into())
    );
    assert_eq!(tidegate.get("/").text(), "a", "and it serves on");
}

#[test]
fn once_drained_was_answered_it_is_final_until_an_undrain() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    assert_eq!(tidegate.drain("a", "?wait=true")["drained"], true);
    tidegate.file().set(&[a.line("")]);
    tidegate.is_gone("b");
    assert_eq!(
        tidegate.get("/").status,
        503,
        "whoever was told may have stopped it"
    );
    tidegate.undrain("a");
    assert_eq!(tidegate.get("/").text(), "a");
}

#[test]
fn not_ready_is_not_draining() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a]).service("drain: { timeout: 100ms }");
    let tidegate = setup.workers(1).start();
    tidegate.get("/warm");
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    tidegate.get("/warm");
    tidegate
        .file()
        .set(&[a.line("state: not_ready"), b.line("")]);
    let life = tidegate.is("a", "not_ready");
    assert!(life["drain"].is_null(), "no deadline: {life}");
    for _ in 0..20 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
    assert_eq!(a.open(), 2, "its idle connection is kept");
    tidegate.file().set(&[a.line("state: not_ready")]);
    tidegate.is_gone("b");
    assert_eq!(tidegate.get("/").status, 503, "it is not ready: never used");
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    tidegate.file().set(&[a.line("")]);
    tidegate.is("a", "ready");
    let so_far = a.connections().len();
    assert_eq!(tidegate.get("/").text(), "a");
    assert_eq!(
        a.connections().len(),
        so_far,
        "the same life, and the connection it kept"
    );
}

#[test]
fn replacing_every_endpoint_at_once_fails_nobody() {
    let old: Vec<_> = ["a", "b"].map(Endpoint::start).into();
    let new: Vec<_> = ["c", "d"].map(Endpoint::start).into();
    let tidegate = Setup::of(&[&old[0], &old[1]]).start();
    let address = tidegate.address();
    let client = thread::spawn(move || {
        let mut client = crate::support::Client::connect(address);
        let mut served = 0;
        while client.get("/").status == 200 {
            served += 1;
            if served == 3000 {
                return;
            }
        }
        panic!("a request failed after {served}");
    });
    eventually("requests come", || (old[0].count() > 10).then_some(()));
    // First they drain, with nobody to take over; then the others come; then the old are gone.
    tidegate.file().set(&[
        old[0].line("state: draining"),
        old[1].line("state: draining"),
    ]);
    tidegate.is("b", "draining");
    let line = |endpoint: &Endpoint| endpoint.line("");
    let mut lines: Vec<_> = old
        .iter()
        .map(|endpoint| endpoint.line("state: draining"))
        .collect();
    lines.extend(new.iter().map(line));
    tidegate.file().set(&lines);
    tidegate.is("d", "ready");
    tidegate
        .file()
        .set(&new.iter().map(line).collect::<Vec<_>>());
    tidegate.is_gone("a");
    client.join().unwrap();
}

//! Endpoints that do not answer as they should: passed over while there is another, and never missed when there is none.

use crate::support::{Endpoint, Setup, Tidegate, eventually};

/// Requests that found nobody at the endpoint's port and were sent again, and the ejections that followed.
fn refusals(tidegate: &Tidegate) -> (f64, f64) {
    let retries = "tidegate_retries_total{reason=\"connect_failed\",service=\"web\"}";
    let ejections = "tidegate_ejections_total{service=\"web\"}";
    let count = |series| tidegate.metric(series).unwrap_or_default();
    (count(retries), count(ejections))
}

#[test]
fn an_endpoint_that_refuses_is_passed_over_by_every_worker_and_comes_back() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    eventually("a has been tried", || {
        assert_eq!(tidegate.get("/").text(), "b");
        (refusals(&tidegate).1 > 0.0).then_some(())
    });
    for _ in 0..100 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
    let (retries, ejections) = refusals(&tidegate);
    // However slowly this runs: who is out is not tried, so each refused connect is the first since it came back.
    assert_eq!(retries, ejections, "no request went to who was ejected");
    assert!(
        tidegate
            .told("it refuses connections; others are preferred for a while")
            .is_some()
    );
    a.listen();
    eventually("a is taken back", || {
        (tidegate.get("/").text() == "a").then_some(())
    });
    let life = tidegate.lives("a").remove(0);
    assert_eq!(life["state"], "ready");
    assert!(
        life["reason"].is_null(),
        "a success is all it takes: {life}"
    );
}

#[test]
fn the_api_shows_an_ejected_endpoint_as_ready_and_unhealthy() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let life = eventually("a is ejected", || {
        tidegate.get("/");
        tidegate
            .lives("a")
            .into_iter()
            .find(|life| life["reason"] == "unhealthy")
    });
    assert_eq!(life["state"], "ready", "its source decides that");
    assert_eq!(tidegate.is("b", "ready")["reason"], serde_json::Value::Null);
    let events = tidegate.events();
    let answer = tidegate.drain("a", "?wait=true");
    assert_eq!(
        (&answer["drained"], &answer["reason"]),
        (&true.into(), &"operator".into())
    );
    events.wait("drain_end", "a");
}

#[test]
fn the_last_one_is_used_although_it_refused() {
    let a = Endpoint::refusing("a");
    let tidegate = Setup::of(&[&a]).start();
    for _ in 0..3 {
        assert_eq!(tidegate.get("/x").status, 503);
    }
    assert_eq!(tidegate.logged("/x")["code"], "connect_failed");
    a.listen();
    assert_eq!(tidegate.get("/").text(), "a", "at once");
}

#[test]
fn a_tier_whose_endpoints_all_refused_is_used_whole() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::refusing("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    eventually("both are ejected", || {
        assert_eq!(tidegate.get("/").status, 503);
        (refusals(&tidegate).1 >= 2.0).then_some(())
    });
    b.listen();
    assert_eq!(tidegate.get("/").text(), "b", "at once");
}

#[test]
fn those_that_drain_as_the_fallback_are_passed_over_likewise() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    tidegate
        .file()
        .set(&[a.line("state: draining"), b.line("state: draining")]);
    tidegate.is("a", "draining");
    tidegate.is("b", "draining");
    eventually("a has been tried", || {
        assert_eq!(tidegate.get("/").text(), "b");
        (refusals(&tidegate).1 > 0.0).then_some(())
    });
    for _ in 0..50 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
    let (retries, ejections) = refusals(&tidegate);
    assert_eq!(retries, ejections);
    assert_eq!(tidegate.is("a", "draining")["reason"], "fallback");
}

#[test]
fn an_endpoint_that_takes_long_to_connect_is_not_ejected() {
    let (a, b) = (Endpoint::silent("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a, &b]).service("connect_timeout: 50ms");
    let tidegate = setup.start();
    let timeouts = "tidegate_retries_total{reason=\"connect_timeout\",service=\"web\"}";
    eventually("a has been tried twice", || {
        tidegate.get("/");
        tidegate.metric(timeouts).filter(|count| *count >= 2.0)
    });
    assert_eq!(refusals(&tidegate), (0.0, 0.0));
    assert!(tidegate.is("a", "ready")["reason"].is_null());
}

//! Endpoints that do not answer as they should: passed over while there is another, and never missed when there is none.

use serde_json::Value;

use crate::support::{Endpoint, Health, Setup, StreamEndpoint, Tidegate, eventually};

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
    log_tells(
        &tidegate,
        "it refuses connections; others are preferred for a while",
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
    assert!(tidegate.is("b", "ready")["reason"].is_null());
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

/// Waits for a line of the log.
#[track_caller]
fn log_tells(tidegate: &Tidegate, message: &str) -> Value {
    eventually("the log tells it", || tidegate.told(message))
}

/// The checks of a test: often, and after one answer sure of it.
const OFTEN: &str = "interval: 20ms, timeout: 10s, healthy: 1, unhealthy: 1";

fn checked(endpoints: &[&Endpoint], probe: &str) -> Setup {
    Setup::of(endpoints).service(&format!("health: {{ {probe}, {OFTEN} }}"))
}

/// Waits until an endpoint is left out because of its check.
#[track_caller]
fn is_out(tidegate: &Tidegate, id: &str) -> Value {
    let life = tidegate.is(id, "not_ready");
    assert_eq!(life["reason"], "unhealthy");
    life
}

/// Waits until an endpoint is in rotation and nothing is held against it.
#[track_caller]
fn is_well(tidegate: &Tidegate, id: &str) {
    eventually(&format!("{id} is well"), || {
        let life = tidegate.lives(id).into_iter().next()?;
        (life["state"] == "ready" && life["reason"].is_null()).then_some(())
    });
}

/// Looks whether an endpoint is still asked, behind some more questions to another that is asked as often.
#[track_caller]
fn is_not_asked(endpoint: &Endpoint, other: &Endpoint) {
    let more = |count: usize| {
        let so_far = other.asked("/healthz");
        eventually("the other one is asked on", || {
            (other.asked("/healthz") >= so_far + count).then_some(())
        });
    };
    // The last question may be on its way.
    more(2);
    let before = endpoint.asked("/healthz");
    more(6);
    assert_eq!(endpoint.asked("/healthz"), before);
}

#[test]
fn who_fails_leaves_the_rotation_and_comes_back_with_all_it_has() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = checked(&[&a, &b], "http: /healthz").workers(1).start();
    let events = tidegate.events();
    let (mut client, exchange) = eventually("a request is held at a", || {
        let before = (a.asked("/held"), b.asked("/held"));
        let mut client = tidegate.connect();
        client.ask("/held");
        eventually("it is somewhere", || {
            ((a.asked("/held"), b.asked("/held")) != before).then_some(())
        });
        if a.asked("/held") > before.0 {
            return Some((client, a.held()));
        }
        b.held().answer("b");
        None
    });
    a.is(Health::Ill(500));
    let life = is_out(&tidegate, "a");
    assert!(life["drain"].is_null(), "no deadline: {life}");
    assert_eq!(life["in_flight"], 1);
    let event = events.wait_for("it is told", |event| {
        event["event"] == "state" && event["endpoint"] == "a" && event["to"] == "not_ready"
    });
    assert_eq!(event["reason"], "unhealthy");
    for _ in 0..20 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
    exchange.answer("done");
    assert_eq!(
        client.response().text(),
        "done",
        "what is in flight goes on"
    );
    let told = log_tells(&tidegate, "the health check fails");
    assert_eq!(
        (&told["endpoint"], &told["error"]),
        (&"a".into(), &"answered 500".into())
    );
    a.is(Health::Ill(204));
    is_well(&tidegate, "a");
    log_tells(&tidegate, "the health check passes again");
    let held = a.requests().into_iter().find(|it| it.path() == "/held");
    let connection = held.unwrap().connection;
    eventually("a serves by the connection that it had", || {
        tidegate.get("/again");
        (a.connections()[connection].requests > 1).then_some(())
    });
    for (result, endpoint) in [("success", "b"), ("failure", "a")] {
        let series = format!("tidegate_health_checks_total{{result=\"{result}\",service=\"web\"}}");
        assert!(tidegate.metric(&series) > Some(0.0), "{endpoint}");
    }
}

#[test]
fn who_does_not_answer_in_time_fails() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    a.is(Health::Mute);
    let check = "health: { http: /healthz, interval: 20ms, timeout: 200ms, unhealthy: 2 }";
    let tidegate = Setup::of(&[&a, &b]).service(check).start();
    is_out(&tidegate, "a");
    let told = log_tells(&tidegate, "the health check fails");
    assert_eq!(told["error"], "no answer within 200ms");
    assert!(a.asked("/healthz") >= 2, "one alone may be chance");
    a.is(Health::Well);
    is_well(&tidegate, "a");
}

#[test]
fn who_refuses_a_connection_fails_by_tcp() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::start("b"));
    let tidegate = checked(&[&a, &b], "tcp: true").start();
    is_out(&tidegate, "a");
    a.listen();
    is_well(&tidegate, "a");
    assert_eq!((a.count(), b.count()), (0, 0), "no request is made of it");
}

#[test]
fn says_what_grpc_says() {
    let (a, b) = (StreamEndpoint::start("a"), StreamEndpoint::start("b"));
    a.says(1);
    b.says(1);
    let keys = format!("protocol: h2, health: {{ grpc: shop, {OFTEN} }}");
    let setup = Setup::without_file().service(&keys);
    setup.file().set(&[a.line(""), b.line("")]);
    let tidegate = setup.start();
    let asked = a.wait("it is asked", |record| {
        let first = record.requests.first()?;
        first.whole.then(|| first.clone())
    });
    is_well(&tidegate, "a");
    assert_eq!(asked.body, b"\0\0\0\0\x06\x0a\x04shop");
    for (name, value) in [
        (":method", "POST"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        assert_eq!(asked.field(name), Some(value));
    }
    a.says(2);
    is_out(&tidegate, "a");
    let told = log_tells(&tidegate, "the health check fails");
    assert_eq!(told["error"], "says NOT_SERVING");
    a.says(1);
    is_well(&tidegate, "a");
}

#[test]
fn asks_by_the_protocol_of_the_service() {
    let a = StreamEndpoint::start("a");
    let keys = format!("protocol: h2, health: {{ http: \"/healthz?x=1\", {OFTEN} }}");
    let setup = Setup::without_file().service(&keys);
    setup.file().set(&[a.line("")]);
    let tidegate = setup.start();
    let success = "tidegate_health_checks_total{result=\"success\",service=\"web\"}";
    eventually("it passes", || tidegate.metric(success));
    let asked = a.requests().remove(0);
    assert_eq!(
        (asked.field(":method"), asked.path()),
        (Some("GET"), "/healthz?x=1")
    );
    is_well(&tidegate, "a");
}

#[test]
fn when_all_fail_all_are_used() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = checked(&[&a, &b], "http: /healthz").start();
    a.is(Health::Ill(503));
    is_out(&tidegate, "a");
    b.is(Health::Ill(503));
    for id in ["a", "b"] {
        eventually("it is used all the same", || {
            let life = tidegate.lives(id).remove(0);
            (life["state"] == "ready" && life["reason"] == "unhealthy").then_some(())
        });
    }
    for endpoint in ["a", "b"] {
        eventually("both serve", || {
            let response = tidegate.get("/");
            assert_eq!(response.status, 200, "P7");
            (response.text() == endpoint).then_some(())
        });
    }
    let all = "every endpoint fails its health check: all are used as if none did";
    log_tells(&tidegate, all);
    b.is(Health::Well);
    is_well(&tidegate, "b");
    is_out(&tidegate, "a");
}

#[test]
fn a_check_cannot_bring_in_who_its_source_leaves_out() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = checked(&[&a, &b], "http: /healthz").start();
    tidegate
        .file()
        .set(&[a.line("state: not_ready"), b.line("")]);
    let life = tidegate.is("a", "not_ready");
    assert!(life["reason"].is_null(), "{life}");
    let so_far = a.asked("/healthz");
    eventually("it passes", || {
        (a.asked("/healthz") > so_far + 2).then_some(())
    });
    assert_eq!(tidegate.lives("a")[0]["state"], "not_ready");
    for _ in 0..10 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
}

#[test]
fn who_drains_or_leaves_is_asked_no_more() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = checked(&[&a, &b], "http: /healthz").start();
    a.is(Health::Ill(500));
    is_out(&tidegate, "a");
    let answer = tidegate.drain("a", "?wait=true");
    assert_eq!(answer["drained"], true, "{answer}");
    is_not_asked(&a, &b);
    assert_eq!(tidegate.report("a")["outcome"], "clean");
    tidegate.undrain("a");
    eventually("its new life is checked, too", || {
        let life = tidegate.lives("a").into_iter().next()?;
        (life["reason"] == "unhealthy").then_some(())
    });
    tidegate.file().set(&[b.line("")]);
    tidegate.is_gone("a");
    is_not_asked(&a, &b);
}

#[test]
fn a_reload_adds_changes_and_removes_checks() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    a.is(Health::Ill(500));
    let setup = Setup::of(&[&a, &b]);
    let without = setup.text();
    let with =
        |check: &str| without.replace("name: web, ", &format!("name: web, health: {check}, "));
    let tidegate = setup.start();
    assert_eq!(
        tidegate.reload(&with(&format!("{{ http: /healthz, {OFTEN} }}"))),
        "success"
    );
    is_out(&tidegate, "a");
    // Another check has not found anything yet: what the first has found holds until then.
    assert_eq!(
        tidegate.reload(&with("{ http: /other, interval: 1h }")),
        "success"
    );
    is_out(&tidegate, "a");
    assert_eq!(
        tidegate.reload(&with(&format!("{{ http: /other, {OFTEN} }}"))),
        "success"
    );
    is_well(&tidegate, "a");
    let asked = a.asked("/healthz");
    let so_far = a.asked("/other");
    eventually("it is asked the other way", || {
        (a.asked("/other") > so_far + 3).then_some(())
    });
    assert_eq!(a.asked("/healthz"), asked, "and in that way alone");
    assert_eq!(
        tidegate.reload(&with(&format!("{{ http: /healthz, {OFTEN} }}"))),
        "success"
    );
    is_out(&tidegate, "a");
    assert_eq!(tidegate.reload(&without), "success");
    is_well(&tidegate, "a");
    let drain = tidegate.admin("GET", "/api/v1/drains").ok();
    assert_eq!(
        drain["drains"],
        serde_json::json!([]),
        "it was one life all the time"
    );
}

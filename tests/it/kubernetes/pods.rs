//! What pods say of their own end: earlier than the slices, latched, and with a deadline (P5, P7, P8).

use std::time::Duration;

use tokio::time::Instant;

use super::api::Api;
use super::{READY, TERMINATING, setup_of};
use crate::support::{Endpoint, SLACK, Setup, Tidegate, eventually};

fn setup(api: &Api) -> Setup {
    setup_of(api, "pods: true", "")
}

/// How often a lag was measured.
fn lags(tidegate: &Tidegate, source: &str) -> Option<f64> {
    tidegate.metric(&format!(
        "tidegate_detection_lag_seconds_count{{source=\"{source}\"}}"
    ))
}

#[test]
fn a_pod_tells_of_its_end_before_its_slice_does() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    for one in [&a, &b] {
        api.put_pod(one, None);
        api.set(one, READY);
    }
    let tidegate = setup(&api).start();
    tidegate.is("b", "ready");
    api.delete_pod(&a, 30);
    let report = tidegate.report("a");
    assert_eq!(report["cause"], "source");
    assert!(
        report["seen"]["pod"].is_string() && report["seen"]["source"].is_null(),
        "{report}"
    );
    assert_eq!(report["limited_by"], "pod");
    // A slice that is late with it changes nothing (P8).
    api.set(&a, READY);
    api.set(&b, READY);
    (0..10).for_each(|_| assert_eq!(tidegate.get("/").text(), "b"));
    api.set(&a, TERMINATING);
    eventually("both are measured", || {
        (lags(&tidegate, "pods")? == 1.0 && lags(&tidegate, "endpointslices")? == 1.0).then_some(())
    });
    assert!(
        tidegate
            .metric("tidegate_detection_lag_seconds_sum{source=\"pods\"}")
            .unwrap()
            < 2.0
    );
}

#[test]
fn work_is_cut_before_the_pod_is_killed_and_a_shorter_grace_period_counts() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.set(&a, READY);
    let tidegate = setup(&api).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let _held = a.held();
    api.set(&b, READY);
    tidegate.is("b", "ready");
    api.delete_pod(&a, 25);
    let life = tidegate.is("a", "draining");
    let left = life["drain"]["left_ms"].as_u64().unwrap();
    assert!((20_000..=23_000).contains(&left), "{left}");
    let start = Instant::now();
    api.delete_pod(&a, 4);
    assert_eq!(client.response().status, 504);
    // The time of a kill is written in whole seconds.
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(2) + SLACK,
        "{took:?}"
    );
    let report = tidegate.report("a");
    assert_eq!(
        (&report["limited_by"], &report["cut"]["request"]),
        (&"pod".into(), &1.into())
    );
}

#[test]
fn the_last_one_serves_on_until_its_pods_own_deadline() {
    let api = Api::start();
    let a = Endpoint::start("a");
    api.set(&a, READY);
    let tidegate = setup(&api).start();
    api.delete_pod(&a, 4);
    let life = tidegate.is("a", "draining");
    assert_eq!(life["reason"], "fallback");
    assert_eq!(tidegate.get("/").text(), "a");
    tidegate.is("a", "drained");
    assert_eq!(tidegate.get("/").status, 503);
    assert_eq!(tidegate.report("a")["limited_by"], "pod");
}

#[test]
fn pods_that_may_not_be_watched_are_told_of_and_missed_by_nobody() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.forbids_pods(true);
    api.set(&a, READY);
    api.set(&b, READY);
    let tidegate = setup(&api).start();
    eventually("it says so", || {
        (tidegate.tells("forbids to watch pods in namespace shop") > 0).then_some(())
    });
    tidegate.is("b", "ready");
    api.set(&a, TERMINATING);
    let report = tidegate.report("a");
    assert!(
        report["seen"]["source"].is_string() && report["seen"]["pod"].is_null(),
        "{report}"
    );
}

#[test]
fn replicas_are_those_of_their_own_service() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.set(&a, READY);
    api.set(&b, READY);
    let peers = "peers: { kubernetes: { namespace: shop, service: peers, port: admin } }";
    let replicas = [
        setup_of(&api, "", peers).start(),
        setup_of(&api, "", peers).start(),
    ];
    for (number, replica) in replicas.iter().enumerate() {
        api.put_peer(&format!("peer-{number}"), replica.admin_address(), READY);
    }
    // One that is not ready and not there carries nothing; that is no reason to wait.
    let gone = Endpoint::refusing("gone").address();
    api.put_peer(
        "peer-gone",
        gone,
        r#"{ "ready": false, "serving": false, "terminating": false }"#,
    );
    let answer = eventually("both replicas know each other", || {
        let answer = replicas[0]
            .admin("GET", "/drain?pod=shop/pod-a&limit=10s")
            .ok();
        (answer["replicas"].as_array().unwrap().len() == 2).then_some(answer)
    });
    assert_eq!(answer["drained"], true, "{answer}");
    for replica in &replicas {
        replica.is("a", "drained");
    }
}

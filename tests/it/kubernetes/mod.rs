//! Endpoint slices from an API server: P8 and P9 where the source is Kubernetes.

mod api;
mod gateway;
mod ingress;
mod pods;
mod rollouts;
mod scale;
mod trust;
mod webhook;
mod writes;

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Client, Endpoint, Exchange, SLACK, Setup, Tidegate, eventually};
use api::{Api, Streams};

const READY: &str = r#"{ "ready": true, "serving": true, "terminating": false }"#;
const TERMINATING: &str = r#"{ "ready": false, "serving": true, "terminating": true }"#;

fn setup(api: &Api) -> Setup {
    setup_of(api, "", "")
}

/// With more keys of the source, and more lines.
fn setup_of(api: &Api, source: &str, rest: &str) -> Setup {
    Setup::without_file()
        .with_file("kubeconfig", &api.kubeconfig())
        .with_config(&format!(
            "listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]\n\
             routes: [{{ service: web }}]\n\
             services: [{{ name: web, source: {{ kubernetes: {{ namespace: shop, service: web, port: http, {source} }} }} }}]\n\
             admin: {{ address: \"127.0.0.1:0\", probes_address: \"127.0.0.1:0\" }}\n\
             workers: 2\n{rest}\n",
        ))
}

fn source_up(tidegate: &Tidegate) -> Option<f64> {
    tidegate.metric("tidegate_source_up{service=\"web\",source=\"kubernetes\"}")
}

/// A POST that one of all answers when it is told to: of the one that is meant.
fn hold(tidegate: &Tidegate, at: &Endpoint, all: &[&Endpoint]) -> (Client, Exchange) {
    for number in 0.. {
        let path = format!("/held/{}/{number}", at.name());
        let mut client = tidegate.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        ));
        let found = eventually("somebody has it", || {
            all.iter().find(|one| one.paths().contains(&path))
        });
        let held = found.held();
        if found.name() == at.name() {
            return (client, held);
        }
        held.answer("x");
        client.response();
    }
    unreachable!("one of a few endpoints is never chosen")
}

#[test]
fn a_rollout_is_seen_from_the_first_slice_to_the_last() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.set(&a, "{}");
    let tidegate = setup(&api).start();
    assert_eq!(tidegate.get("/").text(), "a");
    assert_eq!(tidegate.is("a", "ready")["pod"], "shop/pod-a");
    api.set(&b, READY);
    tidegate.is("b", "ready");
    api.set(&a, TERMINATING);
    api.repeat();
    let report = tidegate.report("a");
    assert_eq!(report["cause"], "source");
    for _ in 0..10 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
    // A pod is never heard to live again (P8).
    api.set(&a, READY);
    api.set(&b, TERMINATING);
    tidegate.is("b", "draining");
    assert_eq!(tidegate.lives("a")[0]["state"], "draining");
    api.delete("web-a");
    tidegate.is_gone("a");
    assert_eq!(api.asked("stream"), 1);
    assert_eq!(api.asked("list"), 0);
}

#[test]
fn a_server_without_streaming_lists_is_listed_and_watched() {
    let a = Endpoint::start("a");
    for (streams, name) in [(Streams::Broken, "b"), (Streams::Refused, "c")] {
        let api = Api::start();
        api.answers_streaming_lists(streams);
        api.set(&a, READY);
        let tidegate = setup(&api).start();
        assert_eq!(tidegate.get("/").text(), "a");
        let later = Endpoint::start(name);
        api.set(&later, READY);
        tidegate.is(name, "ready");
        assert_eq!(
            (api.asked("stream"), api.asked("list"), api.asked("watch")),
            (1, 1, 1),
            "{streams:?}"
        );
    }
}

#[test]
fn a_list_of_several_pages_is_read_whole_also_when_its_token_expires() {
    let endpoints = ["a", "b", "c", "d", "e"].map(Endpoint::start);
    for stale in [0, 1] {
        let api = Api::start();
        api.answers_streaming_lists(Streams::Refused);
        api.pages_of(2);
        api.forgets_pages(stale);
        for endpoint in &endpoints {
            api.set(endpoint, READY);
        }
        let tidegate = setup(&api).start();
        for endpoint in &endpoints {
            tidegate.is(endpoint.name(), "ready");
        }
        // A token that is too old is followed by one list of everything, at once.
        let asked = (api.asked("list"), api.asked("page"));
        assert_eq!(asked, if stale == 0 { (1, 2) } else { (2, 1) });
        assert_eq!(tidegate.tells("no longer knows"), 0);
    }
}

#[test]
fn a_watch_that_breaks_or_is_too_old_loses_nothing() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.set(&a, READY);
    let tidegate = setup(&api).start();
    api.breaks_off();
    eventually("it watches again", || {
        (api.asked("watch") > 0).then_some(())
    });
    api.set(&b, READY);
    tidegate.is("b", "ready");
    api.compacts();
    api.set(&a, TERMINATING);
    tidegate.report("a");
    api.is_away(true);
    api.delete("web-a");
    api.compacts();
    api.is_away(false);
    tidegate.is_gone("a");
    assert_eq!(api.asked("stream"), 2, "too old: listed again");
    assert_eq!(tidegate.get("/").text(), "b");
}

#[test]
fn a_server_that_is_away_changes_nothing_and_its_return_is_seen_soon() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.set(&a, READY);
    let tidegate = setup(&api).start();
    api.is_away(true);
    eventually("the source is down", || {
        (source_up(&tidegate) == Some(0.0)).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(tidegate.get("/").text(), "a");
    }
    assert_eq!(tidegate.admin("GET", "/readyz").status, 200);
    // It is told once for each try, by us.
    assert!(tidegate.tells("the API server cannot be reached") > 0);
    assert_eq!(tidegate.tells("kube_client"), 0);
    api.set(&b, READY);
    let back = Instant::now();
    api.is_away(false);
    tidegate.is("b", "ready");
    let took = back.elapsed();
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
    eventually("the source is up", || {
        (source_up(&tidegate) == Some(1.0)).then_some(())
    });
}

#[test]
fn an_upgrade_while_the_server_is_away_is_given_up_and_one_after_its_return_is_done() {
    let api = Api::start();
    let a = Endpoint::start("a");
    api.set(&a, READY);
    let mut tidegate = setup_of(&api, "", "shutdown: { upgrade_timeout: 2s }").start();
    api.is_away(true);
    tidegate.signal(Signal::USR2);
    let line = eventually("the upgrade has failed", || {
        tidegate.told("upgrade failed; this process goes on")
    });
    let why = line["error"].as_str().unwrap();
    assert!(why.contains("upgrade_timeout"), "{why}");
    assert!(tidegate.tells("the API server cannot be reached: http://127.0.0.1:") > 0);
    for _ in 0..5 {
        assert_eq!(tidegate.get("/").text(), "a");
    }
    assert_eq!(tidegate.admin("GET", "/readyz").status, 200);
    api.is_away(false);
    let old = tidegate.upgrade();
    assert_eq!(tidegate.ended(old), Some(0));
    assert_eq!(tidegate.get("/").text(), "a");
}

#[test]
fn what_is_forbidden_is_named_and_tidegate_is_not_ready_before_the_first_set() {
    let api = Api::start();
    let a = Endpoint::start("a");
    api.set(&a, READY);
    api.forbids(true);
    let tidegate = setup(&api).start_unready();
    eventually("the fault is told", || {
        (tidegate.tells("forbids to watch endpointslices in namespace shop") > 0).then_some(())
    });
    assert_eq!(tidegate.admin("GET", "/readyz").status, 503);
    api.forbids(false);
    tidegate.ready();
    assert_eq!(tidegate.get("/").text(), "a");
    api.forbids(true);
    api.breaks_off();
    eventually("the source is down", || {
        (source_up(&tidegate) == Some(0.0)).then_some(())
    });
    assert_eq!(tidegate.admin("GET", "/readyz").status, 200);
    assert_eq!(tidegate.get("/").text(), "a");
}

#[test]
fn a_slice_of_nulls_is_an_empty_one() {
    let api = Api::start();
    api.put("web-x", &json!(null), &json!(null));
    let tidegate = setup(&api).start();
    assert_eq!(tidegate.get("/").status, 503);
    let a = Endpoint::start("a");
    api.set(&a, READY);
    tidegate.is("a", "ready");
    assert_eq!(tidegate.get("/").text(), "a");
}

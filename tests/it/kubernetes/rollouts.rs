//! Rollouts of deployments whose application goes at once when it is told to: what their clients see without a preStop hook,
//! with the wait (P15), and with the webhook.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::api::Api;
use super::{READY, setup_of};
use crate::support::{Client, Endpoint, Exchange, Setup, Tidegate, binary, eventually};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Nothing,
    Wait,
    Webhook,
}

/// Stops the load at its end.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What clients saw.
#[derive(Debug)]
struct Row {
    how: How,
    requests: usize,
    failed: usize,
}

fn setup(api: &Api, webhook: &str) -> Setup {
    setup_of(api, "", webhook)
}

/// Asks the webhook whether a pod may go.
fn may_go(tidegate: &Tidegate, pod: &str, evict: bool) -> Value {
    let (operation, sub_resource) = if evict {
        ("CREATE", json!("eviction"))
    } else {
        ("DELETE", json!(null))
    };
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "review", "operation": operation, "namespace": "shop", "name": pod,
            "resource": { "group": "", "version": "v1", "resource": "pods" }, "subResource": sub_resource,
            "oldObject": { "metadata": { "name": pod, "uid": "u" } },
        },
    });
    let address = tidegate.admin_address();
    let review = review.to_string();
    let mut client = Client::connect(address);
    client.send(format!(
        "POST /admission HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{review}",
        review.len()
    ));
    let answer = client.response();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(answer["response"]["uid"], "review");
    answer["response"].clone()
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

/// Sends one POST after the other. Returns how many, and how many failed.
fn load(tidegate: &Tidegate, stop: &AtomicBool, sent: &AtomicUsize) -> (usize, usize) {
    let (mut client, mut requests, mut failed) = (tidegate.connect(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        client.try_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
        let answer = client.try_response();
        requests += 1;
        sent.fetch_add(1, Ordering::Relaxed);
        if answer.is_none_or(|answer| answer.status != 200) {
            failed += 1;
            client = tidegate.connect();
        }
    }
    (requests, failed)
}

fn rollout(how: How) -> Row {
    let api = Api::start();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(Endpoint::start);
    api.set(&a, READY);
    api.set(&b, READY);
    let tidegate = setup(&api, "webhook: { limit: 20s }").start();
    tidegate.is("b", "ready");
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut row = Row {
        how,
        requests: 2,
        failed: 0,
    };
    thread::scope(|scope| {
        // Also when something fails: or the scope waits for the clients for ever.
        let _stop = Stop(&stop);
        let clients = [(); 2].map(|()| scope.spawn(|| load(&tidegate, &stop, &sent)));
        let mut old = vec![a, b];
        for new in [&c, &d] {
            api.set(new, READY);
            tidegate.is(new.name(), "ready");
            let leaves = old.remove(0);
            let all: Vec<_> = old.iter().chain([&leaves, &c, &d]).collect();
            let (mut client, held) = hold(&tidegate, &leaves, &all);
            let before = sent.load(Ordering::Relaxed);
            eventually("requests go on", || {
                (sent.load(Ordering::Relaxed) > before + 20).then_some(())
            });
            may_end(how, &tidegate, &leaves, held);
            // The application goes; its slice tells of it only then.
            let name = leaves.name().to_owned();
            drop(leaves);
            let before = sent.load(Ordering::Relaxed);
            eventually("requests go on", || {
                (sent.load(Ordering::Relaxed) > before + 20).then_some(())
            });
            api.terminate(&name);
            api.delete(&format!("web-{name}"));
            tidegate.is_gone(&name);
            let answer = client.try_response();
            row.failed += usize::from(answer.is_none_or(|answer| answer.status != 200));
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (requests, failed) = client.join().unwrap();
            row.requests += requests;
            row.failed += failed;
        }
    });
    row
}

/// What happens between the deletion of a pod and its application's end, while it has a request in flight.
fn may_end(how: How, tidegate: &Tidegate, leaves: &Endpoint, held: Exchange) {
    let name = leaves.name();
    let pod = format!("pod-{name}");
    match how {
        How::Nothing => held.reset(),
        How::Wait => {
            let admin = tidegate.admin_address().to_string();
            let mut hook = Command::new(binary())
                .args(["wait", "--pod", &format!("shop/{pod}"), "--admin", &admin])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            tidegate.is(name, "draining");
            assert!(hook.try_wait().unwrap().is_none());
            held.answer("done");
            assert!(hook.wait().unwrap().success());
        }
        How::Webhook => {
            let first = may_go(tidegate, &pod, false);
            assert_eq!(
                (&first["allowed"], &first["status"]["code"]),
                (&false.into(), &409.into())
            );
            tidegate.is(name, "draining");
            held.answer("done");
            eventually("it may go", || {
                (may_go(tidegate, &pod, false)["allowed"] == true).then_some(())
            });
        }
    }
}

#[test]
fn three_rollouts_in_one_table() {
    let rows = [How::Nothing, How::Wait, How::Webhook].map(rollout);
    eprintln!(
        "{:<20} {:>9} {:>7}",
        "deployment with", "requests", "failed"
    );
    for Row {
        how,
        requests,
        failed,
    } in &rows
    {
        let what = match how {
            How::Nothing => "no preStop at all",
            How::Wait => "tidegate wait",
            How::Webhook => "the webhook",
        };
        eprintln!("{what:<20} {requests:>9} {failed:>7}");
    }
    // What it had in flight, if nothing else.
    assert!(rows[0].failed >= 2, "{rows:?}");
    assert_eq!((rows[1].failed, rows[2].failed), (0, 0), "{rows:?}");
}

#[test]
fn the_webhook_holds_what_serves_here_until_it_is_drained_or_the_limit_is_over() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.set(&a, READY);
    api.set(&b, READY);
    let tidegate = setup(&api, "webhook: { limit: 2s }").start();
    tidegate.is("b", "ready");
    assert_eq!(
        may_go(&tidegate, "pod-of-somebody-else", false)["allowed"],
        true
    );
    let (mut client, held) = hold(&tidegate, &a, &[&a, &b]);
    let first = may_go(&tidegate, "pod-a", true);
    assert_eq!(
        (&first["allowed"], &first["status"]["code"]),
        (&false.into(), &429.into())
    );
    assert!(
        first["status"]["message"]
            .as_str()
            .unwrap()
            .contains("shop/pod-a"),
        "{first}"
    );
    let again = may_go(&tidegate, "pod-a", true);
    assert_eq!(again["allowed"], false, "it has work in flight: {again}");
    eventually("the limit is over", || {
        (may_go(&tidegate, "pod-a", true)["allowed"] == true).then_some(())
    });
    held.answer("a");
    client.response();
    let report = tidegate.report("a");
    assert_eq!(
        (&report["cause"], &report["outcome"]),
        (&"webhook".into(), &"clean".into())
    );
    // Idle: refused once, and then it may go.
    let c = Endpoint::start("c");
    api.set(&c, READY);
    tidegate.is("c", "ready");
    assert_eq!(may_go(&tidegate, "pod-b", false)["allowed"], false);
    assert_eq!(may_go(&tidegate, "pod-b", false)["allowed"], true);
}

#[test]
fn there_is_no_webhook_unless_it_is_asked_for() {
    let api = Api::start();
    let a = Endpoint::start("a");
    api.set(&a, READY);
    let tidegate = setup(&api, "").start();
    assert_eq!(tidegate.admin("POST", "/admission").status, 404);
    let with = setup(&api, "webhook: { limit: 2s }").start();
    assert_eq!(with.admin("POST", "/admission").status, 400, "no review");
    assert_eq!(with.admin("GET", "/admission").status, 405);
}

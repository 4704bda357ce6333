//! Rollouts of deployments whose application goes at once when it is told to: what their clients see without a preStop hook,
//! with the wait (P15), and with the webhook through its TLS container.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::api::Api;
use super::webhook::{Container, Wish};
use super::{READY, hold, setup_of};
use crate::support::{Endpoint, Exchange, Tidegate, binary, eventually};

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
    let tidegate = setup_of(&api, "", "webhook: { limit: 20s }").start();
    let webhook = Container::before(&tidegate);
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
            may_end(how, &tidegate, &webhook, &leaves, held);
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
fn may_end(how: How, tidegate: &Tidegate, webhook: &Container, leaves: &Endpoint, held: Exchange) {
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
            assert!(!webhook.allows(&pod, Wish::Delete));
            tidegate.is(name, "draining");
            held.answer("done");
            eventually("it may go", || {
                webhook.allows(&pod, Wish::Delete).then_some(())
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

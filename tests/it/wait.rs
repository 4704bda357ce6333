//! P15: a pod waits until every replica has drained it, and never beyond its limit. Each replica is a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Endpoint, SLACK, Setup, Tidegate, binary};

/// An endpoint as the pod `shop/NAME`, in a slice of its own.
fn pod(endpoint: &Endpoint) -> String {
    let (name, port) = (endpoint.name(), endpoint.address().port());
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{ name: {name}, namespace: shop }}\n\
         addressType: IPv4\nports: [{{ port: {port} }}]\n\
         endpoints: [{{ addresses: [127.0.0.1], targetRef: {{ kind: Pod, namespace: shop, name: {name}, uid: u-{name} }} }}]\n---\n"
    )
}

fn pods(endpoints: &[&Endpoint]) -> String {
    endpoints.iter().map(|endpoint| pod(endpoint)).collect()
}

/// Replicas that know each other and these further addresses; each has its own endpoints.
fn replicas(endpoints: &[&[&Endpoint]], further: &[SocketAddr], admin: &str) -> Vec<Tidegate> {
    let start = |endpoints: &&[&Endpoint]| {
        let setup = Setup::without_file()
            .admin(admin)
            .with_file("hook", "sesame");
        setup.file().replace(&pods(endpoints));
        let text = setup.text();
        (setup.start(), text)
    };
    let started: Vec<_> = endpoints.iter().map(start).collect();
    let own = started.iter().map(|(replica, _)| replica.admin_address());
    let all: Vec<String> = own
        .chain(further.iter().copied())
        .map(|one| format!("\"{one}\""))
        .collect();
    let introduce = |(replica, text): (Tidegate, String)| {
        let text = format!("{text}peers: [{}]\n", all.join(", "));
        assert_eq!(replica.reload(&text), "success");
        replica
    };
    started.into_iter().map(introduce).collect()
}

/// What the replica at an address said, in an answer.
fn said<'a>(answer: &'a Value, replica: &str) -> &'a Value {
    let replicas = answer["replicas"].as_array().unwrap();
    let found = replicas.iter().find(|one| one["replica"] == replica);
    found.unwrap_or_else(|| panic!("nothing of {replica}: {answer}"))
}

/// Runs `tidegate wait`.
fn wait(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .arg("wait")
        .args(arguments)
        .env_remove("TIDEGATE_ADMIN");
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_pod_waits_for_what_it_has_in_flight_at_any_replica() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let replicas = replicas(&[&[&a, &b], &[&a, &b], &[&a]], &[], "");
    let mut client = replicas[2].connect();
    client.ask("/held");
    let held = a.held();
    replicas[2].file().replace(&pods(&[&a, &b]));
    replicas[2].is("u-b", "ready");
    thread::scope(|scope| {
        let asked = scope.spawn(|| replicas[0].admin("GET", "/drain?pod=shop/a&limit=15s").ok());
        for replica in &replicas {
            replica.is(
                "u-a",
                if std::ptr::eq(replica, &replicas[2]) {
                    "draining"
                } else {
                    "drained"
                },
            );
        }
        assert!(!asked.is_finished());
        held.answer("a");
        assert_eq!(client.response().text(), "a");
        let answered = Instant::now();
        let answer = asked.join().unwrap();
        assert!(answered.elapsed() < SLACK);
        assert_eq!(
            (&answer["drained"], &answer["reason"]),
            (&true.into(), &"drained".into())
        );
        assert_eq!(answer["replicas"].as_array().unwrap().len(), 3, "{answer}");
        assert_eq!(said(&answer, "self")["drained"], true);
        let other = replicas[2].admin_address().to_string();
        assert_eq!(said(&answer, &other)["endpoints"][0]["id"], "u-a");
    });
}

#[test]
fn a_replica_that_has_not_seen_the_pod_is_waited_for_and_never_sends_it_anything() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let replicas = replicas(&[&[&a, &b], &[&b]], &[], "");
    let late = replicas[1].admin_address().to_string();
    let answer = replicas[0]
        .admin("GET", "/drain?pod=shop/a&limit=500ms")
        .ok();
    assert_eq!(answer["drained"], false, "{answer}");
    assert_eq!(said(&answer, "self")["drained"], true);
    assert_eq!(said(&answer, &late)["drained"], false);
    let reason = said(&answer, &late)["reason"].as_str().unwrap();
    assert!(reason.contains("not been seen here yet"), "{reason}");
    // The same by the one that is late, asked first.
    let answer = replicas[1]
        .admin("GET", "/drain?pod=shop/a&limit=500ms")
        .ok();
    assert_eq!(answer["drained"], false, "{answer}");
    thread::scope(|scope| {
        let asked = scope.spawn(|| replicas[0].admin("GET", "/drain?pod=shop/a&limit=15s").ok());
        replicas[1].file().replace(&pods(&[&a, &b]));
        let answer = asked.join().unwrap();
        assert_eq!(answer["drained"], true, "{answer}");
    });
    let life = &replicas[1].lives("u-a")[0];
    assert_eq!(
        (&life["state"], &life["reason"]),
        (&"drained".into(), &"hook".into())
    );
    (0..10).for_each(|_| assert_eq!(replicas[1].get("/").text(), "b"));
    assert_eq!(a.count(), 0);
}

#[test]
fn a_pod_that_nobody_knows_need_not_wait() {
    let a = Endpoint::start("a");
    let replicas = replicas(&[&[&a], &[&a]], &[], "");
    let answer = replicas[0]
        .admin("GET", "/drain?pod=shop/none&limit=15s")
        .ok();
    assert_eq!(
        (&answer["drained"], &answer["reason"]),
        (&true.into(), &"serves nothing here".into())
    );
    assert_eq!(answer["replicas"].as_array().unwrap().len(), 2);
}

#[test]
fn a_replica_that_crashed_or_is_cut_off_is_unconfirmed_and_holds_nobody_up_beyond_the_limit() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let cut_off = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = cut_off.local_addr().unwrap();
    let mut replicas = replicas(&[&[&a, &b], &[&a, &b], &[&a, &b]], &[silent], "");
    let crashed = replicas.pop().unwrap();
    let dead = crashed.admin_address().to_string();
    drop(crashed);
    let start = Instant::now();
    let answer = replicas[0]
        .admin("GET", "/drain?pod=shop/a&limit=1500ms")
        .ok();
    let took = start.elapsed();
    assert!(took < Duration::from_millis(1500) + SLACK, "{took:?}");
    assert_eq!(answer["drained"], false);
    assert!(
        answer["reason"].as_str().unwrap().contains("unconfirmed"),
        "{answer}"
    );
    for (replica, drained, reason) in [
        ("self", true, "drained"),
        (&replicas[1].admin_address().to_string(), true, "drained"),
        (&dead, false, "unconfirmed"),
        (&silent.to_string(), false, "unconfirmed"),
    ] {
        let said = said(&answer, replica);
        assert_eq!(
            (&said["drained"], &said["reason"]),
            (&drained.into(), &reason.into())
        );
    }
    // What can be reached is drained all the same.
    replicas[1].is("u-a", "drained");
}

#[test]
fn the_hook_may_ask_for_a_token_and_the_replicas_send_it_to_each_other() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let replicas = replicas(&[&[&a, &b], &[&a, &b]], &[], "hook_token_file: hook");
    let hook = "/drain?pod=shop/a&limit=10s";
    assert_eq!(replicas[0].admin("GET", hook).status, 401);
    assert_eq!(replicas[0].lives("u-a")[0]["state"], "ready");
    let answer = replicas[0]
        .admin_with("GET", hook, "Authorization: Bearer sesame\r\n")
        .ok();
    assert_eq!(answer["drained"], true, "{answer}");
    let admin = replicas[1].admin_address().to_string();
    let token = replicas[1].dir().join("hook");
    let refused = wait(&["--pod", "shop/b", "--admin", &admin, "--limit", "1s"]);
    let text = String::from_utf8(refused.stdout).unwrap();
    assert!(
        refused.status.success() && text.contains("hook_token_file"),
        "{text}"
    );
    let token = token.to_str().unwrap();
    let taken = wait(&["--pod", "shop/a", "--admin", &admin, "--token-file", token]);
    let text = String::from_utf8(taken.stdout).unwrap();
    assert!(text.starts_with("drained after"), "{text}");
}

#[test]
fn the_command_waits_tells_what_for_and_always_ends_well_by_its_limit() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let replicas = replicas(&[&[&a, &b], &[&a, &b]], &[], "");
    let told = |arguments: &[&str]| {
        let start = Instant::now();
        let output = wait(arguments);
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), start.elapsed())
    };
    let [one, other] = [0, 1].map(|at: usize| replicas[at].admin_address().to_string());
    let (text, _) = told(&["--pod", "shop/a", "--admin", &one]);
    assert!(
        text.starts_with("drained after") && text.contains("2 of 2"),
        "{text}"
    );
    for replica in &replicas {
        assert_eq!(replica.lives("u-a")[0]["state"], "drained");
    }
    // The last one serves on (P7), and the pod goes on with its end.
    let peers = format!("{one},{other}");
    let (text, took) = told(&["--pod", "shop/b", "--peers", &peers, "--limit", "600ms"]);
    assert!(
        text.contains("fallback") && text.contains("going on"),
        "{text}"
    );
    assert!(took < Duration::from_millis(600) + SLACK, "{took:?}");
    // Nobody there, and one that says nothing.
    let cut_off = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = cut_off.local_addr().unwrap().to_string();
    let gone = Endpoint::refusing("gone").address().to_string();
    for admin in [&gone, &silent] {
        let (text, took) = told(&["--pod", "shop/a", "--admin", admin, "--limit", "700ms"]);
        assert!(text.starts_with("not drained after"), "{text}");
        assert!(
            took < Duration::from_millis(700) + SLACK,
            "{admin}: {took:?}"
        );
    }
}

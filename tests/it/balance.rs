//! Who gets the next request.

use std::collections::BTreeMap;

use crate::support::{Client, Endpoint, Setup, Tidegate, eventually};

/// How many of so many requests each endpoint answered.
fn spread(tidegate: &Tidegate, requests: usize) -> BTreeMap<String, usize> {
    let mut client = tidegate.connect();
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(client.get("/").text()).or_default() += 1;
    }
    counts
}

fn weighted(balance: &str) -> ([Endpoint; 2], Tidegate) {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a, &b])
        .service(&format!("balance: {balance}"))
        .workers(1);
    setup
        .file()
        .set(&[a.line("weight: 1"), b.line("weight: 3")]);
    ([a, b], setup.start())
}

#[test]
fn round_robin_keeps_to_the_weights() {
    let (_endpoints, tidegate) = weighted("round_robin");
    let counts = spread(&tidegate, 40);
    assert_eq!((counts["a"], counts["b"]), (10, 30));
}

#[test]
fn the_others_lean_to_the_weights() {
    for balance in ["least_request", "random"] {
        let (_endpoints, tidegate) = weighted(balance);
        let counts = spread(&tidegate, 400);
        // Ten standard deviations of a fair coin with these weights would not get here.
        assert!(
            counts["a"] > 10 && counts["b"] > 210,
            "{balance}: {counts:?}"
        );
    }
}

#[test]
fn a_weight_of_zero_gets_nothing() {
    for balance in ["least_request", "random", "round_robin", "hash"] {
        let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
        let setup = Setup::of(&[&a, &b]).service(&format!("balance: {balance}"));
        setup.file().set(&[a.line("weight: 0"), b.line("")]);
        let counts = spread(&setup.start(), 50);
        assert_eq!(counts["b"], 50, "{balance}");
    }
}

#[test]
fn least_request_leaves_the_busy_one_alone() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let busy = eventually("it is somewhere", || {
        if a.count() > 0 {
            Some("a")
        } else {
            (b.count() > 0).then_some("b")
        }
    });
    // Of two the one with fewer in flight wins, on whichever worker.
    for _ in 0..50 {
        assert_ne!(tidegate.get("/").text(), busy);
    }
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_and_few_move_when_one_leaves() {
    let endpoints: Vec<_> = ["a", "b", "c", "d"].map(Endpoint::start).into();
    let all: Vec<_> = endpoints.iter().collect();
    let tidegate = Setup::of(&all)
        .service("balance: hash, hash_on: { header: X-User }")
        .start();
    let ask = |client: &mut Client, user: usize| {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: s\r\nX-User: user-{user}\r\n\r\n"
        ));
        client.response().text()
    };
    let mut client = tidegate.connect();
    let before: Vec<_> = (0..100).map(|user| ask(&mut client, user)).collect();
    let again: Vec<_> = (0..100)
        .map(|user| ask(&mut tidegate.connect(), user))
        .collect();
    assert_eq!(before, again, "on any connection and any worker");
    let used: std::collections::BTreeSet<_> = before.iter().collect();
    assert_eq!(used.len(), 4, "{before:?}");

    tidegate.drain("a", "?wait=true");
    let after: Vec<_> = (0..100).map(|user| ask(&mut client, user)).collect();
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| *before != "a" && before != after)
        .count();
    assert!(
        !after.contains(&"a".to_owned()) && moved < 10,
        "{moved} of others' keys moved"
    );
}

#[test]
fn a_cookie_or_the_clients_address_may_be_the_key() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .service("balance: hash, hash_on: { cookie: sid }")
        .start();
    let ask = |id: &str| {
        let mut client = tidegate.connect();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: s\r\nCookie: x=1; sid={id}; y=2\r\n\r\n"
        ));
        client.response().text()
    };
    for id in ["1", "2", "3", "4", "5", "6"] {
        let first = ask(id);
        assert!((0..5).all(|_| ask(id) == first), "{id}");
    }
    let by_address = Setup::of(&[&a, &b]).service("balance: hash").start();
    assert_eq!(spread(&by_address, 20).len(), 1, "one client, one endpoint");
}

#[test]
fn a_newly_ready_endpoint_starts_slowly() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a])
        .service("balance: random, slow_start: 10m")
        .start();
    tidegate.file().set(&[a.line(""), b.line("")]);
    assert_eq!(tidegate.is("b", "ready")["reason"], "slow_start");
    let counts = spread(&tidegate, 300);
    assert!(
        counts.get("b").copied().unwrap_or_default() < 60,
        "{counts:?}"
    );
}

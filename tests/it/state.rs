//! P16: what an operator has said outlasts reloads and restarts.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Endpoint, SLACK, Setup, Tidegate, eventually};

fn keeping(endpoints: &[&Endpoint]) -> (Tidegate, String) {
    let setup = Setup::of(endpoints).rest("state_dir: state");
    let text = setup.text();
    (setup.start(), text)
}

#[test]
fn an_operators_drain_outlasts_a_kill_and_ends_by_undrain() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let (tidegate, text) = keeping(&[&a, &b]);
    tidegate.drain("a", "?timeout=7s");
    let tidegate = tidegate.again(&text);
    assert_eq!(tidegate.lives("a")[0]["reason"], "operator");
    (0..10).for_each(|_| assert_eq!(tidegate.get("/").text(), "b"));
    assert_eq!(tidegate.reload(&text), "success");
    (0..10).for_each(|_| assert_eq!(tidegate.get("/").text(), "b"));
    tidegate.undrain("a");
    tidegate.is("a", "ready");
    let tidegate = tidegate.again(&text);
    tidegate.is("a", "ready");
}

#[test]
fn it_ends_when_its_id_has_left_the_source_also_while_nobody_looked() {
    let (a, b, c) = (
        Endpoint::start("a"),
        Endpoint::start("b"),
        Endpoint::start("c"),
    );
    let (tidegate, text) = keeping(&[&a, &b, &c]);
    tidegate.drain("a", "");
    tidegate.drain("b", "");
    tidegate.file().set(&[b.line(""), c.line("")]);
    tidegate.is_gone("a");
    tidegate.file().set(&[a.line(""), b.line(""), c.line("")]);
    tidegate.is("a", "ready");
    tidegate.signal(Signal::STOP);
    tidegate.file().set(&[a.line(""), c.line("")]);
    let tidegate = tidegate.again(&text);
    tidegate.file().set(&[a.line(""), b.line(""), c.line("")]);
    tidegate.is("b", "ready");
    tidegate.is("a", "ready");
}

#[test]
fn a_broken_state_is_told_and_keeps_nobody_from_serving() {
    let a = Endpoint::start("a");
    let (tidegate, text) = keeping(&[&a]);
    fs::write(tidegate.dir().join("state/drains.json"), "{ half").unwrap();
    let tidegate = tidegate.again(&text);
    assert_eq!(tidegate.get("/").status, 200);
    eventually("it says so", || {
        (tidegate.tells("the state file cannot be read") == 1).then_some(())
    });
}

#[test]
fn without_a_state_dir_a_drain_warns() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    tidegate.drain("a", "");
    eventually("it warns", || {
        (tidegate.tells("without a state_dir") == 1).then_some(())
    });
}

#[test]
fn after_a_kill_it_listens_again_within_a_second() {
    let a = Endpoint::start("a");
    let (tidegate, text) = keeping(&[&a]);
    let address = tidegate.address().to_string();
    let mut client = tidegate.connect();
    client.get("/");
    let text = text.replacen("127.0.0.1:0", &address, 1);
    let start = Instant::now();
    let tidegate = tidegate.again(&text);
    assert_eq!(tidegate.get("/").status, 200);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
}

//! P3, P5, P14: the library websockets on both sides, and a conformance suite.

use std::collections::BTreeMap;

use serde_json::json;

use super::Program;
use crate::support::{Setup, Tidegate};

/// Two servers, and a tidegate that knows the first.
fn scene(server: &'static str) -> (Tidegate, [Program; 2], [String; 2]) {
    let servers = ["a", "b"].map(|name| Program::start(server, &[name]));
    let lines = [servers[0].line("a"), servers[1].line("b")];
    let setup = Setup::without_file();
    setup.file().set(&lines[..1]);
    (setup.start(), servers, lines)
}

#[test]
fn a_drain_closes_with_1012_between_two_messages_and_clients_come_back_elsewhere() {
    const CLIENTS: usize = 40;
    let (tidegate, servers, lines) = scene("ws_server.py");
    let address = tidegate.address().to_string();
    let clients = Program::start("ws_client.py", &[&address, &CLIENTS.to_string()]);
    for _ in 0..CLIENTS {
        let open = clients.fact("open");
        assert_eq!(
            (&open["name"], &open["extensions"]),
            (&json!("a"), &json!(["permessage-deflate"]))
        );
    }
    tidegate.file().set(&lines);
    tidegate.is("b", "ready");
    tidegate.drain("a", "?timeout=4s");
    let mut whole = 0;
    for _ in 0..CLIENTS {
        let closed = clients.fact("closed");
        assert_eq!(
            (&closed["code"], &closed["sent"]),
            (&json!(1012), &json!(1012)),
            "{closed}"
        );
        assert_eq!(closed["broken"], 0, "{closed}");
        assert_ne!(closed["reason"], "");
        whole += closed["whole"].as_u64().unwrap();
        assert_eq!(clients.fact("again")["name"], "b");
        assert_eq!(
            servers[0].fact("closed")["code"],
            1012,
            "the echo reaches the endpoint"
        );
    }
    assert!(whole > CLIENTS as u64, "{whole} messages in all");
    let report = tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["finished"]),
        (&json!("clean"), &json!(CLIENTS))
    );
}

#[test]
fn conformance_is_no_worse_than_without_us() {
    // A server whose answers do not depend on how many frames come at a time: tidegate passes on together what it finds
    // together.
    let (tidegate, _servers, lines) = scene("ws_echo.py");
    let direct = lines[0].split('"').nth(1).unwrap();
    let (direct, through) = (verdicts(direct), verdicts(&tidegate.address().to_string()));
    assert!(direct.len() > 250, "only {} cases", direct.len());
    assert_eq!(direct.len(), through.len());
    for (case, without) in &direct {
        let with = &through[case];
        assert!(
            with.iter()
                .zip(without)
                .all(|(with, without)| badness(with) <= badness(without)),
            "case {case}: {with:?} instead of {without:?}"
        );
    }
}

fn verdicts(address: &str) -> BTreeMap<String, [String; 2]> {
    let suite = Program::start("conformance.py", &[address]);
    let mut all = BTreeMap::new();
    loop {
        let mut fact = suite.next();
        if fact["fact"] == "over" {
            return all;
        }
        let part = fact["verdicts"].take();
        all.extend(serde_json::from_value::<BTreeMap<_, _>>(part).unwrap());
    }
}

/// The suite's words, in order.
fn badness(verdict: &str) -> usize {
    let order = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED"];
    order
        .iter()
        .position(|word| *word == verdict)
        .unwrap_or(order.len())
}

//! P8: an endpoint is its id, not its address, and what comes back is another life.

use crate::support::{Endpoint, Setup, eventually};

#[test]
fn a_new_id_on_the_same_address_is_a_new_endpoint_with_an_empty_pool() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    tidegate.get("/warm");
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    tidegate.get("/warm");
    tidegate.file().set(&[a.line_as("a2", "")]);
    tidegate.is("a2", "ready");
    assert_eq!(tidegate.is("a", "draining")["in_flight"], 1);
    let before = a.connections().len();
    assert_eq!(tidegate.get("/x").status, 200);
    assert_eq!(tidegate.logged("/x")["endpoint"], "a2");
    assert_eq!(
        a.connections().len(),
        before + 1,
        "no connection is handed down"
    );
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    tidegate.is_gone("a");
    assert_eq!(tidegate.report("a")["cause"], "removed");
}

#[test]
fn an_id_at_another_address_serves_there_and_finishes_here() {
    let (old, new) = (Endpoint::start("old"), Endpoint::start("new"));
    let tidegate = Setup::of(&[&old]).start();
    tidegate.file().set(&[old.line_as("a", "")]);
    tidegate.is("a", "ready");
    tidegate.is_gone("old");
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = old.held();
    tidegate.file().set(&[new.line_as("a", "")]);
    eventually("requests go to the new address", || {
        (tidegate.get("/").text() == "new").then_some(())
    });
    let so_far = old.count();
    for _ in 0..20 {
        assert_eq!(tidegate.get("/").text(), "new");
    }
    assert_eq!(old.count(), so_far);
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
}

#[test]
fn an_id_that_moves_and_becomes_ready_at_once_is_ready() {
    let (old, new) = (Endpoint::start("old"), Endpoint::start("new"));
    let setup = Setup::without_file();
    setup.file().set(&[old.line_as("a", "state: not_ready")]);
    let tidegate = setup.start();
    tidegate.is("a", "not_ready");
    tidegate.file().set(&[new.line_as("a", "")]);
    tidegate.is("a", "ready");
    assert_eq!(tidegate.get("/").text(), "new");
}

#[test]
fn an_endpoint_that_leaves_its_source_finishes_its_work() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    exchange.begin();
    tidegate.file().set(&[b.line("")]);
    let life = tidegate.is("a", "draining");
    assert_eq!(
        (&life["reason"], &life["in_flight"]),
        (&"removed".into(), &1.into())
    );
    exchange.chunk("to the end");
    exchange.send("0\r\n\r\n");
    assert_eq!(client.response().text(), "to the end");
    tidegate.is_gone("a");
}

#[test]
fn an_id_that_is_listed_again_begins_a_new_life_beside_the_old_one() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    for gone in [
        vec![b.line("")],
        vec![a.line("state: draining"), b.line("")],
    ] {
        tidegate.file().set(&gone);
        tidegate.is("a", "draining");
        tidegate.file().set(&[a.line(""), b.line("")]);
        let life = tidegate.is("a", "ready");
        assert_eq!(
            life["in_flight"], 0,
            "the old life's work is not the new one's"
        );
    }
    let lives = tidegate.lives("a");
    assert_eq!(
        lives.len(),
        2,
        "an idle life in between has ended: {lives:?}"
    );
    eventually("the new life serves", || {
        (tidegate.get("/").text() == "a").then_some(())
    });
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    eventually("the old life is gone", || {
        (tidegate.lives("a").len() == 1).then_some(())
    });
}

#[test]
fn a_weight_is_an_attribute_and_begins_no_life() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    tidegate.get("/");
    tidegate.file().set(&[a.line("weight: 7, zone: z")]);
    eventually("the weight is taken up", || {
        (tidegate.lives("a")[0]["weight"] == 7).then_some(())
    });
    tidegate.get("/");
    assert_eq!(
        a.connections().len(),
        1,
        "the same life, the same connection"
    );
    assert_eq!(tidegate.lives("a").len(), 1);
}

#[test]
fn two_ids_may_share_an_address() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    tidegate
        .file()
        .set(&[a.line_as("one", ""), a.line_as("two", "")]);
    tidegate.is("two", "ready");
    tidegate.drain("one", "?wait=true");
    for turn in 0..10 {
        let path = format!("/{turn}");
        assert_eq!(tidegate.get(&path).status, 200);
        assert_eq!(tidegate.logged(&path)["endpoint"], "two");
    }
    let path = format!("/api/v1/services/web/endpoints/{}/drain", a.address());
    let answer = tidegate.admin("POST", &path);
    assert_eq!(
        (answer.status, &answer.json()["ids"]),
        (409, &serde_json::json!(["one", "two"]))
    );
}

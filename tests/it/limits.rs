//! Limits on connections, and waiting for one.

use crate::support::{Endpoint, Setup, eventually};

#[test]
fn a_request_that_waits_for_a_connection_holds_no_place() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .service("limits: { connections_per_endpoint: 1 }")
        .workers(1)
        .start();
    let mut first = tidegate.connect();
    first.ask("/held/first");
    let exchange = a.held();
    let mut second = tidegate.connect();
    second.ask("/held/second");
    // Whether it waits shows in what another one is told: the limit on waiting is on those that are there.
    eventually("it waits", || {
        (tidegate.metric("tidegate_downstream_connections{listener=\"http\"}") == Some(2.0))
            .then_some(())
    });
    assert_eq!(tidegate.lives("a")[0]["in_flight"], 1);
    exchange.answer("1");
    assert_eq!(first.response().text(), "1");
    a.held().answer("2");
    assert_eq!(second.response().text(), "2");
    assert_eq!(a.connections().len(), 1);
}

#[test]
fn a_request_that_waits_goes_elsewhere_when_its_endpoint_drains() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a])
        .service("limits: { connections_per_endpoint: 1 }")
        .start();
    let mut first = tidegate.connect();
    first.ask("/held");
    let exchange = a.held();
    let mut second = tidegate.connect();
    second.ask("/x");
    tidegate
        .file()
        .set(&[a.line("state: draining"), b.line("")]);
    assert_eq!(second.response().text(), "b");
    assert_eq!(tidegate.is("a", "draining")["in_flight"], 1);
    exchange.answer("1");
    assert_eq!(first.response().text(), "1");
    assert_eq!(
        tidegate.report("a")["in_flight_at_start"],
        1,
        "who waited was never in flight"
    );
}

#[test]
fn one_more_than_may_wait_is_503() {
    let a = Endpoint::start("a");
    let limits = "limits: { connections_per_endpoint: 1, pending: 1 }";
    let tidegate = Setup::of(&[&a]).service(limits).start();
    let mut first = tidegate.connect();
    first.ask("/held/first");
    let exchange = a.held();
    let mut waiting = [tidegate.connect(), tidegate.connect()];
    for (number, client) in waiting.iter_mut().enumerate() {
        client.ask(&format!("/waiting/{number}"));
    }
    let refused = eventually("one is refused", || {
        tidegate
            .access_log()
            .into_iter()
            .find(|line| line["status"] == 503)
    });
    assert_eq!(
        (&refused["code"], &refused["attempts"]),
        (&"overloaded".into(), &0.into())
    );
    exchange.answer("1");
    let mut answers: Vec<_> = waiting.iter_mut().map(|client| client.response()).collect();
    answers.sort_by_key(|response| response.status);
    assert_eq!((answers[0].status, answers[1].status), (200, 503));
    assert_eq!(answers[1].head.field("retry-after"), Some("1"));
    assert_eq!(first.response().text(), "1");
}

#[test]
fn whoever_waits_too_long_is_503() {
    let a = Endpoint::start("a");
    let service = "limits: { connections_per_endpoint: 1 }, request_timeout: 400ms";
    let tidegate = Setup::of(&[&a]).service(service).start();
    let mut first = tidegate.connect();
    first.ask("/held");
    let exchange = a.held();
    exchange.begin();
    first.read_to("\r\n\r\n");
    assert_eq!(tidegate.get("/x").status, 503);
    assert_eq!(tidegate.logged("/x")["code"], "overloaded");
    exchange.send("0\r\n\r\n");
    first.read_to("0\r\n\r\n");
}

#[test]
fn the_limit_is_the_services_over_all_workers_and_everyone_gets_a_turn() {
    let a = Endpoint::start("a");
    let limits = "limits: { connections_per_endpoint: 2 }";
    let tidegate = Setup::of(&[&a]).service(limits).workers(4).start();
    let mut clients: Vec<_> = (0..16).map(|_| tidegate.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("/held"));
    for _ in 0..16 {
        let exchange = a.held();
        let open = tidegate.lives("a")[0]["connections"].as_u64().unwrap();
        assert!(open <= 2, "{open} open");
        exchange.answer("ok");
    }
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.response().text(), "ok"));
}

#[test]
fn a_full_endpoint_leaves_new_work_to_the_others() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let service = "balance: round_robin, limits: { connections_per_endpoint: 1 }";
    let tidegate = Setup::of(&[&a, &b]).service(service).workers(1).start();
    let mut clients = [tidegate.connect(), tidegate.connect()];
    clients.iter_mut().for_each(|client| client.ask("/held"));
    let exchanges = [a.held(), b.held()];
    exchanges[0].answer("a");
    let mut third = tidegate.connect();
    for _ in 0..5 {
        assert_eq!(third.get("/").text(), "a");
    }
    exchanges[1].answer("b");
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.response().status, 200));
}

//! What keeps a client on one endpoint, and how it leaves when that drains (P14).

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Client, Endpoint, Response, Setup, StreamClient, Tidegate, eventually};

const KEPT: &str =
    "affinity: { cookie: sid, keep_until_deadline: true }, drain: { timeout: 500ms }";

fn ask(client: &mut Client, path: &str, fields: &str) -> Response {
    client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{fields}\r\n"));
    client.response()
}

/// The cookie that a response sets: its name and value.
fn cookie(response: &Response) -> Option<String> {
    let set = response.head.field("set-cookie")?;
    Some(set.split(';').next()?.to_owned())
}

/// A cookie of a session at this endpoint.
fn session_at(tidegate: &Tidegate, endpoint: &Endpoint) -> String {
    eventually("a session there", || {
        let response = tidegate.get("/new");
        let cookie = cookie(&response);
        cookie.filter(|_| response.text() == endpoint.name())
    })
}

fn affine(tidegate: &Tidegate) -> Option<f64> {
    let series = "tidegate_dispatched_to_draining_total{service=\"web\",why=\"affinity\"}";
    tidegate.metric(series)
}

#[test]
fn a_cookie_keeps_a_client_on_one_endpoint() {
    let all = ["a", "b", "c"].map(Endpoint::start);
    let tidegate = Setup::of(&[&all[0], &all[1], &all[2]])
        .service("affinity: { cookie: sid }")
        .start();
    for endpoint in &all {
        let session = session_at(&tidegate, endpoint);
        assert!(!session.contains(&endpoint.address().port().to_string()));
        for _ in 0..20 {
            let mut client = tidegate.connect();
            let response = ask(&mut client, "/", &format!("cookie: x=1; {session}\r\n"));
            assert_eq!(response.text(), endpoint.name());
            assert!(cookie(&response).is_none(), "set only when it is absent");
        }
    }
    let fresh = tidegate.get("/");
    let set = fresh.head.field("set-cookie").unwrap();
    assert!(
        set.starts_with("sid=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{set}"
    );
    let mut client = tidegate.connect();
    let response = ask(&mut client, "/", "cookie: sid=0123456789abcdef\r\n");
    assert!(cookie(&response).is_some(), "what fits nowhere is replaced");
}

#[test]
fn a_session_by_cookie_picks_anew_at_once() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .service("affinity: { cookie: sid }")
        .start();
    let session = session_at(&tidegate, &a);
    assert_eq!(tidegate.drain("a", "?wait=true")["drained"], true);
    let so_far = a.count();
    let mut client = tidegate.connect();
    let response = ask(&mut client, "/", &format!("cookie: {session}\r\n"));
    assert_eq!(response.text(), "b");
    let moved = cookie(&response).unwrap();
    assert_ne!(moved, session);
    tidegate.undrain("a");
    let response = ask(&mut client, "/", &format!("cookie: {moved}\r\n"));
    assert_eq!(response.text(), "b", "and stays where it went");
    assert_eq!(a.count(), so_far, "P1");
    assert_eq!(affine(&tidegate), None);
}

#[test]
fn a_kept_endpoint_is_open_to_its_sessions_until_the_deadline() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).service(KEPT).start();
    let session = format!("cookie: {}\r\n", session_at(&tidegate, &a));
    let start = Instant::now();
    assert_eq!(tidegate.drain("a", "")["state"], "draining");
    let mut client = tidegate.connect();
    let response = ask(&mut client, "/kept", &session);
    assert_eq!(response.text(), "a");
    assert!(!response.head.lists("connection", "close"));
    assert_eq!(tidegate.logged("/kept")["endpoint_state"], "draining");
    for _ in 0..20 {
        assert_eq!(tidegate.get("/").text(), "b", "P1 for everyone else");
    }
    assert_eq!(affine(&tidegate), Some(1.0));
    tidegate.is("a", "drained");
    assert!(start.elapsed() >= Duration::from_millis(500), "not before");
    assert_eq!(ask(&mut client, "/", &session).text(), "b");
    let report = tidegate.report("a");
    assert_eq!(report["started_after"]["affinity"], 1);
    assert_eq!(report["outcome"], "clean");
    eventually("nothing is left open there", || {
        (a.open() == 0).then_some(())
    });
}

#[test]
fn what_has_left_its_source_is_not_kept() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).service(KEPT).start();
    let session = format!("cookie: {}\r\n", session_at(&tidegate, &a));
    tidegate
        .file()
        .set(&[a.line("state: draining"), b.line("")]);
    tidegate.is("a", "draining");
    tidegate.file().set(&[b.line("")]);
    tidegate.is_gone("a");
    let mut client = tidegate.connect();
    assert_eq!(ask(&mut client, "/", &session).text(), "b");
}

#[test]
fn an_undrain_takes_the_sessions_of_a_kept_endpoint_along() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .service("affinity: { cookie: sid, keep_until_deadline: true }")
        .start();
    let session = format!("cookie: {}\r\n", session_at(&tidegate, &a));
    tidegate.drain("a", "");
    tidegate.undrain("a");
    let mut client = tidegate.connect();
    assert_eq!(ask(&mut client, "/back", &session).text(), "a");
    assert_eq!(tidegate.logged("/back")["endpoint_state"], "ready");
    assert_eq!(tidegate.report("a")["outcome"], "cancelled");
}

#[test]
fn a_field_of_equal_value_goes_to_one_endpoint() {
    let all = ["a", "b", "c"].map(Endpoint::start);
    let tidegate = Setup::of(&[&all[0], &all[1], &all[2]])
        .service("affinity: { header: x-user }")
        .start();
    let mut homes = HashSet::new();
    for user in 0..30 {
        let mut client = tidegate.connect();
        let field = format!("x-user: {user}\r\n");
        let home = ask(&mut client, "/", &field).text();
        for _ in 0..3 {
            let response = ask(&mut client, "/", &field);
            assert_eq!(response.text(), home);
            assert!(response.head.field("set-cookie").is_none());
        }
        homes.insert(home);
    }
    assert_eq!(homes.len(), 3);
    tidegate.drain("a", "?wait=true");
    let so_far = all[0].count();
    for user in 0..30 {
        let mut client = tidegate.connect();
        ask(&mut client, "/", &format!("x-user: {user}\r\n"));
    }
    assert_eq!(all[0].count(), so_far);
}

fn pinned() -> (Endpoint, Endpoint, Tidegate) {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .service("affinity: connection, drain: { timeout: 20s, idle_grace: 700ms, spread: 400ms }")
        .start();
    (a, b, tidegate)
}

/// A client whose connection is pinned to this endpoint.
fn client_at(tidegate: &Tidegate, endpoint: &Endpoint) -> Client {
    eventually("a client there", || {
        let mut client = tidegate.connect();
        (client.get("/first").text() == endpoint.name()).then_some(client)
    })
}

/// Clients whose connections are pinned: so many here, and at least one there.
fn clients_at(tidegate: &Tidegate, here: &Endpoint, count: usize) -> (Vec<Client>, Vec<Client>) {
    let (mut at_it, mut others) = (Vec::new(), Vec::new());
    // All are kept: the choice is by what is in flight, and pins are.
    while at_it.len() < count || others.is_empty() {
        let mut client = tidegate.connect();
        let is_here = client.get("/first").text() == here.name();
        (if is_here { &mut at_it } else { &mut others }).push(client);
    }
    (at_it, others)
}

#[test]
fn a_connection_stays_on_one_endpoint_and_holds_a_place_there() {
    let (a, _b, tidegate) = pinned();
    let mut client = client_at(&tidegate, &a);
    tidegate.in_flight("a", 1);
    let connections = a.connections().len();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "a");
    }
    assert_eq!(
        a.connections().len(),
        connections,
        "an upstream connection of its own"
    );
    tidegate.in_flight("a", 1);
    client.finish();
    client.end();
    tidegate.in_flight("a", 0);
    eventually("and that ends with it", || (a.open() == 0).then_some(()));
}

#[test]
fn the_next_request_of_a_pinned_connection_is_its_last() {
    let (a, b, tidegate) = pinned();
    let mut client = client_at(&tidegate, &a);
    let answer = tidegate.drain("a", "");
    assert_eq!(
        (&answer["state"], &answer["in_flight"]),
        (&"draining".into(), &1.into())
    );
    let running = tidegate.admin("GET", "/api/v1/drains").ok();
    assert!(
        running.to_string().contains("\"kind\":\"pin\""),
        "{running}"
    );
    let response = client.get("/last");
    assert_eq!(response.text(), "a", "P14");
    assert!(response.head.lists("connection", "close"));
    client.end();
    let report = tidegate.report("a");
    assert_eq!(report["started_after"]["affinity"], 1);
    assert_eq!(
        (
            &report["outcome"],
            &report["in_flight_at_start"],
            &report["finished"]
        ),
        (&"clean".into(), &1.into(), &1.into())
    );
    assert_eq!(tidegate.logged("/last")["endpoint_state"], "draining");
    assert_eq!(affine(&tidegate), Some(1.0));
    let so_far = a.count();
    for _ in 0..10 {
        assert_eq!(tidegate.connect().get("/").text(), b.name());
    }
    assert_eq!(a.count(), so_far);
}

#[test]
fn an_idle_pinned_connection_is_closed_within_the_grace() {
    let (a, _b, tidegate) = pinned();
    let (mut clients, mut others) = clients_at(&tidegate, &a, 4);
    let start = Instant::now();
    tidegate.drain("a", "");
    for client in &mut clients {
        client.end();
    }
    let took = start.elapsed();
    let earliest = Duration::from_millis(300);
    assert!(
        took >= earliest && took < Duration::from_secs(3),
        "{took:?}"
    );
    let report = tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["started_after"]["affinity"]),
        (&"clean".into(), &0.into())
    );
    for client in &mut others {
        assert!(client.is_open(), "tied to another endpoint");
        let response = client.get("/");
        assert!(!response.head.lists("connection", "close"));
    }
}

#[test]
fn a_response_under_way_is_the_last_of_its_pinned_connection() {
    let (a, _b, tidegate) = pinned();
    let mut client = client_at(&tidegate, &a);
    client.ask("/held");
    let exchange = a.held();
    tidegate.drain("a", "");
    exchange.answer("done");
    let response = client.response();
    assert_eq!(response.text(), "done");
    assert!(response.head.lists("connection", "close"));
    client.end();
    assert_eq!(tidegate.report("a")["outcome"], "clean");
}

#[test]
fn at_the_deadline_pins_are_let_go() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .service("affinity: connection, drain: { timeout: 300ms, idle_grace: 20s, spread: 1s }")
        .start();
    let (mut clients, _others) = clients_at(&tidegate, &a, 2);
    let (mut idle, mut busy) = (clients.remove(0), clients.remove(0));
    busy.ask("/held");
    let _exchange = a.held();
    let start = Instant::now();
    tidegate.drain("a", "");
    assert_eq!(busy.response().status, 504);
    idle.end();
    busy.end();
    let report = tidegate.report("a");
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        (&report["outcome"], &report["cut"]["request"]),
        (&"cut".into(), &1.into())
    );
}

#[test]
fn over_http2_a_pinned_connection_ends_by_goaway() {
    let (_a, _b, tidegate) = pinned();
    let mut client = eventually("a client there", || {
        let mut client = StreamClient::connect(tidegate.address());
        (client.get("/first").text() == "a").then_some(client)
    });
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "a");
    }
    tidegate.drain("a", "");
    assert_eq!(client.get("/last").text(), "a");
    client.until("GOAWAY", |seen| (!seen.goaways.is_empty()).then_some(()));
    client.end();
    assert_eq!(tidegate.report("a")["started_after"]["affinity"], 1);
    assert_eq!(affine(&tidegate), Some(1.0));
}

#[test]
fn a_pinned_connection_whose_endpoint_cannot_be_reached_picks_anew() {
    let (a, b, tidegate) = pinned();
    let mut client = client_at(&tidegate, &a);
    a.answer_with("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\na");
    assert_eq!(client.get("/").text(), "a");
    a.refuse();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), b.name());
    }
    tidegate.in_flight("b", 1);
    tidegate.in_flight("a", 0);
}

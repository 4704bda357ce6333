//! A drain as clients and endpoints live through it: P1, P3, P4, P6 and P14.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Endpoint, SLACK, Setup, eventually};

#[test]
fn p1_nothing_starts_once_a_drain_is_acknowledged() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, mut client) = (stop.clone(), tidegate.connect());
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/").status, 200);
                }
            })
        })
        .collect();
    eventually("both serve", || {
        (a.count() > 50 && b.count() > 50).then_some(())
    });
    tidegate.drain("a", "");
    let acknowledged = Instant::now();
    let report = tidegate.report("a");
    let drained = Instant::now();
    let so_far = b.count();
    eventually("requests go on", || {
        (b.count() > so_far + 200).then_some(())
    });
    stop.store(true, Ordering::SeqCst);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let after = |moment: Instant| {
        a.requests()
            .iter()
            .filter(|request| request.at > moment)
            .count() as u64
    };
    // On a busy machine an endpoint may be late to take notice of what reached it before, and of no more than that.
    assert!(after(acknowledged) <= report["in_flight_at_start"].as_u64().unwrap());
    assert_eq!(after(drained), 0);
    assert_eq!(
        (&report["outcome"], &report["started_after"]["fallback"]),
        (&"clean".into(), &0.into())
    );
}

#[test]
fn p1_the_event_acknowledges_a_drain_by_the_file() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let events = tidegate.events();
    tidegate
        .file()
        .set(&[a.line("state: draining"), b.line("")]);
    let event = events.wait_for("a drains", |event| {
        event["endpoint"] == "a" && event["to"] == "draining"
    });
    let so_far = a.count();
    for _ in 0..50 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
    assert_eq!(a.count(), so_far);
    assert_eq!(
        (&event["from"], &event["reason"]),
        (&"ready".into(), &"source".into())
    );
}

#[test]
fn p1_a_request_of_which_nothing_is_written_goes_elsewhere() {
    let (silent, b) = (Endpoint::silent("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&silent])
        .service("connect_timeout: 20s")
        .start();
    let mut client = tidegate.connect();
    client.send("POST /x HTTP/1.1\r\nHost: s\r\nContent-Length: 4\r\n\r\nonce");
    tidegate.in_flight("a", 1);
    tidegate.file().set(&[silent.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let answer = tidegate.drain("a", "?wait=true");
    assert_eq!(
        (&answer["drained"], &answer["cut"]["request"]),
        (&true.into(), &0.into())
    );
    assert_eq!(client.response().text(), "b");
    assert_eq!(b.count(), 1);
    let report = tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["retried"], &report["finished"]),
        (&"clean".into(), &1.into(), &0.into())
    );
    assert_eq!(
        tidegate.logged("/x")["attempts"],
        1,
        "nothing was tried at the first one"
    );
}

#[test]
fn p3_work_in_flight_is_untouched_until_it_is_done() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut downloading = tidegate.connect();
    downloading.send("GET /held/download HTTP/1.1\r\nHost: s\r\nTE: trailers\r\n\r\n");
    let download = a.held();
    download.send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n");
    download.chunk("before");
    downloading.read_to("before");
    let mut uploading = tidegate.connect();
    uploading.send("POST /held/upload HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbefore\r\n");
    let upload = a.held();
    upload.body_of(6);
    let mut waiting = tidegate.connect();
    waiting.ask("/held/waiting");
    let wait = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");

    let answer = tidegate.drain("a", "");
    assert_eq!(
        (&answer["state"], &answer["in_flight"]),
        (&"draining".into(), &3.into())
    );
    download.chunk("after");
    download.send("0\r\nX-Sum: 1\r\n\r\n");
    downloading.read_to("after\r\n0\r\nx-sum: 1\r\n\r\n");
    uploading.send("5\r\nafter\r\n0\r\nX-Sum: 2\r\n\r\n");
    assert_eq!(upload.whole_request().body, b"beforeafter");
    upload.answer("uploaded");
    assert_eq!(uploading.response().text(), "uploaded");
    wait.answer("waited");
    assert_eq!(waiting.response().text(), "waited");
    let report = tidegate.report("a");
    assert_eq!(
        (&report["in_flight_at_start"], &report["finished"]),
        (&3.into(), &3.into())
    );
    assert_eq!(
        (&report["outcome"], &report["retried"]),
        (&"clean".into(), &0.into())
    );
    for mut client in [downloading, uploading, waiting] {
        assert_eq!(
            client.get("/").text(),
            "b",
            "the client's connection goes on"
        );
    }
}

#[test]
fn p3_a_place_is_held_until_the_upload_has_ended_too() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client
        .send("POST /held HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let exchange = a.held();
    exchange.answer("early");
    assert_eq!(client.response().text(), "early");
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    assert_eq!(tidegate.drain("a", "")["in_flight"], 1);
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(exchange.whole_request().body, b"firstsecond");
    assert_eq!(tidegate.report("a")["outcome"], "clean");
}

#[test]
fn p4_idle_connections_are_closed_at_once_and_no_byte_is_written_on_one() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut clients: Vec<_> = (0..8).map(|_| tidegate.connect()).collect();
    // All at the same time, so that each has a connection of its own.
    clients.iter_mut().for_each(|client| client.ask("/held"));
    let held: Vec<_> = (0..8).map(|_| a.held()).collect();
    held.iter().for_each(|exchange| exchange.answer("ok"));
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.response().status, 200));
    tidegate.in_flight("a", 0);
    assert_eq!(a.open(), 8);
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let bytes: Vec<_> = a
        .connections()
        .iter()
        .map(|connection| connection.bytes)
        .collect();

    let asked = Instant::now();
    tidegate.drain("a", "");
    let took = a.all_closed() - asked;
    assert!(took < Duration::from_millis(100) + SLACK, "{took:?}");
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.get("/").text(), "b"));
    assert_eq!(
        bytes,
        a.connections()
            .iter()
            .map(|connection| connection.bytes)
            .collect::<Vec<_>>()
    );
    assert_eq!(
        tidegate
            .metric("tidegate_upstream_idle_evicted_total{reason=\"draining\",service=\"web\"}"),
        Some(8.0)
    );
}

#[test]
fn p4_a_connection_in_use_is_closed_when_its_answer_is_over() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    tidegate.drain("a", "");
    assert_eq!(a.open(), 1);
    exchange.answer("ok");
    assert_eq!(client.response().text(), "ok");
    exchange.end();
}

#[test]
fn p6_drained_follows_the_end_of_the_last_work_at_once() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let start = Instant::now();
    let answer = tidegate.drain("b", "?wait=true");
    assert_eq!(
        (&answer["state"], &answer["drained"]),
        (&"drained".into(), &true.into())
    );
    assert!(
        start.elapsed() < SLACK,
        "an idle one has nothing to wait for"
    );

    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    let c = Endpoint::start("c");
    tidegate.file().set(&[a.line(""), b.line(""), c.line("")]);
    tidegate.is("c", "ready");
    let events = tidegate.events();
    tidegate.drain("a", "");
    events.wait("drain_start", "a");
    let ended = Instant::now();
    exchange.answer("ok");
    events.wait("drain_end", "a");
    let took = ended.elapsed();
    assert!(took < Duration::from_millis(10) + SLACK, "{took:?}");
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn p14_no_connection_of_a_client_closes_because_one_of_several_endpoints_drains() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let mut clients: Vec<_> = (0..20).map(|_| tidegate.connect()).collect();
    let mut served: Vec<_> = clients
        .iter_mut()
        .map(|client| client.get("/").text())
        .collect();
    served.sort();
    served.dedup();
    assert_eq!(served, ["a", "b"], "some were at each");
    tidegate.drain("a", "?wait=true");
    for client in &mut clients {
        assert!(client.is_open());
        let response = client.get("/");
        assert_eq!(
            (response.text().as_str(), response.head.field("connection")),
            ("b", None)
        );
    }
}

#[test]
fn an_undrain_begins_a_new_life_beside_the_old_one_and_lifts_its_deadline() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    tidegate.drain("a", "?timeout=1s");
    assert_eq!(tidegate.undrain("a")["state"], "ready");
    let lives = tidegate.lives("a");
    let states: Vec<_> = lives
        .iter()
        .map(|life| life["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["ready", "draining"]);
    assert!(lives[1]["drain"]["deadline"].is_null(), "{lives:?}");
    eventually("the new life serves", || {
        (tidegate.get("/").text() == "a").then_some(())
    });
    exchange.answer("at last");
    assert_eq!(client.response().text(), "at last");
    let report = tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["finished"]),
        (&"cancelled".into(), &1.into())
    );
}

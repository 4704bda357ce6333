//! The access log (P13): one line for each request, every field always there.

use std::fs::File;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Endpoint, Setup, Tidegate, eventually};

const FIELDS: [&str; 24] = [
    "time",
    "target",
    "client",
    "method",
    "authority",
    "path",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "listener",
    "service",
    "endpoint",
    "address",
    "pod",
    "endpoint_state",
    "connection",
    "reused",
    "connection_request",
    "attempts",
    "tries",
    "reason",
    "code",
    "trace_id",
];

#[track_caller]
fn has_every_field(line: &Value) {
    let line = line.as_object().unwrap();
    for name in FIELDS {
        assert!(line.contains_key(name), "{name} in {line:?}");
    }
}

#[test]
fn tells_who_asked_what_and_who_answered_how() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let mut client = tidegate.connect();
    client.get("/warm");
    client.send(
        "POST /x?y=1 HTTP/1.1\r\nHost: shop.test:80\r\nContent-Length: 4\r\n\
         Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\nbody",
    );
    client.response();
    let warm = tidegate.logged("/warm");
    let line = tidegate.logged("/x?y=1");
    has_every_field(&line);
    let expected = serde_json::json!({
        "target": "tidegate::access", "client": client.address().to_string(), "method": "POST", "authority": "shop.test:80",
        "status": 200, "bytes_in": 4, "bytes_out": 1, "listener": "http", "service": "web", "endpoint": "a",
        "address": a.address().to_string(), "pod": null, "endpoint_state": "ready", "connection": warm["connection"],
        "reused": true, "connection_request": 2, "attempts": 1, "tries": [], "reason": null, "code": null,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&line[name], value, "{name}");
    }
    assert_eq!(
        (&warm["reused"], &warm["connection_request"]),
        (&false.into(), &1.into())
    );
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn tells_of_what_never_reached_an_endpoint() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let line = eventually("it is logged", || tidegate.access_log().first().cloned());
    has_every_field(&line);
    assert_eq!(
        (&line["status"], &line["code"]),
        (&400.into(), &"bad_request".into())
    );
    for name in ["service", "endpoint", "address", "connection", "reused"] {
        assert_eq!(line[name], Value::Null, "{name}");
    }
    assert_eq!(line["attempts"], 0);
}

#[test]
fn a_path_cannot_forge_a_line() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("GET /%0a%22forged\"x HTTP/1.1\r\nHost: s\r\n\r\n");
    let status = client.response().status;
    tidegate.get("/after");
    tidegate.logged("/after");
    assert!(
        tidegate.access_log().iter().all(Value::is_object),
        "{status}: {:?}",
        tidegate.access_log()
    );
}

#[test]
fn only_successes_without_a_retry_are_sampled_out() {
    let (a, b) = (Endpoint::refusing("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a, &b])
        .service("balance: round_robin")
        .workers(1);
    let tidegate = setup.rest("access_log: { sample: 0.0 }").start();
    assert_eq!(tidegate.get("/retried").status, 200);
    assert_eq!(tidegate.get("/retried").status, 200);
    tidegate.file().set(&[b.line("")]);
    tidegate.is_gone("a");
    for _ in 0..5 {
        assert_eq!(tidegate.get("/plain").status, 200);
    }
    let mut client = tidegate.connect();
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().status, 400);
    eventually("the last one is logged", || {
        tidegate
            .access_log()
            .into_iter()
            .find(|line| line["status"] == 400)
    });
    assert_eq!(tidegate.logged("/retried")["attempts"], 2);
    assert!(
        tidegate
            .access_log()
            .iter()
            .all(|line| line["path"] != "/plain")
    );
}

#[test]
fn may_be_text_for_people() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a])
        .argument("--log-format")
        .argument("text")
        .start();
    tidegate.get("/x");
    let line = eventually("it is logged", || tidegate.access_log().first().cloned());
    let line = line.as_str().unwrap();
    assert!(
        line.contains("GET shop.test/x 200") && line.contains("web/a"),
        "{line}"
    );
}

/// What the last line says of the access log.
fn lost_at_the_end(tidegate: &mut Tidegate) -> u64 {
    tidegate.signal(Signal::INT);
    assert_eq!(tidegate.exit().code(), Some(0));
    let last = tidegate.told("tidegate has left").unwrap();
    last["access_log_lost"].as_u64().unwrap()
}

#[test]
fn a_full_disk_stops_no_traffic_and_the_loss_is_counted() {
    let a = Endpoint::start("a");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut tidegate = Setup::of(&[&a]).stdout(full).start();
    let mut client = tidegate.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 200);
    }
    eventually("the metric tells", || {
        let lost = tidegate.metric("tidegate_access_log_lost")?;
        (lost == 100.0).then_some(())
    });
    drop(client);
    assert_eq!(lost_at_the_end(&mut tidegate), 100);
}

#[test]
fn a_reader_who_stops_stops_no_traffic_and_what_may_be_lost_is_counted() {
    let a = Endpoint::start("a");
    // Longer than a pipe holds, and nobody reads.
    let (_reader, pipe) = std::io::pipe().unwrap();
    let mut tidegate = Setup::of(&[&a]).stdout(pipe).start();
    let mut client = tidegate.connect();
    for _ in 0..1_000 {
        assert_eq!(client.get("/").status, 200);
    }
    drop(client);
    let lost = lost_at_the_end(&mut tidegate);
    assert!((1..1_000).contains(&lost), "{lost}");
}

#[test]
fn a_closed_stderr_stops_no_traffic() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let mut tidegate = Setup::of(&[&a, &b]).start();
    tidegate.close_log();
    for id in ["a", "b"] {
        tidegate.drain(id, "");
        assert_eq!(tidegate.get("/").status, 200);
        tidegate.undrain(id);
    }
    tidegate.signal(Signal::INT);
    assert_eq!(tidegate.exit().code(), Some(0));
}

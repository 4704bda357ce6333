//! P3, P5, P10, P11: grpcio on both sides.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Program;
use crate::support::{SLACK, Setup, Tidegate, eventually};

/// A client and two servers, `a` with everything and `b` to take over.
struct Scene {
    tidegate: Tidegate,
    client: Program,
    a: Program,
    b: Program,
    lines: [String; 2],
}

impl Scene {
    fn start() -> Self {
        Self::with(|setup| setup)
    }

    fn with(more: impl FnOnce(Setup) -> Setup) -> Self {
        let [a, b] = [(); 2].map(|()| Program::start("grpc_server.py", &[]));
        let lines = [a.line("a"), b.line("b")];
        let setup = Setup::without_file();
        setup.file().set(&lines[..1]);
        let tidegate = more(setup.service("protocol: h2")).start();
        let client = client(&tidegate);
        Self {
            tidegate,
            client,
            a,
            b,
            lines,
        }
    }

    /// Lists `b`, too, and drains `a`. Returns when it began.
    fn drain(&self, parameters: &str) -> Instant {
        self.tidegate.file().set(&self.lines);
        self.tidegate.is("b", "ready");
        let begun = Instant::now();
        self.tidegate.drain("a", parameters);
        begun
    }

    /// Makes a call and waits for its end.
    #[track_caller]
    fn call(&self, method: &str, requests: &[&str]) -> Value {
        self.begin(&json!({ "method": method, "requests": requests }));
        self.end(method)
    }

    fn begin(&self, call: &Value) {
        self.client.tell(call);
    }

    #[track_caller]
    fn end(&self, name: &str) -> Value {
        self.client.fact_where("end", |end| end["name"] == name)
    }

    /// The server's next message of a held stream has this size; none ends it.
    fn message(&self, size: Option<usize>) {
        self.a.tell(&json!({ "size": size }));
    }
}

fn client(tidegate: &Tidegate) -> Program {
    Program::start("grpc_client.py", &[&tidegate.address().to_string()])
}

#[test]
fn every_kind_of_call_passes_with_its_metadata_and_its_status() {
    let scene = Scene::start();
    scene.begin(&json!({ "method": "unary", "requests": ["hello"], "word": "tide" }));
    let end = scene.end("unary");
    assert_eq!(
        (&end["code"], &end["messages"]),
        (&json!("OK"), &json!(["hello"]))
    );
    assert_eq!(end["head"]["x-echo"], "tide");
    assert_eq!(end["head"]["x-bytes-bin"], "00ff");
    assert_eq!(end["trailers"]["x-trailer"], "edit");
    let call = scene.a.fact("call");
    assert_eq!(call["metadata"]["x-word"], "tide");
    assert_eq!(call["time_left"], Value::Null);

    let end = scene.call("collect", &["a", "b", "c"]);
    assert_eq!(
        (&end["code"], &end["messages"]),
        (&json!("OK"), &json!(["a+b+c"]))
    );
    let end = scene.call("count", &["3"]);
    assert_eq!(
        (&end["code"], &end["messages"]),
        (&json!("OK"), &json!(["0", "1", "2"]))
    );
    let end = scene.call("talk", &["x", "y"]);
    assert_eq!(
        (&end["code"], &end["messages"]),
        (&json!("OK"), &json!(["X", "Y"]))
    );
    let end = scene.call("fail", &[""]);
    assert_eq!(
        (&end["code"], &end["details"]),
        (&json!("INVALID_ARGUMENT"), &json!("50 % wäre zu viel"))
    );
    assert_eq!(end["trailers"]["x-trailer"], "with an error");
}

#[test]
fn deadlines_and_cancellations_reach_the_server() {
    let scene = Scene::start();
    let call = json!({ "method": "held_stream", "requests": [""], "timeout": 3 });
    scene.begin(&call);
    let left = scene.a.fact("call")["time_left"].as_f64().unwrap();
    assert!(left > 0.0 && left <= 3.0, "{left}");
    assert_eq!(scene.end("held_stream")["code"], "DEADLINE_EXCEEDED");
    assert_eq!(scene.a.fact("over")["cancelled"], true);

    let call = json!({ "method": "flood", "requests": ["9"], "cancel_after": 1 });
    scene.begin(&call);
    assert_eq!(scene.end("flood")["code"], "CANCELLED");
    assert_eq!(scene.a.fact("over")["cancelled"], true);
    scene.tidegate.in_flight("a", 0);
}

#[test]
fn without_an_endpoint_a_call_is_unavailable() {
    let setup = Setup::without_file().service("protocol: h2");
    setup.file().set(&[]);
    let tidegate = setup.start();
    let client = client(&tidegate);
    client.tell(&json!({ "method": "unary", "requests": ["x"] }));
    assert_eq!(client.fact("end")["code"], "UNAVAILABLE");
    client.tell(&json!({ "method": "talk", "requests": ["x"], "open": true }));
    assert_eq!(client.fact("end")["code"], "UNAVAILABLE");
}

#[test]
fn at_the_deadline_every_kind_of_call_is_unavailable_and_what_came_is_whole() {
    let scene = Scene::start();
    // An answer that has not begun, one between two messages, an upload, both at once, and one that is always inside a message.
    scene.begin(&json!({ "method": "held_unary", "requests": ["x"] }));
    scene.a.fact("call");
    scene.begin(&json!({ "method": "held_stream", "requests": [""] }));
    scene.a.fact("call");
    scene.begin(&json!({ "method": "collect", "requests": ["a"], "open": true }));
    scene.begin(&json!({ "method": "talk", "requests": ["a", "b"], "open": true }));
    scene.begin(&json!({ "method": "flood", "requests": ["1000000"] }));
    let name = |name: &'static str| move |message: &Value| message["name"] == name;
    scene.client.fact_where("message", name("flood"));
    scene
        .client
        .fact_where("message", |message| message["message"] == "B");
    let begun = scene.drain("?timeout=500ms");
    let mut ends = Vec::new();
    for call in ["held_unary", "held_stream", "collect", "talk", "flood"] {
        let end = scene.end(call);
        assert_eq!(end["code"], "UNAVAILABLE", "{end}");
        ends.push((call, end));
    }
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(500) && took < Duration::from_millis(750) + SLACK,
        "{took:?}"
    );
    assert_eq!(ends[3].1["messages"], json!(["A", "B"]));
    assert_eq!(ends[4].1["messages"], json!(["1000000 bytes"]));
    let report = scene.tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["in_flight_at_start"]),
        (&json!("cut"), &json!(5))
    );
    assert_eq!(
        report["cut"]["request"].as_u64().unwrap() + report["cut"]["stream"].as_u64().unwrap(),
        5,
        "{report}"
    );
    for call in ["held_stream", "flood", "collect", "talk"] {
        let over = scene.a.fact_where("over", |over| over["method"] == call);
        assert!(
            over["cancelled"] == true || !call.starts_with(['h', 'f']),
            "{over}"
        );
    }
    // The channel itself was not touched (P14).
    assert_eq!(scene.call("unary", &["x"])["code"], "OK");
    scene.b.fact("call");
}

#[test]
fn a_stream_that_finishes_within_a_drain_is_ok() {
    let scene = Scene::start();
    scene.begin(&json!({ "method": "held_stream", "requests": [""] }));
    scene.a.fact("call");
    scene.message(Some(5));
    scene.client.fact("message");
    scene.drain("?timeout=15s");
    assert_eq!(scene.call("unary", &["elsewhere"])["code"], "OK");
    assert_eq!(scene.b.fact("call")["method"], "unary");
    scene.message(Some(2_000_000));
    scene.message(None);
    let end = scene.end("held_stream");
    assert_eq!(
        (&end["code"], &end["messages"]),
        (&json!("OK"), &json!(["xxxxx", "2000000 bytes"]))
    );
    let report = scene.tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["finished"]),
        (&json!("clean"), &json!(1))
    );
}

#[test]
fn our_own_end_finishes_calls_or_tells_that_it_does_not() {
    let shutdown = "shutdown: { wait_period: 500ms, grace_period: 4s }";
    let mut scene = Scene::with(|setup| setup.rest(shutdown));
    scene.begin(&json!({ "method": "talk", "requests": ["a"], "open": true }));
    scene.a.fact("call");
    scene.client.fact("message");
    scene.begin(&json!({ "method": "held_stream", "requests": [""] }));
    scene.a.fact("call");
    scene.tidegate.signal(Signal::TERM);
    scene.message(Some(5));
    scene.message(None);
    let end = scene.end("held_stream");
    assert_eq!(
        (&end["code"], &end["messages"]),
        (&json!("OK"), &json!(["xxxxx"]))
    );
    assert_eq!(scene.end("talk")["code"], "UNAVAILABLE");
    assert_eq!(scene.tidegate.exit().code(), Some(0));
}

#[test]
fn our_own_end_costs_a_channel_with_another_address_nothing() {
    const CALLS: usize = 300;
    let mut first =
        Scene::with(|setup| setup.rest("shutdown: { wait_period: 1s, grace_period: 8s }"));
    let second = Setup::without_file().service("protocol: h2");
    second.file().set(&first.lines[..1]);
    let second = second.start();
    let addresses = format!("ipv4:{},{}", first.tidegate.address(), second.address());
    let client = Program::start("grpc_client.py", &[&addresses]);
    for _ in 0..4 {
        client.tell(&json!({ "times": CALLS }));
    }
    eventually("calls come", || {
        (first.tidegate.access_log().len() > 40).then_some(())
    });
    first.tidegate.signal(Signal::TERM);
    for _ in 0..4 {
        assert_eq!(client.fact("codes")["codes"], json!({ "OK": CALLS }));
    }
    assert_eq!(first.tidegate.exit().code(), Some(0));
    eventually("the other one takes over", || {
        (second.access_log().len() > 40).then_some(())
    });
}

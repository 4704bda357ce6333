//! P5: the deadline of a drain, and how each kind of work ends there.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Client, End, Endpoint, Exchange, SLACK, Setup, Tidegate};

/// A tidegate whose endpoint `a` has a request in flight and is about to drain, with `b` to take over.
struct Scene {
    tidegate: Tidegate,
    client: Client,
    exchange: Exchange,
    _endpoints: [Endpoint; 2],
}

impl Scene {
    fn with(request: &str) -> Self {
        let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
        let tidegate = Setup::of(&[&a]).start();
        let mut client = tidegate.connect();
        client.send(request);
        let exchange = a.held();
        tidegate.file().set(&[a.line(""), b.line("")]);
        tidegate.is("b", "ready");
        Self {
            tidegate,
            client,
            exchange,
            _endpoints: [a, b],
        }
    }

    /// Drains it with a deadline soon: it counts from between the call and its answer.
    fn drain(&self) -> Range<Instant> {
        let timeout = Duration::from_millis(300);
        let called = Instant::now();
        self.tidegate.drain("a", "?timeout=300ms");
        called + timeout..Instant::now() + timeout
    }

    /// The log line and the report tell of the same end.
    fn ended_with(&self, code: &str, cut: (u64, u64)) {
        assert_eq!(self.tidegate.logged("/held")["code"], code);
        let report = self.tidegate.report("a");
        assert_eq!(
            (&report["cut"]["request"], &report["cut"]["stream"]),
            (&cut.0.into(), &cut.1.into())
        );
        let outcome = if cut == (0, 0) { "clean" } else { "cut" };
        assert_eq!(report["outcome"], outcome);
        assert_eq!(
            (&report["in_flight_at_start"], &report["limited_by"]),
            (&1.into(), &"operator".into())
        );
        assert_eq!(report["finished"], u64::from(cut == (0, 0)));
    }
}

const GET: &str = "GET /held HTTP/1.1\r\nHost: s\r\n\r\n";

#[track_caller]
fn at_the_deadline(deadline: Range<Instant>) {
    let now = Instant::now();
    assert!(
        now + Duration::from_millis(5) > deadline.start,
        "{:?} too early",
        deadline.start - now
    );
    assert!(
        now < deadline.end + Duration::from_millis(250) + SLACK,
        "{:?} too late",
        now - deadline.end
    );
}

#[test]
fn without_an_answer_it_is_504_and_the_connection_goes_on() {
    let mut scene = Scene::with(GET);
    let deadline = scene.drain();
    let response = scene.client.response();
    at_the_deadline(deadline);
    assert_eq!(response.status, 504);
    scene.exchange.end();
    scene.ended_with("drain_deadline_no_headers", (1, 0));
    assert_eq!(scene.client.get("/").text(), "b");
}

#[test]
fn a_body_in_progress_is_aborted_and_never_looks_whole() {
    for head in [
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "Content-Length: 10\r\n\r\npart",
    ] {
        let mut scene = Scene::with(GET);
        scene.exchange.send(format!("HTTP/1.1 200 OK\r\n{head}"));
        scene.client.read_to("part");
        let deadline = scene.drain();
        scene.client.end();
        at_the_deadline(deadline);
        let rest = String::from_utf8_lossy(&scene.client.unread).into_owned();
        assert!(!rest.contains("0\r\n"), "no last chunk: {rest:?}");
        scene.exchange.end();
        scene.ended_with("drain_deadline_mid_body", (1, 0));
    }
}

/// Also when the client takes nothing, so that nothing of the body can be asked for.
#[test]
fn a_body_that_nobody_takes_is_aborted() {
    // More than kernels keep.
    const SIZE: usize = 64 * 1024 * 1024;
    for framing in [
        format!("Content-Length: {SIZE}\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n{SIZE:x}\r\n"),
    ] {
        let mut scene = Scene::with(GET);
        scene.exchange.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
        let body = vec![b'x'; SIZE];
        thread::scope(|scope| {
            scope.spawn(|| scene.exchange.try_send(&body));
            let deadline = scene.drain();
            scene.exchange.end();
            at_the_deadline(deadline);
        });
        scene.client.end();
        let rest = &scene.client.unread;
        assert!(rest.len() < SIZE && !rest.ends_with(b"0\r\n\r\n"));
        scene.ended_with("drain_deadline_mid_body", (1, 0));
    }
}

#[test]
fn a_body_without_a_length_ends_with_a_reset() {
    let mut scene = Scene::with("GET /held HTTP/1.0\r\n\r\n");
    scene.exchange.send("HTTP/1.1 200 OK\r\n\r\npart");
    scene.client.read_to("part");
    scene.drain();
    assert_eq!(
        scene.client.end(),
        End::Reset,
        "a plain close would be its end"
    );
    scene.ended_with("drain_deadline_mid_body", (1, 0));
}

#[test]
fn an_upload_in_progress_is_504_and_a_lingering_close() {
    let mut scene = Scene::with("POST /held HTTP/1.1\r\nHost: s\r\nContent-Length: 10\r\n\r\npart");
    scene.exchange.body_of(4);
    let deadline = scene.drain();
    let response = scene.client.response();
    at_the_deadline(deadline);
    assert_eq!(
        (response.status, response.head.field("connection")),
        (504, Some("close"))
    );
    // It may go on sending; no reset destroys what it has not read yet.
    scene.client.send("more");
    assert_eq!(scene.client.end(), End::Fin);
    scene.exchange.end();
    assert!(!scene.exchange.request().whole);
    scene.ended_with("drain_deadline_mid_upload", (1, 0));
}

#[test]
fn an_event_stream_ends_well_between_two_events() {
    let mut scene = Scene::with(GET);
    scene.exchange.begin_events();
    scene.exchange.chunk("data: 1\n\ndata: 2");
    scene.client.read_to("data: 2");
    scene.drain();
    // The window is short, so its end has come; but an event is half said.
    scene.tidegate.in_flight("a", 1);
    scene.exchange.chunk("\n\ndata: 3");
    let rest = scene.client.read_to("0\r\n\r\n");
    assert!(
        rest.contains("\n\n") && !rest.contains("data: 3"),
        "{rest:?}"
    );
    scene.exchange.end();
    scene.ended_with("drain_sse_ended", (0, 0));
    assert_eq!(
        scene.client.get("/").text(),
        "b",
        "the client's connection goes on"
    );
}

#[test]
fn an_event_stream_between_two_events_ends_at_once_in_a_short_window() {
    let mut scene = Scene::with(GET);
    scene.exchange.begin_events();
    scene.exchange.chunk("data: 1\n\n");
    scene.client.read_to("data: 1\n\n");
    let start = Instant::now();
    scene.tidegate.drain("a", "?timeout=2s");
    scene.client.read_to("0\r\n\r\n");
    assert!(start.elapsed() < Duration::from_millis(250) + SLACK);
    scene.ended_with("drain_sse_ended", (0, 0));
}

#[test]
fn an_event_stream_that_finds_no_end_is_cut_two_seconds_after_the_deadline() {
    let mut scene = Scene::with(GET);
    scene.exchange.begin_events();
    scene.exchange.chunk("data: 1");
    scene.client.read_to("data: 1");
    let deadline = scene.drain();
    scene.client.end();
    let more = Duration::from_secs(2);
    at_the_deadline(deadline.start + more..deadline.end + more);
    assert!(!String::from_utf8_lossy(&scene.client.unread).contains("0\r\n\r\n"));
    scene.ended_with("drain_deadline_mid_body", (0, 1));
}

#[test]
fn an_event_stream_that_no_browser_asks_for_again_is_a_body() {
    let post = "POST /held HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\n\r\n";
    for (request, field) in [(post, "X: y"), (GET, "Content-Encoding: gzip")] {
        let mut scene = Scene::with(request);
        scene.exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{field}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        scene.exchange.chunk("data: 1\n\n");
        scene.client.read_to("data: 1\n\n");
        let deadline = scene.drain();
        scene.client.end();
        at_the_deadline(deadline);
        scene.ended_with("drain_deadline_mid_body", (1, 0));
    }
}

#[test]
fn event_streams_end_spread_over_the_window() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut clients: Vec<_> = (0..12).map(|_| tidegate.connect()).collect();
    for client in &mut clients {
        client.ask("/held");
        let exchange = a.held();
        exchange.begin_events();
        exchange.chunk("data: 1\n\n");
        client.read_to("data: 1\n\n");
    }
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let start = Instant::now();
    tidegate.drain("a", "?timeout=4s");
    let ends = std::thread::scope(|scope| {
        let ends: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| (client.read_to("0\r\n\r\n"), start.elapsed())))
            .collect();
        ends.into_iter()
            .map(|end| end.join().unwrap().1.as_millis())
            .collect::<Vec<_>>()
    });
    let (first, last) = (*ends.iter().min().unwrap(), *ends.iter().max().unwrap());
    assert!(
        first >= 790 && last <= 3200 + SLACK.as_millis(),
        "between 20 % and 80 %: {ends:?}"
    );
    assert!(last - first > 400, "not together: {ends:?}");
    assert_eq!(tidegate.report("a")["outcome"], "clean");
}

#[test]
fn a_deadline_is_shortened_and_never_lengthened() {
    let mut scene = Scene::with(GET);
    let long = scene.tidegate.drain("a", "?timeout=10s");
    let longer = scene.tidegate.drain("a", "?timeout=60s");
    assert_eq!(long["deadline"], longer["deadline"]);
    let called = Instant::now();
    let short = scene.tidegate.drain("a", "?timeout=300ms");
    let answered = Instant::now();
    assert!(
        short["deadline"].as_str() < long["deadline"].as_str(),
        "{short} {long}"
    );
    assert_eq!(scene.client.response().status, 504);
    let timeout = Duration::from_millis(300);
    at_the_deadline(called + timeout..answered + timeout);
    scene.ended_with("drain_deadline_no_headers", (1, 0));
}

#[test]
fn every_answer_tells_what_set_the_deadline() {
    for (line, parameters, limited_by) in [
        ("", "", "service"),
        ("", "?timeout=1m", "service"),
        ("", "?timeout=1s", "operator"),
        ("drain_timeout: 5s", "", "endpoint"),
        ("drain_timeout: 40s", "", "endpoint"),
        ("drain_timeout: 40s", "?timeout=35s", "operator"),
    ] {
        let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
        let setup = Setup::of(&[&a, &b]);
        setup.file().set(&[a.line(line), b.line("")]);
        let tidegate = setup.start();
        let answer = tidegate.drain("a", parameters);
        assert_eq!(answer["limited_by"], limited_by, "{line} {parameters}");
        assert_eq!(tidegate.report("a")["limited_by"], limited_by);
    }
}

#[test]
fn the_services_own_timeout_ends_a_drain_by_the_file() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a])
        .service("drain: { timeout: 300ms }")
        .start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    tidegate.file().set(&[b.line("")]);
    assert_eq!(client.response().status, 504);
    exchange.end();
    let report = tidegate.report("a");
    assert_eq!(
        (&report["cause"], &report["outcome"]),
        (&"removed".into(), &"cut".into())
    );
    assert_eq!(report["limited_by"], "service");
    tidegate.is_gone("a");
    assert_eq!(
        tidegate.metric("tidegate_drain_cut_total{kind=\"request\",service=\"web\"}"),
        Some(1.0)
    );
}

//! P3, P5, P11: what switched protocols is passed on untouched, and ends well when its endpoint drains.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Client, End, Endpoint, Exchange, SLACK, Setup, Tidegate, eventually};

const SWITCH: &str = "GET /held/tunnel HTTP/1.1\r\nHost: s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A Close with 1012, as an endpoint's client gets it.
const CLOSE: [u8; 4] = [0x88, 43, 0x03, 0xF4];

/// A client's Close with the same code, under a mask of zeros.
const ECHO: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF4];

/// An open tunnel to `a`, with `b` to take over.
struct Scene {
    tidegate: Tidegate,
    client: Client,
    exchange: Exchange,
    _endpoints: [Endpoint; 2],
}

impl Scene {
    fn open() -> Self {
        Self::with(|setup| setup, SWITCH, Exchange::switch)
    }

    fn with(
        setup: impl FnOnce(Setup) -> Setup,
        request: &str,
        switch: impl FnOnce(&Exchange),
    ) -> Self {
        Self::by(setup, Tidegate::connect, request, switch)
    }

    /// The same by a listener that speaks TLS.
    fn over_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
        let (ca, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let setup = |setup: Setup| {
            setup
                .with_file("a.crt", &ca)
                .with_file("a.key", &key)
                .listener("tls: { certificates: [{ cert: a.crt, key: a.key }] }")
        };
        let connect = |tidegate: &Tidegate| Client::tls(tidegate.address(), &ca);
        Self::by(setup, connect, SWITCH, Exchange::switch)
    }

    fn by(
        setup: impl FnOnce(Setup) -> Setup,
        connect: impl FnOnce(&Tidegate) -> Client,
        request: &str,
        switch: impl FnOnce(&Exchange),
    ) -> Self {
        let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
        let tidegate = setup(Setup::of(&[&a])).start();
        let mut client = connect(&tidegate);
        client.send(request);
        let exchange = a.held();
        switch(&exchange);
        assert_eq!(client.response_head().0, 101);
        tidegate.file().set(&[a.line(""), b.line("")]);
        tidegate.is("b", "ready");
        Self {
            tidegate,
            client,
            exchange,
            _endpoints: [a, b],
        }
    }

    /// The log line and the report tell of the same end.
    fn ended_with(&self, code: &str, cut: u64) {
        assert_eq!(self.tidegate.logged("/held/tunnel")["code"], code);
        let report = self.tidegate.report("a");
        assert_eq!(report["cut"]["tunnel"], cut);
        let outcome = if cut == 0 { "clean" } else { "cut" };
        assert_eq!(report["outcome"], outcome);
    }

    #[track_caller]
    fn close_comes(&mut self) {
        let close = self.client.take(45);
        assert_eq!(close[..4], CLOSE, "{close:?}");
    }
}

#[test]
fn nothing_is_passed_on_before_the_endpoint_has_switched() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(format!("{SWITCH}early"));
    let exchange = a.held();
    let request = exchange.request();
    assert_eq!(request.head.values("upgrade"), ["websocket"]);
    assert_eq!(request.head.values("connection"), ["upgrade"]);
    assert_eq!(request.head.values("sec-websocket-version"), ["13"]);
    tidegate.in_flight("a", 1);
    assert_eq!(
        exchange.request().body,
        b"",
        "it would be read as a request"
    );
    exchange.switch();
    exchange.send("and this at once");
    assert_eq!(exchange.body_of(5), b"early");
    let (status, head) = client.response_head();
    assert_eq!(status, 101);
    assert_eq!(head.values("upgrade"), ["websocket"]);
    assert!(head.lists("connection", "upgrade"));
    assert_eq!(head.field("x-own"), Some("1"));
    assert_eq!(head.values("content-length"), [""; 0]);
    assert_eq!(client.take(16), b"and this at once");
    // Both halves, one after the other.
    client.send("more");
    assert_eq!(exchange.body_of(9), b"earlymore");
    client.finish();
    assert_eq!(exchange.end().0, End::Fin);
    tidegate.in_flight("a", 1);
    exchange.send("the other half");
    assert_eq!(client.take(14), b"the other half");
    exchange.finish();
    assert_eq!(client.end(), End::Fin);
    tidegate.in_flight("a", 0);
    let line = tidegate.logged("/held/tunnel");
    assert_eq!(
        (&line["status"], &line["code"]),
        (&101.into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&9.into(), &30.into())
    );
}

#[test]
fn what_is_not_a_whole_request_to_switch_is_a_plain_one() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for (request, version) in [
        ("Upgrade: websocket\r\n", "1.1"),
        ("Connection: upgrade\r\n", "1.1"),
        (
            "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            "1.1",
        ),
        ("Connection: upgrade\r\nUpgrade: other\r\n", "1.1"),
        ("Connection: upgrade\r\nUpgrade: websocket\r\n", "1.0"),
        (
            "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n",
            "1.1",
        ),
    ] {
        let mut client = tidegate.connect();
        let body = if request.contains("Length") { "xx" } else { "" };
        client.send(format!(
            "GET / HTTP/{version}\r\nHost: s\r\n{request}\r\n{body}"
        ));
        client.read_to(" 200 OK\r\n");
        let seen = a.requests().pop().unwrap();
        assert_eq!(seen.head.values("upgrade"), [""; 0], "{request}");
        assert!(!seen.head.lists("connection", "upgrade"), "{request}");
    }
}

#[test]
fn a_declined_switch_leaves_http() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send(SWITCH.replace("/held/tunnel", "/plain"));
    assert_eq!(client.response().text(), "a");
    assert_eq!(client.get("/next").text(), "a");
    tidegate.in_flight("a", 0);
}

#[test]
fn a_switch_that_nobody_asked_for_is_502() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for (request, answer) in [
        (
            "GET /held HTTP/1.1\r\nHost: s\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\n",
        ),
        (SWITCH, "Upgrade: h2c\r\nConnection: upgrade\r\n"),
        (SWITCH, "Upgrade: websocket\r\n"),
        (
            SWITCH,
            "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 3\r\n",
        ),
    ] {
        let mut client = tidegate.connect();
        client.send(request);
        let exchange = a.held();
        exchange.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\n{answer}\r\nxyz"
        ));
        assert_eq!(client.response().status, 502, "{answer}");
        exchange.end();
    }
}

#[test]
fn a_websocket_ends_with_a_close_behind_the_message_and_its_echo_arrives() {
    let mut scene = Scene::open();
    // The first half of a message of two fragments, cut within its second head.
    scene.exchange.send([0x01, 2, b'a', b'b', 0x80]);
    scene.client.take(5);
    scene.tidegate.drain("a", "?timeout=2s");
    let drains = scene.tidegate.admin("GET", "/api/v1/drains").ok();
    assert_eq!(drains["running"][0]["held_by"][0]["kind"], "tunnel");
    // It is to end at once, for the window is short, but is in the middle of a message.
    scene.client.send("to the endpoint");
    scene.exchange.body_of(15);
    scene.exchange.send([2, b'c', b'd', 0x81, 1, b'x']);
    assert_eq!(
        scene.client.take(3),
        [2, b'c', b'd'],
        "up to the message's end"
    );
    scene.close_comes();
    scene.exchange.send([0x81, 1, b'y']);
    scene.client.send(ECHO);
    assert_eq!(scene.exchange.body_of(23)[15..], ECHO);
    assert_eq!(scene.client.end(), End::Fin);
    assert!(scene.client.unread.is_empty(), "nothing behind the Close");
    scene.exchange.end();
    scene.ended_with("drain_tunnel_closed", 0);
}

#[test]
fn the_moments_are_spread_over_the_window() {
    let a = Endpoint::start("a");
    let b = Endpoint::start("b");
    let tidegate = Setup::of(&[&a]).start();
    let mut open: Vec<_> = (0..12)
        .map(|_| {
            let mut client = tidegate.connect();
            client.send(SWITCH);
            let exchange = a.held();
            exchange.switch();
            client.response_head();
            (client, exchange)
        })
        .collect();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let start = Instant::now();
    tidegate.drain("a", "?timeout=4s");
    let mut moments: Vec<_> = std::thread::scope(|scope| {
        let waiting: Vec<_> = open
            .iter_mut()
            .map(|(client, _)| {
                scope.spawn(move || {
                    assert_eq!(client.take(45)[..4], CLOSE);
                    client.send(ECHO);
                    start.elapsed()
                })
            })
            .collect();
        waiting.into_iter().map(|it| it.join().unwrap()).collect()
    });
    moments.sort();
    assert!(moments[0] >= Duration::from_millis(790), "{moments:?}");
    assert!(
        moments[11] <= Duration::from_millis(3200) + SLACK,
        "{moments:?}"
    );
    assert!(
        moments[11] - moments[0] >= Duration::from_millis(600),
        "{moments:?}"
    );
    assert_eq!(tidegate.report("a")["outcome"], "clean");
}

#[test]
fn without_a_boundary_it_is_cut_two_seconds_after_the_deadline() {
    let mut scene = Scene::open();
    scene.exchange.send([0x82, 100, 1, 2, 3]);
    scene.client.take(5);
    scene.tidegate.drain("a", "?timeout=300ms");
    let deadline = Instant::now() + Duration::from_millis(300);
    scene.client.end();
    let after = deadline.elapsed();
    assert!(after >= Duration::from_millis(1900), "{after:?}");
    assert!(after <= Duration::from_millis(2250) + SLACK, "{after:?}");
    assert!(scene.client.unread.is_empty(), "no Close inside a frame");
    scene.exchange.end();
    scene.ended_with("drain_tunnel_cut", 1);
}

#[test]
fn a_message_that_never_ends_is_closed_between_two_frames() {
    let mut scene = Scene::open();
    scene.exchange.send([0x01, 1, b'a']);
    scene.client.take(3);
    scene.tidegate.drain("a", "?timeout=500ms");
    scene.close_comes();
    scene.client.send(ECHO);
    scene.client.end();
    scene.ended_with("drain_tunnel_closed", 0);
}

#[test]
fn a_client_that_does_not_answer_holds_nothing_behind_the_deadline() {
    let mut scene = Scene::open();
    scene.tidegate.drain("a", "?timeout=300ms");
    let start = Instant::now();
    scene.close_comes();
    let report = scene.tidegate.report("a");
    assert_eq!(report["outcome"], "clean");
    assert!(
        start.elapsed() < Duration::from_secs(1) + SLACK,
        "P5: the rest is the client's"
    );
    scene.client.send("still passed on");
    scene.exchange.body_of(15);
    assert_eq!(scene.client.end(), End::Fin);
    assert!(start.elapsed() >= Duration::from_millis(4900));
    assert!(start.elapsed() <= Duration::from_millis(5300) + SLACK);
}

#[test]
fn an_endpoint_that_closes_itself_is_not_spoken_over() {
    let mut scene = Scene::open();
    scene.exchange.send([0x88, 2, 0x03, 0xE8]);
    assert_eq!(scene.client.take(4), [0x88, 2, 0x03, 0xE8]);
    scene.tidegate.drain("a", "?timeout=1s");
    scene.client.send(ECHO);
    scene.exchange.body_of(8);
    assert_eq!(scene.client.end(), End::Fin);
    assert!(scene.client.unread.is_empty(), "one Close, and no other");
}

#[test]
fn another_protocol_is_half_closed_and_cut() {
    let mut scene = Scene::with(
        |setup| setup.service("upgrades: [spdy/3.1]"),
        &SWITCH.replace("WebSocket\r\nSec", "SPDY/3.1\r\nSec"),
        |exchange| {
            exchange.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\nhi")
        },
    );
    scene.client.take(2);
    scene.tidegate.drain("a", "?timeout=1s");
    assert_eq!(scene.client.end(), End::Fin);
    assert!(scene.client.unread.is_empty());
    scene.exchange.end();
    scene.ended_with("drain_tunnel_cut", 1);
}

#[test]
fn a_tunnel_that_is_silent_for_too_long_is_closed() {
    let mut scene = Scene::with(
        |setup| setup.service("tunnel_idle_timeout: 1s"),
        SWITCH,
        Exchange::switch,
    );
    let start = Instant::now();
    scene.client.send("alive");
    scene.exchange.body_of(5);
    assert_eq!(scene.client.end(), End::Fin);
    assert!(start.elapsed() >= Duration::from_secs(1));
    scene.exchange.end();
    assert_eq!(
        scene.tidegate.logged("/held/tunnel")["code"],
        "idle_timeout"
    );
}

#[test]
fn a_reset_reaches_the_other_side() {
    let scene = Scene::open();
    scene.client.reset();
    scene.exchange.end();
    assert_eq!(
        scene.tidegate.logged("/held/tunnel")["code"],
        "client_closed"
    );
    let mut scene = Scene::open();
    scene.exchange.reset();
    assert_eq!(scene.client.end(), End::Reset);
    assert_eq!(
        scene.tidegate.logged("/held/tunnel")["code"],
        "upstream_closed"
    );
}

#[test]
fn a_slow_reader_holds_the_writer_back_and_gets_every_byte() {
    let mut scene = Scene::open();
    let sent: Vec<u8> = (0..8 << 20).map(|n: u32| (n >> 3) as u8).collect();
    let (client, exchange) = (&mut scene.client, &scene.exchange);
    std::thread::scope(|scope| {
        scope.spawn(|| exchange.send(&sent));
        assert!(client.take(sent.len()) == sent);
    });
}

#[test]
fn over_tls_every_byte_arrives_and_each_half_ends_by_itself() {
    let mut scene = Scene::over_tls();
    let (client, exchange) = (&mut scene.client, &scene.exchange);
    // One small piece each way, which waits for nothing behind it.
    client.send("ping");
    assert_eq!(exchange.body_of(4), b"ping");
    exchange.send("pong");
    assert_eq!(client.take(4), b"pong");
    let sent: Vec<u8> = (0..4 << 20).map(|n: u32| (n >> 3) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| exchange.send(&sent));
        assert!(client.take(sent.len()) == sent);
    });
    client.send(&sent);
    client.finish();
    assert!(exchange.body_of(4 + sent.len())[4..] == sent);
    assert_eq!(exchange.end().0, End::Fin);
    exchange.send("the other half");
    assert_eq!(client.take(14), b"the other half");
    exchange.finish();
    assert_eq!(client.end(), End::Fin);
    scene.tidegate.in_flight("a", 0);
    assert_eq!(
        scene.tidegate.logged("/held/tunnel")["code"],
        serde_json::Value::Null
    );
}

#[test]
fn over_tls_a_websocket_ends_with_a_close_and_its_echo_arrives() {
    let mut scene = Scene::over_tls();
    scene.exchange.send([0x01, 1, b'a']);
    scene.client.take(3);
    scene.tidegate.drain("a", "?timeout=2s");
    scene.exchange.send([0x80, 1, b'b', 0x81, 1, b'x']);
    assert_eq!(scene.client.take(3), [0x80, 1, b'b']);
    scene.close_comes();
    scene.client.send(ECHO);
    assert_eq!(scene.exchange.body_of(8), ECHO);
    assert_eq!(scene.client.end(), End::Fin, "with a word of TLS");
    assert!(scene.client.unread.is_empty(), "nothing behind the Close");
    scene.exchange.end();
    scene.ended_with("drain_tunnel_closed", 0);
}

#[test]
fn our_own_end_closes_websockets_within_its_window() {
    let a = Endpoint::start("a");
    let shutdown = "shutdown: { wait_period: 500ms, grace_period: 8s }";
    let mut tidegate = Setup::of(&[&a]).rest(shutdown).start();
    let mut client = tidegate.connect();
    client.send(SWITCH);
    let exchange = a.held();
    exchange.switch();
    client.response_head();
    let mut silent = tidegate.connect();
    silent.send(SWITCH);
    let other = a.held();
    other.switch();
    silent.response_head();
    let start = Instant::now();
    tidegate.signal(Signal::TERM);
    assert_eq!(client.take(45)[..4], CLOSE);
    assert!(start.elapsed() >= Duration::from_millis(500));
    client.send(ECHO);
    assert_eq!(client.end(), End::Fin);
    assert_eq!(silent.take(45)[..4], CLOSE);
    silent.end();
    assert_eq!(tidegate.exit().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8) + SLACK);
    let last = eventually("the last line", || tidegate.told("tidegate has left"));
    assert_eq!(last["cut"], 0);
}

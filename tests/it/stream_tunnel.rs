//! WebSocket over HTTP/2 (RFC 8441): P3, P5 and P11 hold for a stream as for a connection of its own.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::stream_client::{CANCEL, END_STREAM, NO_ERROR, Stream};
use crate::support::{
    End, Endpoint, Exchange, SLACK, Setup, StreamClient, StreamEndpoint, Tidegate, eventually,
};

/// A Close with 1012, as an endpoint's client gets it: its head, and its length.
const CLOSE: [u8; 4] = [0x88, 43, 0x03, 0xF4];
const CLOSE_LENGTH: usize = 45;

/// A client's Close with the same code, under a mask of zeros.
const ECHO: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF4];

const PATH: &str = "/held/tunnel";

/// Asks for a protocol by an extended CONNECT.
fn ask_for(client: &mut StreamClient, protocol: &str, more: &[(&str, &str)]) -> u32 {
    let mut fields = vec![
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", PATH),
        ("sec-websocket-version", "13"),
    ];
    fields.extend(more);
    client.open_with(&fields, 0)
}

fn ask(client: &mut StreamClient) -> u32 {
    ask_for(client, "websocket", &[])
}

/// Waits for the head of an answer.
fn head(client: &mut StreamClient, stream: u32) -> Stream {
    client.until("a head", |seen| {
        let stream = seen.streams.get(&stream)?;
        (stream.status() > 0).then(|| stream.clone())
    })
}

/// A WebSocket to `a`, with `b` to take over.
struct Scene {
    tidegate: Tidegate,
    client: StreamClient,
    stream: u32,
    exchange: Exchange,
    endpoints: [Endpoint; 2],
}

impl Scene {
    fn open() -> Self {
        Self::with(|setup| setup)
    }

    fn with(setup: impl FnOnce(Setup) -> Setup) -> Self {
        let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
        let tidegate = setup(Setup::of(&[&a])).start();
        let mut client = StreamClient::connect(tidegate.address());
        let stream = ask(&mut client);
        let exchange = a.held();
        exchange.accept("");
        assert_eq!(head(&mut client, stream).status(), 200);
        tidegate.file().set(&[a.line(""), b.line("")]);
        tidegate.is("b", "ready");
        Self {
            tidegate,
            client,
            stream,
            exchange,
            endpoints: [a, b],
        }
    }

    /// Everything that has come, once there are so many bytes.
    #[track_caller]
    fn body(&mut self, bytes: usize) -> Vec<u8> {
        self.client.body_of(self.stream, bytes)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.client.data(self.stream, bytes, 0);
    }

    /// The end of the stream.
    #[track_caller]
    fn end(&mut self) -> Stream {
        self.client.answer(self.stream)
    }

    /// The log line and the report tell of the same end.
    #[track_caller]
    fn ended_with(&self, code: &str, cut: u64) {
        assert_eq!(self.tidegate.logged(PATH)["code"], code);
        let report = self.tidegate.report("a");
        assert_eq!(report["cut"]["tunnel"], cut);
        let outcome = if cut == 0 { "clean" } else { "cut" };
        assert_eq!(report["outcome"], outcome);
    }
}

#[test]
fn a_stream_becomes_the_endpoints_websocket() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::connect(tidegate.address());
    client.settle();
    assert_eq!(client.seen().settings.get(&8), Some(&1), "RFC 8441");
    let fields = [
        ("sec-websocket-protocol", "chat, other"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-key", "bm90IG9mIHRoaXMgc29ydA=="),
        ("origin", "http://shop.test"),
    ];
    let stream = ask_for(&mut client, "WebSocket", &fields);
    client.data(stream, b"early", 0);
    let exchange = a.held();
    let request = exchange.request();
    assert_eq!(request.head.start, "GET /held/tunnel HTTP/1.1");
    assert_eq!(request.head.values("host"), ["shop.test"]);
    assert_eq!(request.head.values("upgrade"), ["websocket"]);
    assert_eq!(request.head.values("connection"), ["upgrade"]);
    assert_eq!(request.head.field("sec-websocket-version"), Some("13"));
    assert_eq!(
        request.head.field("sec-websocket-protocol"),
        Some("chat, other")
    );
    assert_eq!(request.head.field("origin"), Some("http://shop.test"));
    let key = request.head.field("sec-websocket-key").unwrap();
    assert!(
        key.len() == 24 && key != fields[2].1,
        "a key of tidegate's own"
    );
    assert!(request.head.field(":protocol").is_none());
    tidegate.in_flight("a", 1);
    assert_eq!(exchange.request().body, b"", "not before it has switched");

    exchange
        .accept("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n");
    exchange.send("and this at once");
    let answer = head(&mut client, stream);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("sec-websocket-protocol"), Some("chat"));
    assert_eq!(
        answer.field("sec-websocket-extensions"),
        Some("permessage-deflate")
    );
    for gone in ["sec-websocket-accept", "upgrade", "connection"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert_eq!(exchange.body_of(5), b"early");
    assert_eq!(client.body_of(stream, 16), b"and this at once");

    // Other streams of the connection go on, and so do both halves, one after the other.
    assert_eq!(client.get("/beside").text(), "a");
    client.data(stream, b"more", END_STREAM);
    assert_eq!(exchange.body_of(9), b"earlymore");
    assert_eq!(exchange.end().0, End::Fin);
    tidegate.in_flight("a", 1);
    exchange.send("the other half");
    assert_eq!(client.body_of(stream, 30)[16..], *b"the other half");
    exchange.finish();
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (true, None));
    tidegate.in_flight("a", 0);
    let line = tidegate.logged(PATH);
    assert_eq!(
        (&line["method"], &line["status"], &line["code"]),
        (&"CONNECT".into(), &200.into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&9.into(), &30.into())
    );
}

#[test]
fn what_is_not_served_is_501() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).service("upgrades: [spdy/3.1]").start();
    let mut client = StreamClient::connect(tidegate.address());
    for protocol in ["websocket", "spdy/3.1", "connect-udp"] {
        let stream = ask_for(&mut client, protocol, &[]);
        let answer = client.answer(stream);
        assert_eq!((answer.status(), answer.whole), (501, true), "{protocol}");
    }
    assert_eq!(a.count(), 0);
    assert_eq!(tidegate.logged(PATH)["code"], "protocol_not_served");
    assert_eq!(client.get("/after").status(), 200);

    // By HTTP/2 no tunnel is opened to an endpoint, and a plain request would be something else.
    let b = StreamEndpoint::start("b");
    let setup = Setup::without_file();
    setup.file().set(&[b.line("")]);
    let tidegate = setup.service("protocol: h2").start();
    let mut client = StreamClient::connect(tidegate.address());
    let stream = ask(&mut client);
    assert_eq!(client.answer(stream).status(), 501);
    assert_eq!(b.count(), 0);
    assert_eq!(client.get("/after").text(), "b");
}

#[test]
fn what_asks_in_two_ways_is_refused() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::connect(tidegate.address());
    let long = ("content-length", "0");
    for more in [("host", "other.test"), ("expect", "tea"), long] {
        let stream = ask_for(&mut client, "websocket", &[more]);
        let status = client.answer(stream).status();
        assert!(matches!(status, 400 | 417), "{more:?}: {status}");
    }
    assert_eq!(a.count(), 0);
}

#[test]
fn an_endpoint_that_does_not_switch_opens_nothing() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::connect(tidegate.address());
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let wrong = format!("{switched}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    let nothing = format!("{switched}\r\n");
    let declined = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (answer, status) in [
        (&*wrong, 502),
        (&nothing, 502),
        (plain, 502),
        (declined, 403),
    ] {
        let stream = ask(&mut client);
        let exchange = a.held();
        exchange.send(answer);
        let got = client.answer(stream);
        assert_eq!((got.status(), got.whole), (status, true), "{answer}");
    }
    tidegate.in_flight("a", 0);
}

#[test]
fn it_ends_with_a_close_behind_the_message_and_its_echo_arrives() {
    let mut scene = Scene::open();
    // The first half of a message of two fragments, cut within its second head.
    scene.exchange.send([0x01, 2, b'a', b'b', 0x80]);
    scene.body(5);
    scene.tidegate.drain("a", "?timeout=2s");
    let drains = scene.tidegate.admin("GET", "/api/v1/drains").ok();
    assert_eq!(drains["running"][0]["held_by"][0]["kind"], "tunnel");
    // It is to end at once, for the window is short, but is in the middle of a message.
    scene.send(b"to the endpoint");
    scene.exchange.body_of(15);
    scene.exchange.send([2, b'c', b'd', 0x81, 1, b'x']);
    let body = scene.body(8 + CLOSE_LENGTH);
    assert_eq!(body[5..8], [2, b'c', b'd'], "up to the message's end");
    assert_eq!(body[8..12], CLOSE);
    assert!(!scene.client.seen().streams[&scene.stream].whole);
    scene.exchange.send([0x81, 1, b'y']);
    scene.send(&ECHO);
    assert_eq!(scene.exchange.body_of(23)[15..], ECHO);
    let answer = scene.end();
    assert!(answer.whole);
    assert_eq!(answer.body.len(), 8 + CLOSE_LENGTH, "nothing behind it");
    scene.exchange.end();
    scene.ended_with("drain_tunnel_closed", 0);
    // P14: the connection does not notice.
    assert_eq!(scene.client.get("/after").text(), "b");
    assert!(scene.client.seen().goaways.is_empty());
    let reset = scene.client.seen().streams[&scene.stream].reset;
    assert!(matches!(reset, None | Some(NO_ERROR)), "{reset:?}");
}

#[test]
fn over_tls_it_ends_the_same() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let ca = made.cert.pem();
    let tidegate = Setup::of(&[&a])
        .with_file("a.crt", &ca)
        .with_file("a.key", &made.signing_key.serialize_pem())
        .listener("tls: { certificates: [{ cert: a.crt, key: a.key }] }")
        .start();
    let (mut client, chosen) = StreamClient::tls(tidegate.address(), &ca, &["h2"]);
    assert_eq!(chosen.as_deref(), Some("h2"));
    client.begin(None);
    let stream = ask(&mut client);
    let exchange = a.held();
    exchange.accept("");
    exchange.send([0x81, 1, b'a']);
    assert_eq!(client.body_of(stream, 3), [0x81, 1, b'a']);
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    tidegate.drain("a", "?timeout=2s");
    assert_eq!(client.body_of(stream, 3 + CLOSE_LENGTH)[3..7], CLOSE);
    client.data(stream, &ECHO, 0);
    assert_eq!(exchange.body_of(8), ECHO);
    assert!(client.answer(stream).whole);
    assert_eq!(tidegate.report("a")["outcome"], "clean");
    assert_eq!(client.get("/after").text(), "b");
}

#[test]
fn without_a_boundary_it_is_reset_two_seconds_after_the_deadline() {
    let mut scene = Scene::open();
    scene.exchange.send([0x82, 100, 1, 2, 3]);
    scene.body(5);
    scene.tidegate.drain("a", "?timeout=300ms");
    let deadline = Instant::now() + Duration::from_millis(300);
    let answer = scene.end();
    let after = deadline.elapsed();
    assert!(after >= Duration::from_millis(1900), "{after:?}");
    assert!(after <= Duration::from_millis(2250) + SLACK, "{after:?}");
    assert_eq!((answer.whole, answer.reset), (false, Some(CANCEL)));
    assert_eq!(answer.body.len(), 5, "no Close inside a frame");
    scene.exchange.end();
    scene.ended_with("drain_tunnel_cut", 1);
}

#[test]
fn a_client_that_does_not_answer_holds_nothing_behind_the_deadline() {
    let mut scene = Scene::open();
    scene.tidegate.drain("a", "?timeout=300ms");
    let start = Instant::now();
    assert_eq!(scene.body(CLOSE_LENGTH)[..4], CLOSE);
    let report = scene.tidegate.report("a");
    assert_eq!(report["outcome"], "clean");
    assert!(
        start.elapsed() < Duration::from_secs(1) + SLACK,
        "P5: the rest is the client's"
    );
    scene.send(b"still passed on");
    scene.exchange.body_of(15);
    let answer = scene.end();
    assert!(answer.whole);
    assert!(start.elapsed() >= Duration::from_millis(4900));
    assert!(start.elapsed() <= Duration::from_millis(5300) + SLACK);
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).start();
    let mut client = StreamClient::with_window(tidegate.address(), 10);
    let stream = ask(&mut client);
    let exchange = a.held();
    exchange.accept("");
    exchange.send([0x82, 18]);
    exchange.send([b'x'; 18]);
    client.body_of(stream, 10);
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    tidegate.drain("a", "?timeout=300ms");
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (false, Some(CANCEL)));
    assert_eq!(tidegate.logged(PATH)["code"], "drain_tunnel_cut");
}

#[test]
fn a_reset_reaches_the_other_side() {
    let mut scene = Scene::open();
    scene.client.reset(scene.stream, CANCEL);
    scene.exchange.end();
    assert_eq!(scene.tidegate.logged(PATH)["code"], "client_closed");
    assert_eq!(scene.client.get("/after").status(), 200);

    // Also while the endpoint takes nothing, so that nothing of the client's is read: more than kernels keep.
    let wide = "limits: { stream_window: 16MiB, connection_window: 16MiB }";
    let mut scene = Scene::with(|setup| setup.listener(wide));
    scene.client.settle();
    scene.endpoints[0].deaf(true);
    let piece = vec![b'x'; 16 * 1024];
    for _ in 0..16 * 64 {
        scene.send(&piece);
    }
    scene.client.reset(scene.stream, CANCEL);
    assert_eq!(scene.tidegate.logged(PATH)["code"], "client_closed");

    let scene = Scene::open();
    let (tidegate, mut client, stream) = (scene.tidegate, scene.client, scene.stream);
    scene.exchange.reset();
    let answer = client.answer(stream);
    assert_eq!((answer.whole, answer.reset), (false, Some(CANCEL)));
    assert_eq!(tidegate.logged(PATH)["code"], "upstream_closed");
    assert_eq!(client.get("/after").status(), 200);

    let scene = Scene::open();
    drop(scene.client);
    scene.exchange.end();
    assert_eq!(scene.tidegate.logged(PATH)["code"], "client_closed");
}

#[test]
fn a_slow_reader_holds_the_writer_back_and_gets_every_byte() {
    let mut scene = Scene::open();
    let sent: Vec<u8> = (0..8 << 20).map(|n: u32| (n >> 3) as u8).collect();
    let (client, exchange, stream) = (&mut scene.client, &scene.exchange, scene.stream);
    std::thread::scope(|scope| {
        scope.spawn(|| exchange.send(&sent));
        assert!(client.body_of(stream, sent.len()) == sent);
    });
}

#[test]
fn a_tunnel_that_is_silent_for_too_long_ends() {
    let mut scene = Scene::with(|setup| setup.service("tunnel_idle_timeout: 1s"));
    let start = Instant::now();
    scene.send(b"alive");
    scene.exchange.body_of(5);
    assert!(scene.end().whole);
    assert!(start.elapsed() >= Duration::from_secs(1));
    scene.exchange.end();
    assert_eq!(scene.tidegate.logged(PATH)["code"], "idle_timeout");
}

#[test]
fn our_own_end_closes_websockets_within_its_window() {
    let a = Endpoint::start("a");
    let shutdown = "shutdown: { wait_period: 500ms, grace_period: 8s }";
    let mut tidegate = Setup::of(&[&a]).rest(shutdown).start();
    let mut client = StreamClient::connect(tidegate.address());
    let streams = [ask(&mut client), ask(&mut client)];
    let exchanges = [a.held(), a.held()];
    exchanges.iter().for_each(|exchange| exchange.accept(""));
    let start = Instant::now();
    tidegate.signal(Signal::TERM);
    for stream in streams {
        assert_eq!(client.body_of(stream, CLOSE_LENGTH)[..4], CLOSE);
    }
    assert!(start.elapsed() >= Duration::from_millis(500));
    client.data(streams[0], &ECHO, 0);
    for stream in streams {
        assert!(client.answer(stream).whole);
    }
    client.end();
    assert_eq!(tidegate.exit().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8) + SLACK);
    let last = eventually("the last line", || tidegate.told("tidegate has left"));
    assert_eq!(last["cut"], 0);
}

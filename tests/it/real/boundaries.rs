//! P5 at every byte: the same answer in as many exchanges as it has bytes, each of which has got one byte more of it when its
//! endpoint drains. Whoever stands at a boundary is told at once; everyone else at the next one, and no client sees a piece.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Program;
use crate::support::{Endpoint, Exchange, Setup, Tidegate};

/// What an endpoint sends, and where in it the answer may end.
struct Script {
    bytes: Vec<u8>,
    boundaries: BTreeSet<usize>,
    /// How many messages or events have come by each boundary.
    whole: BTreeMap<usize, usize>,
}

impl Script {
    /// Of these pieces, each of which ends at a boundary, and may be a message.
    fn of(pieces: &[(&[u8], bool)]) -> Self {
        let mut script = Self {
            bytes: Vec::new(),
            boundaries: BTreeSet::from([0]),
            whole: BTreeMap::from([(0, 0)]),
        };
        let mut messages = 0;
        for (piece, is_message) in pieces {
            script.bytes.extend_from_slice(piece);
            messages += usize::from(*is_message);
            script.end_at(script.bytes.len(), messages);
        }
        script
    }

    fn end_at(&mut self, place: usize, messages: usize) {
        self.boundaries.insert(place);
        self.whole.insert(place, messages);
    }

    /// How many messages a client has seen of an exchange that got so many bytes before the drain, and the rest after it.
    fn expected(&self, got: usize) -> usize {
        let (_, messages) = self.whole.range(got..).next().unwrap();
        *messages
    }

    /// Every exchange gets what it gets before the drain; `send` sends it.
    fn begin(&self, exchanges: &[Exchange], send: impl Fn(&Exchange, &[u8])) {
        for (got, exchange) in exchanges.iter().enumerate() {
            for byte in &self.bytes[..got] {
                send(exchange, &[*byte]);
            }
        }
    }

    /// Whoever has not been told gets the rest, and the beginning of something that never ends.
    fn finish(&self, exchanges: &[Exchange], send: impl Fn(&Exchange, &[u8]), more: &[u8]) {
        for (got, exchange) in exchanges.iter().enumerate() {
            if !self.boundaries.contains(&got) {
                send(exchange, &[&self.bytes[got..], more].concat());
            }
        }
    }

    /// How many exchanges there are: one that has got nothing, and one for each byte.
    fn exchanges(&self) -> usize {
        self.bytes.len() + 1
    }
}

/// Endpoints `a`, with everything, and `b`, and the tidegate before them. One worker: what reaches it later is done later.
struct Scene {
    tidegate: Tidegate,
    a: Endpoint,
    b: Endpoint,
}

impl Scene {
    fn start() -> Self {
        let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
        let tidegate = Setup::of(&[&a]).workers(1).start();
        Self { tidegate, a, b }
    }

    /// The requests under `/held/`, by their number.
    fn held(&self, count: usize) -> Vec<Exchange> {
        let mut exchanges: Vec<_> = (0..count).map(|_| self.a.held()).collect();
        exchanges.sort_by_key(number);
        exchanges
    }

    /// Drains `a`, once everything that was sent before has been passed on.
    fn drain(&self) {
        assert_eq!(self.tidegate.get("/").text(), "a");
        self.tidegate
            .file()
            .set(&[self.a.line(""), self.b.line("")]);
        self.tidegate.is("b", "ready");
        self.tidegate.drain("a", "?timeout=300ms");
    }
}

fn number(exchange: &Exchange) -> usize {
    let request = exchange.request();
    request.path().rsplit('/').next().unwrap().parse().unwrap()
}

fn chunk(exchange: &Exchange, bytes: &[u8]) {
    exchange.send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat());
}

#[test]
fn an_event_stream_ends_between_two_events_wherever_the_drain_finds_it() {
    let mut script = Script::of(&[
        (b"id: 1\ndata: one\n\n", true),
        (b": a comment\n\n", false),
        (b"id: 2\rdata: two\rdata: lines\r\r", true),
        (b"id: 3\r\ndata: three\r\n\r\n", true),
        (b"data: four\nid: 4\r\n\n", true),
        (b"id: 5\ndata: five\r\r\n", true),
    ]);
    // An event is whole at its CR, whatever follows.
    let split: Vec<_> = script.whole.clone().into_iter().collect();
    for (place, messages) in split {
        if script.bytes[..place].ends_with(b"\r\n") {
            script.end_at(place - 1, messages);
        }
    }
    let events = [
        ("1", "one"),
        ("2", "two\nlines"),
        ("3", "three"),
        ("4", "four"),
        ("5", "five"),
    ];

    let scene = Scene::start();
    let address = scene.tidegate.address();
    let count = script.exchanges();
    let client = Program::start(
        "events_client.py",
        &[&format!("http://{address}/held/"), &count.to_string()],
    );
    let exchanges = scene.held(count);
    for exchange in &exchanges {
        exchange.begin_events();
    }
    script.begin(&exchanges, chunk);
    scene.drain();
    let end = |_: usize| client.fact("end");
    let mut ends: Vec<_> = (0..script.boundaries.len()).map(end).collect();
    script.finish(&exchanges, chunk, b"id: 6\ndata: six");
    ends.extend((ends.len()..count).map(end));
    for end in &ends {
        let seen = script.expected(end["stream"].as_u64().unwrap() as usize);
        assert_eq!(end["error"], Value::Null, "a clean end: {end}");
        assert_eq!(end["events"], json!(events[..seen]), "{end}");
    }
    for _ in 0..count {
        let request = scene.b.held().request();
        let number: usize = request.path().rsplit('/').next().unwrap().parse().unwrap();
        let last = script
            .expected(number)
            .checked_sub(1)
            .map(|last| events[last].0);
        assert_eq!(request.head.field("last-event-id"), last, "{number}");
    }
    assert_eq!(scene.tidegate.report("a")["outcome"], "clean");
}

#[test]
fn a_websocket_closes_between_two_messages_wherever_the_drain_finds_it() {
    let mut long = vec![0x82, 126, 0, 130];
    long.extend([b'l'; 130]);
    let script = Script::of(&[
        (b"\x81\x03one", true),
        (b"\x89\x02hi", false),
        // A message of three fragments, with a ping inside.
        (b"\x01\x01t\x00\x01w\x89\x00\x80\x01o", true),
        (b"\x82\x00", true),
        (&long, true),
    ]);
    let messages = json!(["one", "two", "", "l".repeat(130)]);

    let scene = Scene::start();
    let address = scene.tidegate.address().to_string();
    let count = script.exchanges();
    let client = Program::start("ws_reader.py", &[&address, &count.to_string()]);
    let exchanges = scene.held(count);
    for exchange in &exchanges {
        // The answer to the key of the protocol's own example.
        exchange.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
    }
    script.begin(&exchanges, |exchange, bytes| exchange.send(bytes));
    scene.drain();
    let end = |_: usize| client.fact("closed");
    let mut ends: Vec<_> = (0..script.boundaries.len()).map(end).collect();
    script.finish(
        &exchanges,
        |exchange, bytes| exchange.send(bytes),
        b"\x81\x7e\x01",
    );
    ends.extend((ends.len()..count).map(end));
    for end in &ends {
        let seen = script.expected(end["client"].as_u64().unwrap() as usize);
        assert_eq!(
            (&end["code"], &end["sent"]),
            (&json!(1012), &json!(1012)),
            "{end}"
        );
        assert_eq!(
            end["messages"].as_array().unwrap()[..],
            messages.as_array().unwrap()[..seen],
            "{end}"
        );
    }
    let report = scene.tidegate.report("a");
    assert_eq!(
        (&report["outcome"], &report["cut"]["tunnel"]),
        (&json!("clean"), &json!(0))
    );
}

#[test]
fn a_grpc_stream_ends_between_two_messages_wherever_the_drain_finds_it() {
    let script = Script::of(&[
        (b"\0\0\0\0\x03one", true),
        (b"\0\0\0\0\0", true),
        (b"\0\0\0\0\x14two and twenty bytes", true),
    ]);
    let messages = ["one", "", "two and twenty bytes"];

    let scene = Scene::start();
    let count = script.exchanges();
    let client = Program::start("grpc_client.py", &[&scene.tidegate.address().to_string()]);
    for number in 0..count {
        let path = format!("/held/{number}");
        client.tell(
            &json!({ "method": "held_stream", "path": path, "name": number, "requests": [""] }),
        );
    }
    let exchanges = scene.held(count);
    for exchange in &exchanges {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n");
    }
    script.begin(&exchanges, chunk);
    scene.drain();
    let end = |_: usize| client.fact("end");
    let mut ends: Vec<_> = (0..script.boundaries.len()).map(end).collect();
    script.finish(&exchanges, chunk, b"\0\0\0");
    ends.extend((ends.len()..count).map(end));
    for end in &ends {
        let seen = script.expected(end["name"].as_u64().unwrap() as usize);
        assert_eq!(end["code"], "UNAVAILABLE", "{end}");
        assert_eq!(end["messages"], json!(messages[..seen]), "{end}");
    }
    assert_eq!(scene.tidegate.report("a")["cut"]["stream"], count as u64);
}

#[test]
fn a_grpc_stream_that_finds_no_end_of_its_message_is_an_error_and_no_message() {
    let scene = Scene::start();
    let client = Program::start("grpc_client.py", &[&scene.tidegate.address().to_string()]);
    client.tell(&json!({ "method": "held_stream", "path": "/held/0", "requests": [""] }));
    let exchange = scene.held(1).remove(0);
    exchange.send(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    chunk(&exchange, b"\0\0\0\0\x03one\0\0\0\0\x03tw");
    scene.drain();
    let end = client.fact("end");
    // What grpcio makes of a reset stream.
    assert_eq!(
        (&end["code"], &end["messages"]),
        (&json!("INTERNAL"), &json!(["one"]))
    );
}

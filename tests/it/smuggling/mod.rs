//! Nothing that two readers could take differently reaches an endpoint.
//!
//! Each case goes through the real binary to an endpoint that reads what arrives as strictly as can be: one canonical
//! request, or none. `TIDEGATE_CASES` sets how many mutations are tried, `TIDEGATE_SEED` where their dice begin.

mod cases;
mod recorder;
mod strict;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::support::{PATIENCE, Setup, Tidegate};
use cases::{Case, GOOD};
use recorder::Recorder;

#[test]
fn nothing_ambiguous_reaches_an_endpoint() {
    let (recorder, tidegate) = start();
    let cases = cases::all();
    assert!(cases.len() >= 1000, "{} cases", cases.len());
    play(tidegate.address(), &cases);
    let record = recorder.record.lock().unwrap();
    assert!(record.faults.is_empty(), "{:#?}", record.faults);
    for request in &record.requests {
        assert!(!request.target.contains("smuggled"), "{request:?}");
        let Some(number) = request.all("x-case").next() else {
            assert_eq!(request.target, "/pipelined", "{request:?}");
            continue;
        };
        let number: usize = number.parse().unwrap();
        let case = &cases[number];
        let text = case.bytes.escape_ascii();
        assert!(
            case.may_pass,
            "case {number}, {text} arrived as {request:?}"
        );
    }
}

#[test]
fn what_is_plain_passes() {
    let (recorder, tidegate) = start();
    for (number, text) in GOOD.iter().enumerate() {
        let text = text.replace("%CASE%", &format!("x-case: {number}\r\n"));
        let mut client = tidegate.connect();
        client.send(&text);
        assert_eq!(client.response().status, 200, "{text:?}");
    }
    let record = recorder.record.lock().unwrap();
    assert!(record.faults.is_empty(), "{:#?}", record.faults);
    assert_eq!(record.requests.len(), GOOD.len());
    let gone = record.requests[5].all("x-gone").count();
    assert_eq!(gone, 0, "a field that Connection names stays here");
}

#[test]
fn no_mutation_reaches_an_endpoint_in_two_meanings() {
    let seed = number("TIDEGATE_SEED").unwrap_or(7);
    let count = number("TIDEGATE_CASES").unwrap_or(30_000);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (recorder, tidegate) = start();
    let hand = cases::all();
    for _ in 0..count.div_ceil(BATCH) {
        let batch: Vec<Case> = (0..BATCH).map(|_| mutation(&hand, &mut rng)).collect();
        play(tidegate.address(), &batch);
        let record = recorder.record.lock().unwrap();
        assert!(
            record.faults.is_empty(),
            "TIDEGATE_SEED={seed} TIDEGATE_CASES={count}: {:#?}",
            record.faults
        );
    }
}

const BATCH: u64 = 500;

/// What a mutation puts in.
const PIECES: [&[u8]; 30] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"#",
    b"@",
    b"/",
    b"%",
    b"_",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"0",
    b"5",
    b"-",
    b"+",
    b"x",
    b"\r\n ",
    b"chunked",
    b"\r\ncontent-length: 3",
    b"\r\ntransfer-encoding: chunked",
    b"\r\nhost: b",
    b"HTTP/1.0",
    b"\r\n0\r\n\r\n",
    b"\r\nconnection: content-length, host",
];

/// A good or a bad request with a few changes.
fn mutation(hand: &[Case], rng: &mut fastrand::Rng) -> Case {
    let mut bytes = if rng.bool() {
        let good = GOOD[rng.usize(..GOOD.len())];
        good.replace("%CASE%", "").into_bytes()
    } else {
        hand[rng.usize(..hand.len())].bytes.clone()
    };
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..=bytes.len());
        let until = (at + rng.usize(..3)).min(bytes.len());
        let piece = match rng.u8(..4) {
            0 => &[],
            _ => PIECES[rng.usize(..PIECES.len())],
        };
        bytes.splice(at..until, piece.iter().copied());
    }
    Case {
        bytes,
        may_pass: true,
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn start() -> (Recorder, Tidegate) {
    let recorder = Recorder::start();
    let list = format!("- {{ address: \"{}\", id: a }}\n", recorder.address);
    let setup = Setup::without_file().rest("access_log: { sample: 0.0 }");
    setup.file().set(&[list]);
    (recorder, setup.start())
}

/// Sends each on a connection of its own, several at a time, and waits until it is over.
fn play(address: SocketAddr, cases: &[Case]) {
    std::thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(PLAYERS)) {
            scope.spawn(move || part.iter().for_each(|case| play_one(address, &case.bytes)));
        }
    });
}

const PLAYERS: usize = 4;

fn play_one(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A refusal may end the connection before everything is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    // A reset ends it as well; only silence would be a fault, and it would be told as such.
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "no end of {}",
            bytes.escape_ascii()
        );
    }
    // Many connections in a short time: none is to stay behind and take a port.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

//! Clients that take their time.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::{answers, resident_kib};
use crate::support::{Client, Endpoint, SLACK, Setup, eventually};

/// A client that says something now and then, whatever is said to it.
struct Dripping {
    stream: TcpStream,
    drop: &'static [u8],
    over: bool,
}

impl Dripping {
    /// Whether the other side has had enough.
    fn is_over(&mut self) -> bool {
        let mut waste = [0; 1024];
        // What it is told does not matter; that the connection ends does.
        self.over = self.over
            || match self.stream.read(&mut waste) {
                Ok(read) => read == 0,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            }
            || (!self.drop.is_empty() && self.stream.write_all(self.drop).is_err());
        self.over
    }
}

#[test]
fn three_hundred_slow_connections_are_gone_by_their_limit() {
    let a = Endpoint::start("a");
    let limit = Duration::from_secs(1);
    let tidegate = Setup::of(&[&a])
        .listener("timeouts: { header: 1s, body: 1s }")
        .start();
    let kinds: [(&[u8], &[u8]); 3] = [
        // A head that never ends, nothing at all, and a body that does not come.
        (b"GET / HTTP/1.1\r\nHost: s\r\nX: ", b"x"),
        (b"", b""),
        (
            b"POST /held HTTP/1.1\r\nHost: s\r\nContent-Length: 1000\r\n\r\nx",
            b"",
        ),
    ];
    let began = Instant::now();
    let mut clients: Vec<Dripping> = (0..300)
        .map(|number| {
            let (first, drop) = kinds[number % kinds.len()];
            let mut stream = TcpStream::connect(tidegate.address()).unwrap();
            stream.write_all(first).unwrap();
            stream.set_nonblocking(true).unwrap();
            Dripping {
                stream,
                drop,
                over: false,
            }
        })
        .collect();
    let opened = began.elapsed();
    eventually("all of them are gone", || {
        let left = clients
            .iter_mut()
            .filter_map(|client| (!client.is_over()).then_some(()));
        (left.count() == 0).then_some(())
    });
    let lasted = began.elapsed();
    assert!(lasted < opened + limit + SLACK, "{lasted:?}");
    tidegate.in_flight("a", 0);
    assert_eq!(tidegate.get("/").status, 200);
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let a = Endpoint::start("a");
    let key = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let tidegate = Setup::of(&[&a])
        .with_file("shop.crt", &key.cert.pem())
        .with_file("shop.key", &key.signing_key.serialize_pem())
        .listener("tls: { certificates: [{ cert: shop.crt, key: shop.key }] }, timeouts: { header: 200ms }")
        .start();
    let mut silent = Client::connect(tidegate.address());
    let mut slow = Client::connect(tidegate.address());
    // The beginning of a ClientHello.
    slow.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
    silent.end();
    slow.end();
    eventually("nobody is left", || {
        let open = tidegate.metric("tidegate_downstream_connections{listener=\"http\"}")?;
        (open == 0.0).then_some(())
    });
}

#[test]
fn twenty_slow_readers_of_a_long_answer_cost_little() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let tidegate = answers::before(|mut stream| {
        let piece = vec![b'x'; 64 * 1024];
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"
        );
        for _ in 0..LENGTH / piece.len() {
            if stream.write_all(&piece).is_err() {
                return;
            }
        }
    });
    let began = resident_kib(&tidegate);
    let mut readers: Vec<Client> = (0..20)
        .map(|number| {
            let mut client = tidegate.connect();
            client.ask(&format!("/{number}"));
            client
        })
        .collect();
    for client in &mut readers {
        assert_eq!(client.response_head().0, 200);
    }
    // As much as it takes by itself, it has taken.
    let (mut last, mut looks) = (0, 0);
    eventually("its memory stands still", || {
        let now = resident_kib(&tidegate);
        looks = if now == last { looks + 1 } else { 0 };
        last = now;
        (looks == 50).then_some(())
    });
    let grown = last.saturating_sub(began);
    assert!(grown < 10 * 1024, "{grown} KiB");
    let mut one = readers.pop().unwrap();
    assert_eq!(one.take(LENGTH / 16).len(), LENGTH / 16, "it goes on");
    drop(readers);
    let left = thread::spawn(move || one.take(LENGTH / 16).len());
    assert_eq!(left.join().unwrap(), LENGTH / 16);
}

//! Endpoints that answer without an end, or not what they should.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::resident_kib;
use crate::support::{Client, Endpoint, Setup, Tidegate};

/// An endpoint that does this with every connection on which something has come.
fn endpoint(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let answer = answer.clone();
            thread::spawn(move || {
                if matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    answer(stream);
                }
            });
        }
    });
    address
}

pub(super) fn before(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> Tidegate {
    let setup = Setup::without_file();
    let address = endpoint(answer);
    setup
        .file()
        .set(&[format!("- {{ address: \"{address}\", id: a }}\n")]);
    setup.start()
}

#[test]
fn interim_answers_without_number_fill_no_memory() {
    const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal";
    let tidegate = before(|mut stream| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n".repeat(100);
        for _ in 0..200 {
            // Whoever has heard enough ends the connection.
            if stream.write_all(hints.as_bytes()).is_err() {
                return;
            }
        }
        let _ = stream.write_all(FINAL.as_bytes());
    });
    let began = resident_kib(&tidegate);
    let response = tidegate.get("/");
    assert!(
        (response.status == 200 && response.text() == "final") || response.status == 502,
        "{response:?}"
    );
    let grown = resident_kib(&tidegate).saturating_sub(began);
    assert!(grown < 4 * 1024, "{grown} KiB");
}

#[test]
fn an_http_1_0_client_gets_no_interim_answer() {
    let a = Endpoint::start("a");
    a.answer_with(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
    );
    let tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.send("GET / HTTP/1.0\r\nHost: s\r\n\r\n");
    client.end();
    let heard = String::from_utf8(client.unread).unwrap();
    assert!(heard.starts_with("HTTP/1.0 200"), "{heard}");
    assert!(!heard.contains("103"), "{heard}");
}

#[test]
fn a_head_without_an_end_is_502_and_fills_no_memory() {
    let tidegate = before(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        // Until somebody has enough.
        while stream
            .write_all(format!("x: {}\r\n", "y".repeat(1000)).as_bytes())
            .is_ok()
        {}
    });
    let began = resident_kib(&tidegate);
    for _ in 0..3 {
        assert_eq!(tidegate.get("/").status, 502);
    }
    let grown = resident_kib(&tidegate).saturating_sub(began);
    assert!(grown < 4 * 1024, "{grown} KiB");
}

#[test]
fn one_field_without_an_end_is_502() {
    let tidegate = before(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while stream.write_all(&[b'y'; 1000]).is_ok() {}
    });
    assert_eq!(tidegate.get("/").status, 502);
}

#[test]
fn what_two_readers_could_take_differently_is_502() {
    for answer in [
        "no head at all",
        "HTTP/1.1 1000 High\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 099 Low\r\nContent-Length: 1\r\n\r\na",
        "HTTP/0.9 200 OK\r\nContent-Length: 1\r\n\r\na",
        "HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
        "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 1\r\n\r\na",
    ] {
        let tidegate = before(move |mut stream| {
            let _ = stream.write_all(answer.as_bytes());
        });
        assert_eq!(tidegate.get("/").status, 502, "{answer:?}");
    }
}

#[test]
fn a_length_beside_chunks_is_502_or_counts_for_nothing() {
    let tidegate = before(|mut stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil",
        );
    });
    let mut client = Client::connect(tidegate.address());
    for _ in 0..3 {
        let response = client.get("/");
        let is_plain = response.status == 200
            && response.text() == "hi"
            && response.head.field("content-length").is_none();
        assert!(is_plain || response.status == 502, "{response:?}");
    }
}

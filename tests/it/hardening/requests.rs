//! Requests that are too large, or that hide another one.

use super::resident_kib;
use crate::support::{End, Endpoint, Setup};

#[test]
fn a_fragment_is_never_forwarded() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for target in ["/a#b", "/a?b#c", "http://shop.test/a#b", "/#", "/a%23b"] {
        let mut client = tidegate.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
        let status = client.response().status;
        assert!([200, 400].contains(&status), "{target}: {status}");
    }
    for path in a.paths() {
        assert!(!path.contains('#'), "{path}");
    }
}

#[test]
fn chunk_extensions_are_dropped_and_bounded() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let send = |extension: &str| {
        let mut client = tidegate.connect();
        client.try_send(format!(
            "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n2{extension}\r\nhi\r\n0\r\n\r\n"
        ));
        client.try_response().map(|response| response.status)
    };
    assert_eq!(send(";a=b;c=\"d\""), Some(200));
    assert_eq!(a.requests()[0].body, b"hi");
    let long = send(&format!(";{}", "x".repeat(100_000)));
    assert!(long.is_none_or(|status| status >= 400), "{long:?}");
    assert!(
        !a.requests().iter().skip(1).any(|request| request.whole),
        "nobody takes so much for nothing"
    );
}

/// hyper counts the value of a chunk's size, others its digits.
#[test]
fn a_chunk_size_of_too_many_digits_ends_the_connection() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let head = "POST /x HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n";
    let rest = "00000000000000000\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n";
    let mut client = tidegate.connect();
    client.try_send(format!("{head}{rest}"));
    assert_eq!(client.response().status, 400, "in one piece");
    assert_eq!(client.end(), End::Fin);
    let mut client = tidegate.connect();
    client.send(head.replace("/x", "/held"));
    let exchange = a.held();
    client.try_send(rest);
    exchange.end();
    assert!(!exchange.request().whole, "in two pieces");
    client.end();
    assert!(!a.paths().iter().any(|path| path == "/smuggled"));
}

/// hyper takes a bare LF for a line's end, also in a head that comes in one piece with the body before it.
#[test]
fn a_bare_line_end_behind_a_body_is_seen() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    for body in [
        "Content-Length: 5\r\n\r\na\nb\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\na\nb\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\n\r\n",
    ] {
        let mut client = tidegate.connect();
        client.try_send(format!(
            "POST /first HTTP/1.1\r\nHost: s\r\n{body}GET /second HTTP/1.1\r\nHost: s\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nHost: s\n\r\n"
        ));
        assert_eq!(client.response().status, 200, "{body:?}");
        assert_eq!(client.response().status, 200, "{body:?}");
        assert_eq!(client.response().status, 400, "{body:?}");
        assert_eq!(client.end(), End::Fin, "{body:?}");
    }
    assert!(!a.paths().iter().any(|path| path == "/smuggled"));
}

#[test]
fn enormous_heads_are_refused_and_fill_no_memory() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut other = tidegate.connect();
    assert_eq!(other.get("/").status, 200);
    let field = |name: &str, bytes: usize| format!("{name}: {}\r\n", "x".repeat(bytes));
    let many = |count: usize| -> String { (0..count).map(|at| format!("x-{at}: y\r\n")).collect() };
    let before = resident_kib(&tidegate);
    for fields in [
        field("x", 100_000),
        field("x", 1_000_000),
        field("cookie", 500_000),
        many(1_000),
        many(20_000),
        field(&"n".repeat(100_000), 1),
    ] {
        let mut client = tidegate.connect();
        client.try_send(format!("GET / HTTP/1.1\r\nHost: s\r\n{fields}\r\n"));
        let status = client.try_response().map(|response| response.status);
        assert!(
            matches!(status, Some(431 | 400) | None),
            "{status:?} for {}",
            &fields[..20]
        );
        assert_eq!(other.get("/").status, 200);
    }
    let grown = resident_kib(&tidegate).saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB");
    assert!(
        a.requests()
            .iter()
            .all(|request| request.head.field("x").is_none())
    );
}

#[test]
fn a_body_that_nobody_wanted_is_no_request() {
    let a = Endpoint::start("a");
    let routes = format!(
        "listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]\n\
         routes: [{{ path: /here, service: web }}]\n\
         services: [{{ name: web, source: {{ list: [\"{}\"] }} }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        a.address()
    );
    let tidegate = Setup::config(&routes).start();
    let hidden = "GET /here/smuggled HTTP/1.1\r\nHost: s\r\n\r\n";
    for (body, whole) in [(hidden.to_owned(), true), ("x".repeat(1_000_000), false)] {
        let mut client = tidegate.connect();
        client.try_send(format!(
            "POST /nowhere HTTP/1.1\r\nHost: s\r\nContent-Length: {}\r\n\r\n{body}GET /here/next HTTP/1.1\r\nHost: s\r\n\r\n",
            body.len()
        ));
        assert_eq!(client.response().status, 404);
        // Read and thrown away, or the end of the connection: never the next request.
        if let Some(response) = client.try_response() {
            assert!(whole, "{response:?}");
            assert_eq!(response.status, 200);
        }
    }
    assert!(!a.paths().iter().any(|path| path.contains("smuggled")));
}

//! Requests that two readers could take differently, written by hand: tables of what is bad, and every way they combine.
//!
//! Wherever a second request could hide, it asks for `/smuggled`.

/// A request as a client sends it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) bytes: Vec<u8>,
    /// Whether it may reach an endpoint, in a form that can be read in one way only.
    pub(super) may_pass: bool,
}

const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nhost: shop.test\r\n\r\n";

/// Lengths that are not one plain number, or not the only one.
const LENGTHS: [&str; 30] = [
    "content-length: +5",
    "content-length: -5",
    "content-length: 0x5",
    "content-length: 5,5",
    "content-length: 5, 6",
    "content-length: 5 5",
    "content-length: 5;",
    "content-length: 5.0",
    "content-length: 5e0",
    "content-length: five",
    "content-length:",
    "content-length: ,",
    "content-length: 18446744073709551616",
    "content-length: 99999999999999999999999999",
    "content-length: 5\r\ncontent-length: 6",
    "content-length: 6\r\ncontent-length: 5",
    "content-length: 5\r\nContent-Length: 0",
    "content-length : 5",
    "content-length\t: 5",
    " content-length: 5",
    "\tcontent-length: 5",
    "content-length: 5\r\n ",
    "content-length: \r\n 5",
    "content-length: 5\rx: y",
    "content-length: 5\nx: y",
    "content-length: 5\0",
    "content-length\0: 5",
    "content length: 5",
    "content-length: \u{ff15}",
    "content_length: 5",
];

/// Codings that are not one plain `chunked`.
const CODINGS: [&str; 34] = [
    "transfer-encoding: chunked, chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, gzip",
    "transfer-encoding: identity, chunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity",
    "transfer-encoding: ,chunked",
    "transfer-encoding: chunked,",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunkedx",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: 'chunked'",
    "transfer-encoding: [chunked]",
    "transfer-encoding: chun ked",
    "transfer-encoding:",
    "transfer-encoding: \u{b}chunked",
    "transfer-encoding: \u{c}chunked",
    "transfer-encoding: chunked\u{b}",
    "transfer-encoding: \0chunked",
    "transfer-encoding : chunked",
    "transfer-encoding\t: chunked",
    " transfer-encoding: chunked",
    "\ttransfer-encoding: chunked",
    "transfer-encoding: \r\n chunked",
    "transfer-encoding:\r\n\tchunked",
    "transfer-encoding: chunked\rx: y",
    "transfer-encoding: chunked\nx: y",
    "transfer_encoding: chunked",
    "transfer encoding: chunked",
    "transfer-encoding\u{a0}: chunked",
];

/// Hosts that are none, or more than one.
const HOSTS: [&str; 30] = [
    "",
    "host: a\r\nhost: a\r\n",
    "host: a\r\nhost: b\r\n",
    "host: a\r\nHOST: b\r\n",
    "host:\r\n",
    "host: \r\n",
    "host: a b\r\n",
    "host: a,b\r\nhost: c\r\n",
    "host: a/b\r\n",
    "host: a@b\r\n",
    "host: user@a\r\n",
    "host: a#b\r\n",
    "host: a?b\r\n",
    "host: a\\b\r\n",
    "host: a:1:2\r\n",
    "host: a:x\r\n",
    "host: a:99999\r\n",
    "host: :80\r\n",
    "host: [::1\r\n",
    "host: ::1\r\n",
    "host: [x]\r\n",
    "host: http://a\r\n",
    "host: a\tb\r\n",
    "host: <a>\r\n",
    "host: \"a\"\r\n",
    "host: a\u{e9}\r\n",
    "host: a^b\r\n",
    "host : a\r\n",
    " host: a\r\n",
    "host: a\r\n host: b\r\n",
];

/// Request lines that are none of HTTP/1.1, or whose target has no form.
const LINES: [&str; 46] = [
    "GET / HTTP/1.1 ",
    "GET  / HTTP/1.1",
    "GET /  HTTP/1.1",
    " GET / HTTP/1.1",
    "GET\t/ HTTP/1.1",
    "GET /\tHTTP/1.1",
    "GET / HTTP/1.1\u{b}",
    "GET / HTTP/1.10",
    "GET / HTTP/1.2",
    "GET / HTTP/2.0",
    "GET / HTTP/0.9",
    "GET / HTTP/9.9",
    "GET / HTTP/1",
    "GET / HTTP/1.1x",
    "GET / http/1.1",
    "GET / HTTPS/1.1",
    "GET / ICY/1.1",
    "GET /",
    "GET",
    "/ HTTP/1.1",
    "GET HTTP/1.1",
    "G\0T / HTTP/1.1",
    "G(T / HTTP/1.1",
    "GET, / HTTP/1.1",
    "\"GET\" / HTTP/1.1",
    "GET /\0 HTTP/1.1",
    "GET /\u{1} HTTP/1.1",
    "GET /\u{7f} HTTP/1.1",
    "GET /a b HTTP/1.1",
    "GET /a\u{b}b HTTP/1.1",
    "GET /a\rb HTTP/1.1",
    "GET /a\nb HTTP/1.1",
    "GET foo HTTP/1.1",
    "GET * HTTP/1.1",
    "GET ?x HTTP/1.1",
    "GET http:/// HTTP/1.1",
    "GET http:// HTTP/1.1",
    "GET ftp://a/ HTTP/1.1",
    "GET http://user@a/ HTTP/1.1",
    "GET http://a@b:c/ HTTP/1.1",
    "GET http://a:99999/ HTTP/1.1",
    "GET shop.test:80 HTTP/1.1",
    "CONNECT shop.test:80 HTTP/1.1",
    "CONNECT / HTTP/1.1",
    "GET / HTTP/1.1\r",
    "GET / HTTP/1.1\r\r",
];

/// Fields that are none.
const FIELDS: [&str; 32] = [
    ": x",
    "x",
    "x y: z",
    "x : y",
    "x\t: y",
    "x\0: y",
    "x\u{1}: y",
    "x(: y",
    "x): y",
    "x,: y",
    "x/: y",
    "x;: y",
    "x<: y",
    "x=: y",
    "x>: y",
    "x?: y",
    "x@: y",
    "x[: y",
    "x\\: y",
    "x]: y",
    "x{: y",
    "x}: y",
    "x\": y",
    "x\u{e9}: y",
    "x: \0",
    "x: a\u{1}b",
    "x: a\u{7f}b",
    "x: a\rb",
    "x: a\nb: c",
    "x: a\r\n folded",
    "x: a\r\n\tfolded",
    "x_y: z",
];

/// Chunked bodies that are broken, or broken for some.
const BODIES: [&str; 33] = [
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5_\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    ";x\r\nhello\r\n0\r\n\r\n",
    "g\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloo\r\n0\r\n\r\n",
    "5\r\nhell\r\n0\r\n\r\n",
    "5\r\nhello\r0\r\n\r\n",
    "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "100000000000000005\r\nhello\r\n0\r\n\r\n",
    "5;\n\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\n\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\r\nx y: z\r\n\r\n",
    "5\r\nhello\r\n0\r\nx\0: z\r\n\r\n",
    "5\r\nhello\r\n0\r\n: z\r\n\r\n",
    "5\r\nhello\r\n0\r\nx: a\r\n b\r\n\r\n",
    "5\r\nhello\r\n0\r\nx: a\nb\r\n\r\n",
    "5\r\nhello\r\n",
    "5\r\nhello\r\n0\r\n",
    "5\r\nhello\r\n0",
    "5\r\nhel",
    "5",
];

/// A size that some count by its digits and some by its value. hyper does the latter.
const LONG_ZERO: &str = "00000000000000000\r\n\r\n";

/// All of them; each says its number in `x-case`.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |text: String, may_pass| {
        let bytes = text.replace("%CASE%", &format!("x-case: {}\r\n", cases.len()));
        cases.push(Case {
            bytes: bytes.into_bytes(),
            may_pass,
        });
    };
    for length in LENGTHS {
        for method in ["GET", "POST", "PUT"] {
            add(
                format!(
                    "{method} / HTTP/1.1\r\nhost: shop.test\r\n%CASE%{length}\r\n\r\nhello{HIDDEN}"
                ),
                false,
            );
        }
        // With a plain coding beside it: refused, or the coding counts and the connection ends (RFC 9112, 6.3).
        for coding in ["transfer-encoding: chunked", "Transfer-Encoding: CHUNKED"] {
            for (first, second) in [(length, coding), (coding, length)] {
                let lines = format!("{first}\r\n{second}");
                add(
                    format!(
                        "POST / HTTP/1.1\r\nhost: shop.test\r\n%CASE%{lines}\r\n\r\n0\r\n\r\n{HIDDEN}"
                    ),
                    true,
                );
            }
        }
    }
    for coding in CODINGS {
        for length in ["", "content-length: 5\r\n", "content-length: 0\r\n"] {
            for version in ["1.1", "1.0"] {
                add(
                    format!(
                        "POST / HTTP/{version}\r\nhost: shop.test\r\n%CASE%{length}{coding}\r\n\r\n0\r\n\r\n{HIDDEN}"
                    ),
                    false,
                );
                add(
                    format!(
                        "POST / HTTP/{version}\r\nhost: shop.test\r\n%CASE%{coding}\r\n{length}\r\n5\r\nhello\r\n0\r\n\r\n{HIDDEN}"
                    ),
                    false,
                );
            }
        }
    }
    for host in HOSTS {
        for (method, target) in [
            ("GET", "/"),
            ("POST", "/"),
            ("OPTIONS", "*"),
            ("GET", "/?a"),
        ] {
            add(
                format!("{method} {target} HTTP/1.1\r\n%CASE%{host}\r\n"),
                false,
            );
        }
    }
    for line in LINES {
        for rest in [
            "",
            "content-length: 5\r\n",
            "transfer-encoding: chunked\r\n",
        ] {
            add(
                format!("{line}\r\nhost: shop.test\r\n%CASE%{rest}\r\n0\r\n\r\n{HIDDEN}"),
                false,
            );
        }
    }
    for field in FIELDS {
        for (before, after) in [
            ("", ""),
            ("x-a: b\r\n", ""),
            ("", "x-b: c\r\n"),
            ("a: b\r\n", "c: d\r\n"),
        ] {
            add(
                format!(
                    "GET / HTTP/1.1\r\nhost: shop.test\r\n%CASE%{before}{field}\r\n{after}\r\n"
                ),
                false,
            );
        }
    }
    for body in BODIES {
        for method in ["POST", "PUT", "GET", "DELETE"] {
            // A head that came whole may be on its way before the body breaks; then the request never ends there.
            add(
                format!(
                    "{method} / HTTP/1.1\r\nhost: shop.test\r\n%CASE%transfer-encoding: chunked\r\n\r\n{body}"
                ),
                false,
            );
        }
    }
    add(
        format!(
            "POST / HTTP/1.1\r\nhost: shop.test\r\n%CASE%transfer-encoding: chunked\r\n\r\n{LONG_ZERO}{HIDDEN}"
        ),
        false,
    );
    // A head whose lines end with a bare LF, in one piece with the body before it.
    for body in [
        "content-length: 5\r\n\r\na\nb\r\n",
        "transfer-encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n",
        "content-length: 0\r\n\r\n",
    ] {
        for bare in [1, 2, 3] {
            let mut hidden = HIDDEN.to_owned();
            for _ in 0..bare {
                hidden = hidden.replacen("\r\n", "\n", 1);
            }
            add(
                format!("POST / HTTP/1.1\r\nhost: shop.test\r\n%CASE%{body}{hidden}"),
                true,
            );
        }
    }
    for line_end in ["\n", "\r", "\n\r", "\r\r\n"] {
        let text = format!("GET / HTTP/1.1\r\nhost: shop.test\r\n%CASE%x: y\r\n\r\n{HIDDEN}");
        add(text.replacen("\r\n", line_end, 1), false);
        add(text.replace("x: y\r\n", &format!("x: y{line_end}")), false);
    }
    cases
}

/// Requests that must pass: what refuses everything is no proxy. Also the ground that mutations grow from.
pub(super) const GOOD: [&str; 9] = [
    "GET / HTTP/1.1\r\nhost: shop.test\r\n%CASE%\r\n",
    "GET /a/../b//c;d?e=%2f HTTP/1.1\r\nhost: shop.test:8080\r\naccept: */*\r\n%CASE%\r\n",
    "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n%CASE%\r\nhello",
    "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\ncontent-length: 5\r\n%CASE%\r\nhello",
    "POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n%CASE%\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
    "GET http://shop.test/ HTTP/1.1\r\nhost: other\r\nconnection: keep-alive, x-gone\r\nx-gone: 1\r\n%CASE%\r\n",
    "OPTIONS * HTTP/1.1\r\nhost: shop.test\r\n%CASE%\r\n",
    "PUT / HTTP/1.1\r\nhost: [::1]:80\r\ncontent-length: 0\r\nte: trailers\r\ncookie: a=b; c=d\r\n%CASE%\r\n",
    "GET http://shop.test?a=b HTTP/1.1\r\nhost: shop.test\r\n%CASE%\r\n",
];

//! Bytes of endpoints: what was not whole never looks whole to a client.

use std::time::Duration;

use crate::dice::{Change, PIECES, changed, pick, time};
use crate::world::{everything, play};

const SEEDS: [&[u8]; 10] = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\nyou\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nto the end",
    b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n",
];

/// A whole answer: status and body. None for anything that is not.
fn read(bytes: &[u8], closed: bool) -> Option<(u16, Vec<u8>)> {
    let (lines, body) = head(bytes)?;
    let mut lines = lines.iter().map(String::as_str);
    let mut start = lines.next()?.splitn(3, ' ');
    let version = start.next()?;
    let status = start.next().filter(|text| text.len() == 3)?.parse().ok()?;
    if !["HTTP/1.1", "HTTP/1.0"].contains(&version) || status < 100 {
        return None;
    }
    if (102..200).contains(&status) || status == 100 {
        return read(body, closed);
    }
    let (mut length, mut chunked) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("content-length") {
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            let said: usize = value.parse().ok().filter(|_| digits)?;
            if length.is_some_and(|length| length != said) {
                return None;
            }
            length = Some(said);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case("chunked") {
                return None;
            }
            chunked = true;
        }
    }
    if matches!(status, 204 | 304) {
        return Some((status, Vec::new()));
    }
    if chunked {
        return unchunked(body).map(|body| (status, body));
    }
    match length {
        Some(length) => (body.len() >= length).then(|| (status, body[..length].to_vec())),
        None => closed.then(|| (status, body.to_vec())),
    }
}

/// The lines of a head, and what is behind it. Empty lines may stand before the first; a bare LF is no line's end.
fn head(mut bytes: &[u8]) -> Option<(Vec<String>, &[u8])> {
    let mut lines = Vec::new();
    loop {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = &bytes[..end];
        bytes = &bytes[end + 1..];
        let line = line.strip_suffix(b"\r")?;
        if !line.is_empty() {
            lines.push(line.iter().copied().map(char::from).collect());
        } else if !lines.is_empty() {
            return Some((lines, bytes));
        }
    }
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|found| found == b"\r\n")?;
        // Whatever an extension says goes no further.
        let digits = bytes[..end].split(|byte| *byte == b';').next()?;
        let digits = std::str::from_utf8(digits).ok()?;
        let digits = digits.trim_end_matches([' ', '\t']);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(digits, 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size..)?.strip_prefix(b"\r\n")?;
    }
    // Trailers, and the empty line.
    let is_whole = bytes.starts_with(b"\r\n") || bytes.windows(4).any(|found| found == b"\r\n\r\n");
    is_whole.then_some(body)
}

#[test]
fn nothing_broken_looks_whole() {
    bolero::check!()
        .with_type::<(u8, Vec<Change>, u16, bool)>()
        .with_iterations(usize::MAX)
        .with_test_time(time())
        .for_each(|(seed, changes, length, cut)| {
            let mut answer = changed(pick(&SEEDS, *seed), changes, &PIECES);
            if *cut {
                answer.truncate(usize::from(*length) % (answer.len() + 1));
            }
            play(everything, async |world| {
                world.script.borrow_mut().answer = Some(answer.clone());
                let request = b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
                // Longer than every limit.
                let (heard, ended) = world.send(&[request], Duration::from_secs(1000)).await;
                assert!(ended, "the client is left waiting");
                let heard_text = heard.escape_ascii().to_string();
                // A body that ends with its connection would look whole to whoever takes an end for one: there is none.
                let Some((status, body)) = read(&heard, false) else {
                    return;
                };
                if status >= 500 {
                    return;
                }
                assert_eq!(
                    read(&answer, true),
                    Some((status, body)),
                    "the client took {heard_text} for whole, which came as {}",
                    answer.escape_ascii()
                );
            });
        });
}

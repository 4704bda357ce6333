//! What the dice decide.

use std::time::Duration;

/// How long a target runs.
pub(crate) fn time() -> Duration {
    let seconds = std::env::var("TIDEGATE_FUZZ_SECONDS");
    let seconds = seconds.ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// A change to a text: where, how much of it goes, and which piece comes.
pub(crate) type Change = (u16, u8, u8);

/// A seed with a few changes.
pub(crate) fn changed(seed: &[u8], changes: &[Change], pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (at, gone, piece) in changes.iter().take(CHANGES_MAX) {
        let at = usize::from(*at) % (bytes.len() + 1);
        let until = (at + usize::from(*gone) % 4).min(bytes.len());
        let piece = pick(pieces, *piece);
        bytes.splice(at..until, piece.iter().copied());
    }
    bytes
}

/// More of them would leave nothing that any reader gets far with.
const CHANGES_MAX: usize = 4;

/// One of them.
pub(crate) fn pick<T: Copy>(all: &[T], number: u8) -> T {
    all[usize::from(number) % all.len()]
}

/// What has a meaning somewhere does the most harm elsewhere.
pub(crate) const PIECES: [&[u8]; 40] = [
    b"",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"#",
    b"?",
    b"@",
    b"/",
    b"%",
    b"_",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"0",
    b"00000000",
    b"5",
    b"-",
    b"+",
    b"x",
    b"\r\n ",
    b"chunked",
    b"\r\ncontent-length: 3",
    b"\r\ncontent-length: 0",
    b"\r\ntransfer-encoding: chunked",
    b"\r\ntransfer-encoding: identity",
    b"\r\nhost: b",
    b"HTTP/1.0",
    b"HTTP/1.1 200 OK\r\n",
    b"\r\n0\r\n\r\n",
    b"\r\n5\r\nhello",
    b"\r\nconnection: content-length, host",
    b"\r\nconnection: close",
    b"GET /hidden HTTP/1.1\r\nhost: shop.test\r\n\r\n",
];

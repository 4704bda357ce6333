//! The head of an answer as HTTP/2 has it (RFC 9113, section 8.3.2). That a connection is to be closed is nothing that a stream
//! says.

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};
use http_body::Body as _;
use memchr::memchr;

use crate::http2::hpack::Encoder;
use crate::proxy::Answer;

/// Writes the head's field block.
pub(super) fn write_head(
    encoder: &mut Encoder,
    out: &mut BytesMut,
    answer: &Answer,
    date: impl FnOnce() -> HeaderValue,
) {
    encoder.begin(out, answer.status);
    let mut put = |name: &[u8], value: &[u8]| encoder.field(out, name, value);
    let (has_length, has_date) = match answer.fields.lines() {
        Some(lines) => {
            each_line(lines.text(), &mut put);
            (lines.has_length, lines.has_date)
        }
        None => {
            let fields = answer.fields.as_map();
            for (name, value) in fields {
                if !is_connections(name) {
                    put(name.as_str().as_bytes(), value.as_bytes());
                }
            }
            (
                fields.contains_key(CONTENT_LENGTH),
                fields.contains_key(DATE),
            )
        }
    };
    if !has_date {
        put(b"date", date().as_bytes());
    }
    if !has_length
        && !answer.body.is_end_stream()
        && let Some(length) = answer.body.size_hint().exact()
    {
        put(
            b"content-length",
            itoa::Buffer::new().format(length).as_bytes(),
        );
    }
}

/// What HTTP/2 has no field for (section 8.2.2).
fn is_connections(name: &HeaderName) -> bool {
    matches!(*name, CONNECTION | TRANSFER_ENCODING | UPGRADE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The lines of an HTTP/1 endpoint's answer, none of which is its connection's.
fn each_line(mut rest: &[u8], put: &mut impl FnMut(&[u8], &[u8])) {
    while let Some(end) = memchr(b'\n', rest) {
        let (line, behind) = rest.split_at(end);
        rest = behind.get(1..).unwrap_or_default();
        if let Some(colon) = memchr(b':', line) {
            put(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_one_by_one() {
        let mut seen = Vec::new();
        let text = b"A: b\r\nc:d:e \r\nEmpty:\r\n";
        each_line(text, &mut |name: &[u8], value: &[u8]| {
            seen.push((name.to_vec(), value.to_vec()));
        });
        let expected = [("A", "b"), ("c", "d:e"), ("Empty", "")];
        let expected = expected.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(seen, expected);
    }
}

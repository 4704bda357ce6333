//! Where a gRPC response can be ended: between two messages, each of which says its length.
//!
//! At such a place a status can follow that the client understands; inside a message nothing can, and the stream is reset.
//! What is no message has no boundary any more, and gRPC-Web's own trailers are the end that the endpoint has chosen.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The kinds of gRPC, by how a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grpc {
    /// With trailers.
    Plain,
    /// With a last frame in the body that holds them.
    Web,
    /// The same as base64, where no boundary can be seen.
    WebText,
}

impl Grpc {
    /// What a message is, by its `Content-Type`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.as_bytes();
        let essence = value.split(|&b| b == b';').next()?.trim_ascii();
        let (name, _) = essence.split_at(
            essence
                .iter()
                .position(|b| *b == b'+')
                .unwrap_or(essence.len()),
        );
        [
            ("application/grpc", Self::Plain),
            ("application/grpc-web", Self::Web),
            ("application/grpc-web-text", Self::WebText),
        ]
        .into_iter()
        .find_map(|(known, kind)| name.eq_ignore_ascii_case(known.as_bytes()).then_some(kind))
    }
}

/// Follows the messages of a response, slice by slice.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    /// Bytes of the prefix that have come.
    prefix: u8,
    length: u32,
    /// Bytes of the message that are still to come.
    left: u32,
    /// What came is no message, or the last that there is.
    over: bool,
}

const PREFIX: u8 = 5;

/// The only flag of a message: it is compressed.
const COMPRESSED: u8 = 1;

impl Messages {
    /// Whether nothing of a message is under way.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.prefix == 0 && self.left == 0 && !self.over
    }

    /// Takes the next slice, and says how much of it goes up to the first boundary, if there is one.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut first = None;
        let mut at = 0;
        while at < bytes.len() && !self.over {
            if self.left > 0 {
                let here = (self.left as usize).min(bytes.len() - at);
                self.left -= here as u32;
                at += here;
            } else {
                self.take_prefix(bytes[at]);
                at += 1;
            }
            if self.at_boundary() {
                first.get_or_insert(at);
            }
        }
        first
    }

    fn take_prefix(&mut self, byte: u8) {
        match self.prefix {
            0 => {
                self.over = byte & !COMPRESSED != 0;
                self.length = 0;
            }
            _ => self.length = self.length << 8 | u32::from(byte),
        }
        self.prefix += 1;
        if self.prefix == PREFIX {
            self.prefix = 0;
            self.left = self.length;
        }
    }
}

/// Text as `grpc-message` has it: percent-encoded but for printable ASCII.
#[must_use]
pub fn grpc_message(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The last frame of a gRPC-Web body, with the status.
#[must_use]
pub fn web_trailers(status: u8, message: &str) -> Vec<u8> {
    let text = format!(
        "grpc-status: {status}\r\ngrpc-message: {}\r\n",
        grpc_message(message)
    );
    let mut frame = vec![0x80];
    frame.extend_from_slice(&(text.len() as u32).to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(payload: usize) -> Vec<u8> {
        let mut bytes = vec![(payload % 2) as u8];
        bytes.extend((payload as u32).to_be_bytes());
        bytes.extend(std::iter::repeat_n(0, payload));
        bytes
    }

    proptest! {
        #[test]
        fn agrees_with_the_list_of_messages_at_every_split(payloads in prop::collection::vec(0usize..300, 0..5)) {
            let (mut bytes, mut ends) = (Vec::new(), vec![0]);
            for payload in payloads {
                bytes.extend(message(payload));
                ends.push(bytes.len());
            }
            for cut in 0..=bytes.len() {
                let mut messages = Messages::default();
                for (from, to) in [(0, cut), (cut, bytes.len())] {
                    let first = ends.iter().find(|end| **end > from && **end <= to);
                    prop_assert_eq!(messages.feed(&bytes[from..to]), first.map(|end| end - from));
                    prop_assert_eq!(messages.at_boundary(), ends.contains(&to));
                }
            }
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            Messages::default().feed(&bytes);
        }
    }

    #[test]
    fn nothing_follows_what_is_no_message() {
        for last in [&web_trailers(14, "x")[..], b"\x02", b"HTTP"] {
            let mut messages = Messages::default();
            assert_eq!(messages.feed(last), None);
            messages.feed(&message(0));
            assert!(!messages.at_boundary());
        }
    }

    #[test]
    fn tells_the_kinds_apart() {
        let kind = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            Grpc::of(&headers)
        };
        for (value, expected) in [
            ("application/grpc", Some(Grpc::Plain)),
            ("Application/gRPC+proto; x=y", Some(Grpc::Plain)),
            ("application/grpc-web+proto", Some(Grpc::Web)),
            ("application/grpc-web-text+proto", Some(Grpc::WebText)),
            ("application/grpcx", None),
            ("text/plain", None),
        ] {
            assert_eq!(kind(value), expected, "{value}");
        }
        assert_eq!(grpc_message("a b%\n\u{fc}"), "a b%25%0A%C3%BC");
    }
}

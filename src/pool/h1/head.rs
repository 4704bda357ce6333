//! The head of a response: parsed, checked, and rid of what belongs to the connection.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, StatusCode};

use super::ReadError;
use crate::http1::{ConnectionTokens, End, Fields, Lines, content_length, is_hop_by_hop};

/// The head of a final response, as it may be passed on.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The fields, without those of the connection and of framing, but with `Content-Length`.
    pub fields: Fields,
    /// How long the body is.
    pub length: Length,
    /// The connection may carry another request.
    pub persistent: bool,
    /// `Keep-Alive: timeout`.
    pub keep_alive: Option<Duration>,
}

/// How long a body is (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// There is none, whatever the fields say.
    None,
    /// So many bytes.
    Sized(u64),
    /// Chunks.
    Chunked,
    /// Until the connection closes.
    UntilClose,
}

/// What was asked, as far as it decides how the answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'t> {
    /// For an answer with a body, if it has one.
    Body,
    /// For a head alone.
    Head,
    /// For a switch to this protocol, which may be declined.
    Upgrade(&'t str),
    /// For a tunnel, which every success opens (CONNECT; RFC 9110, section 9.3.6).
    Tunnel,
}

/// What the bytes at hand amount to.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Not a whole head.
    Partial,
    /// A response before the response, dropped.
    Interim,
    /// The response.
    Final(Head),
}

/// Fields of a head.
const FIELDS_MAX: usize = 128;

/// Parses a head off the front of `read`. `end` has looked at what is there before.
pub(super) fn parse(
    read: &mut BytesMut,
    end: &mut End,
    asked: Asked<'_>,
) -> Result<Parsed, ReadError> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let Some(length) = end.find(read) else {
        if end.is_due(read) {
            config
                .parse_response_with_uninit_headers(&mut response, read, &mut fields)
                .map_err(malformed)?;
        }
        return Ok(Parsed::Partial);
    };
    let bare = std::mem::take(end).bare;
    let head = read.split_to(length).freeze();
    let parsed = config
        .parse_response_with_uninit_headers(&mut response, &head, &mut fields)
        .map_err(malformed)?;
    // Others end a line there as well, or do not: what is written anew would have one meaning, and who asked another.
    if bare || parsed != httparse::Status::Complete(length) {
        return Err(ReadError::Malformed(
            "a line of the response's head ends without CR",
        ));
    }
    let code = response.code.unwrap_or(0);
    let http10 = response.version == Some(0);
    if !(100..=999).contains(&code) {
        return Err(ReadError::Malformed("the response's status is no status"));
    }
    if code == 101 {
        check_switch(response.headers, http10, asked)?;
    } else if code < 200 {
        return Ok(Parsed::Interim);
    }
    let status = StatusCode::from_u16(code)
        .map_err(|_| ReadError::Malformed("the response's status is no status"))?;
    collect(&head, response.headers, (status, http10), asked).map(Parsed::Final)
}

/// A switch of protocols has to be the one that was asked for (RFC 9110, section 7.8).
fn check_switch(
    fields: &[httparse::Header<'_>],
    http10: bool,
    asked: Asked<'_>,
) -> Result<(), ReadError> {
    let Asked::Upgrade(protocol) = asked else {
        return Err(ReadError::Malformed(
            "the endpoint switched protocols unasked",
        ));
    };
    let values = |name: HeaderName| {
        fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_str()))
            .flat_map(|field| field.value.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
    };
    let named = values(UPGRADE).all(|value| value.eq_ignore_ascii_case(protocol.as_bytes()))
        && values(UPGRADE).next().is_some();
    let connected = values(CONNECTION).any(|value| value.eq_ignore_ascii_case(b"upgrade"));
    if http10 || !named || !connected {
        return Err(ReadError::Malformed(
            "the endpoint switched to another protocol",
        ));
    }
    Ok(())
}

/// What the framing fields said.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

/// Looks at every field, and leaves out what is not passed on.
fn collect(
    head: &Bytes,
    fields: &[httparse::Header<'_>],
    (status, http10): (StatusCode, bool),
    asked: Asked<'_>,
) -> Result<Head, ReadError> {
    let is_tunnel = asked == Asked::Tunnel && status.is_success();
    let tokens = connection_tokens(fields);
    let mut framing = Framing::default();
    let mut keep_alive = None;
    let mut wrong = None;
    let keep = |field: &httparse::Header<'_>| {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // By length first: most fields are none of these, and that is all it takes to know.
        match field.name.len() {
            14 if is("content-length") => {
                // They mean nothing in front of a tunnel. One is enough: repeated equal ones are collapsed.
                let is_first = !is_tunnel && framing.content_length(field.value, &mut wrong);
                is_first && status != StatusCode::NO_CONTENT
            }
            17 if is("transfer-encoding") => {
                if !is_tunnel {
                    framing.transfer_encoding(field.value, &mut wrong);
                }
                false
            }
            10 if is("keep-alive") => {
                keep_alive = keep_alive_timeout(field.value);
                false
            }
            18 if is("proxy-authenticate") => asked == Asked::Tunnel,
            _ => !is_hop_by_hop(field.name) && !tokens.contains(field.name),
        }
    };
    let fields = Lines::of(head, fields, keep).into();
    if let Some(wrong) = wrong {
        return Err(ReadError::Malformed(wrong));
    }
    let length = framing.of(status, http10, is_tunnel || asked == Asked::Head)?;
    let persistent =
        !tokens.close && (!http10 || tokens.keep_alive) && length != Length::UntilClose;
    Ok(Head {
        status,
        fields,
        length,
        persistent,
        keep_alive,
    })
}

/// What `Connection` says, which may name fields that stand before it.
fn connection_tokens(fields: &[httparse::Header<'_>]) -> ConnectionTokens {
    let mut tokens = ConnectionTokens::default();
    for field in fields {
        if field.name.eq_ignore_ascii_case(CONNECTION.as_str()) {
            tokens.read(field.value);
        }
    }
    tokens
}

impl Framing {
    fn transfer_encoding(&mut self, value: &[u8], wrong: &mut Option<&'static str>) {
        if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            *wrong = Some("the response's transfer encoding is not one plain chunked");
        }
        self.chunked = true;
    }

    /// True for the first of them.
    fn content_length(&mut self, value: &[u8], wrong: &mut Option<&'static str>) -> bool {
        let length = content_length(value);
        let before = self.length.replace(length.unwrap_or(0));
        if length.is_none() || before.is_some() && before != length {
            *wrong = Some("the response's content length is no number, or several");
        }
        before.is_none()
    }

    fn of(&self, status: StatusCode, http10: bool, head_alone: bool) -> Result<Length, ReadError> {
        if self.chunked && (self.length.is_some() || http10) {
            return Err(ReadError::Malformed("the response has two framings"));
        }
        if status == StatusCode::SWITCHING_PROTOCOLS && (self.chunked || self.length.is_some()) {
            return Err(ReadError::Malformed("a switch of protocols has a body"));
        }
        Ok(match (self.chunked, self.length) {
            _ if head_alone
                || status == StatusCode::SWITCHING_PROTOCOLS
                || status == StatusCode::NO_CONTENT
                || status == StatusCode::NOT_MODIFIED =>
            {
                Length::None
            }
            (true, _) => Length::Chunked,
            (false, Some(length)) => Length::Sized(length),
            (false, None) => Length::UntilClose,
        })
    }
}

fn keep_alive_timeout(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let timeout = text
        .split(',')
        .map(str::trim)
        .find_map(|part| part.strip_prefix("timeout="))?;
    timeout
        .trim_matches('"')
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn malformed(error: httparse::Error) -> ReadError {
    ReadError::Malformed(match error {
        httparse::Error::TooManyHeaders => "the response has too many fields",
        httparse::Error::Version => "the response is not HTTP/1.1",
        httparse::Error::Status => "the response's status line is broken",
        _ => "the response's head is broken",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, String> {
        let mut read = BytesMut::from(text);
        match parse(&mut read, &mut End::default(), Asked::Body) {
            Ok(Parsed::Final(head)) => Ok(head),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn removes_what_belongs_to_the_connection() {
        let head = head(
            "HTTP/1.1 200 OK\r\nx-gone: 1\r\nConnection: x-gone, close\r\nKeep-Alive: timeout=5, max=9\r\nUpgrade: h2c\r\n\
             content-length: 5\r\ncontent-length: 5\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n",
        )
        .unwrap();
        let fields = head.fields.into_map();
        let names: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(
            names,
            ["content-length: 5", "set-cookie: a=1", "set-cookie: b=2"]
        );
        assert!(!head.persistent);
        assert_eq!(
            (head.length, head.keep_alive),
            (Length::Sized(5), Some(Duration::from_secs(5)))
        );
    }

    #[test]
    fn frames_as_rfc_9112_says() {
        let length = |text: &str| head(text).map(|head| (head.length, head.persistent));
        assert_eq!(
            length("HTTP/1.1 200 OK\r\n\r\n"),
            Ok((Length::UntilClose, false))
        );
        assert_eq!(
            length("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n"),
            Ok((Length::Sized(1), false))
        );
        assert_eq!(
            length("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n"),
            Ok((Length::Sized(1), true))
        );
        assert_eq!(
            length("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"),
            Ok((Length::None, true))
        );
        assert_eq!(
            length("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"),
            Ok((Length::Chunked, true))
        );
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        for text in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
            "HTTP/1.1 099 What\r\n\r\n",
            "HTTP/9.9 200 OK\r\n\r\n",
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\nx: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\n",
            "\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 103 Early Hints\n\n",
        ] {
            assert!(
                head(text).is_err_and(|wrong| wrong != "Interim"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn drops_interim_responses() {
        let mut read =
            BytesMut::from("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
        let next = |read: &mut BytesMut| parse(read, &mut End::default(), Asked::Body);
        assert!(matches!(next(&mut read), Ok(Parsed::Interim)));
        assert!(matches!(next(&mut read), Ok(Parsed::Final(_))));
        assert!(read.is_empty());
    }

    #[test]
    fn believes_only_the_switch_that_was_asked_for() {
        let switch = |fields: &str, asked| {
            let text = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nearly");
            let mut read = BytesMut::from(&*text);
            match parse(&mut read, &mut End::default(), asked) {
                Ok(Parsed::Final(head)) => {
                    assert_eq!((&read[..], head.length), (&b"early"[..], Length::None));
                    true
                }
                _ => false,
            }
        };
        let asked = Asked::Upgrade("websocket");
        let good = "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n";
        assert!(switch(good, asked));
        assert!(!switch(good, Asked::Body) && !switch(good, Asked::Head));
        for fields in [
            "",
            "Upgrade: websocket\r\n",
            "Connection: upgrade\r\n",
            "Connection: upgrade\r\nUpgrade: h2c\r\n",
            "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(!switch(fields, asked), "{fields:?}");
        }
    }
}

//! The head of a request (RFC 9112): parsed, and framed.
//!
//! What can be read in two ways is refused: here where it decides where the request ends, and in the proxy otherwise.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::intake::{Intake, Rest};
use crate::http1::{Chunks, ConnectionTokens, content_length};
use crate::proxy::{Failure, Refusal};
use crate::server::Limits;

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Parts,
    /// What follows it.
    pub(super) body: Rest,
    /// The client would send another request by this connection.
    pub(super) persistent: bool,
    /// The client waits for a word before it sends the body.
    pub(super) expects: bool,
    /// What is wrong with it, though it could be made out.
    pub(super) flaw: Option<Failure>,
}

/// So many fields are parsed without an allocation.
const FIELDS: usize = 100;

const BARE: Failure = Failure::BadRequest("a line ends without CR LF");

/// Parses the head at the front of what has come; none as long as it is not all there.
pub(super) fn parse(intake: &mut Intake, limits: &Limits) -> Result<Option<Head>, Refusal> {
    let mut few = [const { MaybeUninit::uninit() }; FIELDS];
    let mut many;
    let most = limits.headers as usize;
    let fields = if most <= FIELDS {
        &mut few[..most]
    } else {
        many = vec![MaybeUninit::uninit(); most];
        &mut many[..]
    };
    let mut request = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    let (read, end) = (&mut intake.inbox.bytes, &mut intake.end);
    let Some(length) = end.find(read) else {
        if read.len() > limits.header_bytes as usize {
            return Err(Refusal::TooLarge);
        }
        if end.is_due(read) {
            config
                .parse_request_with_uninit_headers(&mut request, read, fields)
                .map_err(refusal)?;
        }
        return Ok(None);
    };
    let bare = std::mem::take(end).bare;
    let block = read.split_to(length).freeze();
    let parsed = config
        .parse_request_with_uninit_headers(&mut request, &block, fields)
        .map_err(refusal)?;
    if parsed != httparse::Status::Complete(length) {
        return Err(Refusal::Malformed);
    }
    let mut head = read_head(&block, &request)?;
    if bare {
        head.flaw = Some(BARE);
    } else if length > limits.header_bytes as usize {
        head.flaw = Some(Failure::HeadTooLarge);
    }
    Ok(Some(head))
}

fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::TooLarge,
        _ => Refusal::Malformed,
    }
}

/// What the fields say of the body and the connection.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    tokens: ConnectionTokens,
    expects: bool,
}

fn read_head(block: &Bytes, request: &httparse::Request<'_, '_>) -> Result<Head, Refusal> {
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Refusal::Malformed);
    };
    let http10 = version == 0;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::Malformed)?;
    let uri = Uri::from_maybe_shared(block.slice_ref(target.as_bytes()));
    let uri = uri.map_err(|_| Refusal::Malformed)?;
    let mut fields = HeaderMap::with_capacity(request.headers.len());
    let mut framing = Framing::default();
    for field in &*request.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Refusal::Malformed)?;
        let value = HeaderValue::from_maybe_shared(block.slice_ref(field.value));
        let value = value.map_err(|_| Refusal::Malformed)?;
        if framing.keeps(&name, &value, http10)? {
            fields.append(name, value);
        }
    }
    let both = framing.chunked && framing.length.is_some();
    if both {
        // Chunks are what counts; and nothing that another reader may have seen here is read by us (RFC 9112, section 6.3).
        fields.remove(CONTENT_LENGTH);
    }
    let tokens = &framing.tokens;
    let persistent = !both && !tokens.close && (!http10 || tokens.keep_alive);
    let body = match (framing.chunked, framing.length) {
        (true, _) => Rest::Chunked(Chunks::default()),
        (false, Some(length)) => Rest::Sized(length),
        (false, None) => Rest::None,
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.uri = uri;
    parts.version = if http10 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    parts.headers = fields;
    Ok(Head {
        parts,
        body,
        persistent,
        expects: framing.expects && !http10,
        flaw: None,
    })
}

impl Framing {
    /// Notes what a field says. False for one that says what another has said.
    fn keeps(
        &mut self,
        name: &HeaderName,
        value: &HeaderValue,
        http10: bool,
    ) -> Result<bool, Refusal> {
        match *name {
            CONTENT_LENGTH => {
                let length = content_length(value.as_bytes()).ok_or(Refusal::Malformed)?;
                return match self.length.replace(length) {
                    None => Ok(true),
                    Some(before) if before == length => Ok(false),
                    Some(_) => Err(Refusal::Malformed),
                };
            }
            TRANSFER_ENCODING => {
                // Whether it is one, and plain, is for the proxy to see.
                let last = value.as_bytes().rsplit(|byte| *byte == b',').next();
                let chunked =
                    last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
                if http10 || !chunked {
                    return Err(Refusal::Malformed);
                }
                self.chunked = true;
            }
            CONNECTION => self.tokens.read(value.as_bytes()),
            EXPECT => self.expects = value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head that comes in pieces of this size, with what follows it.
    fn parse_in(text: &[u8], piece: usize) -> Result<Option<(Head, Vec<u8>)>, Refusal> {
        let limits = Limits {
            header_bytes: 1000,
            headers: 4,
            ..Limits::default()
        };
        let mut intake = Intake::new(false);
        let mut pieces = text.chunks(piece);
        for piece in pieces.by_ref() {
            intake.inbox.bytes.extend_from_slice(piece);
            if let Some(head) = parse(&mut intake, &limits)? {
                let behind = pieces.flatten().copied();
                return Ok(Some((
                    head,
                    intake.inbox.bytes.iter().copied().chain(behind).collect(),
                )));
            }
        }
        Ok(None)
    }

    fn parse_whole(text: &str) -> Result<Head, Refusal> {
        let head = parse_in(text.as_bytes(), text.len()).map(|head| head.map(|(head, _)| head));
        head.map(|head| head.unwrap_or_else(|| panic!("{text:?} is no whole head")))
    }

    #[test]
    fn reads_the_same_at_every_split() {
        let text =
            b"\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\nX-Y: \xff z \r\n\r\nabcGET";
        for piece in 1..=text.len() {
            let (head, behind) = parse_in(text, piece).unwrap().unwrap();
            assert_eq!(behind, b"abcGET");
            assert!(matches!(head.body, Rest::Sized(3)) && head.persistent && head.flaw.is_none());
            let parts = head.parts;
            assert_eq!(
                (parts.method, parts.uri.to_string()),
                (Method::POST, "/a?b".to_owned())
            );
            assert_eq!((parts.version, parts.headers.len()), (Version::HTTP_11, 3));
            assert_eq!(parts.headers["x-y"].as_bytes(), b"\xff z");
        }
    }

    #[test]
    fn knows_what_follows_and_whether_another_may() {
        let of = |version: &str, fields: &str| {
            let head = parse_whole(&format!("PUT / HTTP/{version}\r\n{fields}\r\n")).unwrap();
            let body = match head.body {
                Rest::None => "none".to_owned(),
                Rest::Sized(length) => length.to_string(),
                Rest::Chunked(_) => "chunked".to_owned(),
            };
            (body, head.persistent, head.parts.headers.len())
        };
        let told = |body: &str, persistent, fields| (body.to_owned(), persistent, fields);
        assert_eq!(of("1.1", ""), told("none", true, 0));
        assert_eq!(of("1.0", ""), told("none", false, 0));
        assert_eq!(
            of("1.0", "connection: keep-alive\r\n"),
            told("none", true, 1)
        );
        assert_eq!(
            of("1.1", "connection: x, Close\r\n"),
            told("none", false, 1)
        );
        assert_eq!(
            of("1.1", "content-length: 5\r\ncontent-length: 5\r\n"),
            told("5", true, 1)
        );
        assert_eq!(
            of("1.1", "transfer-encoding: Chunked\r\n"),
            told("chunked", true, 1)
        );
        // Chunks count, the length goes no further, and nothing else is read here.
        let both = ["content-length: 5\r\n", "transfer-encoding: chunked\r\n"];
        assert_eq!(of("1.1", &both.concat()), told("chunked", false, 1));
        assert_eq!(
            of("1.1", &[both[1], both[0]].concat()),
            told("chunked", false, 1)
        );
    }

    #[test]
    fn refuses_what_has_no_one_end() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: +5\r\n",
            "content-length: 5, 5\r\n",
            "content-length:\r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: chunked, gzip\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
            "x y: z\r\n",
            "x: y\r\n folded: z\r\n",
            ": y\r\n",
            "x : y\r\n",
        ] {
            let text = format!("PUT / HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(
                parse_whole(&text).err(),
                Some(Refusal::Malformed),
                "{text:?}"
            );
        }
        for text in [
            "PUT / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
            "PUT / HTTP/2.0\r\n\r\n",
            "PUT  / HTTP/1.1\r\n\r\n",
            "PUT /\r\n\r\n",
            "P(T / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(
                parse_whole(text).err(),
                Some(Refusal::Malformed),
                "{text:?}"
            );
        }
    }

    #[test]
    fn tells_what_is_no_head_before_it_ends() {
        for text in [&b"\x16\x03\x01\x02\x00"[..], b"GET / SSH\r\n", b"\0"] {
            assert_eq!(
                parse_in(text, text.len()).err(),
                Some(Refusal::Malformed),
                "{text:?}"
            );
        }
    }

    #[test]
    fn bounds_a_head() {
        let line = "x: y\r\n";
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", line.repeat(5));
        assert_eq!(parse_whole(&many).err(), Some(Refusal::TooLarge));
        let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(1000));
        assert_eq!(parse_in(long.as_bytes(), 7).err(), Some(Refusal::TooLarge));
        let whole = format!("{long}\r\n\r\n");
        assert_eq!(
            parse_whole(&whole).unwrap().flaw,
            Some(Failure::HeadTooLarge)
        );
        let bare = parse_whole("GET / HTTP/1.1\nx: y\r\n\r\n").unwrap();
        assert_eq!(bare.flaw, Some(BARE));
    }
}

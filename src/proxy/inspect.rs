//! The request's head, before anything is decided by it: what can be read in two ways is refused (RFC 9110, 9112, 9113).
//!
//! The server has parsed the head and refused broken syntax. What it leaves to us is checked here: the host, one length
//! or one plain `chunked`, and the form of the target. What is routed by is then also what is forwarded.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Uri, Version};

use super::present::Present;
use super::{Entrance, Failure, Underscores};

/// Where a request wants to go: routed by and forwarded.
#[derive(Debug)]
pub(super) struct Target {
    authority: Authority,
    uri: Uri,
    present: Present,
}

/// The host that counts.
#[derive(Debug)]
enum Authority {
    /// Of the `Host` field.
    Field(HeaderValue),
    /// Of a target in absolute form, which replaces the field (RFC 9112, section 3.2.2), or of an `:authority`.
    Target,
    /// Of nothing: HTTP/1.0 without a host.
    None,
}

impl Target {
    /// The host and port; empty for HTTP/1.0 without one.
    pub(super) fn authority_text(&self) -> &str {
        match &self.authority {
            // Only what has been found to be ASCII gets here.
            Authority::Field(value) => value.to_str().unwrap_or_default(),
            Authority::Target => self
                .uri
                .authority()
                .map_or("", http::uri::Authority::as_str),
            Authority::None => "",
        }
    }

    /// Which fields came along.
    pub(super) fn present(&self) -> Present {
        self.present
    }

    /// The `Host` field, where it is what counts.
    pub(super) fn host_field(&self) -> Option<&HeaderValue> {
        match &self.authority {
            Authority::Field(value) => Some(value),
            Authority::Target | Authority::None => None,
        }
    }

    /// The path to route by. CONNECT has none, and goes where the root goes.
    pub(super) fn path(&self) -> &str {
        match self.uri.path() {
            "" => "/",
            path => path,
        }
    }

    /// The query to route by; empty when there is none.
    pub(super) fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// The path and query to forward.
    pub(super) fn path_and_query(&self) -> &str {
        self.uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str)
    }
}

impl Target {
    /// The same with another host or path. None when it is too long for that.
    pub(super) fn rewritten(&self, host: Option<&str>, path: Option<&str>) -> Option<Self> {
        let authority = match (host, &self.authority) {
            (Some(host), _) => Authority::Field(HeaderValue::from_str(host).ok()?),
            (None, Authority::Field(field)) => Authority::Field(field.clone()),
            (None, Authority::Target) => Authority::Target,
            (None, Authority::None) => Authority::None,
        };
        let mut uri = self.uri.clone();
        if let Some(path) = path {
            let mut pieces = uri.into_parts();
            let whole = match self.uri.query() {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            };
            pieces.path_and_query = Some(whole.try_into().ok()?);
            uri = Uri::from_parts(pieces).ok()?;
        }
        Some(Self {
            authority,
            uri,
            present: self.present,
        })
    }
}

/// Checks a head.
pub(super) fn inspect(parts: &Parts, entrance: &Entrance) -> Result<Target, Failure> {
    let target_bytes = parts
        .uri
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    if target_bytes > entrance.target_bytes_max {
        return Err(Failure::TargetTooLong);
    }
    let present = Present::of(&parts.headers);
    if parts.version == Version::HTTP_2 {
        check_connection(parts, present)?;
    }
    if present.transfer_encoding {
        check_framing(parts)?;
    }
    let is_plain_connect = parts.method == Method::CONNECT && protocol(parts).is_none();
    if parts.method == Method::CONNECT {
        check_connect(parts)?;
    }
    if present.underscore && entrance.underscores == Underscores::Reject {
        return Err(Failure::BadRequest("a field's name has an underscore"));
    }
    if present.expect {
        check_expect(parts)?;
    }
    let field = host_field(parts)?;
    let authority = match (parts.uri.scheme(), parts.uri.authority()) {
        (Some(scheme), Some(authority)) => {
            if *scheme != http::uri::Scheme::HTTP && *scheme != http::uri::Scheme::HTTPS {
                return Err(Failure::BadRequest(
                    "the target's scheme is neither http nor https",
                ));
            }
            check_host(authority.as_str().as_bytes())?;
            if parts.version == Version::HTTP_2 {
                check_twins(field.as_ref(), authority)?;
            }
            Authority::Target
        }
        (None, Some(authority)) if is_plain_connect => {
            check_host(authority.as_str().as_bytes())?;
            check_twins(field.as_ref(), authority)?;
            Authority::Target
        }
        // `GET example.com`: the form of a CONNECT.
        (None, Some(_)) => {
            return Err(Failure::BadRequest(
                "the target does not begin with a slash",
            ));
        }
        _ => field.map_or(Authority::None, Authority::Field),
    };
    if !is_plain_connect {
        check_form(parts)?;
    }
    Ok(Target {
        authority,
        uri: with_path(&parts.uri),
        present,
    })
}

/// The protocol that an extended CONNECT names (RFC 8441); none of another request.
pub(super) fn protocol(parts: &Parts) -> Option<&str> {
    parts.extensions.get().map(h2::ext::Protocol::as_str)
}

/// CONNECT has no body; what follows is the tunnel's. Unless it names a protocol, its target is a host and a port, and
/// nothing else (RFC 9112, section 3.2.3).
fn check_connect(parts: &Parts) -> Result<(), Failure> {
    let is_none = |length: &HeaderValue| length == "0" && parts.version != Version::HTTP_2;
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    if parts.headers.contains_key(TRANSFER_ENCODING) || !lengths.all(is_none) {
        return Err(Failure::BadRequest("CONNECT has no body"));
    }
    let uri = &parts.uri;
    let is_authority = uri.scheme().is_none() && uri.path_and_query().is_none();
    let has_port = uri.port_u16().is_some_and(|port| port > 0);
    if protocol(parts).is_none() && !(is_authority && has_port) {
        return Err(Failure::BadRequest("CONNECT wants a host and a port"));
    }
    Ok(())
}

/// A `Host` beside another authority has to be the same.
fn check_twins(
    field: Option<&HeaderValue>,
    authority: &http::uri::Authority,
) -> Result<(), Failure> {
    let is_same = |field: &HeaderValue| {
        field
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes())
    };
    if field.is_none_or(is_same) {
        Ok(())
    } else {
        Err(Failure::BadRequest("Host is not the authority"))
    }
}

/// `http://shop.test?a=b` has no path, and is forwarded with the one it means (RFC 9110, section 4.2.3).
fn with_path(uri: &Uri) -> Uri {
    let mut whole = uri.clone();
    if let Some(path) = uri.path_and_query()
        && path.as_str().starts_with('?')
    {
        let mut pieces = uri.clone().into_parts();
        // It is printed with the slash that it stands for.
        pieces.path_and_query = path.to_string().parse().ok();
        whole = Uri::from_parts(pieces).unwrap_or_default();
    }
    whole
}

/// One host, and only one, that is a host.
fn host_field(parts: &Parts) -> Result<Option<HeaderValue>, Failure> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let Some(host) = fields.next() else {
        return if parts.version == Version::HTTP_10 || has_authority(parts) {
            Ok(None)
        } else {
            Err(Failure::BadRequest("there is no Host"))
        };
    };
    if fields.next().is_some() {
        return Err(Failure::BadRequest("there is more than one Host"));
    }
    check_host(host.as_bytes())?;
    Ok(Some(host.clone()))
}

/// An HTTP/2 client says `:authority`, and need not say `Host` as well.
fn has_authority(parts: &Parts) -> bool {
    parts.version == Version::HTTP_2 && parts.uri.authority().is_some()
}

/// `host[:port]` of RFC 3986, section 3.2, without userinfo, and without a comma: that would also be a list of two.
fn check_host(host: &[u8]) -> Result<(), Failure> {
    const WRONG: Failure = Failure::BadRequest("the host is no host");
    let (name, port) = if host.first() == Some(&b'[') {
        let end = host.iter().position(|b| *b == b']').ok_or(WRONG)?;
        let inside = &host[1..end];
        let text = std::str::from_utf8(inside).map_err(|_| WRONG)?;
        text.parse::<std::net::Ipv6Addr>().map_err(|_| WRONG)?;
        (inside, &host[end + 1..])
    } else {
        let end = host.iter().position(|b| *b == b':').unwrap_or(host.len());
        let name = &host[..end];
        if !name.iter().all(|byte| is_of_names(*byte)) {
            return Err(WRONG);
        }
        (name, &host[end..])
    };
    let port_is_right = match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits
                    .iter()
                    .fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0'))
                    <= 65_535
        }
        _ => false,
    };
    if name.is_empty() || !port_is_right {
        Err(WRONG)
    } else {
        Ok(())
    }
}

/// Whether a registered name may have it (RFC 3986, section 3.2.2). A pattern is one look into a mask of bits; a search
/// among the marks took as long as the rest of the check.
const fn is_of_names(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$'..=b'+' | b';' | b'=')
}

/// At most one transfer coding, and that is `chunked`, in HTTP/1.1: anything else may be framed differently behind us.
fn check_framing(parts: &Parts) -> Result<(), Failure> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    let plain = coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked")
        && codings.next().is_none();
    if !plain || parts.version == Version::HTTP_10 {
        return Err(Failure::BadRequest(
            "the transfer encoding is not one plain chunked",
        ));
    }
    Ok(())
}

/// HTTP/2 has no fields for a connection, and one length at the most (RFC 9113, sections 8.2.2 and 8.1.1). The server
/// refuses most of it; nothing depends on that.
fn check_connection(parts: &Parts, present: Present) -> Result<(), Failure> {
    let headers = &parts.headers;
    // Credentials for a proxy belong to one connection, too; they are allowed, and not passed on.
    let is_forbidden = || {
        ["keep-alive", "proxy-connection", "http2-settings"]
            .iter()
            .any(|name| headers.contains_key(*name))
    };
    if present.connection
        || present.transfer_encoding
        || present.upgrade
        || present.hop_by_hop && is_forbidden()
    {
        return Err(Failure::BadRequest("HTTP/2 has no fields for a connection"));
    }
    if present.te && headers.get_all(TE).iter().any(|te| te != "trailers") {
        return Err(Failure::BadRequest("te is not trailers"));
    }
    if !present.content_length {
        return Ok(());
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(first) = lengths.next() {
        let is_number = !first.is_empty() && first.as_bytes().iter().all(u8::is_ascii_digit);
        if !is_number || lengths.any(|other| other != first) {
            return Err(Failure::BadRequest("the content length is not one number"));
        }
    }
    Ok(())
}

fn check_expect(parts: &Parts) -> Result<(), Failure> {
    match parts.headers.get(EXPECT) {
        Some(expect) if !expect.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Failure::ExpectationFailed)
        }
        _ => Ok(()),
    }
}

/// Origin form, absolute form, or `*` for OPTIONS (RFC 9112, section 3.2).
fn check_form(parts: &Parts) -> Result<(), Failure> {
    let path = parts.uri.path();
    let is_absolute = parts.uri.authority().is_some() && parts.version != Version::HTTP_2;
    if path == "*" && parts.method == Method::OPTIONS && !is_absolute {
        return Ok(());
    }
    if path.starts_with('/') || (path.is_empty() && is_absolute) {
        return Ok(());
    }
    Err(Failure::BadRequest(
        "the target does not begin with a slash",
    ))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use http::Request;

    use super::*;

    fn entrance() -> Rc<Entrance> {
        Rc::new(Entrance {
            listener: "http".into(),
            trusted_proxies: Vec::new(),
            debug_headers: false,
            tls: false,
            body_timeout: Duration::from_secs(60),
            request_timeout: Duration::ZERO,
            target_bytes_max: 100,
            underscores: Underscores::Reject,
        })
    }

    fn see(uri: &str, fields: &[(&str, &str)]) -> Result<(String, String), Failure> {
        see_as(Request::builder().uri(uri), fields)
    }

    /// The server puts the pseudo-fields together to an absolute target, or leaves its host away.
    fn see_stream(uri: &str, fields: &[(&str, &str)]) -> Result<(String, String), Failure> {
        see_as(Request::builder().version(Version::HTTP_2).uri(uri), fields)
    }

    fn see_as(
        mut request: http::request::Builder,
        fields: &[(&str, &str)],
    ) -> Result<(String, String), Failure> {
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let target = inspect(&parts, &entrance())?;
        Ok((
            target.authority_text().to_owned(),
            target.path_and_query().to_owned(),
        ))
    }

    #[test]
    fn takes_the_host_from_an_absolute_target() {
        let seen = see("http://other:81/a?b", &[("host", "localhost")]).unwrap();
        assert_eq!(seen, ("other:81".into(), "/a?b".into()));
        let seen = see("http://other?b", &[("host", "localhost")]).unwrap();
        assert_eq!(seen, ("other".into(), "/?b".into()));
        assert_eq!(see("/a", &[("host", "localhost")]).unwrap().0, "localhost");
        assert_eq!(
            see("/a", &[("host", "[::1]:8080")]).unwrap().0,
            "[::1]:8080"
        );
    }

    #[test]
    fn refuses_what_is_no_host() {
        for host in [
            "a b", "a,b", "a/b", "a@b", "a:1:2", "[::1", "http://a", "\u{fc}", "", ":80",
            "a:99999", "a:x", "[x]",
        ] {
            assert!(
                matches!(see("/", &[("host", host)]), Err(Failure::BadRequest(_))),
                "{host:?}"
            );
        }
        assert!(see("/", &[]).is_err());
        assert!(see("/", &[("host", "a"), ("host", "a")]).is_err());
        assert!(see("http://user@a/", &[("host", "a")]).is_err());
    }

    #[test]
    fn refuses_what_may_be_framed_differently_behind_us() {
        for coding in [
            "chunked, chunked",
            "gzip, chunked",
            ",chunked",
            "identity",
            "xchunked",
        ] {
            assert!(
                see("/", &[("host", "a"), ("transfer-encoding", coding)]).is_err(),
                "{coding:?}"
            );
        }
        assert!(
            see(
                "/",
                &[
                    ("host", "a"),
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked")
                ]
            )
            .is_err()
        );
        assert!(see("/", &[("host", "a"), ("transfer-encoding", "Chunked")]).is_ok());
    }

    #[test]
    fn refuses_names_that_read_as_another() {
        let twin = [("host", "a"), ("x_forwarded_for", "10.0.0.1")];
        assert!(matches!(see("/", &twin), Err(Failure::BadRequest(_))));
        let (parts, ()) = Request::builder()
            .header("host", "a")
            .header("x_forwarded_for", "10.0.0.1")
            .body(())
            .unwrap()
            .into_parts();
        for underscores in [Underscores::Drop, Underscores::Pass] {
            let lenient = Entrance {
                underscores,
                ..(*entrance()).clone()
            };
            assert!(inspect(&parts, &lenient).is_ok(), "{underscores:?}");
        }
    }

    #[test]
    fn bounds_the_target_and_knows_its_forms() {
        assert!(matches!(
            see(&format!("/{}", "x".repeat(100)), &[("host", "a")]),
            Err(Failure::TargetTooLong)
        ));
        assert!(see("*", &[("host", "a")]).is_err());
        assert!(see("example.com", &[("host", "a")]).is_err());
        assert!(matches!(
            see("/", &[("host", "a"), ("expect", "tea")]),
            Err(Failure::ExpectationFailed)
        ));
    }

    #[test]
    fn takes_one_authority_of_a_stream() {
        let seen = see_stream("https://a:81/x?y", &[]).unwrap();
        assert_eq!(seen, ("a:81".into(), "/x?y".into()));
        let same = see_stream("https://Shop.example/", &[("host", "shop.EXAMPLE")]);
        assert_eq!(same.unwrap().0, "Shop.example");
        let only_host = see_stream("/x", &[("host", "a")]);
        assert_eq!(only_host.unwrap().0, "a");
        for (uri, fields) in [
            ("https://a/", &[("host", "b")][..]),
            ("https://a/", &[("host", "a:443")]),
            ("https://a/", &[("host", "a"), ("host", "a")]),
            ("https://a/", &[("host", "")]),
            ("https://user@a/", &[]),
            ("https://a:99999/", &[]),
            ("ftp://a/", &[]),
            ("/", &[]),
        ] {
            let seen = see_stream(uri, fields);
            assert!(
                matches!(seen, Err(Failure::BadRequest(_))),
                "{uri} {fields:?}"
            );
        }
    }

    #[test]
    fn refuses_fields_of_a_connection_on_a_stream() {
        for field in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=1"),
            ("proxy-connection", "close"),
            ("http2-settings", "AAA"),
            ("te", "gzip"),
            ("te", "trailers, gzip"),
            ("content-length", "+5"),
            ("content-length", "5, 5"),
            ("content-length", ""),
        ] {
            let seen = see_stream("https://a/", &[field]);
            assert!(matches!(seen, Err(Failure::BadRequest(_))), "{field:?}");
        }
        let twice = |second| {
            see_stream(
                "https://a/",
                &[("content-length", "5"), ("content-length", second)],
            )
        };
        assert!(twice("5").is_ok() && twice("6").is_err());
        assert!(see_stream("https://a/", &[("te", "trailers")]).is_ok());
    }

    #[test]
    fn lets_a_stream_ask_for_everything_with_options_alone() {
        let ask = |method| {
            let mut target = http::uri::Parts::default();
            target.scheme = Some(http::uri::Scheme::HTTPS);
            target.authority = Some("a".parse().unwrap());
            target.path_and_query = Some("*".parse().unwrap());
            let request = Request::builder()
                .version(Version::HTTP_2)
                .method(method)
                .uri(Uri::from_parts(target).unwrap());
            see_as(request, &[]).map(|seen| seen.1)
        };
        assert_eq!(ask("OPTIONS").unwrap(), "*");
        assert!(ask("GET").is_err());
        assert!(ask("CONNECT").is_err());
    }
}

//! The fields of a message as they are passed on: what belongs to a connection stays on it, and what tells of the way is
//! added.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::change::Outgoing;
use super::present::Present;
use super::upgrade::Wish;
use super::upload::Framing;
use super::{Downstream, Underscores};
use crate::endpoint::Endpoint;
use crate::http1::{ConnectionTokens, is_hop_by_hop};
use crate::telemetry::Client;

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What becomes of the connection after a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Last<'u> {
    /// It is its last.
    pub(super) close: bool,
    /// It asks for a tunnel.
    pub(super) wish: Option<&'u Wish>,
}

/// Writes the head of a request to an endpoint.
pub(super) fn write_request(
    out: &mut BytesMut,
    outgoing: Outgoing<'_>,
    downstream: &Downstream,
    framing: Framing,
    last: Last<'_>,
) {
    let Outgoing {
        parts,
        asked,
        target,
        fields,
    } = outgoing;
    out.reserve(512);
    let authority = target.authority_text();
    let (method, form) = match last.wish {
        Some(Wish::Connect) => (&parts.method, authority),
        Some(_) => (&Method::GET, target.path_and_query()),
        None => (&parts.method, target.path_and_query()),
    };
    put(
        out,
        &[
            method.as_str().as_bytes(),
            b" ",
            form.as_bytes(),
            b" HTTP/1.1\r\nhost: ",
        ],
    );
    if authority.is_empty() {
        // HTTP/1.0 without a host: where it came in is the best guess at what it meant.
        // Writing into memory cannot fail.
        let _ = write!(out.writer(), "{}", downstream.local);
    } else {
        out.put_slice(authority.as_bytes());
    }
    out.put_slice(b"\r\n");
    let present = asked.present();
    let tokens = tokens(fields, present);
    let trusted = is_trusted(downstream);
    let drops = downstream.entrance.underscores == Underscores::Drop;
    let crumbs = parts.version == Version::HTTP_2;
    for (name, value) in fields {
        if crumbs && *name == COOKIE {
            continue;
        }
        let is_dropped = drops && name.as_str().contains('_');
        let is_special = last.wish.and_then(|wish| wish.passes_on(name));
        let goes_on = is_special.unwrap_or_else(|| is_passed_on(name, trusted));
        if goes_on && !tokens.contains(name.as_str()) && !is_dropped {
            put(
                out,
                &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"],
            );
        }
    }
    if crumbs {
        write_cookie(out, fields);
    }
    write_forwarded(out, parts, asked.authority_text(), downstream, trusted);
    let trailers = present.te && takes_trailers(&parts.headers);
    write_connection(out, trailers, last);
    match framing {
        Framing::None => {}
        Framing::Sized(length) => {
            let _ = write!(out.writer(), "content-length: {length}\r\n");
        }
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.put_slice(b"\r\n");
}

fn put(out: &mut BytesMut, parts: &[&[u8]]) {
    for part in parts {
        out.put_slice(part);
    }
}

/// HTTP/2 clients may send a cookie in crumbs, for better compression; HTTP/1 knows one field (RFC 9113, section 8.2.3).
fn write_cookie(out: &mut BytesMut, headers: &HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    put(out, &[b"cookie: ", first.as_bytes()]);
    for crumb in crumbs {
        put(out, &[b"; ", crumb.as_bytes()]);
    }
    out.put_slice(b"\r\n");
}

/// Whether a field of the client's is passed on as it is. Framing is rebuilt, never copied.
pub(super) fn is_passed_on(name: &HeaderName, trusted: bool) -> bool {
    if matches!(*name, HOST | CONTENT_LENGTH | EXPECT) || is_hop_by_hop(name.as_str()) {
        return false;
    }
    match name.as_str() {
        "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" => false,
        // What only a proxy in front could know is believed of that proxy alone.
        "forwarded" | "x-real-ip" | "x-forwarded-port" | "x-forwarded-prefix"
        | "x-forwarded-server" => trusted,
        _ => true,
    }
}

pub(super) fn tokens(headers: &HeaderMap, present: Present) -> ConnectionTokens {
    let mut tokens = ConnectionTokens::default();
    if !present.connection {
        return tokens;
    }
    for value in headers.get_all(CONNECTION) {
        tokens.read(value.as_bytes());
    }
    tokens
}

pub(super) fn is_trusted(downstream: &Downstream) -> bool {
    let ip = downstream.client.ip();
    downstream
        .entrance
        .trusted_proxies
        .iter()
        .any(|network| network.contains(ip))
}

/// Who sent a request: behind trusted proxies, the last one in `X-Forwarded-For` that is none of them.
pub(super) fn client(headers: &HeaderMap, downstream: &Downstream) -> Client {
    let peer = Client {
        ip: downstream.client.ip(),
        port: Some(downstream.client.port()),
    };
    if !is_trusted(downstream) {
        return peer;
    }
    let trusted = |ip: IpAddr| {
        downstream
            .entrance
            .trusted_proxies
            .iter()
            .any(|network| network.contains(ip))
    };
    let mut named = None;
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        for part in value.as_bytes().rsplit(|b| *b == b',') {
            let Some(ip) = std::str::from_utf8(part)
                .ok()
                .and_then(|text| text.trim().parse().ok())
            else {
                return named.unwrap_or(peer);
            };
            named = Some(Client { ip, port: None });
            if !trusted(ip) {
                return named.unwrap_or(peer);
            }
        }
    }
    named.unwrap_or(peer)
}

/// `Via` (RFC 9110, section 7.6.3) and `X-Forwarded-*`: appended to or kept for a trusted peer, overwritten otherwise.
fn write_forwarded(
    out: &mut BytesMut,
    parts: &Parts,
    authority: &str,
    downstream: &Downstream,
    trusted: bool,
) {
    out.put_slice(match parts.version {
        Version::HTTP_10 => b"via: 1.0 tidegate\r\nx-forwarded-for: ",
        Version::HTTP_2 => b"via: 2.0 tidegate\r\nx-forwarded-for: ",
        _ => b"via: 1.1 tidegate\r\nx-forwarded-for: ",
    });
    if trusted {
        for value in parts.headers.get_all(FORWARDED_FOR) {
            put(out, &[value.as_bytes(), b", "]);
        }
    }
    match downstream.client.ip().to_canonical() {
        IpAddr::V4(ip) => put_v4(out, ip),
        // Writing into memory cannot fail.
        IpAddr::V6(ip) => drop(write!(out.writer(), "{ip}")),
    }
    out.put_slice(b"\r\n");
    let given = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    match trusted.then(|| given(FORWARDED_PROTO)).flatten() {
        Some(b"") => {}
        Some(proto) => put(out, &[b"x-forwarded-proto: ", proto, b"\r\n"]),
        None if downstream.entrance.tls => out.put_slice(b"x-forwarded-proto: https\r\n"),
        None => out.put_slice(b"x-forwarded-proto: http\r\n"),
    }
    let host = trusted.then(|| given(FORWARDED_HOST)).flatten();
    let host = host.unwrap_or(authority.as_bytes());
    if !host.is_empty() {
        put(out, &[b"x-forwarded-host: ", host, b"\r\n"]);
    }
}

/// The standard library's formatting would cost as much as half of the head.
fn put_v4(out: &mut BytesMut, ip: Ipv4Addr) {
    let mut text = [0; 15];
    let mut length = 0;
    let mut push = |byte| {
        text[length] = byte;
        length += 1;
    };
    for (index, octet) in ip.octets().into_iter().enumerate() {
        if index > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    out.put_slice(&text[..length]);
}

/// Whether whoever sent a message reads trailers.
#[must_use]
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|te| {
        te.as_bytes()
            .split(|b| *b == b',')
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// `TE: trailers` is the connection's and has to be named by `Connection` (RFC 9110, section 10.1.4).
fn write_connection(out: &mut BytesMut, trailers: bool, last: Last<'_>) {
    if let Some(Wish::Websocket(key)) = last.wish {
        put(
            out,
            &[b"sec-websocket-key: ", key.as_str().as_bytes(), b"\r\n"],
        );
    }
    if let Some(protocol) = last.wish.and_then(Wish::protocol) {
        let connection: &[u8] = if trailers {
            b"te: trailers\r\nconnection: te, upgrade\r\nupgrade: "
        } else {
            b"connection: upgrade\r\nupgrade: "
        };
        put(out, &[connection, protocol.as_bytes(), b"\r\n"]);
        return;
    }
    match (trailers, last.close) {
        (true, true) => out.put_slice(b"te: trailers\r\nconnection: te, close\r\n"),
        (true, false) => out.put_slice(b"te: trailers\r\nconnection: te\r\n"),
        (false, true) => out.put_slice(b"connection: close\r\n"),
        (false, false) => {}
    }
}

/// Names the endpoint on a response, for whoever asked for it on this listener.
pub(super) fn add_debug(headers: &mut HeaderMap, endpoint: &Arc<Endpoint>, attempts: usize) {
    if let Ok(key) = HeaderValue::from_str(endpoint.about().key.as_str()) {
        headers.insert(HeaderName::from_static("x-tidegate-endpoint"), key);
    }
    headers.insert(
        HeaderName::from_static("x-tidegate-attempts"),
        HeaderValue::from(attempts),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::inspect::inspect;
    use crate::proxy::tests::downstream;

    fn forwarded(fields: &[(&str, &str)], trusted: &[&str], close: bool) -> String {
        forwarded_as(
            http::Request::builder().uri("/a?b=c"),
            fields,
            trusted,
            close,
        )
    }

    fn forwarded_as(
        mut request: http::request::Builder,
        fields: &[(&str, &str)],
        trusted: &[&str],
        close: bool,
    ) -> String {
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let downstream = downstream(trusted);
        let target = inspect(&parts, &downstream.entrance).unwrap();
        let mut out = BytesMut::new();
        let last = Last { close, wish: None };
        let outgoing = Outgoing {
            parts: &parts,
            asked: &target,
            target: &target,
            fields: &parts.headers,
        };
        write_request(&mut out, outgoing, &downstream, Framing::None, last);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn passes_on_what_is_the_messages_and_nothing_of_the_connections() {
        let head = forwarded(
            &[
                ("host", "shop.example.com"),
                ("connection", "x-gone, Host, close"),
                ("x-gone", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("upgrade", "h2c"),
                ("http2-settings", "x"),
                ("te", "trailers, deflate"),
                ("content-length", "77"),
                ("cookie", "a=1"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-proto", "https"),
                ("forwarded", "for=6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("via", "1.1 front"),
            ],
            &[],
            false,
        );
        assert_eq!(
            head,
            "GET /a?b=c HTTP/1.1\r\nhost: shop.example.com\r\ncookie: a=1\r\nvia: 1.1 front\r\nvia: 1.1 tidegate\r\n\
             x-forwarded-for: 10.0.0.9\r\nx-forwarded-proto: http\r\nx-forwarded-host: shop.example.com\r\n\
             te: trailers\r\nconnection: te\r\n\r\n"
        );
    }

    #[test]
    fn writes_addresses_as_the_standard_library_does() {
        for ip in [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [9, 10, 99, 100],
            [255, 199, 20, 7],
        ] {
            let mut out = BytesMut::new();
            put_v4(&mut out, ip.into());
            assert_eq!(out, Ipv4Addr::from(ip).to_string());
        }
    }

    #[test]
    fn believes_a_trusted_peer() {
        let head = forwarded(
            &[
                ("host", "a"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "b"),
            ],
            &["10.0.0.0/8"],
            true,
        );
        for line in [
            "x-forwarded-for: 1.2.3.4, 10.0.0.9",
            "x-forwarded-proto: https",
            "x-forwarded-host: b",
            "connection: close",
        ] {
            assert!(
                head.contains(&format!("\r\n{line}\r\n")),
                "{line} in {head}"
            );
        }
    }

    #[test]
    fn writes_a_stream_as_a_message() {
        let request = http::Request::builder()
            .version(Version::HTTP_2)
            .uri("https://shop.example.com/a?b=c");
        let fields = [
            ("cookie", "a=1"),
            ("accept", "*/*"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
            ("te", "trailers"),
            ("content-length", "7"),
        ];
        assert_eq!(
            forwarded_as(request, &fields, &[], false),
            "GET /a?b=c HTTP/1.1\r\nhost: shop.example.com\r\naccept: */*\r\ncookie: a=1; b=2; c=3\r\n\
             via: 2.0 tidegate\r\nx-forwarded-for: 10.0.0.9\r\nx-forwarded-proto: http\r\n\
             x-forwarded-host: shop.example.com\r\nte: trailers\r\nconnection: te\r\n\r\n"
        );
    }
}

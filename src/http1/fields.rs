//! Which fields belong to one connection only and are never passed on (RFC 9110, section 7.6.1).

use http::HeaderName;
use http::header;

/// Whether a field is hop-by-hop whatever `Connection` says. Names are compared without regard to case.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    // By length first: most names are none of these.
    match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        14 => is("http2-settings"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        18 => is("proxy-authenticate"),
        19 => is("proxy-authorization"),
        _ => false,
    }
}

/// The number that a `Content-Length` is (RFC 9110, section 8.6): digits and nothing else.
#[must_use]
pub fn content_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The fields that a message's `Connection` names. Most messages name none, which costs nothing.
#[derive(Debug, Default)]
pub struct ConnectionTokens {
    names: Vec<HeaderName>,
    /// `close` was among them.
    pub close: bool,
    /// `keep-alive` was among them.
    pub keep_alive: bool,
}

/// Fields that no `Connection` can take away: framing, routing and credentials are not the connection's, and a request
/// without its `Cookie` would mean something else to the endpoint than to us.
const PROTECTED: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::SET_COOKIE,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::DATE,
    header::LOCATION,
    header::VIA,
];

impl ConnectionTokens {
    /// Reads one `Connection` field.
    pub fn read(&mut self, value: &[u8]) {
        for token in value
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|token| !token.is_empty())
        {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if let Ok(name) = HeaderName::from_bytes(token)
                && !PROTECTED.contains(&name)
                && !name.as_str().starts_with("x-forwarded-")
                && !is_hop_by_hop(name.as_str())
            {
                self.names.push(name);
            }
        }
    }

    /// Whether a field is named.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let is = |known: &HeaderName| known.as_str().eq_ignore_ascii_case(name);
        self.names.iter().any(is)
    }
}

/// Whether a trailer may not be passed on: fields for framing, routing, authentication and forwarding would mean something
/// else behind the body than before it (RFC 9110, section 6.5.1).
#[must_use]
pub fn is_forbidden_trailer(name: &HeaderName) -> bool {
    is_hop_by_hop(name.as_str())
        || matches!(
            *name,
            header::CONTENT_LENGTH
                | header::HOST
                | header::AUTHORIZATION
                | header::COOKIE
                | header::SET_COOKIE
                | header::CONTENT_TYPE
                | header::CONTENT_ENCODING
                | header::CONTENT_RANGE
                | header::CACHE_CONTROL
                | header::EXPECT
                | header::MAX_FORWARDS
                | header::RANGE
                | header::TRAILER
                | header::VIA
                | header::FORWARDED
        )
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str() == "x-real-ip"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_connection_names_but_not_what_is_protected() {
        let mut tokens = ConnectionTokens::default();
        tokens
            .read(b"close, X-One ,,x-two, Host, content-length, Cookie, x-forwarded-for, bad name");
        assert!(tokens.close && !tokens.keep_alive);
        assert!(tokens.contains("X-One"));
        assert!(tokens.contains("x-two"));
        for kept in ["host", "content-length", "cookie", "x-forwarded-for"] {
            assert!(!tokens.contains(kept), "{kept}");
        }
    }
}

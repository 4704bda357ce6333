//! What of a request decides the choice of its endpoint.

use std::net::IpAddr;

use http::HeaderValue;
use http::header::COOKIE;
use http::request::Parts;

use super::Flow;
use super::admit::Attempt;
use crate::balance::{HashKey, Policy, hash_key};
use crate::endpoint::Admission;
use crate::snapshot::{Affinity, token};

/// The hash of the request's key, where the policy asks for one and the request has it.
pub(super) fn hash_of(policy: &Policy, parts: &Parts, client: IpAddr) -> Option<u64> {
    let Policy::Hash(key) = policy else {
        return None;
    };
    match key {
        HashKey::ClientAddress => Some(match client.to_canonical() {
            IpAddr::V4(ip) => hash_key(&ip.octets()),
            IpAddr::V6(ip) => hash_key(&ip.octets()),
        }),
        HashKey::Header(name) => parts
            .headers
            .get(name)
            .map(|value| hash_key(value.as_bytes())),
        HashKey::Cookie(name) => cookie(parts, name).map(hash_key),
    }
}

/// The session that a request belongs to, where the affinity asks for one and the request has it.
pub(super) fn session_of(affinity: &Affinity, parts: &Parts) -> Option<u64> {
    match affinity {
        Affinity::None | Affinity::Connection => None,
        Affinity::Cookie { name, .. } => {
            let value = cookie(parts, name)?;
            let text = std::str::from_utf8(value).ok()?;
            // Only what we would have written: a sign is no digit to us.
            let ours = text.len() == TOKEN_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
            ours.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        }
        Affinity::Header { name, .. } => parts
            .headers
            .get(name)
            .map(|value| hash_key(value.as_bytes())),
    }
}

/// The cookie that binds a client to the endpoint that has answered it, where the affinity is by cookie and the client's,
/// if it has one, is another's. Nobody is sent back to an endpoint that leaves.
pub(super) fn binding(flow: &Flow<'_>, attempt: &Attempt) -> Option<HeaderValue> {
    let Affinity::Cookie { name, .. } = &flow.settings.affinity else {
        return None;
    };
    let token = token(flow.service.name(), &attempt.endpoint().about().key);
    if flow.session == Some(token) || attempt.admission() != Admission::Ready {
        return None;
    }
    let secure = if flow.downstream.entrance.tls {
        "; Secure"
    } else {
        ""
    };
    let text = format!("{name}={token:016x}; Path=/; HttpOnly; SameSite=Lax{secure}");
    // A cookie's name is a token, so this is a value.
    HeaderValue::try_from(text).ok()
}

const TOKEN_DIGITS: usize = 16;

/// The value of a cookie (RFC 6265, section 5.4: pairs separated by `; `).
fn cookie<'p>(parts: &'p Parts, name: &str) -> Option<&'p [u8]> {
    let fields = parts.headers.get_all(COOKIE).iter();
    fields
        .flat_map(|field| field.as_bytes().split(|b| *b == b';'))
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_cookie_among_others() {
        let (parts, ()) = http::Request::builder()
            .header("cookie", "a=1; bc=2;c=3")
            .body(())
            .unwrap()
            .into_parts();
        assert_eq!(cookie(&parts, "bc"), Some(&b"2"[..]));
        assert_eq!(cookie(&parts, "c"), Some(&b"3"[..]));
        assert_eq!(cookie(&parts, "b"), None);
    }
}

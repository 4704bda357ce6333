//! What of a request decides the choice of its endpoint.

use std::net::IpAddr;

use http::header::COOKIE;
use http::request::Parts;

use crate::balance::{HashKey, Policy, hash_key};

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

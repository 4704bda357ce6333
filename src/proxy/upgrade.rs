//! Switching protocols (RFC 9110, section 7.8): asked for by the client, allowed by the service, and done by the endpoint.
//!
//! A request to switch is a request like every other until the endpoint has answered 101 and named the protocol: before
//! that nothing but HTTP is spoken with anybody, and what the client sends early waits. Whatever is not allowed, or not
//! asked for in full, is a plain request: its `Upgrade` is the connection's, and ends here. h2c can never be allowed, so
//! nobody can hide requests in a tunnel that looks like HTTP.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, SET_COOKIE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use super::admit::Attempt;
use super::exchange::Answered;
use super::tunnel::{Origin, Tunnel};
use super::{Body, Failure, Flow, Proxy, choice, headers};

/// The protocol that a request wants to switch to: the first that it names and the service allows.
pub(super) fn wanted(parts: &Parts, allowed: &[Arc<str>]) -> Option<Arc<str>> {
    let headers = &parts.headers;
    let is_candidate = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && headers.contains_key(UPGRADE)
        && !headers.contains_key(TRANSFER_ENCODING)
        && headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .all(|length| length == "0");
    if !is_candidate || !words(headers, CONNECTION).any(|it| it.eq_ignore_ascii_case(b"upgrade")) {
        return None;
    }
    words(headers, UPGRADE).find_map(|word| {
        let known = allowed
            .iter()
            .find(|known| word.eq_ignore_ascii_case(known.as_bytes()));
        known.cloned()
    })
}

/// The words of a field that lists some.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
}

impl Proxy {
    /// The endpoint has switched: so do we, and from behind this response on both ends talk through a [`Tunnel`].
    pub(super) fn switch(
        self: &Rc<Self>,
        flow: Flow<'_>,
        answered: Answered,
        attempt: Attempt,
    ) -> Response<Body> {
        let cookie = choice::binding(&flow, &attempt);
        let mut account = flow.account;
        attempt.endpoint().load().note(flow.started.elapsed());
        let protocol = flow.upgrade.unwrap_or_default();
        let Some((stream, early, permit)) = answered.connection.into_stream() else {
            return Failure::BadResponse("the endpoint switched before it had the request")
                .respond(account, flow.parts);
        };
        account.answered(answered.head.status);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = response.headers_mut();
        *fields = answered.head.headers;
        if flow.downstream.entrance.debug_headers {
            headers::add_debug(fields, attempt.endpoint(), account.attempts());
        }
        if let Some(cookie) = cookie {
            fields.append(SET_COOKIE, cookie);
        }
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(name) = HeaderValue::from_str(&protocol) {
            fields.insert(UPGRADE, name);
        }
        let origin = Origin {
            proxy: self.clone(),
            downstream: flow.downstream.clone(),
            settings: flow.settings,
            is_websocket: &*protocol == "websocket",
        };
        let tunnel = Tunnel::new(origin, (stream, permit), &early, attempt, account);
        flow.downstream.tunnel.replace(Some(Box::new(tunnel)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(method: &str, version: Version, fields: &[(&str, &str)]) -> Option<String> {
        let mut request = http::Request::builder().method(method).version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let allowed: [Arc<str>; 2] = ["websocket".into(), "spdy/3.1".into()];
        wanted(&parts, &allowed).map(|word| word.to_string())
    }

    #[test]
    fn takes_only_a_whole_request_to_switch() {
        let connection = ("connection", "keep-alive, Upgrade");
        let upgrade = ("upgrade", "h2c, WebSocket");
        let get = |fields: &[(&str, &str)]| wants("GET", Version::HTTP_11, fields);
        assert_eq!(get(&[connection, upgrade]).as_deref(), Some("websocket"));
        let other = ("upgrade", "SPDY/3.1");
        assert_eq!(get(&[connection, other]).as_deref(), Some("spdy/3.1"));
        for fields in [
            &[connection][..],
            &[upgrade],
            &[("connection", "x"), upgrade],
            &[connection, ("upgrade", "h2c")],
            &[connection, ("upgrade", "websockets")],
            &[connection, upgrade, ("content-length", "3")],
            &[connection, upgrade, ("transfer-encoding", "chunked")],
        ] {
            assert_eq!(get(fields), None, "{fields:?}");
        }
        let both = [connection, upgrade];
        assert_eq!(wants("POST", Version::HTTP_11, &both), None);
        assert_eq!(wants("GET", Version::HTTP_10, &both), None);
    }
}

//! Tunnels: asked for by the client, allowed by the service, and opened by the endpoint.
//!
//! * A switch of protocols (RFC 9110, section 7.8). What is not allowed, or not asked for in full, is a plain request: its
//!   `Upgrade` is the connection's, and ends here. h2c can never be allowed, so nobody can hide requests in a tunnel that
//!   looks like HTTP.
//! * A WebSocket over HTTP/2 (RFC 8441). The endpoint is asked by HTTP/1.1, for a switch.
//! * CONNECT (RFC 9110, section 9.3.6), routed by its target's host as every request. The endpoint, a proxy itself, gets it
//!   as it is; where it leads from there is the endpoint's to decide, and nothing is dialled here for a client.
//!
//! Such a request is one like every other until the endpoint has answered that it has opened the tunnel: before that
//! nothing but HTTP is spoken with anybody, and what the client sends early waits.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, PROXY_AUTHORIZATION, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::admit::Attempt;
use super::exchange::Answered;
use super::handshake::Key;
use super::present::Present;
use super::tunnel::{Origin, Tunnel};
use super::{Answer, Body, Failure, Flow, Proxy, choice, headers, inspect};
use crate::pool::h1::Asked;

/// A tunnel that a request asks for, and may have.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    /// A switch to this protocol.
    Switch(Arc<str>),
    /// A WebSocket by a stream, for which the endpoint gets a key.
    Websocket(Key),
    /// What CONNECT opens.
    Connect,
}

/// The word in `upgrades` that allows CONNECT.
const CONNECT: &str = "connect";

const WEBSOCKET: &str = "websocket";

const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

impl Wish {
    /// The tunnel that a request asks for, if the service allows it. What asks for nothing else is refused when it may not.
    pub(super) fn of(
        parts: &Parts,
        present: Present,
        allowed: &[Arc<str>],
        rng: &mut fastrand::Rng,
    ) -> Result<Option<Self>, Failure> {
        if parts.method != Method::CONNECT {
            let wanted = present.upgrade.then(|| wanted(parts, allowed));
            return Ok(wanted.flatten().map(Self::Switch));
        }
        let allows = |word: &str| allowed.iter().any(|known| **known == *word);
        match inspect::protocol(parts) {
            None if allows(CONNECT) => Ok(Some(Self::Connect)),
            None => Err(Failure::NOT_ALLOWED),
            Some(word) if word.eq_ignore_ascii_case(WEBSOCKET) && allows(WEBSOCKET) => {
                Ok(Some(Self::Websocket(Key::new(rng))))
            }
            // RFC 9220, section 3, for what RFC 8441 leaves open.
            Some(_) => Err(Failure::NotServed("this protocol is not served here")),
        }
    }

    /// The protocol that the endpoint is asked to switch to.
    pub(super) fn protocol(&self) -> Option<&str> {
        match self {
            Self::Switch(protocol) => Some(protocol),
            Self::Websocket(_) => Some(WEBSOCKET),
            Self::Connect => None,
        }
    }

    /// What the endpoint is asked for.
    pub(super) fn asked(&self) -> Asked<'_> {
        self.protocol().map_or(Asked::Tunnel, Asked::Upgrade)
    }

    /// Whether an answer opens the tunnel; whatever else it is, it must not look as if it did.
    pub(super) fn is_granted(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Result<bool, Failure> {
        let switched = status == StatusCode::SWITCHING_PROTOCOLS;
        match self {
            Self::Switch(_) => Ok(switched),
            Self::Websocket(key) if switched => {
                if key.is_accepted_by(fields.get(SEC_WEBSOCKET_ACCEPT)) {
                    Ok(true)
                } else {
                    Err(Failure::BadResponse(
                        "the endpoint's answer to the WebSocket's key is wrong",
                    ))
                }
            }
            // For the client that would be an open tunnel.
            Self::Websocket(_) if status.is_success() => Err(Failure::BadResponse(
                "the endpoint answered and did not switch protocols",
            )),
            Self::Websocket(_) => Ok(false),
            Self::Connect => Ok(status.is_success()),
        }
    }

    /// Whether a field of the client's is passed on, where that is not as with other requests.
    pub(super) fn passes_on(&self, name: &HeaderName) -> Option<bool> {
        match self {
            // There is a key of ours.
            Self::Websocket(_) if *name == SEC_WEBSOCKET_KEY => Some(false),
            // It is meant for whichever proxy asks for it, and that is the endpoint.
            Self::Connect if *name == PROXY_AUTHORIZATION => Some(true),
            _ => None,
        }
    }

    fn is_websocket(&self) -> bool {
        self.protocol() == Some(WEBSOCKET)
    }

    /// The head that opens the tunnel, as the client gets it.
    fn grant(&self, status: StatusCode, fields: &mut HeaderMap) -> StatusCode {
        match self {
            Self::Switch(protocol) => {
                fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                if let Ok(name) = HeaderValue::from_str(protocol) {
                    fields.insert(UPGRADE, name);
                }
                status
            }
            Self::Websocket(_) => {
                fields.remove(SEC_WEBSOCKET_ACCEPT);
                StatusCode::OK
            }
            Self::Connect => status,
        }
    }
}

/// The protocol that a request wants to switch to: the first that it names and the service allows.
fn wanted(parts: &Parts, allowed: &[Arc<str>]) -> Option<Arc<str>> {
    let headers = &parts.headers;
    let is_candidate = parts.version == Version::HTTP_11
        && parts.method == Method::GET
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
            .find(|known| &***known != CONNECT && word.eq_ignore_ascii_case(known.as_bytes()));
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
    /// The endpoint has opened a tunnel: so do we, and from behind this response on both ends talk through a [`Tunnel`].
    pub(super) fn open(
        self: &Rc<Self>,
        flow: Flow<'_>,
        wish: &Wish,
        answered: Answered,
        attempt: Attempt,
    ) -> Answer {
        let cookie = choice::binding(&flow, &attempt);
        let mut account = flow.account;
        attempt.endpoint().load().note(flow.started.elapsed());
        attempt.prove_pin();
        let Some((stream, early, permit)) = answered.connection.into_stream() else {
            return Failure::BadResponse("the endpoint switched before it had the request")
                .respond(account, flow.parts);
        };
        let mut fields = answered.head.fields.into_map();
        if let Some(change) = &flow.change {
            change.answer(&mut fields);
        }
        let status = wish.grant(answered.head.status, &mut fields);
        account.answered(status);
        if flow.downstream.entrance.debug_headers {
            headers::add_debug(&mut fields, attempt.endpoint(), account.attempts());
        }
        if let Some(cookie) = cookie {
            fields.append(SET_COOKIE, cookie);
        }
        let origin = Origin {
            proxy: self.clone(),
            downstream: flow.downstream.clone(),
            settings: flow.settings,
            is_websocket: wish.is_websocket(),
        };
        let mut tunnel = Tunnel::new(origin, (stream, permit), &early, attempt, account);
        tunnel.keep(flow.upload.into_inbound());
        flow.downstream.tunnel.replace(Some(Box::new(tunnel)));
        Answer::new(status, fields, Body::empty())
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

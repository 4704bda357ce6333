//! What tests of several parts begin with.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderName;

use super::headers::is_passed_on;
use super::{Downstream, Entrance, Pins, Underscores};
use crate::clock::Clock;
use crate::net::Network;
use crate::route::{may_be_asked, may_be_changed, may_be_changed_back};

/// A client at 10.0.0.9, whose `X-Forwarded-*` are believed if it is in these networks.
pub(super) fn downstream(trusted: &[&str]) -> Downstream {
    let entrance = Rc::new(Entrance {
        listener: "http".into(),
        trusted_proxies: trusted
            .iter()
            .map(|text| Network::parse(text).unwrap())
            .collect(),
        debug_headers: false,
        tls: false,
        underscores: Underscores::Reject,
        body_timeout: Duration::from_secs(60),
        request_timeout: Duration::ZERO,
        target_bytes_max: 1000,
    });
    Downstream {
        client: "10.0.0.9:1234".parse().unwrap(),
        local: "127.0.0.1:80".parse().unwrap(),
        entrance,
        task: Clock::new().task(),
        pins: Pins::new(Clock::new().task()),
        reset: false.into(),
        uploading: false.into(),
        tails: 0.into(),
        flaw: None.into(),
        tunnel: Default::default(),
    }
}

#[test]
fn no_route_looks_at_or_changes_what_is_not_passed_on() {
    let ours = [
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "sec-websocket-accept",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-forwarded-anything",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-real-ip",
    ];
    for text in ours {
        let name = HeaderName::from_static(text);
        assert!(may_be_asked(&name).is_err(), "{text}");
        assert!(may_be_changed(&name).is_err(), "{text}");
        assert!(
            may_be_changed_back(&name).is_err() || text == "host",
            "{text}"
        );
    }
    for text in [
        "accept",
        "authorization",
        "cookie",
        "content-type",
        "x-canary",
    ] {
        let name = HeaderName::from_static(text);
        assert!(
            may_be_asked(&name).is_ok() && may_be_changed(&name).is_ok(),
            "{text}"
        );
        assert!(is_passed_on(&name, false), "{text}");
    }
}

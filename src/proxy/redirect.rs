//! A client is sent elsewhere: by an absolute URL, so that no path can be taken for a host.

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::account::Account;
use super::headers::{FORWARDED_PROTO, is_trusted};
use super::inspect::Target;
use super::{Answer, Body, Downstream, Failure};
use crate::route::{Changes, Redirect, Scheme};

/// A route that sends the client elsewhere, and what it changes of the response.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) redirect: Arc<Redirect>,
    pub(super) changes: Option<Arc<Changes>>,
}

impl Elsewhere {
    /// The response, and the end of the request's account. With `goes_on` the client has more to send, which nobody reads.
    pub(super) fn respond(
        self,
        mut account: Account,
        (parts, target): (&Parts, &Target),
        downstream: &Downstream,
        goes_on: bool,
    ) -> Answer {
        if parts.method == Method::CONNECT {
            return Failure::NOT_ALLOWED.respond(account, parts);
        }
        let url = url(&self.redirect, parts, target, downstream);
        let Ok(location) = HeaderValue::from_maybe_shared(url) else {
            return Failure::BadRequest("the target is no URL").respond(account, parts);
        };
        let status = StatusCode::from_u16(self.redirect.status.code());
        let status = status.unwrap_or(StatusCode::FOUND);
        let mut fields = HeaderMap::new();
        fields.insert(LOCATION, location);
        if let Some(changes) = self.changes {
            changes.response.apply(&mut fields);
        }
        account.answered(status);
        account.ended(None);
        let mut answer = Answer::new(status, fields, Body::empty());
        answer.close = goes_on;
        answer
    }
}

fn url(redirect: &Redirect, parts: &Parts, target: &Target, downstream: &Downstream) -> String {
    let own = downstream.local.to_string();
    let authority = match target.authority_text() {
        // HTTP/1.0 without a host: where it came in is the best guess at what it meant.
        "" => &*own,
        text => text,
    };
    let (host, port) = split(authority);
    let scheme = redirect.scheme.unwrap_or_else(|| spoken(parts, downstream));
    let port = match (redirect.port, redirect.scheme) {
        (Some(port), _) => Some(port),
        // Another scheme has another port, and that is its own.
        (None, Some(_)) => None,
        (None, None) => port,
    };
    let host = redirect.host.as_deref().unwrap_or(host);
    let mut url = format!("{}://{host}", scheme.word());
    if let Some(port) = port.filter(|port| *port != scheme.port()) {
        // Writing into memory cannot fail.
        let _ = write!(url, ":{port}");
    }
    let new = redirect.path.as_ref();
    let new = new.and_then(|path| path.of(target.path()));
    match (&new, target.path()) {
        (Some(path), _) => url.push_str(path),
        (None, path) if path.starts_with('/') => url.push_str(path),
        // `OPTIONS *` has no path.
        _ => url.push('/'),
    }
    if !target.query().is_empty() {
        url.push('?');
        url.push_str(target.query());
    }
    url
}

/// What the client speaks, to us or to a proxy in front that is believed.
pub(super) fn spoken(parts: &Parts, downstream: &Downstream) -> Scheme {
    let told = parts.headers.get(FORWARDED_PROTO);
    match told.filter(|_| is_trusted(downstream)) {
        Some(told) if told == "https" => Scheme::Https,
        Some(told) if told == "http" => Scheme::Http,
        _ if downstream.entrance.tls => Scheme::Https,
        _ => Scheme::Http,
    }
}

/// Host and port of an authority that has been checked.
fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::proxy::inspect::inspect;
    use crate::proxy::tests::downstream;
    use crate::route::NewPath;

    /// Where a client is sent that asks for this host and target.
    fn sent(redirect: &Redirect, host: &str, target: &str, proto: &str) -> String {
        let request = http::Request::builder().uri(target).header("host", host);
        let request = request.header("x-forwarded-proto", proto);
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        let (parts, ()) = request.method(method).body(()).unwrap().into_parts();
        let mut downstream = downstream(&["10.0.0.0/8"]);
        if proto.is_empty() {
            let other: SocketAddr = "192.0.2.1:80".parse().unwrap();
            downstream.client = other;
        }
        let target = inspect(&parts, &downstream.entrance).unwrap();
        url(redirect, &parts, &target, &downstream)
    }

    #[test]
    fn says_what_is_not_said_as_in_the_request() {
        let to = Redirect::default;
        let https = || Some(Scheme::Https);
        let new = |path: &str| Some(NewPath::prefix("/a", path));
        #[rustfmt::skip]
        let cases = [
            (Redirect { scheme: https(), ..to() }, "shop.test", "/a?b=c", "", "https://shop.test/a?b=c"),
            (Redirect { scheme: https(), ..to() }, "shop.test:8080", "/a", "", "https://shop.test/a"),
            (Redirect { scheme: https(), port: Some(8443), ..to() }, "a:80", "/", "", "https://a:8443/"),
            (Redirect { scheme: https(), port: Some(443), ..to() }, "a:80", "/", "", "https://a/"),
            (Redirect { host: Some("b".into()), ..to() }, "a:8080", "/x", "", "http://b:8080/x"),
            (Redirect { host: Some("b".into()), ..to() }, "a", "/x", "https", "https://b/x"),
            (Redirect { port: Some(80), ..to() }, "a", "/x", "https", "https://a:80/x"),
            (Redirect { port: Some(80), ..to() }, "[::1]:8080", "/x", "", "http://[::1]/x"),
            (Redirect { port: Some(81), ..to() }, "[::1]", "*", "", "http://[::1]:81/"),
            (Redirect { path: new("/b"), ..to() }, "a", "/a/x?y", "", "http://a/b/x?y"),
            (Redirect { path: new("/"), ..to() }, "a", "/a//evil.test", "", "http://a/evil.test"),
            (Redirect { port: Some(81), ..to() }, "a", "//evil.test/x", "", "http://a:81//evil.test/x"),
        ];
        for (redirect, host, target, proto, wanted) in cases {
            assert_eq!(sent(&redirect, host, target, proto), wanted, "{redirect:?}");
        }
    }
}

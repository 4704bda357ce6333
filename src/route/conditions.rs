//! What a route asks beyond host and path.
//!
//! What is looked at is what the endpoint would see: several fields of one name are one, joined as RFC 9110 (section 5.3)
//! says, and a field that ends here is not there. Names and values of a query are compared as they are sent, letter by
//! letter, like paths.

use std::fmt;
use std::sync::Arc;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::matcher::{bare, folded};
use super::{Host, Scheme};

/// What a request has to be besides; everything that is listed has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// It came in by one of these; none means any.
    pub listeners: Vec<Arc<str>>,
    /// Its host is none of these.
    pub others: Arc<[Host]>,
    /// What the client speaks.
    pub scheme: Option<Scheme>,
    /// Its method.
    pub method: Option<Method>,
    /// Fields that have exactly this value.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Names in its query, and the value behind the first of that name.
    pub query: Vec<(String, String)>,
}

/// What is known of a request when it is routed.
#[derive(Clone, Copy)]
pub struct Ask<'r> {
    /// The listener that it came in by.
    pub listener: &'r str,
    /// Its host as it has it: a port, capitals and a trailing dot make no difference.
    pub host: &'r str,
    /// Its path, without the query.
    pub path: &'r str,
    /// Its query; empty when there is none.
    pub query: &'r str,
    /// Its method.
    pub method: &'r Method,
    /// Its fields.
    pub headers: &'r HeaderMap,
    /// Whether a field ends here. Only asked where a condition is on a field.
    pub ends_here: &'r dyn Fn(&HeaderName) -> bool,
    /// What the client speaks. Only asked where a condition is on it.
    pub scheme: &'r dyn Fn() -> Scheme,
}

impl Conditions {
    /// Which of two routes for the same host and path comes first: the greater one.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (
            !self.listeners.is_empty(),
            self.scheme.is_some(),
            self.method.is_some(),
            self.headers.len(),
            self.query.len(),
        )
    }

    /// Whether all of it holds.
    pub(super) fn hold(&self, ask: &Ask<'_>) -> bool {
        let Self {
            listeners,
            others,
            scheme,
            method,
            headers,
            query,
        } = self;
        (listeners.is_empty() || listeners.iter().any(|it| **it == *ask.listener))
            && (others.is_empty() || !is_of(others, ask.host))
            && scheme.is_none_or(|scheme| scheme == (ask.scheme)())
            && method.as_ref().is_none_or(|method| method == ask.method)
            && headers.iter().all(|(name, value)| {
                has(ask.headers, name, value.as_bytes()) && !(ask.ends_here)(name)
            })
            && query
                .iter()
                .all(|(name, value)| parameter(ask.query, name) == Some(value))
    }
}

/// ` GET x-canary: on ?v=2`, each with a space before it.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for listener in &self.listeners {
            write!(f, " on {listener}")?;
        }
        if let Some(scheme) = &self.scheme {
            write!(f, " by {}", scheme.word())?;
        }
        if let Some(method) = &self.method {
            write!(f, " {method}")?;
        }
        for (name, value) in &self.headers {
            write!(f, " {name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        for (name, value) in &self.query {
            write!(f, " ?{name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("listener", &self.listener)
            .field("host", &self.host)
            .field("path", &self.path)
            .field("query", &self.query)
            .field("method", &self.method)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// Whether a host is one of these.
fn is_of(hosts: &[Host], host: &str) -> bool {
    let host = folded(bare(host));
    hosts.iter().any(|one| one.has(&host))
}

/// Whether the fields of this name, taken together, are the value.
fn has(headers: &HeaderMap, name: &HeaderName, value: &[u8]) -> bool {
    let between: &[u8] = if *name == COOKIE { b"; " } else { b", " };
    let mut fields = headers.get_all(name).iter();
    let Some(first) = fields.next() else {
        return false;
    };
    let Some(mut rest) = value.strip_prefix(first.as_bytes()) else {
        return false;
    };
    for field in fields {
        let next = rest
            .strip_prefix(between)
            .and_then(|rest| rest.strip_prefix(field.as_bytes()));
        let Some(next) = next else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}

/// The value behind the first of this name; empty when there is no `=`.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find_map(|(known, value)| (known == name).then_some(value))
}

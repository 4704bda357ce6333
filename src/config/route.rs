//! `routes`: which service a request is for.

use std::net::Ipv6Addr;

use crate::document::{Item, Mapping};
use crate::route::{Host, Matcher, Path};

use super::Route;
use super::action::action;
use super::conditions::conditions;
use super::service::Names;
use super::values::Seen;

/// Reads all of them.
pub(super) fn routes(
    list: &Item<'_>,
    may_be_empty: bool,
    names: &Names<'_>,
    listeners: Option<&[&str]>,
) -> Option<Vec<Route>> {
    let items = list.list(false)?;
    if items.is_empty() && !may_be_empty {
        list.fault("is empty, should have a route, as { service: web }");
    }
    let mut matchers = Seen::default();
    let read = |item: &Item<'_>| {
        let mut keys = item.mapping()?;
        let conditions = conditions(&mut keys, listeners);
        let matcher = matcher(&mut keys).map(|matcher| Matcher {
            conditions,
            ..matcher
        });
        if let Some(matcher) = &matcher {
            let words = words(matcher);
            matchers.note(item, &words, &format!("a route for {words}"));
        }
        let path = matcher.as_ref().map(|matcher| &matcher.path);
        let action = action(&mut keys, names, path);
        keys.finish();
        Some(Route {
            matcher: matcher?,
            action: action?,
        })
    };
    Some(items.iter().filter_map(read).collect())
}

fn matcher(keys: &mut Mapping<'_>) -> Option<Matcher> {
    let host = match keys.optional("host") {
        Some(item) => read(&item, host),
        None => Some(Host::Any),
    };
    let path = match (keys.optional("exact"), keys.optional("path")) {
        (None, None) => Some(Path::any()),
        (None, Some(item)) => read(&item, prefix).map(Path::Prefix),
        (Some(item), beside) => {
            if let Some(path) = beside {
                path.fault("stands beside exact: keep one of exact, path");
            }
            read(&item, exact_path).map(Path::Exact)
        }
    };
    Some(Matcher::new(host?, path?))
}

/// Reads a text by its own rules, which say what would be right.
pub(super) fn read<T>(item: &Item<'_>, parse: fn(&str) -> Result<T, String>) -> Option<T> {
    let text = item.name()?;
    parse(text)
        .map_err(|wrong| item.fault(format!("is {text:?}, {wrong}")))
        .ok()
}

/// A host, in lower case: exact, or `*.` and what all of them are below.
fn host(text: &str) -> Result<Host, String> {
    match text.strip_prefix("*.") {
        Some(rest) => exact_host(rest).map(Host::Below),
        None => exact_host(text).map(Host::Exact),
    }
}

/// A host without `*.`, in lower case.
pub(super) fn exact_host(text: &str) -> Result<String, String> {
    let bracketed = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if bracketed.is_some_and(|it| it.parse::<Ipv6Addr>().is_ok()) {
        return Ok(text.to_ascii_lowercase());
    }
    if text.contains("://") {
        return Err("should have no scheme, as shop.example.com".into());
    }
    if let Some((host, port)) = text.split_once(':')
        && !host.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err("should have no port: a request's port is not looked at".into());
    }
    if text == "*" {
        return Err("should be left out to mean every host".into());
    }
    if text.contains('*') {
        return Err("should have its * only as the first label, as *.example.com".into());
    }
    if !text.is_ascii() {
        return Err("should be written as it is sent, in ASCII: xn--...".into());
    }
    let label = |label: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(known)
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err("should be a host name, as shop.example.com or *.example.com".into());
    }
    Ok(text.to_ascii_lowercase())
}

/// A path prefix, without the slash at its end, which makes no difference: prefixes match whole elements.
fn prefix(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("should have no *: it matches everything below, as /api does /api/x".into());
    }
    let path = exact_path(text)?.trim_end_matches('/').to_owned();
    Ok(if path.is_empty() { "/".into() } else { path })
}

/// A path that is the whole of a request's.
fn exact_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("should begin with /, as /api".into());
    }
    if text.contains(['?', '#']) {
        return Err("should be a path alone: queries are not looked at".into());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("should be written as it is sent: percent-encoded, as %20".into());
    }
    Ok(text.into())
}

/// A host the way it is written, if any.
pub(super) fn host_words(host: &Host) -> Option<String> {
    match host {
        Host::Any => None,
        host => Some(host.to_string()),
    }
}

fn words(matcher: &Matcher) -> String {
    let host = host_words(&matcher.host);
    let host = host.as_deref().unwrap_or("every host");
    let (exactly, path) = match &matcher.path {
        Path::Exact(path) => (" exactly", path),
        Path::Prefix(path) => ("", path),
    };
    format!("{host}{exactly} {path}{}", matcher.conditions)
}

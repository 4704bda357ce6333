//! Hostnames of listeners and routes, and what both agree on. Pure.

use crate::route::Host;

/// A hostname as the API writes it; nothing, or an empty one, means every host.
pub(super) fn host(text: Option<&str>) -> Host {
    match text {
        None | Some("") => Host::Any,
        Some(text) => match text.strip_prefix("*.") {
            Some(rest) => Host::Below(rest.to_ascii_lowercase()),
            None => Host::Exact(text.to_ascii_lowercase()),
        },
    }
}

/// The hosts that both are for, if there are any: the narrower of the two.
pub(super) fn common(one: &Host, other: &Host) -> Option<Host> {
    match (one, other) {
        (Host::Any, host) | (host, Host::Any) => Some(host.clone()),
        (Host::Exact(a), Host::Exact(b)) => (a == b).then(|| one.clone()),
        (Host::Exact(name), Host::Below(parent)) => is_below(name, parent).then(|| one.clone()),
        (Host::Below(parent), Host::Exact(name)) => is_below(name, parent).then(|| other.clone()),
        (Host::Below(a), Host::Below(b)) if a == b || is_below(a, b) => Some(one.clone()),
        (Host::Below(a), Host::Below(b)) if is_below(b, a) => Some(other.clone()),
        // No other kind of host is written by the API.
        _ => None,
    }
}

/// Whether all that the other is for, this one is for, too.
pub(super) fn covers(one: &Host, other: &Host) -> bool {
    common(one, other).as_ref() == Some(other)
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent)
        .and_then(|front| front.strip_suffix('.'))
        .is_some_and(|front| !front.is_empty())
}

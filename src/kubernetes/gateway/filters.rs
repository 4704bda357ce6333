//! What a rule's filters do, and that it answers 500 where they cannot be served. Pure.

use http::{HeaderName, HeaderValue};

use super::api::{Filter, Header, HeaderModifier, PathModifier, RequestRedirect};
use super::rules::Rule;
use crate::route::{
    Action, Changes, Edits, NewPath, Path, Redirect, RedirectStatus, Scheme, Timeouts, To,
    may_be_changed, may_be_changed_back, may_be_path,
};

impl Rule {
    /// What becomes of a request for this path by a listener of this port.
    ///
    /// # Errors
    /// What is not supported: then it is answered 500.
    pub(super) fn action(&self, path: &Path, port: u16) -> Result<Action, String> {
        let mut action = Action {
            to: To::Services(self.shares.clone()),
            changes: Changes::default(),
            timeouts: self.timeouts,
        };
        for filter in &self.filters {
            let changes = &mut action.changes;
            match (&*filter.kind, filter) {
                (
                    "RequestHeaderModifier",
                    Filter {
                        request_header_modifier: Some(it),
                        ..
                    },
                ) => changes.request = edits(it, may_be_changed)?,
                (
                    "ResponseHeaderModifier",
                    Filter {
                        response_header_modifier: Some(it),
                        ..
                    },
                ) => changes.response = edits(it, may_be_changed_back)?,
                (
                    "URLRewrite",
                    Filter {
                        url_rewrite: Some(it),
                        ..
                    },
                ) => {
                    changes.host = it.hostname.as_deref().map(hostname).transpose()?;
                    changes.path = new_path(it.path.as_ref(), path)?;
                }
                (
                    "RequestRedirect",
                    Filter {
                        request_redirect: Some(it),
                        ..
                    },
                ) => action.to = To::Redirect(redirect(it, path, port)?),
                (kind, _) => return Err(format!("filter {kind} is not supported")),
            }
        }
        if matches!(action.to, To::Redirect(_)) && action.changes.has_target() {
            return Err("a rule cannot both redirect and rewrite".into());
        }
        Ok(action)
    }
}

/// What a request is answered 500 by.
pub(super) fn broken() -> Action {
    Action {
        to: To::Services(Vec::new()),
        changes: Changes::default(),
        timeouts: Timeouts::default(),
    }
}

/// The name of a field, if it `may` be here.
pub(super) fn field_name(
    text: &str,
    may: fn(&HeaderName) -> Result<(), &'static str>,
) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes());
    let name = name.map_err(|_| format!("header {text:?} cannot be"))?;
    may(&name).map_err(|why| format!("header {name} {why}"))?;
    Ok(name)
}

fn edits(
    modifier: &HeaderModifier,
    may: fn(&HeaderName) -> Result<(), &'static str>,
) -> Result<Edits, String> {
    let read = |all: &[Header]| {
        let read = all.iter().map(|header| {
            let name = field_name(&header.name, may)?;
            let value = HeaderValue::from_str(&header.value)
                .map_err(|_| format!("header {name} cannot have the value {:?}", header.value))?;
            Ok((name, value))
        });
        read.collect::<Result<Vec<_>, String>>()
    };
    let remove = modifier.remove.iter().map(|text| field_name(text, may));
    Ok(Edits {
        set: read(&modifier.set)?,
        add: read(&modifier.add)?,
        remove: remove.collect::<Result<_, _>>()?,
    })
}

/// The API server has looked at it, for all that is known; nothing else may come into a head.
fn hostname(text: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    if text.is_empty() || !text.bytes().all(known) {
        return Err(format!("hostname {text:?} is none"));
    }
    Ok(text.to_ascii_lowercase())
}

fn new_path(modifier: Option<&PathModifier>, path: &Path) -> Result<Option<NewPath>, String> {
    let Some(modifier) = modifier else {
        return Ok(None);
    };
    let checked = |text: &str| {
        let text = if text.is_empty() { "/" } else { text };
        may_be_path(text).map_err(|right| format!("path {text:?} {right}"))
    };
    match (&modifier.replace_full_path, &modifier.replace_prefix_match) {
        (Some(whole), None) => {
            checked(whole)?;
            let whole = if whole.is_empty() { "/" } else { whole };
            Ok(Some(NewPath::Whole(whole.into())))
        }
        (None, Some(prefix)) => {
            checked(prefix)?;
            match path {
                Path::Prefix(from) => Ok(Some(NewPath::prefix(from, prefix))),
                Path::Exact(_) => Err("a prefix is replaced where one is matched alone".into()),
            }
        }
        _ => Err("a path should be replaced whole or by its prefix".into()),
    }
}

fn redirect(it: &RequestRedirect, path: &Path, port: u16) -> Result<Redirect, String> {
    let scheme = match it.scheme.as_deref() {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(other) => return Err(format!("scheme {other:?} is neither http nor https")),
    };
    let code = it.status_code.unwrap_or(302);
    Ok(Redirect {
        scheme,
        host: it.hostname.as_deref().map(hostname).transpose()?,
        // The listener's own, as the client knows it, unless the scheme has another.
        port: it.port.or((scheme.is_none()).then_some(port)),
        path: new_path(it.path.as_ref(), path)?,
        status: RedirectStatus::of(code)
            .ok_or_else(|| format!("status {code} sends nobody elsewhere"))?,
    })
}

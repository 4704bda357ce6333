//! What a route changes of a request, worked out once for all its attempts.
//!
//! What is forwarded is what was routed, but for this: another target, other fields. What the client says of its own
//! connection is done before, so that it cannot take away what the route has set.

use std::sync::Arc;

use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, Method};

use super::headers::tokens;
use super::inspect::{Target, protocol};
use super::present::Present;
use super::{Failure, Flow};
use crate::route::Changes;

/// A request as its route has changed it.
#[derive(Debug)]
pub(super) struct Change {
    changes: Arc<Changes>,
    fields: Option<HeaderMap>,
    target: Option<Target>,
}

/// A request as an endpoint gets it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'r> {
    /// As the client sent it.
    pub(super) parts: &'r Parts,
    /// What the client asked for.
    pub(super) asked: &'r Target,
    /// What the endpoint is asked for.
    pub(super) target: &'r Target,
    /// The fields that it gets, as far as they are passed on at all.
    pub(super) fields: &'r HeaderMap,
}

impl Change {
    pub(super) fn of(
        changes: &Arc<Changes>,
        parts: &Parts,
        target: &Target,
    ) -> Result<Box<Self>, Failure> {
        let present = target.present();
        // What a CONNECT asks for is not the endpoint, and has no path.
        let is_connect = parts.method == Method::CONNECT && protocol(parts).is_none();
        let target = if changes.has_target() && !is_connect {
            let path = changes.path.as_ref().and_then(|new| new.of(target.path()));
            let rewritten = target.rewritten(changes.host.as_deref(), path.as_deref());
            Some(rewritten.ok_or(Failure::TargetTooLong)?)
        } else {
            None
        };
        let fields = (!changes.request.is_none()).then(|| {
            let mut fields = of_the_message(parts, present);
            changes.request.apply(&mut fields);
            fields
        });
        Ok(Box::new(Self {
            changes: changes.clone(),
            fields,
            target,
        }))
    }

    /// Changes the fields of a response.
    pub(super) fn answer(&self, fields: &mut HeaderMap) {
        self.changes.response.apply(fields);
    }
}

/// The fields that are not the connection's.
fn of_the_message(parts: &Parts, present: Present) -> HeaderMap {
    let tokens = tokens(&parts.headers, present);
    let mut fields = HeaderMap::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        if *name != CONNECTION && !tokens.contains(name.as_str()) {
            fields.append(name, value.clone());
        }
    }
    fields
}

impl Flow<'_> {
    /// The request as its endpoint gets it.
    pub(super) fn outgoing(&self) -> Outgoing<'_> {
        let change = self.change.as_ref();
        let target = change.and_then(|change| change.target.as_ref());
        let fields = change.and_then(|change| change.fields.as_ref());
        Outgoing {
            parts: self.parts,
            asked: &self.target,
            target: target.unwrap_or(&self.target),
            fields: fields.unwrap_or(&self.parts.headers),
        }
    }
}

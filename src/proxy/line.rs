//! What the access log says of a request's head.
//!
//! Most requests are answered in one go, and of many no line is written. So a line is a handle on the head's own bytes at
//! first, which costs no copy; a request that lasts gets one of its own, since the block that its head came in, and all
//! that came with it, would otherwise stay for as long ([`Line::keep`]).

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderValue, Method, Uri};

use super::inspect::Target;

/// A request's head, as the log tells it.
#[derive(Debug)]
pub(super) struct Line {
    method: Method,
    text: Text,
}

#[derive(Debug)]
enum Text {
    Shared {
        uri: Uri,
        routed_by: Option<RoutedBy>,
        traceparent: Option<HeaderValue>,
    },
    Own(Box<Kept>),
}

/// Where the authority stands that the request was routed by.
#[derive(Debug)]
enum RoutedBy {
    Field(HeaderValue),
    Target,
}

/// The texts of a line.
#[derive(Debug, Default)]
pub(super) struct Told<'l> {
    /// The path and the query, as they came.
    pub(super) path: &'l str,
    /// What it was routed by.
    pub(super) authority: Option<&'l str>,
    /// The trace of a `traceparent` (W3C Trace Context).
    pub(super) trace_id: Option<&'l str>,
}

/// The same, of a request that lasts.
#[derive(Debug)]
struct Kept {
    path: Box<str>,
    authority: Option<Box<str>>,
    trace_id: Option<Box<str>>,
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Line {
    pub(super) fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            text: Text::Shared {
                uri: parts.uri.clone(),
                routed_by: None,
                traceparent: parts.headers.get(TRACEPARENT).cloned(),
            },
        }
    }

    /// The head is in order, and says where it wants to go.
    pub(super) fn routed_by(&mut self, target: &Target) {
        if let Text::Shared { routed_by, .. } = &mut self.text {
            let field = target.host_field().cloned();
            *routed_by = Some(field.map_or(RoutedBy::Target, RoutedBy::Field));
        }
    }

    /// The request may last: from here on nothing is kept for the line but the line.
    pub(super) fn keep(&mut self) {
        if let Text::Shared { .. } = &self.text {
            let told = self.text.told();
            let kept = Kept {
                path: told.path.into(),
                authority: told.authority.map(Into::into),
                trace_id: told.trace_id.map(Into::into),
            };
            self.text = Text::Own(Box::new(kept));
        }
    }

    /// The method and the texts.
    pub(super) fn tell(&self) -> (&Method, Told<'_>) {
        (&self.method, self.text.told())
    }
}

impl Text {
    fn told(&self) -> Told<'_> {
        let (uri, routed_by, traceparent) = match self {
            Self::Own(kept) => {
                return Told {
                    path: &kept.path,
                    authority: kept.authority.as_deref(),
                    trace_id: kept.trace_id.as_deref(),
                };
            }
            Self::Shared {
                uri,
                routed_by,
                traceparent,
            } => (uri, routed_by, traceparent),
        };
        let path = uri.path_and_query();
        let authority = match routed_by {
            // Only what has been found to be ASCII gets here.
            Some(RoutedBy::Field(field)) => field.to_str().ok(),
            Some(RoutedBy::Target) => uri.authority().map(http::uri::Authority::as_str),
            None => None,
        };
        Told {
            path: path.map_or("", http::uri::PathAndQuery::as_str),
            authority,
            trace_id: traceparent.as_ref().and_then(trace_id),
        }
    }
}

fn trace_id(traceparent: &HeaderValue) -> Option<&str> {
    let id = traceparent.to_str().ok()?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn tells_the_same_whether_it_was_kept_or_not() {
        let request = http::Request::put("/a?b")
            .header(TRACEPARENT, format!("00-{TRACE}-00f067aa0ba902b7-01"))
            .body(());
        let (parts, ()) = request.unwrap().into_parts();
        for kept in [false, true] {
            let mut line = Line::of(&parts);
            if kept {
                line.keep();
            }
            let (method, told) = line.tell();
            assert_eq!((method, told.path), (&Method::PUT, "/a?b"));
            assert_eq!((told.authority, told.trace_id), (None, Some(TRACE)));
        }
    }

    #[test]
    fn knows_no_trace_where_none_is() {
        for text in [
            "",
            "00",
            "00-short-1-01",
            "00-zzzz2f3577b34da6a3ce929d0e0e4736-1-1",
        ] {
            assert_eq!(trace_id(&HeaderValue::from_static(text)), None, "{text:?}");
        }
    }
}

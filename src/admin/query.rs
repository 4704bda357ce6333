//! The parameters of a call: read strictly, since a misspelt one that is ignored drains for longer than was meant.

use std::time::Duration;

use axum::extract::{Query, Request};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::Response;

use super::guard::Refusal;
use crate::document::duration;

/// The parameters of one call.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads them; those that the call does not know and those given twice are refused.
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Refusal::bad(format!("the query cannot be read: {error}")))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Refusal::bad(format!(
                    "parameter {name:?} is not known: {}",
                    match known {
                        [] => "this call takes none".into(),
                        known => format!("this call takes {}", known.join(", ")),
                    }
                )));
            }
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Refusal::bad(format!(
                    "parameter {name} is given twice: give it once"
                )));
            }
        }
        Ok(Self(pairs))
    }

    /// The text of one.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A duration.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        self.text(name)
            .map(|text| {
                duration(text)
                    .map_err(|wrong| Refusal::bad(format!("parameter {name}: {text:?} {wrong}")))
            })
            .transpose()
    }

    /// A yes or no; no when it is not given.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(Refusal::bad(format!(
                "parameter {name}: {text:?} should be true or false"
            ))),
        }
    }
}

/// For calls without parameters: refuses any.
pub(super) async fn none(request: Request, next: Next) -> Result<Response, Refusal> {
    Parameters::read(request.uri(), &[])?;
    Ok(next.run(request).await)
}

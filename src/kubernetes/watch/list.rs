//! The list: as a stream of events where the server knows that, else in pages.

use futures_util::StreamExt;
use kube::Api;
use kube::api::{ListParams, WatchEvent};
use tracing::debug;

use super::{Events, Kept, Watch};
use crate::kubernetes::api::{ApiError, within};
use crate::kubernetes::place::Kind;

/// The state of the namespace at one version, and the watch that goes on from there, if there is one already.
pub(super) struct Listing<K, T> {
    pub(super) objects: Vec<T>,
    pub(super) version: String,
    pub(super) events: Option<Events<K>>,
}

impl<K: Kind, T: Kept<K>> Watch<K, T> {
    /// All there is now, as a stream of events or, where the server does not know that, as a list.
    pub(super) async fn list(&mut self, api: &Api<K>) -> Result<Listing<K, T>, ApiError> {
        if self.streams {
            match self.stream_list(api).await {
                Err(error) if wants_a_list(&error) => {
                    debug!(resource = self.resource, %error, "no streaming lists here");
                    self.streams = matches!(error, ApiError::Absent { .. });
                }
                result => return result,
            }
        }
        let mut objects = Vec::new();
        let mut params = ListParams {
            field_selector: self.fields.map(ToOwned::to_owned),
            ..ListParams::default().limit(PAGE)
        };
        loop {
            let page = within(api.list(&params)).await?;
            let page = match page.map_err(|error| self.sort(error, "list")) {
                // The pages have taken longer than the server remembers: all of it in one answer is the only way that ends.
                Err(ApiError::Gone) if params.continue_token.is_some() => {
                    debug!(resource = self.resource, "the list is too old to go on");
                    objects.clear();
                    (params.continue_token, params.limit) = (None, None);
                    continue;
                }
                page => page?,
            };
            objects.extend(page.items.into_iter().filter_map(T::of));
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => {
                    return Ok(Listing {
                        objects,
                        version: page.metadata.resource_version.unwrap_or_default(),
                        events: None,
                    });
                }
            }
        }
    }

    async fn stream_list(&self, api: &Api<K>) -> Result<Listing<K, T>, ApiError> {
        let params = self.params().initial_events();
        let events = within(api.watch(&params, "")).await?;
        let mut events = events.map_err(|error| self.sort(error, "watch"))?.boxed();
        let mut objects = Vec::new();
        loop {
            let next = within(events.next()).await?;
            let Some(event) = next
                .transpose()
                .map_err(|error| self.sort(error, "watch"))?
            else {
                return Err(ApiError::Away("the list broke off".into()));
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    objects.extend(T::of(object));
                }
                // Between the first and the last of them it may well go.
                WatchEvent::Deleted(object) => {
                    if let Some(gone) = T::of(object) {
                        objects.retain(|known: &T| !known.is_same(&gone));
                    }
                }
                WatchEvent::Bookmark(mark) => {
                    if mark.metadata.annotations.contains_key(LIST_ENDS) {
                        return Ok(Listing {
                            objects,
                            version: mark.metadata.resource_version,
                            events: Some(events),
                        });
                    }
                }
                WatchEvent::Error(status) => {
                    return Err(self.refused(status.code, status.message, "watch"));
                }
            }
        }
    }
}

/// Whether an answer to a streaming list means that a plain one should be tried.
fn wants_a_list(error: &ApiError) -> bool {
    match error {
        ApiError::Refused { code, .. } => !matches!(code, 429 | 503 | 504),
        // Twice is certain.
        ApiError::Absent { .. } | ApiError::Garbled(_) | ApiError::Silent(_) => true,
        _ => false,
    }
}

/// Objects in one answer.
const PAGE: u32 = 500;

/// The annotation of the bookmark behind the last object of a streaming list.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

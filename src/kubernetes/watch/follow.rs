//! What follows a list: watches, one after the other, until another list is due.

use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{ListParams, WatchEvent};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep, timeout};

use super::list::Listing;
use super::{Events, Kept, Seen, Watch};
use crate::kubernetes::api::{ApiError, within};
use crate::kubernetes::pause::Pause;
use crate::kubernetes::place::Kind;

/// Why a watch cannot go on as it is.
pub(super) enum Halt {
    /// It is time for a list.
    List,
    /// And for a client that reads anew who and where we are.
    Anew,
    Unheard,
}

/// What came of a watch.
enum Heard {
    Nothing,
    Something,
    Unheard,
}

impl<K: Kind, T: Kept<K>> Watch<K, T> {
    /// Tells a list, and then what happens, until another list is due.
    pub(super) async fn follow(&mut self, api: &Api<K>, listing: Listing<K, T>) -> Halt {
        let Listing {
            objects,
            mut version,
            mut events,
        } = listing;
        self.pause = Pause::default();
        if self.tell(Seen::All(objects)).await.is_err() {
            return Halt::Unheard;
        }
        let until = Instant::now() + RESYNC;
        while Instant::now() < until {
            let opened = match events.take() {
                Some(events) => Ok(events),
                None => self.open(api, &version).await,
            };
            let began = Instant::now();
            let seen = match opened {
                Ok(events) => self.read(events, &mut version, until).await,
                Err(error) => Err(error),
            };
            let next = match seen {
                Ok(Heard::Nothing) => self.compare(api, &version).await,
                Ok(Heard::Something) => Ok(()),
                Ok(Heard::Unheard) => return Halt::Unheard,
                Err(error) => Err(error),
            };
            match next {
                // A server that ends watches as they begin is spared.
                Ok(()) if began.elapsed() < SHORT => sleep(self.pause.next(false)).await,
                Ok(()) => {}
                Err(ApiError::Gone) => return Halt::List,
                Err(error) => {
                    let anew = error.wants_another_client();
                    if self.cannot_see(error).await.is_err() {
                        return Halt::Unheard;
                    }
                    if anew {
                        return Halt::Anew;
                    }
                }
            }
        }
        Halt::List
    }

    async fn open(&self, api: &Api<K>, version: &str) -> Result<Events<K>, ApiError> {
        let events = within(api.watch(&self.params(), version)).await?;
        let events = events.map_err(|error| self.sort(error, "watch"))?;
        Ok(events.boxed())
    }

    /// Reads a watch to its end.
    async fn read(
        &mut self,
        mut events: Events<K>,
        version: &mut String,
        until: Instant,
    ) -> Result<Heard, ApiError> {
        let mut heard = Heard::Nothing;
        loop {
            let Ok(next) = timeout(SILENCE, events.next()).await else {
                return Err(ApiError::Silent(SILENCE));
            };
            let event = match next {
                Some(event) => event.map_err(|error| self.sort(error, "watch"))?,
                None => return Ok(heard),
            };
            let seen = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version.clone_from(&object.resource_version().unwrap_or_default());
                    T::of(object).map(|object| Seen::One(Box::new(object)))
                }
                WatchEvent::Deleted(object) => {
                    version.clone_from(&object.resource_version().unwrap_or_default());
                    T::of(object).map(|object| Seen::Gone(Box::new(object)))
                }
                WatchEvent::Bookmark(mark) => {
                    *version = mark.metadata.resource_version;
                    Some(Seen::Same)
                }
                WatchEvent::Error(status) => {
                    return Err(self.refused(status.code, status.message, "watch"));
                }
            };
            heard = Heard::Something;
            self.pause = Pause::default();
            if let Some(seen) = seen
                && self.tell(seen).await.is_err()
            {
                return Ok(Heard::Unheard);
            }
            if Instant::now() > until {
                return Ok(heard);
            }
        }
    }

    /// A watch in which nothing happened may be one from a version that the server will only reach in days.
    async fn compare(&mut self, api: &Api<K>, version: &str) -> Result<(), ApiError> {
        let now = within(api.list_metadata(&ListParams::default().limit(1))).await?;
        let now = now.map_err(|error| self.sort(error, "list"))?;
        let number = |text: &str| text.parse::<u64>().ok();
        let (now, known) = (
            now.metadata.resource_version.as_deref().and_then(number),
            number(version),
        );
        if now.zip(known).is_some_and(|(now, known)| now < known) {
            return Err(ApiError::Gone);
        }
        // An error only means that nobody listens, which the next telling finds out.
        let _ = self.tell(Seen::Same).await;
        Ok(())
    }
}

/// A watch that has said nothing for this long, not even its end, is dead.
const SILENCE: Duration = Duration::from_secs(50);

/// After so long everything is listed again.
const RESYNC: Duration = Duration::from_secs(280);

/// A watch that ends sooner, well or not, is not worth the next one at once.
const SHORT: Duration = Duration::from_secs(1);

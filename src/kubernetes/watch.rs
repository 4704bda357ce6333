//! The protocol: list, then watch from there, for one kind of object in one place, and never lose anything.
//!
//! What can happen to a watch, and what is done: it ends (go on from the last version), its version is too old (410, also
//! inside the stream: list again), it breaks (go on, after a pause when that fails), it falls silent because the
//! connection is dead or the server stands still (every watch is asked to end within [`PERIOD`]; one that has not by
//! [`SILENCE`] is dead), or silent because the server went back in time, as after a restore (the versions of an otherwise
//! silent watch are compared). Whatever was missed all the same is made good by a list every [`RESYNC`].

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::api::{ApiError, client, refused, sort, within};
use super::pause::Pause;
use super::place::{Kind, Place};

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen<K> {
    /// All there is.
    All(Vec<K>),
    /// One, new or changed.
    One(Box<K>),
    /// One, gone.
    Gone(Box<K>),
    /// Nothing new, as of now.
    Same,
    /// Nothing can be seen, and why.
    Nothing(String),
    /// There is nothing to be seen, and why: the kind is not installed, or it is one that we may not see and can go without.
    Absent(String),
}

/// What is kept of an object. Taken from each as it comes: a cluster's objects are large, and a list has all of them.
pub(super) trait Kept<K>: Sized {
    /// What is kept of one; none of one that is nothing to us.
    fn of(object: K) -> Option<Self>;

    /// Whether it is of the same object, at another time.
    fn is_same(&self, other: &Self) -> bool;
}

/// All of it.
impl<K: Kind> Kept<K> for K {
    fn of(object: K) -> Option<Self> {
        Some(object)
    }

    fn is_same(&self, other: &Self) -> bool {
        let name = |object: &K| (object.namespace(), object.name_any());
        name(self) == name(other)
    }
}

/// A list and watch of `K` that goes on until its listener is gone, who is told what is kept of each.
pub(super) struct Watch<K, T = K> {
    place: Place,
    /// The plural, for messages.
    resource: &'static str,
    /// Of all objects only those with these fields.
    fields: Option<&'static str>,
    open: Box<dyn Fn(Client) -> Api<K> + Send + Sync>,
    out: mpsc::Sender<Seen<T>>,
    /// Where it may not be seen, we go without it.
    is_extra: bool,
    /// Lists come as a stream of events; not everywhere, which only trying shows.
    streams: bool,
    pause: Pause,
}

/// A watch under way.
type Events<K> = BoxStream<'static, Result<WatchEvent<K>, kube::Error>>;

/// The state of the namespace at one version, and the watch that goes on from there, if there is one already.
struct Listing<K, T> {
    objects: Vec<T>,
    version: String,
    events: Option<Events<K>>,
}

/// The listener is gone.
struct Unheard;

/// Why a watch cannot go on as it is.
enum Halt {
    /// It is time for a list.
    List,
    /// And for a client that reads anew who and where we are.
    Anew,
    Unheard,
}

impl From<Unheard> for Halt {
    fn from(_: Unheard) -> Self {
        Self::Unheard
    }
}

impl<K: Kind + Resource<Scope = NamespaceResourceScope>, T: Kept<K>> Watch<K, T> {
    /// Of a kind that lives in namespaces; what is seen goes to `out`.
    pub(super) fn of(place: &Place, resource: &'static str, out: mpsc::Sender<Seen<T>>) -> Self {
        let own = place.clone();
        Self {
            place: place.clone(),
            open: Box::new(move |client| match &own {
                Place::Namespace(namespace) => Api::namespaced(client, namespace),
                Place::Cluster => Api::all(client),
            }),
            ..Self::of_cluster(resource, out)
        }
    }
}

impl<K: Kind, T: Kept<K>> Watch<K, T> {
    /// Of all objects of a kind, wherever they are.
    pub(super) fn of_cluster(resource: &'static str, out: mpsc::Sender<Seen<T>>) -> Self {
        Self {
            place: Place::Cluster,
            resource,
            fields: None,
            open: Box::new(Api::all),
            out,
            is_extra: false,
            streams: true,
            pause: Pause::default(),
        }
    }

    /// Of all objects only those with these fields.
    pub(super) fn with_fields(self, fields: Option<&'static str>) -> Self {
        Self { fields, ..self }
    }

    /// Where it may not be seen, we go without it.
    pub(super) fn extra(self, is_extra: bool) -> Self {
        Self { is_extra, ..self }
    }

    /// Runs until nobody listens any more.
    pub(super) async fn run(mut self) {
        let out = self.out.clone();
        tokio::select! {
            biased;
            () = out.closed() => {}
            _ = self.watch() => {}
        }
    }

    async fn watch(&mut self) -> Unheard {
        loop {
            let client = match client().await {
                Ok(client) => client,
                Err(error) => {
                    if self.cannot_see(error).await.is_err() {
                        return Unheard;
                    }
                    continue;
                }
            };
            let api = (self.open)(client);
            loop {
                match self.list(&api).await {
                    Ok(listing) => match self.follow(&api, listing).await {
                        Halt::List => {}
                        Halt::Anew => break,
                        Halt::Unheard => return Unheard,
                    },
                    Err(error) => {
                        let anew = error.wants_another_client();
                        if self.cannot_see(error).await.is_err() {
                            return Unheard;
                        }
                        if anew {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// All there is now, as a stream of events or, where the server does not know that, as a list.
    async fn list(&mut self, api: &Api<K>) -> Result<Listing<K, T>, ApiError> {
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

    /// Tells a list, and then what happens, until another list is due.
    async fn follow(&mut self, api: &Api<K>, listing: Listing<K, T>) -> Halt {
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

    fn params(&self) -> WatchParams {
        WatchParams {
            bookmarks: true,
            field_selector: self.fields.map(ToOwned::to_owned),
            ..WatchParams::default()
        }
        .timeout(fastrand::u32(PERIOD))
    }

    async fn tell(&self, seen: Seen<T>) -> Result<(), Unheard> {
        self.out.send(seen).await.map_err(|_| Unheard)
    }

    /// Says why nothing can be seen, and waits before the next try.
    async fn cannot_see(&mut self, error: ApiError) -> Result<(), Unheard> {
        let pause = self.pause.next(error.is_away());
        let text = error.to_string();
        let seen = match error {
            ApiError::Absent { .. } => Seen::Absent(text),
            ApiError::Forbidden { .. } if self.is_extra => Seen::Absent(text),
            _ => Seen::Nothing(text),
        };
        self.tell(seen).await?;
        sleep(pause).await;
        Ok(())
    }

    fn sort(&self, error: kube::Error, verb: &'static str) -> ApiError {
        match sort(error, verb, self.resource, &self.place) {
            // A namespace that is not there has an empty list.
            ApiError::Refused { code: 404, .. } => ApiError::Absent {
                resource: self.resource,
                api_version: K::api_version(&()).into_owned(),
            },
            error => error,
        }
    }

    fn refused(&self, code: u16, message: String, verb: &'static str) -> ApiError {
        refused(code, message, verb, self.resource, &self.place)
    }
}

/// What came of a watch.
enum Heard {
    Nothing,
    Something,
    Unheard,
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

/// How long a watch is asked to last, in seconds; drawn, so that many do not end together.
const PERIOD: std::ops::Range<u32> = 35..45;

/// A watch that has said nothing for this long, not even its end, is dead.
const SILENCE: Duration = Duration::from_secs(50);

/// After so long everything is listed again.
const RESYNC: Duration = Duration::from_secs(280);

/// A watch that ends sooner, well or not, is not worth the next one at once.
const SHORT: Duration = Duration::from_secs(1);

/// Objects in one answer.
const PAGE: u32 = 500;

/// The annotation of the bookmark behind the last object of a streaming list.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

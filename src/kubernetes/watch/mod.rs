//! The protocol: list, then watch from there, for one kind of object in one place, and never lose anything.
//!
//! What can happen to a watch, and what is done: it ends (go on from the last version), its version is too old (410, also
//! inside the stream: list again), it breaks (go on, after a pause when that fails), it falls silent because the
//! connection is dead or the server stands still (every watch is asked to end within [`PERIOD`]; one that has not by
//! `SILENCE` is dead), or silent because the server went back in time, as after a restore (the versions of an otherwise
//! silent watch are compared). Whatever was missed all the same is made good by a list every `RESYNC`.

mod follow;
mod list;

use futures_util::stream::BoxStream;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::api::{ApiError, client, refused, sort};
use super::pause::Pause;
use super::place::{Kind, Place};
use follow::Halt;

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

/// The listener is gone.
struct Unheard;

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

/// How long a watch is asked to last, in seconds; drawn, so that many do not end together.
const PERIOD: std::ops::Range<u32> = 35..45;

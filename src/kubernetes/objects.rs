//! The objects of one kind as the API server told them, for whoever has to look at all of them together.
//!
//! One watch for each place, all into one set that anybody may look at ([`Follow`]). A set is complete once every place has
//! been listed, and stays so (P9): what cannot be seen later changes nothing but [`Objects::fault`]. Of a kind that nobody has
//! installed there are none, and nobody waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::warn;

use super::place::{Kind, Place};
use super::watch::{Seen, Watch};

/// What an object is called: its namespace, empty when it is in none, and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// All objects of a kind.
#[derive(Debug)]
pub(super) struct Objects<K> {
    known: BTreeMap<Name, Arc<K>>,
    places: Vec<Looked>,
}

/// How far a place is known.
#[derive(Debug, Default)]
struct Looked {
    is_listed: bool,
    fault: Option<String>,
}

/// A look at all objects of a kind, now and whenever they change.
pub(super) struct Follow<K> {
    set: watch::Receiver<Objects<K>>,
}

/// A watch of a place, and what is seen there.
struct Watching<K>(Place, Watch<K>, mpsc::Receiver<Seen<K>>);

/// Objects that may wait to be taken up.
const SEEN_MAX: usize = 256;

impl Name {
    pub(super) fn of(object: &impl Resource) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }

    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            return out.write_str(&self.name);
        }
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

impl Looked {
    /// None of them are there: that is all there is to know, until they are.
    fn goes_without(&mut self, fault: String) -> bool {
        let is_new = self.fault.as_ref() != Some(&fault);
        let is_first = !std::mem::replace(&mut self.is_listed, true);
        if is_new && is_first {
            warn!(
                error = fault,
                "tidegate goes on without these objects, and takes them up once they are there"
            );
        } else if is_new {
            warn!(
                error = fault,
                "objects cannot be seen any more; what was known of them stays in force"
            );
        }
        self.fault = Some(fault);
        is_new || is_first
    }
}

impl<K> Default for Objects<K> {
    /// None, and nothing more to be known.
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            places: Vec::new(),
        }
    }
}

impl<K> Objects<K> {
    /// In the order of their names.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, &Arc<K>)> {
        self.known.iter()
    }

    pub(super) fn find(&self, name: &Name) -> Option<&Arc<K>> {
        self.known.get(name)
    }

    /// Whether all of them are known, or once were.
    pub(super) fn is_complete(&self) -> bool {
        self.places.iter().all(|place| place.is_listed)
    }

    /// Why some cannot be seen at this moment.
    pub(super) fn fault(&self) -> Option<&str> {
        self.places.iter().find_map(|place| place.fault.as_deref())
    }
}

impl<K: Resource> Objects<K> {
    /// These and no others.
    pub(super) fn of(objects: impl IntoIterator<Item = K>) -> Self {
        let mut set = Self::default();
        set.places.push(Looked {
            is_listed: true,
            fault: None,
        });
        set.put(objects);
        set
    }

    fn put(&mut self, objects: impl IntoIterator<Item = K>) {
        let named = objects.into_iter().map(|mut object| {
            // Who wrote which field is most of what an object weighs, and means nothing here.
            object.meta_mut().managed_fields = None;
            (Name::of(&object), Arc::new(object))
        });
        self.known.extend(named);
    }

    /// Takes up what was seen at a place. False when nothing has changed.
    fn see(&mut self, index: usize, place: &Place, seen: Seen<K>) -> bool {
        let looked = &mut self.places[index];
        if let Seen::Absent(fault) = seen {
            return looked.goes_without(fault);
        }
        if let Seen::Nothing(fault) = seen {
            let is_new = looked.fault.as_ref() != Some(&fault);
            if is_new && looked.is_listed {
                warn!(
                    error = fault,
                    "objects cannot be seen; what was known of them stays in force"
                );
            } else if is_new {
                warn!(error = fault, "objects cannot be seen yet");
            }
            looked.fault = Some(fault);
            return is_new;
        }
        let recovered = looked.fault.take().is_some();
        match seen {
            Seen::All(objects) => {
                looked.is_listed = true;
                self.known.retain(|name, _| match place {
                    Place::Namespace(namespace) => name.namespace != *namespace,
                    Place::Cluster => false,
                });
                self.put(objects);
            }
            Seen::One(object) if !self.is_old(&object) => self.put([*object]),
            Seen::Gone(object) if !self.is_old(&object) => {
                self.known.remove(&Name::of(&*object));
            }
            _ => return recovered,
        }
        true
    }

    /// Whether more is known than this, which may come late or twice.
    fn is_old(&self, object: &K) -> bool {
        let version = |object: &K| object.resource_version()?.parse::<u64>().ok();
        let known = self.known.get(&Name::of(object));
        let versions = known.and_then(|known| version(known)).zip(version(object));
        versions.is_some_and(|(known, new)| new < known)
    }
}

impl<K: Kind + Sync> Follow<K> {
    /// Watches a kind that lives in namespaces, at these places; in `tasks`, until it is dropped.
    pub(super) fn places(
        places: &[Place],
        resource: &'static str,
        fields: Option<&'static str>,
        tasks: &mut JoinSet<()>,
    ) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        let watches = watches(places, resource, |watch| watch.with_fields(fields));
        Self::all(watches, tasks)
    }

    /// The same for a kind that we can go without where it may not be seen.
    pub(super) fn extra(places: &[Place], resource: &'static str, tasks: &mut JoinSet<()>) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        let watches = watches(places, resource, |watch| watch.extra(true));
        Self::all(watches, tasks)
    }

    /// Watches all objects of a kind.
    pub(super) fn cluster(resource: &'static str, tasks: &mut JoinSet<()>) -> Self {
        let (out, seen) = mpsc::channel(SEEN_MAX);
        let watch = Watch::of_cluster(resource, out);
        Self::all(vec![Watching(Place::Cluster, watch, seen)], tasks)
    }

    /// Nothing is watched, and nothing is there.
    pub(super) fn nothing() -> Self {
        // Without a sender it never changes.
        let (_, set) = watch::channel(Objects::default());
        Self { set }
    }

    fn all(watches: Vec<Watching<K>>, tasks: &mut JoinSet<()>) -> Self {
        let (tell, set) = watch::channel(Objects {
            known: BTreeMap::new(),
            places: watches.iter().map(|_| Looked::default()).collect(),
        });
        let tell = Arc::new(tell);
        for (index, Watching(place, watch, seen)) in watches.into_iter().enumerate() {
            let keep = keep(index, place, seen, tell.clone());
            tasks.spawn(async move {
                tokio::join!(watch.run(), keep);
            });
        }
        Self { set }
    }

    /// As they are now.
    pub(super) fn now(&self) -> watch::Ref<'_, Objects<K>> {
        self.set.borrow()
    }

    /// The next change; never, when nothing is watched.
    pub(super) async fn changed(&mut self) {
        if self.set.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A watch of a kind for each place.
fn watches<K: Kind + Resource<Scope = NamespaceResourceScope>>(
    places: &[Place],
    resource: &'static str,
    as_wanted: impl Fn(Watch<K>) -> Watch<K>,
) -> Vec<Watching<K>> {
    let watch = |place: &Place| {
        let (out, seen) = mpsc::channel(SEEN_MAX);
        let watch = as_wanted(Watch::of(place, resource, out));
        Watching(place.clone(), watch, seen)
    };
    places.iter().map(watch).collect()
}

/// Takes up what is seen at a place, until nobody looks any more.
async fn keep<K: Kind + Sync>(
    index: usize,
    place: Place,
    mut seen: mpsc::Receiver<Seen<K>>,
    tell: Arc<watch::Sender<Objects<K>>>,
) {
    loop {
        let one = tokio::select! {
            biased;
            () = tell.closed() => return,
            one = seen.recv() => one,
        };
        let Some(one) = one else { return };
        tell.send_if_modified(|set| set.see(index, &place, one));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    use super::*;

    fn secret(namespace: &str, name: &str, version: &str) -> Secret {
        let metadata = json!({ "namespace": namespace, "name": name, "resourceVersion": version,
            "managedFields": [{ "manager": "x" }] });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn names(set: &Objects<Secret>) -> Vec<String> {
        let version = |object: &Secret| object.resource_version().unwrap();
        set.all()
            .map(|(name, object)| format!("{name}@{}", version(object)))
            .collect()
    }

    #[test]
    fn a_list_replaces_its_place_and_no_other() {
        let places = ["a", "b"].map(|name| Place::Namespace(name.into()));
        let mut set = Objects {
            known: BTreeMap::new(),
            places: vec![Looked::default(), Looked::default()],
        };
        assert!(set.see(
            0,
            &places[0],
            Seen::All(vec![secret("a", "x", "1"), secret("a", "y", "2")])
        ));
        assert!(!set.is_complete());
        assert!(set.see(1, &places[1], Seen::All(vec![secret("b", "x", "3")])));
        assert!(set.is_complete());
        assert!(set.see(0, &places[0], Seen::All(vec![secret("a", "y", "4")])));
        assert_eq!(names(&set), ["a/y@4", "b/x@3"]);
        let kept = set.find(&Name::new("a", "y")).unwrap();
        assert_eq!(kept.metadata.managed_fields, None);
    }

    #[test]
    fn a_kind_that_is_not_installed_is_not_waited_for() {
        let place = Place::Cluster;
        let mut set = Objects {
            known: BTreeMap::new(),
            places: vec![Looked::default()],
        };
        assert!(set.see(0, &place, Seen::Absent("absent".into())));
        assert!(set.is_complete());
        assert!(!set.see(0, &place, Seen::Absent("absent".into())));
        assert!(set.see(0, &place, Seen::All(vec![secret("a", "x", "1")])));
        assert!(set.see(0, &place, Seen::Absent("absent".into())));
        assert_eq!(names(&set), ["a/x@1"], "once known, they stay");
    }

    #[test]
    fn what_comes_late_or_cannot_be_seen_changes_nothing() {
        let mut set = Objects::of([secret("a", "x", "5")]);
        let place = Place::Cluster;
        assert!(!set.see(0, &place, Seen::One(Box::new(secret("a", "x", "4")))));
        assert!(!set.see(0, &place, Seen::Gone(Box::new(secret("a", "x", "4")))));
        assert!(set.see(0, &place, Seen::Nothing("away".into())));
        assert!(!set.see(0, &place, Seen::Nothing("away".into())));
        assert_eq!(
            (set.fault(), set.is_complete(), names(&set).len()),
            (Some("away"), true, 1)
        );
        assert!(set.see(0, &place, Seen::Same), "it is seen again");
        assert!(!set.see(0, &place, Seen::Same));
        assert!(set.see(0, &place, Seen::Gone(Box::new(secret("a", "x", "6")))));
        assert!(names(&set).is_empty());
    }
}

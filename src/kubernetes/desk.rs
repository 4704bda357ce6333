//! What is written to the API server: statuses and events, by one replica at a time. Nobody's traffic needs it.
//!
//! Whoever reads the objects says which statuses differ from what they should be ([`Status`]) and what the authors of
//! objects should know ([`Note`]). Here that is written as long as we hold the [`Lease`]: a status names the version it is
//! for, so that of two writers one is refused, and what was refused is made anew from the version that came meanwhile. An
//! event has a name that its content gives it, and is not written twice, whoever writes it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::api::{ApiError, client, sort, within};
use super::lease::Lease;
use super::objects::Name;
use super::part::{LeaseSettings, Note};
use super::pause::Pause;
use super::place::Place;

/// A status that an object should have and has not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Status {
    pub(super) resource: Resource,
    pub(super) name: Name,
    /// The version that it is for.
    pub(super) version: Option<String>,
    /// What is to change of it, as a merge patch.
    pub(super) status: Value,
}

/// A kind of object whose status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    /// The plural and `/status`, as permissions have it.
    pub(super) words: &'static str,
}

/// Everything that should be written now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) statuses: Vec<Status>,
    pub(super) notes: Vec<Note>,
}

/// What was written already, or was refused for good.
#[derive(Debug, Default)]
struct Done {
    statuses: HashSet<Status>,
    notes: HashSet<Note>,
}

/// Writes what is wanted while we hold the lease, until nobody wants anything any more; then the lease is let go.
pub(super) async fn run(lease: LeaseSettings, controller: String, wanted: watch::Receiver<Wanted>) {
    let mut end = wanted.clone();
    let over = async move { while end.changed().await.is_ok() {} };
    tokio::pin!(over);
    let client = tokio::select! {
        biased;
        () = &mut over => return,
        client = connect() => client,
    };
    let mut lease = Lease::new(&lease, client.default_namespace());
    let (tell, held) = watch::channel(false);
    let writer = lease.holder().to_owned();
    let work = async {
        tokio::join!(
            lease.keep(&client, &tell),
            write(&client, &controller, &writer, wanted, held)
        );
    };
    tokio::select! {
        biased;
        () = &mut over => {}
        () = work => {}
    }
    // An error only means that it took too long: it is over by itself.
    let _ = timeout(LET_GO, lease.let_go(&client)).await;
}

async fn connect() -> Client {
    let mut pause = Pause::default();
    loop {
        match client().await {
            Ok(client) => return client,
            // Whoever watches tells of it.
            Err(error) => sleep(pause.next(error.is_away())).await,
        }
    }
}

async fn write(
    client: &Client,
    controller: &str,
    writer: &str,
    mut wanted: watch::Receiver<Wanted>,
    mut held: watch::Receiver<bool>,
) {
    let mut done = Done::default();
    let mut pause = Pause::default();
    let mut told = HashSet::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        done.forget_all_but(&now);
        let mut retry = None;
        if *held.borrow_and_update() {
            let outcome = done.write(client, controller, writer, &now, &held).await;
            match outcome {
                Ok(()) => {
                    pause = Pause::default();
                    told.clear();
                }
                Err(error) => {
                    retry = Some(pause.next(error.is_away()));
                    let error = error.to_string();
                    if told.insert(error.clone()) {
                        warn!(
                            error,
                            "a status or event is not written; it is tried again, and traffic does not need it"
                        );
                    }
                }
            }
        }
        let wait = async {
            match retry {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = held.changed() => if changed.is_err() { return },
            () = wait => {}
            changed = wanted.changed(), if retry.is_none() => if changed.is_err() { return },
        }
    }
}

impl Done {
    fn forget_all_but(&mut self, wanted: &Wanted) {
        let statuses: HashSet<&Status> = wanted.statuses.iter().collect();
        let notes: HashSet<&Note> = wanted.notes.iter().collect();
        self.statuses.retain(|one| statuses.contains(one));
        self.notes.retain(|one| notes.contains(one));
    }

    /// Writes what is not written yet. What fails holds up nothing else; the first error is told.
    async fn write(
        &mut self,
        client: &Client,
        controller: &str,
        writer: &str,
        wanted: &Wanted,
        held: &watch::Receiver<bool>,
    ) -> Result<(), ApiError> {
        let mut failed = Ok(());
        for status in &wanted.statuses {
            if !*held.borrow() {
                return failed;
            }
            if self.statuses.contains(status) {
                continue;
            }
            match put(client, status).await {
                Ok(()) => {
                    self.statuses.insert(status.clone());
                }
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        for note in &wanted.notes {
            if !*held.borrow() {
                return failed;
            }
            if self.notes.contains(note) {
                continue;
            }
            match post(client, controller, writer, note).await {
                Ok(()) => {
                    self.notes.insert(note.clone());
                }
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed
    }
}

/// Writes a status. One for a version that is over is made anew by whoever watches.
async fn put(client: &Client, status: &Status) -> Result<(), ApiError> {
    let Status {
        resource,
        name,
        version,
        status,
    } = status;
    let kind = ApiResource {
        group: resource.group.into(),
        version: resource.version.into(),
        api_version: match resource.group {
            "" => resource.version.into(),
            group => format!("{group}/{}", resource.version),
        },
        kind: resource.kind.into(),
        plural: resource.plural.into(),
    };
    let (api, place) = match &*name.namespace {
        "" => (Api::all_with(client.clone(), &kind), Place::Cluster),
        namespace => (
            Api::namespaced_with(client.clone(), namespace, &kind),
            Place::Namespace(namespace.to_owned()),
        ),
    };
    let api: Api<DynamicObject> = api;
    let patch = Patch::Merge(json!({
        "metadata": { "resourceVersion": version },
        "status": status,
    }));
    let params = PatchParams::default();
    let written = within(api.patch_status(&name.name, &params, &patch)).await?;
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
            debug!(object = %name, "a status came too late");
            Ok(())
        }
        Err(error) => Err(sort(error, "patch", resource.words, &place)),
    }
}

/// Writes an event. One that is there already has said it.
async fn post(
    client: &Client,
    controller: &str,
    writer: &str,
    note: &Note,
) -> Result<(), ApiError> {
    let event = event(controller, writer, note);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let created = within(api.create(&PostParams::default(), &event)).await?;
    match created {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(sort(
            error,
            "create",
            "events",
            &Place::Namespace(namespace),
        )),
    }
}

fn event(controller: &str, writer: &str, note: &Note) -> Event {
    let about = &note.about;
    let mut hasher = DefaultHasher::new();
    note.hash(&mut hasher);
    let name: String = about.name.name.chars().take(NAME_CHARS_MAX).collect();
    let namespace = match &*about.name.namespace {
        "" => "default",
        namespace => namespace,
    };
    let event = json!({
        "metadata": { "name": format!("{name}.{:016x}", hasher.finish()), "namespace": namespace },
        "eventTime": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
        "reportingController": controller,
        "reportingInstance": writer,
        "action": "Translate",
        "reason": note.reason,
        "type": "Warning",
        "note": note.text.chars().take(NOTE_CHARS_MAX).collect::<String>(),
        "regarding": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.name.namespace,
            "name": about.name.name,
            "uid": about.uid,
        },
    });
    serde_json::from_value(event).unwrap_or_default()
}

/// How long letting go of the lease may take.
const LET_GO: Duration = Duration::from_secs(1);

/// Names of objects are at most 253 bytes long, and a dot and a number follow.
const NAME_CHARS_MAX: usize = 230;

/// Kubernetes takes 1024 bytes.
const NOTE_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::part::About;

    #[test]
    fn an_event_is_called_by_what_it_says() {
        let note = |text: &str| Note {
            about: About {
                api_version: "networking.k8s.io/v1",
                kind: "Ingress",
                name: Name::new("shop", "main"),
                uid: "u".into(),
            },
            reason: "SecretUnusable",
            text: text.into(),
        };
        let [one, same, other] =
            ["a", "a", "b"].map(|text| event("tidegate.dev/ingress", "w", &note(text)));
        let name = |event: &Event| event.metadata.name.clone().unwrap();
        assert_eq!(name(&one), name(&same));
        assert_ne!(name(&one), name(&other));
        assert!(name(&one).starts_with("main."));
        let about = one.regarding.unwrap();
        assert_eq!(
            (about.kind.as_deref(), about.uid.as_deref()),
            (Some("Ingress"), Some("u"))
        );
        let long = event("c", "w", &note(&"ü".repeat(2000)));
        assert!(long.note.unwrap().len() <= 1024);
    }
}

//! What a cluster's objects add to the config, taken up whenever it changes.
//!
//! The config in force is the file's and this part beside it. Either may change without the other; both go the way of a
//! reload, so that what goes drains (P8). Until the first part is there tidegate is not ready; after that the part stays in
//! force whatever cannot be seen (P9).

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{error, info};

use super::reload::aside;
use super::{App, desired};
use crate::control::EventKind;
use crate::kubernetes::{Cluster, Known, Part, Settings};

/// The part as the cluster tells it.
#[derive(Debug, Default)]
pub(super) struct Objects {
    settings: Option<Settings>,
    known: Option<watch::Receiver<Known>>,
}

impl Objects {
    /// Follows what a config asks for; what is followed already goes on.
    pub(super) fn follow(&mut self, cluster: &Cluster, settings: Option<&Settings>) {
        if self.settings.as_ref() == settings {
            return;
        }
        self.known = settings.and_then(|settings| cluster.part(settings));
        if settings.is_some() && self.known.is_none() {
            error!("the cluster's objects cannot be watched; what is known of them stays in force");
        }
        self.settings = settings.cloned();
    }

    /// Whether something is asked for at all.
    pub(super) fn are_wanted(&self) -> bool {
        self.settings.is_some()
    }

    /// The next news; never, when nothing is followed.
    pub(super) async fn changed(&mut self) {
        let changed = match &mut self.known {
            Some(known) => known.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            // The thread is gone, which has been told; what is known stays in force.
            std::future::pending::<()>().await;
        }
    }

    fn now(&mut self) -> Known {
        let known = self.known.as_mut();
        known.map_or_else(Known::default, |known| known.borrow_and_update().clone())
    }
}

impl App {
    /// Waits for the first part, where one is asked for. Nothing is in force by this.
    pub(super) async fn first_part(&mut self) {
        while self.objects.are_wanted() && !self.hear_part() {
            self.objects.changed().await;
        }
        self.probes.wait_for(None);
    }

    /// Puts in force what the objects say now.
    pub(super) async fn take_up_part(&mut self) {
        if !self.hear_part() {
            return;
        }
        self.certificates.offer(self.in_force.part());
        let (config, part) = (self.in_force.shared(), self.in_force.part().clone());
        let Some(desired) = aside(move || desired(&config, &part)).await else {
            error!(
                "taking up the cluster's objects broke down; what is known of them stays in force"
            );
            return;
        };
        if self.put_in_force(desired).await.is_err() {
            // The writer is gone, which its own end has told.
            return;
        }
        // Not before: whoever is sent here then finds the routes.
        self.probes.wait_for(None);
        let part = self.in_force.part();
        info!(
            routes = part.routes.len(),
            services = part.services.len(),
            certificates = part
                .certificates
                .iter()
                .map(|(_, all)| all.len())
                .sum::<usize>(),
            "what the cluster's objects say is in force"
        );
        self.handle.tell(EventKind::Config {
            to: "success",
            reason: Some("kubernetes".into()),
        });
    }

    /// The config in force is that of the file alone, once it is put in force.
    pub(super) fn forget_part(&mut self) {
        self.in_force.set_part(Arc::default());
        self.certificates.offer(self.in_force.part());
        self.probes.wait_for(None);
        if let Ok(mut last) = self.last_reload.lock() {
            last.objects = None;
        }
    }

    /// Takes note of the newest part. True when it is another one than before, or the first.
    fn hear_part(&mut self) -> bool {
        let Known { part, waiting } = self.objects.now();
        let Some(part) = part else {
            if self.probes.is_waiting() {
                self.probes.wait_for(Some(waiting));
            }
            return false;
        };
        let is_first = self.probes.is_waiting();
        let is_new = *part != **self.in_force.part();
        if let Ok(mut last) = self.last_reload.lock() {
            last.objects = Some(part.clone());
        }
        self.in_force.set_part(part);
        is_new || is_first
    }
}

/// For `/api/v1/config`.
pub(super) fn describe(part: &Part) -> Value {
    let routes = part.routes.iter();
    let certificates = part.certificates.iter().flat_map(|(listener, offers)| {
        offers.iter().map(move |offer| {
            json!({ "listener": &**listener, "from": offer.held.name(), "names": offer.names })
        })
    });
    json!({
        "routes": routes.map(|(matcher, action)| json!({
            "route": matcher.to_string(), "service": action.to_string(),
        })).collect::<Vec<_>>(),
        "certificates": certificates.collect::<Vec<_>>(),
    })
}

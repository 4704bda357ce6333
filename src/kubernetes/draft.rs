//! A part in the making: every kind of object adds what it means, and nothing is in it twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::part::{About, Note, Part};
use crate::control::DesiredService;
use crate::endpoint::ServiceName;
use crate::net::tls::Offer;
use crate::route::{Action, Matcher};

/// A part that is not finished.
#[derive(Debug, Default)]
pub(super) struct Draft {
    routes: Vec<(Matcher, Action)>,
    owners: HashMap<Matcher, String>,
    services: BTreeMap<ServiceName, DesiredService>,
    offers: BTreeMap<Arc<str>, Vec<Offer>>,
    notes: Vec<Note>,
    noted: HashSet<Note>,
}

/// Notes beyond this are more than anybody reads, and each may become an event.
const NOTES_MAX: usize = 4096;

impl Draft {
    /// A route to a service. Of two that ask the same of a request the first one stays, and its owner is told.
    pub(super) fn route(
        &mut self,
        matcher: Matcher,
        service: DesiredService,
        owner: &str,
    ) -> Result<(), String> {
        let name = service.settings.name.clone();
        self.lead(matcher, name.into(), &[service], owner)
    }

    /// A route that does something, and the services that it leads to. Of two that ask the same of a request the first one
    /// stays, and its owner is told.
    pub(super) fn lead(
        &mut self,
        matcher: Matcher,
        action: Action,
        services: &[DesiredService],
        owner: &str,
    ) -> Result<(), String> {
        if let Some(first) = self.owners.get(&matcher) {
            return Err(first.clone());
        }
        self.owners.insert(matcher.clone(), owner.to_owned());
        self.routes.push((matcher, action));
        for service in services {
            let name = service.settings.name.clone();
            self.services.entry(name).or_insert_with(|| service.clone());
        }
        Ok(())
    }

    /// A certificate that a listener shows. Of two for the same name the first one is shown.
    pub(super) fn offer(&mut self, listener: &Arc<str>, offer: Offer) {
        let offers = self.offers.entry(listener.clone()).or_default();
        if !offers.contains(&offer) {
            offers.push(offer);
        }
    }

    /// Something that whoever wrote an object should know.
    pub(super) fn note(&mut self, about: &About, reason: &'static str, text: impl Into<String>) {
        let note = Note {
            about: about.clone(),
            reason,
            text: text.into(),
        };
        if self.notes.len() < NOTES_MAX && self.noted.insert(note.clone()) {
            self.notes.push(note);
        }
    }

    pub(super) fn finish(self) -> (Part, Vec<Note>) {
        let part = Part {
            routes: self.routes,
            services: self.services.into_values().collect(),
            certificates: self.offers.into_iter().collect(),
        };
        (part, self.notes)
    }
}

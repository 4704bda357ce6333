//! A namespace's slices as they were told. Pure.
//!
//! An event may come twice, late, or after the list that had it already: what is older than what is known of the same slice
//! is passed over. A slice that is gone is kept for [`HOLD`] while its service has others, since Kubernetes moves endpoints
//! between slices, and between the two events they stand in none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::slice::Slice;

/// How long a deleted slice counts while its service has others.
pub(super) const HOLD: Duration = Duration::from_secs(1);

/// The slices of a namespace.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    /// Each service's slices, in the order of their names.
    services: HashMap<Arc<str>, Vec<Held>>,
    /// Which service a slice belongs to: its label may change.
    homes: HashMap<Arc<str>, Arc<str>>,
    held: usize,
}

/// A slice, or what is kept of one.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) slice: Slice,
    /// Deleted, and forgotten then.
    pub(super) until: Option<Instant>,
}

/// What an event changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// These services.
    pub(super) services: Vec<Arc<str>>,
    /// Some endpoint terminates that did not: to be told at once (P2).
    pub(super) is_urgent: bool,
}

impl Mirror {
    /// Everything there is now: what is missing has gone.
    pub(super) fn replace(&mut self, slices: Vec<Slice>) {
        let before = std::mem::take(self);
        for mut slice in slices {
            if let Some(known) = before.known(&slice.name) {
                slice.share(&known.slice);
            }
            self.put(slice);
        }
    }

    /// A slice as it is now.
    pub(super) fn apply(&mut self, mut slice: Slice) -> Changed {
        let mut changed = Changed::default();
        if let Some(known) = self.known(&slice.name) {
            let same = known.slice.uid == slice.uid;
            let is_old = match (slice.version, known.slice.version) {
                (Some(new), Some(known)) => new <= known,
                _ => false,
            };
            if is_old || (same && known.until.is_some()) {
                return changed;
            }
            changed.is_urgent = terminates(&slice, &known.slice);
            slice.share(&known.slice);
            if known.slice.service != slice.service {
                changed.services.extend(self.forget(&slice.name));
            }
        } else {
            changed.is_urgent = slice.places.iter().any(|place| place.terminating);
        }
        changed.services.push(slice.service.clone());
        self.put(slice);
        changed
    }

    /// A slice that is gone.
    pub(super) fn delete(&mut self, slice: &Slice, now: Instant) -> Changed {
        let name = &slice.name;
        let is_known = self.known(name).is_some_and(|known| {
            known.until.is_none()
                && known.slice.uid == slice.uid
                && slice.version >= known.slice.version
        });
        let Some(service) = self.homes.get(name).filter(|_| is_known).cloned() else {
            return Changed::default();
        };
        let has_others = self.services.get(&service).is_some_and(|slices| {
            let mut others = slices.iter().filter(|held| held.slice.name != *name);
            others.any(|held| held.until.is_none())
        });
        if !has_others {
            self.forget(name);
        } else if let Some(slices) = self.services.get_mut(&service)
            && let Ok(place) = find(slices, name)
        {
            slices[place].until = Some(now + HOLD);
            self.held += 1;
        }
        Changed {
            services: vec![service],
            is_urgent: false,
        }
    }

    /// When [`Mirror::due`] has something to say.
    pub(super) fn next(&self) -> Option<Instant> {
        // Slices are seldom deleted; most of the time there is nothing to look for.
        if self.held == 0 {
            return None;
        }
        let all = self.services.values().flatten();
        all.filter_map(|held| held.until).min()
    }

    /// Forgets the deleted slices whose time is over. The services that had some.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let over: Vec<Arc<str>> = self
            .services
            .values()
            .flatten()
            .filter(|held| held.until.is_some_and(|until| until <= now))
            .map(|held| held.slice.name.clone())
            .collect();
        over.iter().filter_map(|name| self.forget(name)).collect()
    }

    /// A service's slices, in the order of their names, those included that are held.
    pub(super) fn slices(&self, service: &str) -> &[Held] {
        self.services.get(service).map_or(&[], Vec::as_slice)
    }

    fn known(&self, name: &Arc<str>) -> Option<&Held> {
        let slices = self.services.get(self.homes.get(name)?)?;
        find(slices, name).ok().map(|place| &slices[place])
    }

    fn put(&mut self, slice: Slice) {
        self.homes.insert(slice.name.clone(), slice.service.clone());
        // Most services have one slice, and a cluster has many services.
        let slices = self
            .services
            .entry(slice.service.clone())
            .or_insert_with(|| Vec::with_capacity(1));
        match find(slices, &slice.name) {
            Ok(place) => {
                let old = std::mem::replace(&mut slices[place], Held { slice, until: None });
                self.held -= usize::from(old.until.is_some());
            }
            Err(place) => slices.insert(place, Held { slice, until: None }),
        }
    }

    fn forget(&mut self, name: &Arc<str>) -> Option<Arc<str>> {
        let service = self.homes.remove(name)?;
        let slices = self.services.get_mut(&service)?;
        if let Ok(place) = find(slices, name) {
            let old = slices.remove(place);
            self.held -= usize::from(old.until.is_some());
        }
        if slices.is_empty() {
            self.services.remove(&service);
        }
        Some(service)
    }
}

/// Where a slice stands, or would.
fn find(slices: &[Held], name: &Arc<str>) -> Result<usize, usize> {
    slices.binary_search_by(|held| held.slice.name.cmp(name))
}

/// Whether something terminates in the new version of a slice that did not in the old one.
fn terminates(new: &Slice, old: &Slice) -> bool {
    let known: HashSet<(&Option<Arc<str>>, _)> = old
        .places
        .iter()
        .filter(|place| place.terminating)
        .map(|place| (&place.uid, place.ip))
        .collect();
    let mut places = new.places.iter();
    places.any(|place| place.terminating && !known.contains(&(&place.uid, place.ip)))
}

#[cfg(test)]
mod tests;

//! A namespace's slices as they were told, and what they mean for a service. Pure.
//!
//! An event may come twice, late, or after the list that had it already: what is older than what is known of the same slice
//! is passed over. A slice that is gone is kept for [`HOLD`] while its service has others, since Kubernetes moves endpoints
//! between slices, and between the two events they stand in none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::slice::{Place, Slice};
use crate::discovery::slices::{Age, Offer, Shown, choose, merge};
use crate::discovery::{Observed, Port};

/// How long a deleted slice counts while its service has others.
pub(super) const HOLD: Duration = Duration::from_secs(1);

/// The slices of a namespace.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    services: HashMap<Arc<str>, BTreeMap<Arc<str>, Held>>,
    /// Which service a slice belongs to: its label may change.
    homes: HashMap<Arc<str>, Arc<str>>,
    held: usize,
}

/// A slice, or what is kept of one.
#[derive(Debug)]
struct Held {
    slice: Slice,
    /// Deleted, and forgotten then.
    until: Option<Instant>,
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
        *self = Self::default();
        for slice in slices {
            self.put(slice);
        }
    }

    /// A slice as it is now.
    pub(super) fn apply(&mut self, slice: Slice) -> Changed {
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
            slices
                .iter()
                .any(|(other, held)| other != name && held.until.is_none())
        });
        if !has_others {
            self.forget(name);
        } else if let Some(held) = self
            .services
            .get_mut(&service)
            .and_then(|slices| slices.get_mut(name))
        {
            held.until = Some(now + HOLD);
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
        let all = self.services.values().flat_map(BTreeMap::values);
        all.filter_map(|held| held.until).min()
    }

    /// Forgets the deleted slices whose time is over. The services that had some.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let over: Vec<Arc<str>> = self
            .services
            .values()
            .flat_map(BTreeMap::values)
            .filter(|held| held.until.is_some_and(|until| until <= now))
            .map(|held| held.slice.name.clone())
            .collect();
        over.iter().filter_map(|name| self.forget(name)).collect()
    }

    /// What the slices mean for a service, at the port that is meant.
    ///
    /// # Errors
    /// What keeps a port from being chosen.
    pub(super) fn set(&self, service: &str, port: Option<&Port>) -> Result<Vec<Observed>, String> {
        let empty = BTreeMap::new();
        let slices: Vec<&Held> = self
            .services
            .get(service)
            .unwrap_or(&empty)
            .values()
            .collect();
        let offers: Vec<Vec<Offer<'_>>> = slices
            .iter()
            .map(|held| {
                let ports = held.slice.ports.iter();
                ports
                    .map(|(name, number)| Offer {
                        name,
                        number: *number,
                    })
                    .collect()
            })
            .collect();
        let (chosen, wrong) = choose(&offers, port);
        if let Some(wrong) = wrong.first() {
            return Err(format!("port: {}", wrong.what));
        }
        let mut shown = Vec::new();
        let mut ages = Vec::with_capacity(slices.len());
        for (index, (held, port)) in slices.iter().zip(chosen).enumerate() {
            let mut age = held.slice.age();
            if held.until.is_some() {
                // Whatever a slice that exists says is newer.
                age = Age {
                    resource_version: Some(0),
                    ..age
                };
            }
            ages.push(age);
            if let Some(port) = port {
                shown.extend(
                    held.slice
                        .places
                        .iter()
                        .map(|place| show(place, port, index)),
                );
            }
        }
        let primary_is_ipv4 = slices.iter().any(|held| held.slice.is_ipv4);
        Ok(merge(shown, &ages, primary_is_ipv4))
    }

    fn known(&self, name: &Arc<str>) -> Option<&Held> {
        self.services.get(self.homes.get(name)?)?.get(name)
    }

    fn put(&mut self, slice: Slice) {
        let (name, service) = (slice.name.clone(), slice.service.clone());
        self.homes.insert(name.clone(), service.clone());
        let old = self
            .services
            .entry(service)
            .or_default()
            .insert(name, Held { slice, until: None });
        self.held -= usize::from(old.is_some_and(|old| old.until.is_some()));
    }

    fn forget(&mut self, name: &Arc<str>) -> Option<Arc<str>> {
        let service = self.homes.remove(name)?;
        let slices = self.services.get_mut(&service)?;
        let old = slices.remove(name);
        self.held -= usize::from(old.is_some_and(|old| old.until.is_some()));
        if slices.is_empty() {
            self.services.remove(&service);
        }
        Some(service)
    }
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

fn show(place: &Place, port: u16, slice: usize) -> Shown {
    let address = SocketAddr::new(place.ip, port);
    Shown {
        key: match &place.uid {
            Some(uid) => uid.clone().into(),
            None => address.to_string().as_str().into(),
        },
        has_uid: place.uid.is_some(),
        address,
        pod: place.pod.clone(),
        zone: place.zone.clone(),
        ready: place.ready,
        serving: place.serving,
        terminating: place.terminating,
        slice,
    }
}

#[cfg(test)]
mod tests;

//! What a service's slices mean to one who listens: the set, slice by slice.
//!
//! Nearly always each endpoint stands in one slice and has its address for itself. Then the set is the slices as they are, and
//! a change costs what its own slice has, however many there are (P2). Only what is contested, a pod that stands in two
//! slices or an address that two pods have, is put together by the rules of [`merge`], and those look at nothing else.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use super::mirror::Held;
use super::pods::Leaving;
use super::slice::Place;
use crate::discovery::slices::{Age, Offer, Shown, alone, choose, merge};
use crate::discovery::{Observation, Observed, Port, share};
use crate::endpoint::EndpointKey;

/// What was understood of a service's slices so far.
#[derive(Debug)]
pub(super) struct View {
    port: Option<Port>,
    /// Whether the pods' own words count.
    pods: bool,
    /// In the order of the slices' names.
    parts: Vec<Part>,
    /// Marks that several endpoints have, in order.
    contested: Vec<u64>,
    /// The endpoints that have them, put together.
    merged: Arc<[Arc<Observed>]>,
}

/// A slice, each endpoint as if it had nothing to do with those of other slices.
#[derive(Debug)]
struct Part {
    slice: Arc<str>,
    places: Arc<[Place]>,
    port: u16,
    all: Arc<[Arc<Observed>]>,
    /// Two marks of each: one of its key and one of its address.
    marks: Box<[[u64; 2]]>,
    /// A pod has said something since.
    is_stale: bool,
}

impl View {
    pub(super) fn new(port: Option<Port>, pods: bool) -> Self {
        Self {
            port,
            pods,
            parts: Vec::new(),
            contested: Vec::new(),
            merged: Arc::default(),
        }
    }

    /// Whether the pods' own words count here.
    pub(super) fn hears_pods(&self) -> bool {
        self.pods
    }

    /// A pod has said something new; none: they all may have.
    pub(super) fn stir(&mut self, pod: Option<&str>) {
        let key = pod.map(mark);
        for part in &mut self.parts {
            part.is_stale |= key.is_none_or(|key| part.marks.iter().any(|marks| marks[0] == key));
        }
    }

    /// The set as it is now. The slices come in the order of their names.
    ///
    /// # Errors
    /// What keeps a port from being chosen.
    pub(super) fn look(
        &mut self,
        slices: &[Held],
        leaving: &Leaving,
    ) -> Result<Observation, String> {
        let offers: Vec<Vec<Offer<'_>>> = slices.iter().map(offers).collect();
        let (chosen, wrong) = choose(&offers, self.port.as_ref());
        if let Some(wrong) = wrong.first() {
            return Err(format!("port: {}", wrong.what));
        }
        let chosen: Vec<(&Held, u16)> = slices
            .iter()
            .zip(chosen)
            .filter_map(|(held, port)| Some((held, port?)))
            .collect();
        self.renew(&chosen, leaving);
        if self.contested.is_empty() {
            self.merged = Arc::default();
            let parts = self.parts.iter().map(|part| part.all.clone());
            return Ok(Observation::of_parts(parts.collect()));
        }
        let primary_is_ipv4 = slices.iter().any(|held| held.slice.is_ipv4);
        let mut merged = self.merge(&chosen, primary_is_ipv4);
        if self.pods {
            leaving.mark(&mut merged);
        }
        let mut merged: Vec<_> = merged.into_iter().map(Arc::new).collect();
        share(&mut merged, std::slice::from_ref(&self.merged));
        self.merged = merged.into();
        let parts = self.parts.iter().map(|part| self.uncontested(part));
        Ok(Observation::of_parts(
            parts.chain([self.merged.clone()]).collect(),
        ))
    }

    /// Brings the parts up to date, and what is contested among them.
    fn renew(&mut self, chosen: &[(&Held, u16)], leaving: &Leaving) {
        let leaving = self.pods.then_some(leaving);
        let mut before = std::mem::take(&mut self.parts).into_iter().peekable();
        let mut are_others = false;
        self.parts.reserve_exact(chosen.len());
        for (held, port) in chosen {
            let slice = &held.slice;
            while before.next_if(|part| part.slice < slice.name).is_some() {
                are_others = true;
            }
            let known = before.next_if(|part| part.slice == slice.name);
            if let Some(known) = known {
                let (part, is_other) = known.renewed(&slice.places, *port, leaving);
                are_others |= is_other;
                self.parts.push(part);
            } else {
                are_others = true;
                let places = &slice.places;
                self.parts
                    .push(Part::new(&slice.name, places, *port, leaving));
            }
        }
        if are_others || before.next().is_some() {
            self.contested = twice(self.parts.iter().flat_map(|part| &*part.marks));
        }
    }

    fn is_contested(&self, marks: &[u64; 2]) -> bool {
        marks
            .iter()
            .any(|mark| self.contested.binary_search(mark).is_ok())
    }

    /// What is contested, put together. Whoever shares a key or an address with one of these is one of them.
    fn merge(&self, chosen: &[(&Held, u16)], primary_is_ipv4: bool) -> Vec<Observed> {
        let mut shown = Vec::new();
        let mut ages = Vec::with_capacity(chosen.len());
        for (index, ((held, port), part)) in chosen.iter().zip(&self.parts).enumerate() {
            ages.push(age(held));
            let places = held.slice.places.iter().zip(&*part.marks);
            let contested = places.filter(|(_, marks)| self.is_contested(marks));
            shown.extend(contested.map(|(place, _)| show(place, *port, index)));
        }
        merge(shown, &ages, primary_is_ipv4)
    }

    /// The part without what is contested.
    fn uncontested(&self, part: &Part) -> Arc<[Arc<Observed>]> {
        let is_whole = !part.marks.iter().any(|marks| self.is_contested(marks));
        if is_whole {
            return part.all.clone();
        }
        let all = part.all.iter().zip(&*part.marks);
        all.filter(|(_, marks)| !self.is_contested(marks))
            .map(|(one, _)| one.clone())
            .collect()
    }
}

impl Part {
    fn new(slice: &Arc<str>, places: &Arc<[Place]>, port: u16, leaving: Option<&Leaving>) -> Self {
        let mut all: Vec<_> = places
            .iter()
            .map(|place| alone(show(place, port, 0)))
            .collect();
        if let Some(leaving) = leaving {
            leaving.mark(&mut all);
        }
        Self {
            slice: slice.clone(),
            places: places.clone(),
            port,
            marks: all
                .iter()
                .map(|one| [mark(one.key.as_str()), mark(&one.address)])
                .collect(),
            all: all.into_iter().map(Arc::new).collect(),
            is_stale: false,
        }
    }

    /// The same slice as it is now, and whether others stand in it.
    fn renewed(self, places: &Arc<[Place]>, port: u16, leaving: Option<&Leaving>) -> (Self, bool) {
        if Arc::ptr_eq(&self.places, places) && self.port == port && !self.is_stale {
            return (self, false);
        }
        let mut new = Self::new(&self.slice, places, port, leaving);
        if let Some(all) = Arc::get_mut(&mut new.all) {
            share(all, std::slice::from_ref(&self.all));
        }
        let are_others = new.marks != self.marks;
        (new, are_others)
    }
}

fn offers(held: &Held) -> Vec<Offer<'_>> {
    let ports = held.slice.ports.iter();
    ports
        .map(|(name, number)| Offer {
            name,
            number: *number,
        })
        .collect()
}

fn age(held: &Held) -> Age {
    let age = held.slice.age();
    if held.until.is_none() {
        return age;
    }
    // Whatever a slice that exists says is newer.
    Age {
        resource_version: Some(0),
        ..age
    }
}

fn show(place: &Place, port: u16, slice: usize) -> Shown {
    let address = SocketAddr::new(place.ip, port);
    Shown {
        key: match &place.uid {
            Some(uid) => uid.clone().into(),
            None => EndpointKey::from(address.to_string().as_str()),
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

/// A number that tells names or addresses apart. Two that have the same by chance are looked at together, and found to be
/// two.
fn mark(of: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The marks that occur more than once, in order.
fn twice<'a>(marks: impl Iterator<Item = &'a [u64; 2]>) -> Vec<u64> {
    let mut all: Vec<u64> = marks.flatten().copied().collect();
    all.sort_unstable();
    let pairs = all.windows(2).filter(|pair| pair[0] == pair[1]);
    let mut twice: Vec<u64> = pairs.map(|pair| pair[0]).collect();
    twice.dedup();
    twice
}

#[cfg(test)]
mod tests;

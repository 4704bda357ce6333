//! Many slices, one set: every endpoint once, and one usable endpoint at an address.
//!
//! While entries move between slices an endpoint may stand in two of them, a pod of both families stands in two at any
//! time, and an address may be in use again while a ghost still has it. What is said of one uid is put together: whoever
//! saw it terminating is right (P8). What is said of one address by two uids is two endpoints, of which only the better
//! is used; how old the sayings are does not count there (Kubernetes, issue 135593).

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::discovery::{Observed, ObservedState};
use crate::endpoint::EndpointKey;

/// An endpoint as one slice shows it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its uid, or else its address.
    pub(crate) key: EndpointKey,
    /// The key is a uid.
    pub(crate) has_uid: bool,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// `namespace/name` of its pod.
    pub(crate) pod: Option<Arc<str>>,
    /// Its zone.
    pub(crate) zone: Option<Arc<str>>,
    /// What its conditions say, or [`UNSAID`](super::UNSAID).
    pub(crate) ready: bool,
    /// The same.
    pub(crate) serving: bool,
    /// The same.
    pub(crate) terminating: bool,
    /// The slice it stands in, by its place among them.
    pub(crate) slice: usize,
}

/// What tells the newer of two slices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Age {
    /// The slice's name or uid: generations are comparable only within one.
    pub(crate) object: Option<Arc<str>>,
    /// Comparable over all slices of a cluster.
    pub(crate) resource_version: Option<u64>,
    /// Comparable within one slice.
    pub(crate) generation: Option<u64>,
}

/// Puts together what the slices show, given in the order of the text. Of a pod with both families the address of the
/// primary one is taken.
pub(crate) fn merge(shown: Vec<Shown>, ages: &[Age], primary_is_ipv4: bool) -> Vec<Observed> {
    let mut at: HashMap<EndpointKey, usize> = HashMap::with_capacity(shown.len());
    let mut once: Vec<Shown> = Vec::with_capacity(shown.len());
    let mut order: Vec<usize> = Vec::with_capacity(shown.len());
    for (place, next) in shown.into_iter().enumerate() {
        let Some(known) = at.get(&next.key) else {
            at.insert(next.key.clone(), once.len());
            once.push(next);
            order.push(place);
            continue;
        };
        let known_shown = &mut once[*known];
        let terminating = next.has_uid && (known_shown.terminating || next.terminating);
        if prevails(&next, known_shown, ages, primary_is_ipv4) {
            *known_shown = next;
            order[*known] = place;
        }
        known_shown.terminating |= terminating;
    }
    let mut merged: Vec<Observed> = once.into_iter().map(alone).collect();
    settle_rivals(&mut merged, &order);
    merged.sort_by(|one, other| (&one.pod, &one.key).cmp(&(&other.pod, &other.key)));
    merged
}

/// Whether what stands later in the text is to be believed over what is known of the same endpoint.
fn prevails(next: &Shown, known: &Shown, ages: &[Age], primary_is_ipv4: bool) -> bool {
    if next.address.is_ipv4() != known.address.is_ipv4() {
        return next.address.is_ipv4() == primary_is_ipv4;
    }
    compare(&ages[next.slice], &ages[known.slice]) != Some(Ordering::Less)
}

/// Which slice is the newer one; nothing where that cannot be told.
fn compare(one: &Age, other: &Age) -> Option<Ordering> {
    let different = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) if one != other => Some(one.cmp(&other)),
        _ => None,
    };
    different(one.resource_version, other.resource_version).or_else(|| {
        let same_object = one.object.is_some() && one.object == other.object;
        same_object
            .then(|| different(one.generation, other.generation))
            .flatten()
    })
}

/// What a slice shows of an endpoint that no other slice shows, at an address that nobody else has.
pub(crate) fn alone(shown: Shown) -> Observed {
    let state = match shown {
        // `ready` beside `terminating` is what publishNotReadyAddresses makes of it; it goes all the same.
        Shown {
            terminating: true,
            serving,
            ..
        } => ObservedState::Draining { serving },
        Shown { ready: true, .. } => ObservedState::Ready,
        Shown { ready: false, .. } => ObservedState::NotReady,
    };
    Observed {
        key: shown.key,
        address: shown.address,
        pod: shown.pod,
        zone: shown.zone,
        weight: 1,
        state,
        drain_timeout: None,
        latched: shown.has_uid,
        pod_end: None,
    }
}

/// Leaves one usable endpoint at each address: the best, and among equals the one that stands last in the text.
fn settle_rivals(endpoints: &mut [Observed], order: &[usize]) {
    let mut best: HashMap<SocketAddr, usize> = HashMap::with_capacity(endpoints.len());
    for next in 0..endpoints.len() {
        let known = *best.entry(endpoints[next].address).or_insert(next);
        if known == next {
            continue;
        }
        let rank = |index: usize| (worth(endpoints[index].state), order[index]);
        let (winner, loser) = if rank(next) > rank(known) {
            (next, known)
        } else {
            (known, next)
        };
        best.insert(endpoints[winner].address, winner);
        endpoints[loser].state = match endpoints[loser].state {
            ObservedState::Draining { .. } => ObservedState::Draining { serving: false },
            _ => ObservedState::NotReady,
        };
    }
}

fn worth(state: ObservedState) -> u8 {
    match state {
        ObservedState::Ready => 3,
        ObservedState::Draining { serving: true } => 2,
        ObservedState::NotReady | ObservedState::Suspect => 1,
        ObservedState::Draining { serving: false } => 0,
    }
}

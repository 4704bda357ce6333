//! The relist guard: endpoints that a list may only have missed (P9).
//!
//! A watch that lost its place lists anew, and a list from a server that has just come up can be older, or half empty, and
//! is no less well-formed for it. When one misses more than half of ten endpoints or more, those are kept for a while: last in
//! order, with no drain begun. What is still missing then is gone. Nothing but a list can do this: a removal that was watched
//! is obeyed at once, and so is the absence of whoever was draining already.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::{Observation, Observed, ObservedState};
use crate::endpoint::EndpointKey;

/// What a service's source said last, and what it may have missed.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    heard: Arc<Observation>,
    /// Those that are missing there, and until when they are kept.
    missing: Vec<(Arc<Observed>, Instant)>,
}

/// So long a missing endpoint is kept.
const KEPT: Duration = Duration::from_secs(10);

/// With fewer endpoints than this a list is believed.
const KNOWN_MIN: usize = 10;

impl Suspects {
    /// Takes a new set, after `known`. Returns how many endpoints are missing now that were not before.
    pub(super) fn hear(
        &mut self,
        known: &Observation,
        set: Arc<Observation>,
        is_relist: bool,
        now: Instant,
    ) -> usize {
        self.heard = set;
        if !is_relist && self.missing.is_empty() {
            return 0;
        }
        let here: HashSet<&EndpointKey> = self.heard.endpoints().map(|it| &it.key).collect();
        self.missing.retain(|(it, _)| !here.contains(&it.key));
        if !is_relist {
            return 0;
        }
        let stays = |it: &&Arc<Observed>| {
            matches!(it.state, ObservedState::Ready | ObservedState::NotReady)
        };
        let before: Vec<_> = known.endpoints().filter(stays).collect();
        let gone: Vec<_> = before
            .iter()
            .filter(|it| !here.contains(&it.key))
            .filter(|it| !self.missing.iter().any(|(known, _)| known.key == it.key))
            .collect();
        if before.len() < KNOWN_MIN || gone.len() * 2 <= before.len() {
            return 0;
        }
        let suspect = |it: &&&Arc<Observed>| {
            let mut kept = Observed::clone(it);
            // Whoever took no new work takes none now.
            if kept.state == ObservedState::Ready {
                kept.state = ObservedState::Suspect;
            }
            (Arc::new(kept), now + KEPT)
        };
        self.missing.extend(gone.iter().map(suspect));
        gone.len()
    }

    /// What is in force at a moment: the set, and those that are missing but not given up yet.
    pub(super) fn with(&mut self, now: Instant) -> Arc<Observation> {
        self.missing.retain(|(_, until)| *until > now);
        if self.missing.is_empty() {
            return self.heard.clone();
        }
        let missing = self.missing.iter().map(|(it, _)| it.clone());
        let parts = self.heard.parts().iter().cloned();
        Arc::new(Observation::of_parts(
            parts.chain([missing.collect()]).collect(),
        ))
    }

    /// When the next of them is given up.
    pub(super) fn until(&self) -> Option<Instant> {
        self.missing.iter().map(|(_, until)| *until).min()
    }
}

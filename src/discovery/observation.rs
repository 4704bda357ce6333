//! A full set of endpoints, and what it shares with the one before.

use std::collections::HashMap;
use std::sync::Arc;

use super::Observed;
use crate::endpoint::EndpointKey;

/// All that a source knows of one service, at one moment. Keys are unique.
///
/// It comes in parts: a file is one, and so is every slice of Kubernetes. What has not changed since the last observation is
/// the same allocation, a whole part where that is possible and else each endpoint. So a new set of 10,000 costs what has
/// changed and a pointer for each part, and so does the writer's comparison with the last one (P2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    parts: Vec<Arc<[Arc<Observed>]>>,
}

impl From<Vec<Observed>> for Observation {
    fn from(endpoints: Vec<Observed>) -> Self {
        endpoints.into_iter().map(Arc::new).collect()
    }
}

/// One part.
impl FromIterator<Arc<Observed>> for Observation {
    fn from_iter<I: IntoIterator<Item = Arc<Observed>>>(endpoints: I) -> Self {
        Self::of_parts(vec![endpoints.into_iter().collect()])
    }
}

impl Observation {
    /// All of these parts.
    #[must_use]
    pub fn of_parts(parts: Vec<Arc<[Arc<Observed>]>>) -> Self {
        Self { parts }
    }

    /// The same set, sharing with `previous` what has not changed.
    #[must_use]
    pub fn sharing(mut self, previous: &Self) -> Self {
        for part in &mut self.parts {
            // What is shared already has not changed.
            if let Some(part) = Arc::get_mut(part) {
                share(part, &previous.parts);
            }
        }
        self
    }

    /// Its parts, in a stable order.
    #[must_use]
    pub fn parts(&self) -> &[Arc<[Arc<Observed>]>] {
        &self.parts
    }

    /// The endpoints of all parts, in a stable order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Observed>> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Has endpoints share with the parts before them what has not changed, wherever it stands in either.
pub(crate) fn share(endpoints: &mut [Arc<Observed>], before: &[Arc<[Arc<Observed>]>]) {
    let mut known: HashMap<&EndpointKey, &Arc<Observed>> = HashMap::new();
    let before = before.iter().flat_map(|part| part.iter());
    let mut old = before.clone();
    for new in endpoints {
        // Most of the time the order is the same and the next old one fits; else they are looked up by key.
        match old.next() {
            Some(next) if next == new => {
                *new = next.clone();
                continue;
            }
            Some(_) if known.is_empty() => {
                known.extend(before.clone().map(|old| (&old.key, old)));
            }
            _ => {}
        }
        if let Some(same) = known.get(&new.key).filter(|old| *old == &&*new) {
            *new = (*same).clone();
        }
    }
}

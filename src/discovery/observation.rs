//! A full set of endpoints, and what it shares with the one before.

use std::collections::HashMap;
use std::sync::Arc;

use super::Observed;

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
    let before: Vec<_> = before.iter().flat_map(|part| part.iter()).collect();
    // Most of the time the order is the same, but for a few that come or go.
    let (mut fresh, mut missing, mut at) = (Vec::new(), Vec::new(), 0);
    for new in endpoints {
        let mut near = before[at..].iter().take(LOOK_AHEAD);
        if let Some(ahead) = near.position(|old| *old == new) {
            missing.extend_from_slice(&before[at..at + ahead]);
            at += ahead;
            *new = before[at].clone();
            at += 1;
        } else {
            fresh.push(new);
        }
    }
    missing.extend_from_slice(&before[at..]);
    if fresh.is_empty() {
        return;
    }
    // What stands elsewhere is found by its key.
    let missing: HashMap<_, _> = missing.into_iter().map(|old| (&old.key, old)).collect();
    for new in fresh {
        if let Some(same) = missing.get(&new.key).filter(|old| **old == new) {
            *new = (*same).clone();
        }
    }
}

/// How far [`share`] looks ahead to find where two sets fit together again.
const LOOK_AHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::ObservedState;
    use super::*;

    fn observed(number: u16, weight: u32) -> Observed {
        Observed {
            key: format!("web-{number}").as_str().into(),
            address: SocketAddr::from(([127, 0, 0, 1], number)),
            pod: None,
            zone: None,
            weight,
            state: ObservedState::Ready,
            drain_timeout: None,
            latched: false,
            pod_end: None,
        }
    }

    #[test]
    fn what_has_not_changed_is_shared_wherever_it_stands() {
        let before: Observation = (0..200)
            .map(|number| observed(number, 1))
            .collect::<Vec<_>>()
            .into();
        let mut orders: Vec<Vec<u16>> = vec![
            (0..200).collect(),
            (0..200).filter(|number| *number != 3).collect(),
            (0..200)
                .filter(|number| !(50..150).contains(number))
                .collect(),
            (300..350).chain(0..200).collect(),
            (0..100).chain(300..301).chain(100..200).collect(),
            (0..200).rev().collect(),
            (100..200).chain(0..100).collect(),
        ];
        orders.push(Vec::new());
        for order in orders {
            // One of them has changed.
            let weight = |number| if number == 7 { 9 } else { 1 };
            let new = order
                .iter()
                .map(|number| observed(*number, weight(*number)));
            let new = Observation::from(new.collect::<Vec<_>>()).sharing(&before);
            assert_eq!(new.len(), order.len());
            for (number, new) in order.iter().zip(new.endpoints()) {
                assert_eq!(**new, observed(*number, weight(*number)));
                let is_shared = before.endpoints().any(|old| Arc::ptr_eq(old, new));
                assert_eq!(is_shared, *number < 200 && *number != 7, "{number}");
            }
        }
    }
}

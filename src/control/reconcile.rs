//! Known against observed: what has changed, and what follows for each endpoint's newest life. Pure.
//!
//! Two questions are answered here. [`diff`]: which endpoints of a full set differ from the last one? [`step`]: given what
//! is wanted of an endpoint and how its newest life stands, what has to happen? The rules of drain.md (P1, P7, P8) are
//! these few lines; everything else in `control` only carries them out.

use std::collections::HashMap;
use std::sync::Arc;

use crate::discovery::{Observation, Observed, ObservedState};
use crate::endpoint::EndpointKey;

/// What differs between two full sets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    /// New or altered ones, as they are now.
    pub(super) changed: Vec<Arc<Observed>>,
    /// Keys that are no longer there.
    pub(super) removed: Vec<EndpointKey>,
}

/// How far [`diff`] looks ahead to find where two sets fit together again.
const LOOK_AHEAD: usize = 32;

/// Compares two full sets. What both share (the same allocation) is passed over without being looked at, so the cost is
/// that of a walk over pointers and of what has changed: those of the parts first, and then of the endpoints in what is left.
pub(super) fn diff(old: &Observation, new: &Observation) -> Diff {
    let (old, new): (Vec<_>, Vec<_>) = (old.parts().iter().collect(), new.parts().iter().collect());
    let (old, new) = apart(&old, &new);
    let (missing, fresh) = apart(&endpoints(&old), &endpoints(&new));
    pair(&missing, &fresh)
}

fn endpoints<'a>(parts: &[&'a Arc<[Arc<Observed>]>]) -> Vec<&'a Arc<Observed>> {
    parts.iter().flat_map(|part| part.iter()).collect()
}

/// What two lists do not share: that of the old one, that of the new one.
fn apart<'a, T: ?Sized>(
    old: &[&'a Arc<T>],
    new: &[&'a Arc<T>],
) -> (Vec<&'a Arc<T>>, Vec<&'a Arc<T>>) {
    let mut missing = Vec::new();
    let mut fresh = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        if Arc::ptr_eq(old[i], new[j]) {
            (i, j) = (i + 1, j + 1);
        } else if let Some(ahead) = find(&new[j..], old[i]) {
            fresh.extend_from_slice(&new[j..j + ahead]);
            j += ahead;
        } else if let Some(ahead) = find(&old[i..], new[j]) {
            missing.extend_from_slice(&old[i..i + ahead]);
            i += ahead;
        } else {
            missing.push(old[i]);
            fresh.push(new[j]);
            (i, j) = (i + 1, j + 1);
        }
    }
    missing.extend_from_slice(&old[i..]);
    fresh.extend_from_slice(&new[j..]);
    (missing, fresh)
}

fn find<T: ?Sized>(within: &[&Arc<T>], wanted: &Arc<T>) -> Option<usize> {
    within
        .iter()
        .take(LOOK_AHEAD)
        .position(|candidate| Arc::ptr_eq(candidate, wanted))
}

/// An endpoint that is both missing at its old place and fresh at a new one has moved or changed, not gone.
fn pair(missing: &[&Arc<Observed>], fresh: &[&Arc<Observed>]) -> Diff {
    let before: HashMap<&EndpointKey, &Arc<Observed>> =
        missing.iter().map(|old| (&old.key, *old)).collect();
    let now: HashMap<&EndpointKey, ()> = fresh.iter().map(|new| (&new.key, ())).collect();
    let removed = missing
        .iter()
        .filter(|old| !now.contains_key(&old.key))
        .map(|old| old.key.clone())
        .collect();
    let changed = fresh
        .iter()
        .filter(|new| before.get(&new.key).is_none_or(|old| *old != **new))
        .map(|new| Arc::clone(new))
        .collect();
    Diff { changed, removed }
}

/// What is wanted of an endpoint, all told: its source, its operator, its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// In rotation.
    Ready,
    /// Out of rotation, reversibly.
    NotReady,
    /// Missing in a list: used last, reversibly (P9).
    Suspect,
    /// Out, for good. `may_serve`: it would still answer if nobody else could (P7).
    Leave {
        /// Listed as serving, not promised away, and its service allows it.
        may_serve: bool,
    },
}

/// How an endpoint's newest life stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In rotation; the gate is open.
    Ready,
    /// Out of rotation; the gate is open and work in flight goes on without a deadline.
    NotReady,
    /// Missing in a list, and used last; the gate is open (P9).
    Suspect,
    /// Draining, but serving as the fallback: the gate is open (P7).
    Fallback,
    /// The gate is closed.
    Closed,
}

/// What has to happen to an endpoint's newest life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Keep,
    /// A first life, or a new one beside what is left of the old, which is closed.
    Begin(Standing),
    /// The same life, another standing; the gate stays open.
    Move(Standing),
    /// The gate closes.
    Close,
}

/// The rule for one endpoint. `anyone_ready`: some endpoint of the service is wanted in rotation, so nobody has to fill in.
pub(super) fn step(want: Want, standing: Option<Standing>, anyone_ready: bool) -> Step {
    use Standing::{Closed, Fallback, NotReady, Ready, Suspect};
    match want {
        Want::Ready => match standing {
            Some(Ready) => Step::Keep,
            Some(NotReady | Suspect) => Step::Move(Ready),
            // A life only moves forward: what comes back from a drain is another life.
            Some(Fallback | Closed) | None => Step::Begin(Ready),
        },
        Want::NotReady => match standing {
            Some(NotReady) => Step::Keep,
            Some(Ready | Suspect) => Step::Move(NotReady),
            Some(Fallback | Closed) | None => Step::Begin(NotReady),
        },
        Want::Suspect => match standing {
            Some(Suspect) => Step::Keep,
            Some(Ready | NotReady) => Step::Move(Suspect),
            Some(Fallback | Closed) | None => Step::Begin(Suspect),
        },
        Want::Leave { may_serve } if may_serve && !anyone_ready => match standing {
            Some(Fallback) => Step::Keep,
            Some(Ready | NotReady | Suspect) => Step::Move(Fallback),
            // Closed: the last ready one has left, and this one can still answer (P7).
            Some(Closed) | None => Step::Begin(Fallback),
        },
        Want::Leave { .. } => match standing {
            Some(Ready | NotReady | Suspect | Fallback) => Step::Close,
            Some(Closed) => Step::Keep,
            // First seen on its way out: it is shown, and never entered.
            None => Step::Begin(Closed),
        },
    }
}

/// What the source alone wants, before operators and services have their say.
pub(super) fn source_wants(state: ObservedState, latched: bool) -> Want {
    match state {
        ObservedState::Draining { serving } => Want::Leave { may_serve: serving },
        // A pod that was seen terminating never comes back; whether it still answers, nobody says any more (P8).
        ObservedState::Ready | ObservedState::NotReady | ObservedState::Suspect if latched => {
            Want::Leave {
                may_serve: state == ObservedState::Ready,
            }
        }
        ObservedState::Ready => Want::Ready,
        ObservedState::NotReady => Want::NotReady,
        ObservedState::Suspect => Want::Suspect,
    }
}

/// What a health check says of it besides: it only takes away, and not when all that could serve fail (`spared`, P7).
pub(super) fn judged(want: Want, failing: bool, spared: bool) -> Want {
    match want {
        Want::Ready if failing && !spared => Want::NotReady,
        want => want,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::discovery::share;

    fn observed(id: u8, weight: u32) -> Observed {
        Observed {
            key: format!("web-{id}").as_str().into(),
            address: SocketAddr::from(([127, 0, 0, 1], 9000 + u16::from(id))),
            pod: None,
            zone: None,
            weight,
            state: ObservedState::Ready,
            drain_timeout: None,
            latched: false,
            pod_end: None,
        }
    }

    fn set() -> impl Strategy<Value = Vec<(u8, u32)>> {
        (
            prop::collection::btree_map(any::<u8>(), 0u32..2, 0..60),
            any::<u64>(),
        )
            .prop_map(|(map, seed)| {
                let mut list: Vec<_> = map.into_iter().collect();
                fastrand::Rng::with_seed(seed).shuffle(&mut list);
                list
            })
    }

    /// In parts of a size, of which those that `before` has are the same allocation.
    fn in_parts(all: &[Arc<Observed>], size: usize, before: &Observation) -> Observation {
        let part = |part: &[Arc<Observed>]| -> Arc<[Arc<Observed>]> {
            let mut known = before.parts().iter();
            let is_same = |known: &&Arc<[Arc<Observed>]>| {
                let mut both = known.iter().zip(part);
                known.len() == part.len() && both.all(|(known, new)| Arc::ptr_eq(known, new))
            };
            known.find(is_same).cloned().unwrap_or_else(|| part.into())
        };
        Observation::of_parts(all.chunks(size).map(part).collect())
    }

    proptest! {
        #[test]
        fn finds_what_a_naive_comparison_finds(old in set(), new in set(), same in any::<bool>(), size in 1usize..8) {
            let old: Vec<Arc<Observed>> = old.iter().map(|(id, weight)| Arc::new(observed(*id, *weight))).collect();
            let mut new: Vec<Observed> = new.iter().map(|(id, weight)| observed(*id, *weight)).collect();
            if same {
                new.extend(old.iter().filter(|o| !new.iter().any(|n| n.key == o.key)).map(|o| (**o).clone()).collect::<Vec<_>>());
            }
            let before = in_parts(&old, size, &Observation::default());
            let mut new: Vec<Arc<Observed>> = new.into_iter().map(Arc::new).collect();
            share(&mut new, before.parts());
            let new = in_parts(&new, size, &before);
            let naive_old: BTreeMap<_, _> = old.iter().map(|o| (o.key.clone(), o)).collect();
            let naive_new: BTreeMap<_, _> = new.endpoints().map(|o| (o.key.clone(), o)).collect();
            let found = diff(&before, &new);
            let changed: BTreeMap<_, _> = found.changed.iter().map(|o| (o.key.clone(), o)).collect();
            prop_assert_eq!(changed.len(), found.changed.len());
            let naive_changed: BTreeMap<_, _> =
                naive_new.iter().filter(|(key, value)| naive_old.get(key) != Some(value)).map(|(k, v)| (k.clone(), *v)).collect();
            prop_assert_eq!(changed, naive_changed);
            let mut removed = found.removed.clone();
            removed.sort();
            let naive_removed: Vec<_> = naive_old.keys().filter(|key| !naive_new.contains_key(key)).cloned().collect();
            prop_assert_eq!(removed, naive_removed);
        }

        /// Law 6: an observation that says the same changes nothing, whatever its order.
        #[test]
        fn the_same_set_in_another_order_is_no_change(list in set(), seed in any::<u64>()) {
            let old: Vec<Arc<Observed>> = list.iter().map(|(id, weight)| Arc::new(observed(*id, *weight))).collect();
            let mut again: Vec<Observed> = old.iter().map(|o| (**o).clone()).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut again);
            let before: Observation = old.iter().cloned().collect();
            let new = Observation::from(again).sharing(&before);
            prop_assert_eq!(diff(&before, &new), Diff::default());
        }

        /// The promises about one service, whatever is wanted in whatever order.
        #[test]
        fn keeps_the_promises_about_tiers(history in prop::collection::vec(prop::collection::vec(0u8..6, 4), 1..20)) {
            let mut lives: [Option<Standing>; 4] = [None; 4];
            for wants in history {
                let wants: Vec<Want> = wants.iter().map(|w| match w {
                    0 | 1 => Want::Ready,
                    2 => Want::NotReady,
                    3 => Want::Leave { may_serve: true },
                    4 => Want::Suspect,
                    _ => Want::Leave { may_serve: false },
                }).collect();
                let anyone_ready = wants.contains(&Want::Ready);
                for (life, want) in lives.iter_mut().zip(&wants) {
                    let before = *life;
                    match step(*want, *life, anyone_ready) {
                        Step::Keep => {}
                        Step::Begin(standing) => *life = Some(standing),
                        Step::Move(standing) => {
                            prop_assert!(before != Some(Standing::Closed), "a closed life never opens (law 3)");
                            prop_assert!(before != Some(Standing::Fallback), "a draining life never leaves its drain (law 3)");
                            *life = Some(standing);
                        }
                        Step::Close => *life = Some(Standing::Closed),
                    }
                    prop_assert_eq!(step(*want, *life, anyone_ready), Step::Keep, "one step is enough");
                    match want {
                        Want::Ready => prop_assert_eq!(*life, Some(Standing::Ready)),
                        Want::NotReady => prop_assert_eq!(*life, Some(Standing::NotReady)),
                        Want::Suspect => prop_assert_eq!(*life, Some(Standing::Suspect), "P9"),
                        Want::Leave { may_serve: true } if !anyone_ready => prop_assert_eq!(*life, Some(Standing::Fallback), "P7"),
                        Want::Leave { .. } => prop_assert_eq!(*life, Some(Standing::Closed), "P1"),
                    }
                }
            }
        }
    }

    #[test]
    fn a_health_check_only_takes_away() {
        let wants = [
            Want::Ready,
            Want::NotReady,
            Want::Leave { may_serve: true },
            Want::Leave { may_serve: false },
        ];
        for want in wants {
            assert_eq!(judged(want, false, false), want);
            assert_eq!(judged(want, true, true), want);
            let aside = if want == Want::Ready {
                Want::NotReady
            } else {
                want
            };
            assert_eq!(judged(want, true, false), aside);
        }
    }

    #[test]
    fn a_terminating_pod_never_comes_back() {
        assert_eq!(
            source_wants(ObservedState::Ready, true),
            Want::Leave { may_serve: true }
        );
        assert_eq!(
            source_wants(ObservedState::NotReady, true),
            Want::Leave { may_serve: false }
        );
    }
}

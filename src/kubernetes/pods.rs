//! Pods that are being deleted, by their uid: they say so earlier than their services' slices do, and when they are killed.
//!
//! Latched: a pod that was asked to go never comes back. One that is gone is remembered for a while, since a slice may list
//! it still.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use kube::core::PartialObjectMeta;
use tokio::time::Instant;

use super::watch;
use crate::discovery::{Observed, ObservedState, PodEnd};

/// What is asked for of a pod: its metadata.
pub(super) type PodMeta = PartialObjectMeta<Pod>;

/// And what is kept of that: a namespace may have very many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) uid: Arc<str>,
    /// When it was asked to go, and when it is killed, if it is on its way out.
    end: Option<(Option<SystemTime>, SystemTime)>,
}

impl watch::Kept<PodMeta> for Kept {
    /// Nothing of one without a uid, which no slice can name.
    fn of(pod: PodMeta) -> Option<Self> {
        let metadata = pod.metadata;
        let grace = metadata.deletion_grace_period_seconds.unwrap_or_default();
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        let killed = metadata.deletion_timestamp.map(|it| SystemTime::from(it.0));
        Some(Self {
            uid: metadata.uid?.into(),
            end: killed.map(|killed| (killed.checked_sub(grace), killed)),
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

/// The pods of a namespace that are on their way out.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    pods: HashMap<Arc<str>, Known>,
}

#[derive(Debug)]
struct Known {
    end: PodEnd,
    /// It is gone, and forgotten then.
    until: Option<Instant>,
}

/// How long a pod that is gone is remembered.
const MEMORY: Duration = Duration::from_secs(60);

impl Leaving {
    /// All pods that there are. True when something is new.
    pub(super) fn replace(&mut self, pods: &[Kept], now: Instant) -> bool {
        let mut is_new = false;
        let there: HashSet<&str> = pods.iter().map(|pod| &*pod.uid).collect();
        for pod in pods {
            is_new |= self.see(pod);
        }
        for (uid, known) in &mut self.pods {
            if !there.contains(&**uid) {
                known.until.get_or_insert(now + MEMORY);
            }
        }
        is_new
    }

    /// One pod as it is now. True when it is new that it goes, or when.
    pub(super) fn see(&mut self, pod: &Kept) -> bool {
        let Some((asked, killed)) = pod.end else {
            return false;
        };
        let known = self.pods.entry(pod.uid.clone());
        let mut is_new = false;
        let known = known.or_insert_with(|| {
            is_new = true;
            Known {
                end: PodEnd {
                    asked,
                    killed: None,
                    in_slices: false,
                },
                until: None,
            }
        });
        // A grace period can be shortened, and never lengthened.
        if known.end.killed.is_none_or(|before| killed < before) {
            known.end.killed = Some(killed);
            is_new = true;
        }
        is_new
    }

    /// A pod that is gone, perhaps without a word before: killed by force, or with its node. True when that is new.
    pub(super) fn gone(&mut self, pod: &Kept, now: Instant) -> bool {
        let mut is_new = false;
        let known = self.pods.entry(pod.uid.clone()).or_insert_with(|| {
            is_new = true;
            Known {
                end: PodEnd {
                    asked: None,
                    killed: None,
                    in_slices: false,
                },
                until: None,
            }
        });
        known.until.get_or_insert(now + MEMORY);
        is_new
    }

    /// Forgets what has been gone for long.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.pods
            .retain(|_, known| known.until.is_none_or(|until| until > now));
    }

    /// Adds to a service's endpoints what is known of their pods.
    pub(super) fn mark(&self, endpoints: &mut [Observed]) {
        if self.pods.is_empty() {
            return;
        }
        for one in endpoints.iter_mut().filter(|one| one.latched) {
            let Some(known) = self.pods.get(one.key.as_str()) else {
                continue;
            };
            let in_slices = matches!(one.state, ObservedState::Draining { .. });
            if !in_slices {
                let serving = one.state == ObservedState::Ready;
                one.state = ObservedState::Draining { serving };
            }
            one.pod_end = Some(PodEnd {
                in_slices,
                ..known.end
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, killed: Option<&str>) -> Kept {
        let metadata = json!({
            "name": uid, "uid": uid,
            "deletionTimestamp": killed, "deletionGracePeriodSeconds": killed.map(|_| 30),
        });
        let pod = json!({ "metadata": metadata });
        watch::Kept::of(serde_json::from_value::<PodMeta>(pod).unwrap()).unwrap()
    }

    fn endpoint(uid: &str, state: ObservedState) -> Observed {
        Observed {
            key: uid.into(),
            address: "10.0.0.1:80".parse().unwrap(),
            pod: None,
            zone: None,
            weight: 1,
            state,
            drain_timeout: None,
            latched: true,
            pod_end: None,
        }
    }

    const AT: &str = "2026-11-22T10:00:30Z";
    const EARLIER: &str = "2026-11-22T10:00:10Z";
    const LATER: &str = "2026-11-22T10:01:00Z";

    fn second(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600 + seconds)
    }

    #[test]
    fn latches_by_uid_and_only_ever_shortens() {
        let mut leaving = Leaving::default();
        assert!(!leaving.see(&pod("a", None)));
        assert!(leaving.see(&pod("a", Some(AT))));
        assert!(!leaving.see(&pod("a", Some(LATER))));
        assert!(!leaving.see(&pod("a", None)));
        assert!(leaving.see(&pod("a", Some(EARLIER))));
        let mut all = [
            endpoint("a", ObservedState::Ready),
            endpoint("b", ObservedState::Ready),
        ];
        leaving.mark(&mut all);
        assert_eq!(all[0].state, ObservedState::Draining { serving: true });
        let end = all[0].pod_end.unwrap();
        assert_eq!((end.asked, end.killed), (Some(second(0)), Some(second(10))));
        assert!(!end.in_slices);
        assert_eq!(all[1], endpoint("b", ObservedState::Ready));
    }

    #[test]
    fn a_pod_that_is_gone_is_remembered_for_a_while() {
        let (mut leaving, now) = (Leaving::default(), Instant::now());
        assert!(leaving.gone(&pod("a", None), now));
        leaving.see(&pod("b", Some(AT)));
        leaving.replace(&[], now);
        let marked = |leaving: &Leaving| {
            let mut all = ["a", "b"].map(|uid| endpoint(uid, ObservedState::NotReady));
            leaving.mark(&mut all);
            all.map(|one| one.state != ObservedState::NotReady)
        };
        leaving.sweep(now + MEMORY / 2);
        assert_eq!(marked(&leaving), [true, true]);
        leaving.sweep(now + MEMORY);
        assert_eq!(marked(&leaving), [false, false]);
    }
}

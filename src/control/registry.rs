//! Every service, every endpoint and each of its lives.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checks::Checked;
use super::reconcile::{Standing, Want, source_wants};
use super::suspects::Suspects;
use super::view::State;
use crate::discovery::{Observation, Observed, ObservedState, PodEnd};
use crate::drain::{Cause, Deadline, LimitedBy, Report};
use crate::endpoint::{EndpointKey, Life, Member, Ramp};
use crate::snapshot::{AllDraining, Service, Tier, Tiers};

/// A service and all it has.
#[derive(Debug)]
pub(super) struct Record {
    /// What workers see.
    pub(super) service: Arc<Service>,
    pub(super) source: Source,
    /// Whether some route leads here.
    pub(super) routed: bool,
    /// Whether the config still has it.
    pub(super) configured: bool,
    /// The last good set, those included that are suspect.
    pub(super) observed: Arc<Observation>,
    pub(super) suspects: Suspects,
    /// In an order that is the same in every run, so that a simulation can be played again.
    pub(super) entries: HashMap<EndpointKey, Entry, BuildHasherDefault<DefaultHasher>>,
    /// The newest lives of entries, as members.
    pub(super) tiers: Tiers,
    /// Entries wanted in rotation with a weight.
    pub(super) ready: usize,
    /// Those of them whose health check does not fail.
    pub(super) sound: usize,
    /// Pods that were seen terminating and have left: what comes back under their uid is not trusted (P8).
    pub(super) terminated: Uids,
}

/// A service's source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) settings: crate::discovery::Settings,
    pub(super) kind: &'static str,
    pub(super) generation: u64,
    pub(super) stop: CancellationToken,
    pub(super) fault: Option<String>,
    /// It has delivered a set, this source and not one before it.
    pub(super) has_told: bool,
    /// When the set was last seen to be so; none before the first set.
    pub(super) fresh: Option<Instant>,
}

/// The uids of pods, bounded: the oldest are forgotten first.
#[derive(Debug, Default)]
pub(super) struct Uids {
    known: HashSet<EndpointKey>,
    order: VecDeque<EndpointKey>,
}

const UIDS_MAX: usize = 4096;

impl Uids {
    pub(super) fn insert(&mut self, key: EndpointKey) {
        if self.known.insert(key.clone()) {
            self.order.push_back(key);
        }
        if self.order.len() > UIDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, key: &EndpointKey) -> bool {
        self.known.contains(key)
    }
}

/// An endpoint, through all its lives.
#[derive(Debug)]
pub(super) struct Entry {
    /// What the source says; none when it has left its source.
    pub(super) listed: Option<Arc<Observed>>,
    /// Its own drain timeout, as its source said last: it holds for what has left the source, too.
    pub(super) own_timeout: Option<Duration>,
    /// Seen terminating under a uid: final.
    pub(super) terminated: bool,
    /// What its pod said last of its own end: it holds for what has left the source, too.
    pub(super) pod_end: Option<PodEnd>,
    /// The pod is about to be killed: it serves nobody any more, not even as the fallback (P7).
    pub(super) out_of_time: bool,
    /// An operator or a hook asked for a drain. Boxed, as all that few endpoints of many have at a time.
    pub(super) asked: Option<Box<Asked>>,
    /// `drained: true` was answered to somebody: it does not come back as the fallback (P7).
    pub(super) settled: bool,
    /// Everyone who says that it should leave, the first one first.
    pub(super) seen: Vec<(Cause, SystemTime)>,
    pub(super) want: Want,
    /// Whether it counts as ready for the tiers: wanted in rotation, with a weight.
    pub(super) counted: bool,
    /// Whether it counts as one whose health check does not fail.
    pub(super) sound: bool,
    pub(super) newest: Option<LifeRecord>,
    /// Earlier lives that still have work.
    pub(super) older: Vec<LifeRecord>,
}

/// From the end of a pod's work to its kill.
const BEFORE_THE_KILL: Duration = Duration::from_secs(2);

/// A drain that somebody asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) cause: Cause,
    pub(super) timeout: Option<Duration>,
    pub(super) at: SystemTime,
}

/// One life and how it stands.
#[derive(Debug)]
pub(super) struct LifeRecord {
    pub(super) life: Life,
    pub(super) standing: Standing,
    pub(super) weight: u32,
    /// Since when it is ready, for the slow start; none for those of the first set.
    pub(super) ready_since: Option<Instant>,
    pub(super) drain: Option<Box<Drain>>,
    /// The state that it left when its gate closed; none for one that began closed.
    pub(super) left: Option<State>,
    /// It drains, and its gate is open to its sessions until the deadline (P14).
    pub(super) kept: bool,
    /// Its health check, while it is not draining and its service has one.
    pub(super) check: Option<Box<Checked>>,
}

/// A life's drain.
#[derive(Debug)]
pub(super) struct Drain {
    /// The report so far; complete once `ended` is set in it.
    pub(super) report: Report,
    /// When the gate closed; none while it serves as the fallback.
    pub(super) closed: Option<Instant>,
    /// Every worker has confirmed.
    pub(super) confirmed: bool,
    /// An operator has put the endpoint back.
    pub(super) cancelled: bool,
}

impl Record {
    /// What is wanted of an endpoint, all told.
    pub(super) fn want(&self, entry: &Entry) -> Want {
        let Some(listed) = &entry.listed else {
            return Want::Leave { may_serve: false };
        };
        if !self.routed || !self.configured {
            return Want::Leave { may_serve: false };
        }
        let wanted = match source_wants(listed.state, entry.terminated) {
            Want::Ready if entry.asked.is_some() => Want::Leave { may_serve: true },
            Want::NotReady | Want::Suspect if entry.asked.is_some() => {
                Want::Leave { may_serve: false }
            }
            wanted => wanted,
        };
        match wanted {
            Want::Leave { may_serve } => Want::Leave {
                may_serve: may_serve
                    && !entry.settled
                    && !entry.out_of_time
                    && self.service.settings().all_draining == AllDraining::Serve,
            },
            wanted => wanted,
        }
    }

    /// Everyone who says that an endpoint should leave.
    pub(super) fn causes(&self, entry: &Entry) -> Vec<Cause> {
        let mut causes = Vec::new();
        if let Some(asked) = &entry.asked {
            causes.push(asked.cause);
        }
        if !self.routed || !self.configured {
            causes.push(Cause::Route);
        }
        match &entry.listed {
            None => causes.push(Cause::Removed),
            Some(listed)
                if entry.terminated || matches!(listed.state, ObservedState::Draining { .. }) =>
            {
                causes.extend(listed.pod_end.map(|_| Cause::Pod));
                if listed.pod_end.is_none_or(|end| end.in_slices) {
                    causes.push(Cause::Source);
                }
            }
            Some(_) => {}
        }
        causes
    }

    /// Whether an endpoint that drains stays open to its sessions until its deadline (P14): its service says so, and it is
    /// listed as serving. What has left its source, or no route leads to, is closed to everyone.
    pub(super) fn keeps(&self, entry: &Entry) -> bool {
        let serves = entry.listed.as_ref().is_some_and(|listed| {
            match source_wants(listed.state, entry.terminated) {
                Want::Ready => true,
                Want::NotReady | Want::Suspect => false,
                Want::Leave { may_serve } => may_serve,
            }
        });
        serves && self.routed && self.configured && self.service.settings().affinity.keeps()
    }

    /// Brings an endpoint's place among the members to how its newest life stands. Returns whether that changes anything.
    pub(super) fn enroll(&mut self, key: &EndpointKey) -> bool {
        let newest = self.entries.get(key).and_then(|it| it.newest.as_ref());
        let slow_start = self.service.settings().slow_start;
        match newest.and_then(|newest| newest.member(slow_start)) {
            Some((tier, member)) => self.tiers.put(tier, member),
            None => self.tiers.remove(self.service.name(), key),
        }
    }

    /// Whether its source has neither delivered a set nor said that it cannot.
    pub(super) fn is_unseen(&self) -> bool {
        self.source.fresh.is_none() && self.source.fault.is_none()
    }

    /// Whether nothing of it is left that anybody could ask for.
    pub(super) fn is_over(&self) -> bool {
        !self.configured && self.entries.is_empty()
    }
}

impl LifeRecord {
    /// What workers choose by, and what it is there for; none while it is there for nothing.
    fn member(&self, slow_start: Duration) -> Option<(Tier, Member)> {
        let tier = match self.standing {
            Standing::Ready => Tier::Primary,
            Standing::Suspect => Tier::Suspect,
            Standing::Fallback => Tier::Fallback,
            Standing::Closed if self.kept => Tier::Kept,
            Standing::NotReady | Standing::Closed => return None,
        };
        // Whoever fills in has a weight: with the weight 0 it would be refused although it can serve.
        let least = u32::from(matches!(tier, Tier::Fallback | Tier::Kept));
        let since = self.ready_since.filter(|_| tier == Tier::Primary);
        let member = Member {
            endpoint: self.life.endpoint().clone(),
            weight: self.weight.max(least),
            ramp: since.filter(|_| !slow_start.is_zero()).map(|since| Ramp {
                since,
                over: slow_start,
            }),
        };
        Some((tier, member))
    }
}

impl Entry {
    pub(super) fn new(listed: Arc<Observed>, terminated: bool) -> Self {
        Self {
            own_timeout: listed.drain_timeout,
            pod_end: listed.pod_end,
            listed: Some(listed),
            terminated,
            out_of_time: false,
            asked: None,
            settled: false,
            seen: Vec::new(),
            want: Want::NotReady,
            counted: false,
            sound: false,
            newest: None,
            older: Vec::new(),
        }
    }

    /// Brings `seen` up to date: a cause that is new is noted with its time, one that ceased is forgotten.
    pub(super) fn note(&mut self, causes: &[Cause], now: SystemTime) {
        self.seen.retain(|(cause, _)| causes.contains(cause));
        for cause in causes {
            if !self.seen.iter().any(|(known, _)| known == cause) {
                let at = self
                    .asked
                    .as_ref()
                    .filter(|asked| asked.cause == *cause)
                    .map_or(now, |asked| asked.at);
                self.seen.push((*cause, at));
            }
        }
        if let Some(drain) = self
            .newest
            .as_mut()
            .and_then(|newest| newest.drain.as_mut())
        {
            for (cause, at) in &self.seen {
                if !drain.report.seen.iter().any(|(known, _)| known == cause) {
                    drain.report.seen.push((*cause, *at));
                }
            }
        }
    }

    /// Notes what its pod says of its own end, and what had been heard of that before. Returns how long after the pod was
    /// asked to go each teller is heard now.
    pub(super) fn hear_of_its_end(
        &mut self,
        end: Option<PodEnd>,
        now: SystemTime,
    ) -> Vec<(&'static str, Duration)> {
        let Some(end) = end else { return Vec::new() };
        let before = self.pod_end.replace(end);
        let Some(asked) = end.asked else {
            return Vec::new();
        };
        let mut lags = Vec::new();
        if before.is_none() {
            lags.push(("pods", now));
        }
        if end.in_slices && before.is_none_or(|before| !before.in_slices) {
            let told = self.seen.iter().find(|(cause, _)| *cause == Cause::Source);
            lags.push(("endpointslices", told.map_or(now, |(_, at)| *at)));
        }
        let lag =
            |(teller, at): (_, SystemTime)| (teller, at.duration_since(asked).unwrap_or_default());
        lags.into_iter().map(lag).collect()
    }

    /// When its pod is as good as dead: a moment before it is killed, so that clients hear of it from us (P5).
    pub(super) fn pod_deadline(&self, now: Instant) -> Option<Deadline> {
        let killed = self.pod_end?.killed?;
        let left = killed.duration_since(SystemTime::now()).unwrap_or_default();
        Some(Deadline {
            at: now + left.saturating_sub(BEFORE_THE_KILL),
            limited_by: LimitedBy::Pod,
        })
    }

    /// Who asked first; `Source` can only be the answer for a life that nobody wants to leave.
    pub(super) fn cause(&self) -> Cause {
        self.seen.first().map_or(Cause::Source, |(cause, _)| *cause)
    }

    /// All lives, the newest first.
    pub(super) fn lives(&self) -> impl Iterator<Item = &LifeRecord> {
        self.newest.iter().chain(self.older.iter().rev())
    }

    pub(super) fn life_mut(&mut self, id: crate::endpoint::EndpointId) -> Option<&mut LifeRecord> {
        self.newest
            .iter_mut()
            .chain(self.older.iter_mut())
            .find(|record| record.life.endpoint().id() == id)
    }
}

/// Services by name, in a stable order.
pub(super) type Services = BTreeMap<crate::endpoint::ServiceName, Record>;

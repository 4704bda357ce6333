//! A service as workers see it: its members in two tiers, and the choice between them.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::affinity::Homes;
use super::{RetryBudget, ServiceSettings, WaitingRoom};
use crate::balance::{Candidate, PickContext, Picker};
use crate::endpoint::{EndpointId, InFlight, Member, ServiceName};

/// A service: what stays for as long as it is configured, and the pointer to what changes.
#[derive(Debug)]
pub struct Service {
    name: ServiceName,
    current: ArcSwap<ServiceSnapshot>,
    waiting: WaitingRoom,
    budget: RetryBudget,
}

/// All of one service's endpoints at one version, immutable.
#[derive(Debug)]
pub struct ServiceSnapshot {
    settings: Arc<ServiceSettings>,
    /// Those in rotation.
    primary: Rank,
    /// Those that fill in when nobody is in rotation (P7).
    fallback: Rank,
    /// Those that drain and are open to their sessions until their deadline (P14).
    kept: Vec<Member>,
    /// Where sessions are at home: built by the first request that has one, since an update must not wait for it (P2).
    homes: OnceLock<Option<Homes>>,
}

/// The members of a service, by what they are there for.
#[derive(Debug, Default)]
pub struct Tiers {
    /// Those in rotation.
    pub primary: Vec<Member>,
    /// Those that fill in when nobody is in rotation (P7).
    pub fallback: Vec<Member>,
    /// Those that drain and are open to their sessions until their deadline (P14).
    pub kept: Vec<Member>,
}

/// Members and the picker that was built from them: together, so that the two cannot disagree.
#[derive(Debug)]
struct Rank {
    members: Vec<Member>,
    picker: Picker,
}

/// What a request brings to the choice.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Now.
    pub now: Instant,
    /// The worker's dice.
    pub rng: &'a mut fastrand::Rng,
    /// The hash of the request's key, where the policy asks for one.
    pub hash: Option<u64>,
    /// The session it belongs to, where the affinity asks for one and the request has it.
    pub session: Option<u64>,
    /// Endpoints that have failed or refused this request already.
    pub avoid: &'a [EndpointId],
}

/// Why nothing was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotChosen {
    /// The one that was picked drains since: a newer snapshot is there.
    Stale,
    /// Nobody is left.
    Nobody,
}

impl Service {
    /// A service without endpoints.
    #[must_use]
    pub fn new(settings: Arc<ServiceSettings>, workers: usize) -> Self {
        Self {
            name: settings.name.clone(),
            current: ArcSwap::from_pointee(ServiceSnapshot::new(settings, Tiers::default())),
            waiting: WaitingRoom::new(workers),
            budget: RetryBudget::new(workers),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// The newest snapshot. Not to be kept: it keeps what has left the service alive.
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<ServiceSnapshot>> {
        self.current.load()
    }

    /// What is configured of it.
    #[must_use]
    pub fn settings(&self) -> Arc<ServiceSettings> {
        self.current.load().settings.clone()
    }

    /// Replaces the snapshot.
    pub fn publish(&self, settings: Arc<ServiceSettings>, tiers: Tiers) {
        self.current
            .store(Arc::new(ServiceSnapshot::new(settings, tiers)));
    }

    /// Those who wait for a connection.
    #[must_use]
    pub fn waiting(&self) -> &WaitingRoom {
        &self.waiting
    }

    /// What may be sent again.
    #[must_use]
    pub fn budget(&self) -> &RetryBudget {
        &self.budget
    }
}

impl ServiceSnapshot {
    fn new(settings: Arc<ServiceSettings>, tiers: Tiers) -> Self {
        let rank = |members: Vec<Member>| Rank {
            picker: Picker::build(&settings.balance, &members),
            members,
        };
        Self {
            primary: rank(tiers.primary),
            fallback: rank(tiers.fallback),
            kept: tiers.kept,
            homes: OnceLock::new(),
            settings,
        }
    }

    /// What is configured of the service.
    #[must_use]
    pub fn settings(&self) -> &Arc<ServiceSettings> {
        &self.settings
    }

    /// Takes a place in flight at the home of the request's session; none when it has none that takes it.
    #[must_use]
    pub fn home(&self, ask: &mut Ask<'_>) -> Option<InFlight> {
        let session = ask.session?;
        let homes = self.homes.get_or_init(|| {
            let (rank, _) = self.rank();
            let members = rank.members.iter().chain(&self.kept).cloned().collect();
            Homes::build(&self.settings.affinity, &self.settings.name, members)
        });
        let (_, fallback) = self.rank();
        homes.as_ref()?.enter(session, fallback, ask)
    }

    /// Whether nobody is in rotation, so that those who drain serve (P7).
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.rank().1
    }

    /// Picks an endpoint and takes a place in flight there.
    ///
    /// # Errors
    /// [`NotChosen`]: ask again with a newer snapshot, or do without.
    pub fn choose(&self, ask: &mut Ask<'_>) -> Result<InFlight, NotChosen> {
        let (rank, fallback) = self.rank();
        let excluded: Vec<usize> = if ask.avoid.is_empty() {
            Vec::new()
        } else {
            (0..rank.members.len())
                .filter(|i| ask.avoid.contains(&rank.members[*i].endpoint.id()))
                .collect()
        };
        let mut cx = PickContext {
            now: ask.now,
            rng: ask.rng,
            hash: ask.hash,
            excluded: &excluded,
        };
        let picked = rank
            .picker
            .pick(&rank.members, &mut cx)
            .ok_or(NotChosen::Nobody)?;
        rank.members[picked]
            .endpoint
            .acquire(fallback)
            .map_err(|_| NotChosen::Stale)
    }

    /// Takes a place at whoever still gives one: the last resort after stale picks.
    #[must_use]
    pub fn scan(&self, avoid: &[EndpointId]) -> Option<InFlight> {
        let (rank, fallback) = self.rank();
        rank.members
            .iter()
            .filter(|member| member.weight > 0 && !avoid.contains(&member.endpoint.id()))
            .find_map(|member| member.endpoint.acquire(fallback).ok())
    }

    /// Whether there is another endpoint than those.
    #[must_use]
    pub fn has_other_than(&self, avoid: &[EndpointId]) -> bool {
        let (rank, _) = self.rank();
        rank.members
            .iter()
            .any(|member| member.weight > 0 && !avoid.contains(&member.endpoint.id()))
    }

    fn rank(&self) -> (&Rank, bool) {
        if self.primary.members.iter().any(|member| member.weight > 0) {
            (&self.primary, false)
        } else {
            (&self.fallback, true)
        }
    }
}

impl Candidate for Member {
    fn weight(&self) -> u32 {
        self.weight
    }

    fn in_flight(&self) -> u64 {
        self.endpoint.in_flight()
    }

    fn latency(&self) -> f64 {
        self.endpoint.load().seconds()
    }

    fn share(&self, now: Instant) -> f64 {
        Self::share(self, now)
    }

    fn hash_seed(&self) -> &str {
        self.endpoint.about().key.as_str()
    }
}

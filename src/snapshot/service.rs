//! A service as workers see it: its members in tiers, and the choice between them.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::affinity::Homes;
use super::places::{Place, Places};
use super::{Affinity, RetryBudget, ServiceSettings, Tier, Tiers, WaitingRoom};
use crate::balance::{Candidate, Members, PickContext, Picker};
use crate::endpoint::{Admission, EndpointId, InFlight, Member, ServiceName};

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
    /// Those that are missing in a list (P9): the last in order.
    suspect: Rank,
    /// Those that drain and are open to their sessions until their deadline (P14).
    kept: Members<Member>,
    /// Where the tokens of sessions lead.
    places: Places,
    /// Where sessions by a field are at home: built by the first request that has one, since an update must not wait for it
    /// (P2).
    homes: OnceLock<Homes>,
}

/// Members and the picker that was built from them: together, so that the two cannot disagree.
#[derive(Debug)]
struct Rank {
    tier: Tier,
    members: Members<Member>,
    picker: Picker,
    /// Whether anybody in it has a weight.
    serves: bool,
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
            current: ArcSwap::from_pointee(ServiceSnapshot::new(settings, &Tiers::default())),
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

    /// Replaces the snapshot. Returns the one before: to drop it takes time, too.
    pub fn publish(&self, settings: Arc<ServiceSettings>, tiers: &Tiers) -> Arc<ServiceSnapshot> {
        let next = ServiceSnapshot::new(settings, tiers);
        next.resume(&self.current.load());
        self.current.swap(Arc::new(next))
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
    fn new(settings: Arc<ServiceSettings>, tiers: &Tiers) -> Self {
        let rank = |tier| {
            let members = tiers.of(tier).clone();
            Rank {
                picker: Picker::build(&settings.balance, &members),
                serves: members.have_weight(),
                members,
                tier,
            }
        };
        Self {
            primary: rank(Tier::Primary),
            fallback: rank(Tier::Fallback),
            suspect: rank(Tier::Suspect),
            kept: tiers.of(Tier::Kept).clone(),
            places: tiers.places().clone(),
            homes: OnceLock::new(),
            settings,
        }
    }

    /// Goes on where the snapshot before it stopped.
    fn resume(&self, earlier: &Self) {
        self.primary.picker.resume(&earlier.primary.picker);
        self.fallback.picker.resume(&earlier.fallback.picker);
        self.suspect.picker.resume(&earlier.suspect.picker);
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
        let (rank, admission) = self.rank();
        let home = match &self.settings.affinity {
            Affinity::None | Affinity::Connection => return None,
            Affinity::Cookie { .. } => self.known_by(session, rank)?,
            Affinity::Header { name, .. } => {
                let members = || rank.members.iter().chain(self.kept.iter()).cloned();
                let homes = self.homes.get_or_init(|| Homes::build(name, members()));
                homes.of(session, ask)?
            }
        };
        if ask.avoid.contains(&home.endpoint.id()) {
            return None;
        }
        // Refused: it drains since, and the session picks anew.
        home.endpoint.acquire_session(admission).ok()
    }

    /// Whom a token means, among those of a rank and those that are kept.
    fn known_by<'a>(&'a self, token: u64, rank: &'a Rank) -> Option<&'a Member> {
        let places = self.places.of(token).iter();
        let member = |place: &Place| match place.tier {
            Tier::Kept => Some(&self.kept[place.index as usize]),
            tier if tier == rank.tier => Some(&rank.members[place.index as usize]),
            _ => None,
        };
        places.filter_map(member).find(|member| member.weight > 0)
    }

    /// Why whoever comes now is admitted: nobody may be in rotation, so that those who drain serve (P7).
    #[must_use]
    pub fn admission(&self) -> Admission {
        self.rank().1
    }

    /// Picks an endpoint and takes a place in flight there. One that is ejected is passed over as long as there is another
    /// (P7: when all are, they are used as if none was).
    ///
    /// # Errors
    /// [`NotChosen`]: ask again with a newer snapshot, or do without.
    pub fn choose(&self, ask: &mut Ask<'_>) -> Result<InFlight, NotChosen> {
        let (rank, admission) = self.rank();
        // Nearly always nothing is to be avoided. What is, is excluded once it is picked: looking for it would be a walk.
        let mut excluded = Vec::new();
        let first = loop {
            let picked = rank.pick(ask, &excluded).ok_or(NotChosen::Nobody)?;
            if !ask.avoid.contains(&rank.members[picked].endpoint.id()) {
                break picked;
            }
            excluded.push(picked);
        };
        let picked = if rank.is_out(first, ask) {
            rank.instead_of(first, excluded, ask)
        } else {
            first
        };
        rank.members[picked]
            .endpoint
            .acquire(admission)
            .map_err(|_| NotChosen::Stale)
    }

    /// Takes a place at whoever still gives one, the ejected last: the last resort after stale picks.
    #[must_use]
    pub fn scan(&self, avoid: &[EndpointId], now: Instant) -> Option<InFlight> {
        let (rank, admission) = self.rank();
        let enter = |out: bool| {
            rank.members
                .iter()
                .filter(|member| member.may_take(avoid) && member.is_out(now) == out)
                .find_map(|member| member.endpoint.acquire(admission).ok())
        };
        enter(false).or_else(|| enter(true))
    }

    /// Whether there is another endpoint than those.
    #[must_use]
    pub fn has_other_than(&self, avoid: &[EndpointId]) -> bool {
        let (rank, _) = self.rank();
        rank.members.iter().any(|member| member.may_take(avoid))
    }

    fn rank(&self) -> (&Rank, Admission) {
        if self.primary.serves {
            (&self.primary, Admission::Ready)
        } else if self.fallback.serves || !self.suspect.serves {
            (&self.fallback, Admission::Fallback)
        } else {
            (&self.suspect, Admission::Suspect)
        }
    }
}

impl Rank {
    fn pick(&self, ask: &mut Ask<'_>, excluded: &[usize]) -> Option<usize> {
        let mut cx = PickContext {
            now: ask.now,
            rng: ask.rng,
            hash: ask.hash,
            excluded,
        };
        self.picker.pick(&self.members, &mut cx)
    }

    fn is_out(&self, index: usize, ask: &Ask<'_>) -> bool {
        self.members[index].is_out(ask.now)
    }

    /// Another one than `first`, which is ejected; that one all the same when there is no other.
    fn instead_of(&self, first: usize, mut excluded: Vec<usize>, ask: &mut Ask<'_>) -> usize {
        let mut unfit = first;
        for _ in 0..EJECTED_MAX + ask.avoid.len() {
            excluded.push(unfit);
            match self.pick(ask, &excluded) {
                Some(picked)
                    if self.members[picked].may_take(ask.avoid) && !self.is_out(picked, ask) =>
                {
                    return picked;
                }
                Some(picked) => unfit = picked,
                None => return first,
            }
        }
        // So many are ejected that picking finds nobody else: whoever comes first from a place by chance on.
        let from = ask.rng.usize(..self.members.len());
        let found = (from..self.members.len()).chain(0..from).find(|index| {
            let member = &self.members[*index];
            member.may_take(ask.avoid) && !member.is_out(ask.now)
        });
        found.unwrap_or(first)
    }
}

/// Picks that may turn out to be ejected before everything is looked at.
const EJECTED_MAX: usize = 4;

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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::sync::mpsc;

    use super::super::token;
    use super::*;
    use crate::balance::{HashKey, Policy};
    use crate::endpoint::{About, Life};

    fn lives(count: u16) -> Vec<Life> {
        let life = |n: u16| {
            let about = About {
                service: "web".into(),
                key: format!("web-{n}").as_str().into(),
                address: SocketAddr::from(([127, 0, 0, 1], 9000 + n)),
                pod: None,
                zone: None,
            };
            Life::begin(about, mpsc::unbounded_channel().0)
        };
        (0..count).map(life).collect()
    }

    fn member(life: &Life) -> Member {
        Member {
            endpoint: life.endpoint().clone(),
            weight: 1,
            ramp: None,
        }
    }

    fn service(policy: Policy, lives: &[Life]) -> Service {
        let mut settings = ServiceSettings::named("web".into());
        settings.balance = policy;
        let settings = Arc::new(settings);
        let service = Service::new(settings.clone(), 1);
        let primary = lives.iter().map(|life| (Tier::Primary, member(life)));
        service.publish(settings, &primary.collect());
        service
    }

    /// Where so many requests go, by the number of the life.
    fn choices(service: &Service, lives: &[Life], avoid: &[EndpointId]) -> Vec<usize> {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut counts = vec![0; lives.len()];
        for request in 0..600 {
            let mut ask = Ask {
                now: Instant::now(),
                rng: &mut rng,
                hash: Some(request),
                session: None,
                avoid,
            };
            let place = service.load().choose(&mut ask).unwrap();
            let chosen = lives
                .iter()
                .position(|life| life.endpoint().id() == place.endpoint().id());
            counts[chosen.unwrap()] += 1;
        }
        counts
    }

    fn eject(life: &Life) {
        assert!(life.endpoint().ejection().refused(Instant::now()).is_some());
    }

    /// What an update costs is told by the endpoints that hear of it: each that is copied is held once more.
    #[test]
    fn an_update_of_one_among_many_touches_few() {
        for policy in policies() {
            let lives = lives(10_000);
            let mut tiers: Tiers = lives.iter().map(|it| (Tier::Primary, member(it))).collect();
            let mut settings = ServiceSettings::named("web".into());
            settings.balance = policy.clone();
            settings.affinity = Affinity::Cookie {
                name: "sid".into(),
                keep_until_deadline: false,
            };
            let settings = Arc::new(settings);
            let service = Service::new(settings.clone(), 1);
            service.publish(settings.clone(), &tiers);
            let held = || -> Vec<usize> {
                let counts = lives.iter().map(|it| Arc::strong_count(it.endpoint()));
                counts.collect()
            };
            let before = held();
            // One leaves, one changes.
            tiers.remove(&"web".into(), &lives[777].endpoint().about().key);
            let mut heavier = member(&lives[5_555]);
            heavier.weight = 3;
            tiers.put(Tier::Primary, heavier);
            let spent = service.publish(settings, &tiers);
            // Nor does the first session that comes then look for its home among all.
            let mut ask = Ask {
                now: Instant::now(),
                rng: &mut fastrand::Rng::with_seed(7),
                hash: None,
                session: Some(token(&"web".into(), &"web-9000".into())),
                avoid: &[],
            };
            let place = service.load().home(&mut ask).unwrap();
            assert_eq!(place.endpoint().id(), lives[9_000].endpoint().id());
            drop(place);
            let pairs = before.into_iter().zip(held());
            let touched = pairs.filter(|(before, now)| before != now).count();
            assert!(touched <= 3 * 256, "{policy:?}: {touched} of 10,000");
            drop(spent);
        }
    }

    #[test]
    fn round_robin_goes_on_where_it_was_before_an_update() {
        let lives = lives(3);
        let service = service(Policy::RoundRobin, &lives);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut ask = Ask {
                now: Instant::now(),
                rng: &mut rng,
                hash: None,
                session: None,
                avoid: &[],
            };
            let place = service.load().choose(&mut ask).unwrap();
            seen.push(place.endpoint().about().key.to_string());
            let primary = lives.iter().map(|life| (Tier::Primary, member(life)));
            service.publish(service.settings(), &primary.collect());
        }
        assert_eq!(seen, ["web-0", "web-1", "web-2"]);
    }

    fn policies() -> [Policy; 5] {
        [
            Policy::LeastRequest,
            Policy::PeakEwma,
            Policy::RoundRobin,
            Policy::Random,
            Policy::Hash(HashKey::ClientAddress),
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn passes_over_the_ejected_as_long_as_there_is_another() {
        for policy in policies() {
            let lives = lives(3);
            let service = service(policy.clone(), &lives);
            eject(&lives[1]);
            let counts = choices(&service, &lives, &[]);
            assert_eq!(counts[1], 0, "{policy:?}");
            assert!(counts[0] > 100 && counts[2] > 100, "{policy:?}: {counts:?}");
            eject(&lives[2]);
            assert_eq!(choices(&service, &lives, &[]), [600, 0, 0], "{policy:?}");
            let avoid = [lives[0].endpoint().id()];
            let counts = choices(&service, &lives, &avoid);
            assert_eq!(counts[0], 0, "{policy:?}: it has failed this request");
            assert_eq!(counts[1] + counts[2], 600, "{policy:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn uses_a_tier_whole_when_all_of_it_is_ejected() {
        for policy in policies() {
            let lives = lives(3);
            let service = service(policy.clone(), &lives);
            lives.iter().for_each(eject);
            let counts = choices(&service, &lives, &[]);
            assert!(
                counts.iter().all(|count| *count > 100),
                "{policy:?}: {counts:?}"
            );
            assert!(service.load().scan(&[], Instant::now()).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn finds_the_few_that_are_not_ejected_among_many() {
        for policy in policies() {
            let lives = lives(200);
            let service = service(policy.clone(), &lives);
            lives
                .iter()
                .filter(|life| life.endpoint().about().key.as_str() != "web-77")
                .for_each(eject);
            assert_eq!(choices(&service, &lives, &[])[77], 600, "{policy:?}");
            let place = service.load().scan(&[], Instant::now()).unwrap();
            assert_eq!(place.endpoint().id(), lives[77].endpoint().id());
        }
    }
}

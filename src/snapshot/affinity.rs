//! Where requests belong that belong together: sessions, without a table of them.
//!
//! A session is a number that every replica and every version finds for itself. By cookie it is the token of an endpoint,
//! set by us when the client has none that fits; by header it is the hash of a value, whose home is found as with
//! `balance: hash`. So nothing has to be remembered, told to other replicas, or bounded.
//!
//! An endpoint that drains is no home any more, and its sessions pick anew at once; unless its service says
//! `keep_until_deadline`: then it stays one until its deadline (P14).

use http::HeaderName;

use crate::balance::{HashKey, Members, PickContext, Picker, Policy, hash_key};
use crate::endpoint::{EndpointKey, Member, ServiceName};

/// What keeps a client's requests on one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Affinity {
    /// Nothing does.
    #[default]
    None,
    /// The downstream connection, as behind an L4 balancer.
    Connection,
    /// A cookie, which we set.
    Cookie {
        /// Its name.
        name: String,
        /// Whether a draining endpoint stays open to its sessions until its deadline.
        keep_until_deadline: bool,
    },
    /// The value of a field, which the client sets.
    Header {
        /// Its name.
        name: HeaderName,
        /// Whether a draining endpoint stays open to its sessions until its deadline.
        keep_until_deadline: bool,
    },
}

impl Affinity {
    /// Whether a draining endpoint stays open to its sessions until its deadline.
    #[must_use]
    pub const fn keeps(&self) -> bool {
        match self {
            Self::None | Self::Connection => false,
            Self::Cookie {
                keep_until_deadline,
                ..
            }
            | Self::Header {
                keep_until_deadline,
                ..
            } => *keep_until_deadline,
        }
    }
}

/// The number by which an endpoint is known to its sessions: it follows from the service and the endpoint's id alone, and
/// does not show the id or the address. It is no secret: who guesses an id can tell whether it is the one.
#[must_use]
pub fn token(service: &ServiceName, key: &EndpointKey) -> u64 {
    let mut text = Vec::with_capacity(64);
    text.extend_from_slice(b"tidegate affinity\0");
    text.extend_from_slice(service.as_str().as_bytes());
    text.push(0);
    text.extend_from_slice(key.as_str().as_bytes());
    hash_key(&text)
}

/// Where the sessions of a snapshot are at home that are known by a field.
#[derive(Debug)]
pub(super) struct Homes {
    members: Members<Member>,
    picker: Picker,
}

impl Homes {
    /// At those members.
    pub(super) fn build(field: &HeaderName, members: impl Iterator<Item = Member>) -> Self {
        let policy = Policy::Hash(HashKey::Header(field.clone()));
        let members = members.collect();
        Self {
            picker: Picker::build(&policy, &members),
            members,
        }
    }

    /// The home of a session.
    pub(super) fn of(&self, session: u64, ask: &mut super::Ask<'_>) -> Option<&Member> {
        let avoided = |index: &usize| ask.avoid.contains(&self.members[*index].endpoint.id());
        let excluded: Vec<usize> = if ask.avoid.is_empty() {
            Vec::new()
        } else {
            (0..self.members.len()).filter(avoided).collect()
        };
        let mut cx = PickContext {
            now: ask.now,
            rng: ask.rng,
            hash: Some(session),
            excluded: &excluded,
        };
        let index = self.picker.pick(&self.members, &mut cx)?;
        Some(&self.members[index])
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::super::{AllDraining, Ask, Service, ServiceSettings, Tier};
    use super::*;
    use crate::endpoint::{About, Admission, InFlight, Life};

    fn life(key: &str) -> Life {
        let about = About {
            service: "web".into(),
            key: key.into(),
            address: SocketAddr::from(([127, 0, 0, 1], 9001)),
            pod: None,
            zone: None,
        };
        Life::begin(about, mpsc::unbounded_channel().0)
    }

    fn member(life: &Life) -> Member {
        Member {
            endpoint: life.endpoint().clone(),
            weight: 1,
            ramp: None,
        }
    }

    fn settings(affinity: Affinity) -> ServiceSettings {
        let mut settings = ServiceSettings::named("web".into());
        settings.all_draining = AllDraining::Serve;
        settings.affinity = affinity;
        settings
    }

    fn cookie() -> Affinity {
        Affinity::Cookie {
            name: "sid".into(),
            keep_until_deadline: true,
        }
    }

    fn header() -> Affinity {
        Affinity::Header {
            name: HeaderName::from_static("x-user"),
            keep_until_deadline: true,
        }
    }

    fn enter(service: &Service, session: u64) -> Option<InFlight> {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut ask = Ask {
            now: Instant::now(),
            rng: &mut rng,
            hash: None,
            session: Some(session),
            avoid: &[],
        };
        service.load().home(&mut ask)
    }

    #[test]
    fn tokens_are_the_same_in_every_version_and_show_nothing() {
        let token = |key: &str| token(&"web".into(), &key.into());
        assert_eq!(token("10.0.0.1:80"), PINNED);
        assert_ne!(token("10.0.0.1:80"), token("10.0.0.2:80"));
    }

    #[test]
    fn a_session_goes_home_and_nowhere_once_its_home_drains() {
        let lives = [life("a"), life("b"), life("c")];
        for affinity in [cookie(), header()] {
            let service = Service::new(settings(affinity).into(), 1);
            let primary = lives.iter().map(|life| (Tier::Primary, member(life)));
            service.publish(service.settings(), &primary.collect());
            let home = token(&"web".into(), &"b".into());
            let place = enter(&service, home).unwrap();
            assert_eq!(place.admission(), Admission::Ready);
            let again = enter(&service, home).unwrap();
            assert_eq!(again.endpoint().id(), place.endpoint().id());
        }
        let service = Service::new(settings(cookie()).into(), 1);
        let primary = lives.iter().map(|life| (Tier::Primary, member(life)));
        service.publish(service.settings(), &primary.collect());
        let home = token(&"web".into(), &"b".into());
        lives[1].drain();
        assert!(
            enter(&service, home).is_none(),
            "P1, whatever the snapshot says"
        );
    }

    #[test]
    fn a_kept_home_stays_open_to_its_sessions_until_it_is_closed() {
        let (a, b) = (life("a"), life("b"));
        for affinity in [cookie(), header()] {
            let keeps = matches!(affinity, Affinity::Cookie { .. });
            let service = Service::new(settings(affinity).into(), 1);
            b.narrow();
            let tiers = [(Tier::Primary, member(&a)), (Tier::Kept, member(&b))];
            service.publish(service.settings(), &tiers.into_iter().collect());
            let sessions = (0..100)
                .map(|n| hash_key(&[n]))
                .chain([token(&"web".into(), &"b".into())]);
            let places: Vec<_> = sessions
                .filter_map(|session| enter(&service, session))
                .collect();
            let at_b = places
                .iter()
                .filter(|place| place.endpoint().id() == b.endpoint().id());
            assert!(
                at_b.clone()
                    .all(|place| place.admission() == Admission::Affinity)
            );
            assert!(at_b.count() > if keeps { 0 } else { 20 });
            assert!(
                b.endpoint().acquire(Admission::Ready).is_err(),
                "P1 for everyone else"
            );
        }
        let started = b.endpoint().started_by_affinity();
        b.drain();
        assert!(b.endpoint().acquire_session(Admission::Ready).is_err());
        assert_eq!(b.endpoint().started_by_affinity(), started);
    }

    const PINNED: u64 = 1_387_344_312_628_394_805;
}

//! The members of a service by what they are there for, kept up to date one by one.

use super::places::{Place, Places};
use super::token;
use crate::balance::Members;
use crate::endpoint::{EndpointKey, Member, ServiceName};

/// What a member is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// In rotation.
    Primary,
    /// To fill in when nobody is in rotation (P7).
    Fallback,
    /// Missing in a list (P9): the last in order.
    Suspect,
    /// Draining, and open to its sessions until its deadline (P14).
    Kept,
}

/// The members of a service in their tiers; an endpoint is in one at most.
///
/// What changes costs the chunks that it is in, however many others there are (P2): this belongs to the writer, who
/// publishes what it looks like at a moment.
#[derive(Debug, Default)]
pub struct Tiers {
    primary: Members<Member>,
    fallback: Members<Member>,
    suspect: Members<Member>,
    kept: Members<Member>,
    places: Places,
}

impl Tiers {
    /// Those of a tier, in no order that means anything.
    #[must_use]
    pub fn of(&self, tier: Tier) -> &Members<Member> {
        match tier {
            Tier::Primary => &self.primary,
            Tier::Fallback => &self.fallback,
            Tier::Suspect => &self.suspect,
            Tier::Kept => &self.kept,
        }
    }

    /// Where the endpoints stand.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Puts a member into a tier, in place of the one of the same key. Returns whether that changes anything.
    pub fn put(&mut self, tier: Tier, member: Member) -> bool {
        let about = member.endpoint.about();
        let token = token(&about.service, &about.key);
        if let Some(before) = self.place(token, &about.key) {
            let index = before.index as usize;
            if before.tier == tier {
                let differs = !self.of(tier)[index].is_same(&member);
                if differs {
                    self.of_mut(tier).set(index, member);
                }
                return differs;
            }
            self.take_out(before);
        }
        let index = self.of(tier).len() as u32;
        self.places.insert(Place { token, tier, index });
        self.of_mut(tier).push(member);
        true
    }

    /// Takes an endpoint out. Returns whether it was there.
    pub fn remove(&mut self, service: &ServiceName, key: &EndpointKey) -> bool {
        let place = self.place(token(service, key), key);
        if let Some(place) = place {
            self.take_out(place);
        }
        place.is_some()
    }

    /// Whether an endpoint is in one of them.
    #[must_use]
    pub fn has(&self, service: &ServiceName, key: &EndpointKey) -> bool {
        self.place(token(service, key), key).is_some()
    }

    fn place(&self, token: u64, key: &EndpointKey) -> Option<Place> {
        let is_it = |place: &&Place| {
            let member = &self.of(place.tier)[place.index as usize];
            member.endpoint.about().key == *key
        };
        self.places.of(token).iter().find(is_it).copied()
    }

    fn take_out(&mut self, place: Place) {
        self.places.remove(place);
        let members = self.of_mut(place.tier);
        members.swap_remove(place.index as usize);
        let left = members.len() as u32;
        if place.index < left {
            // The last one stands here now.
            let about = members[place.index as usize].endpoint.about();
            let token = token(&about.service, &about.key);
            self.places.remove(Place {
                token,
                index: left,
                ..place
            });
            self.places.insert(Place { token, ..place });
        }
    }

    fn of_mut(&mut self, tier: Tier) -> &mut Members<Member> {
        match tier {
            Tier::Primary => &mut self.primary,
            Tier::Fallback => &mut self.fallback,
            Tier::Suspect => &mut self.suspect,
            Tier::Kept => &mut self.kept,
        }
    }
}

#[cfg(test)]
impl FromIterator<(Tier, Member)> for Tiers {
    fn from_iter<I: IntoIterator<Item = (Tier, Member)>>(members: I) -> Self {
        let mut tiers = Self::default();
        for (tier, member) in members {
            tiers.put(tier, member);
        }
        tiers
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::*;
    use crate::endpoint::{About, Life};

    const TIERS: [Tier; 4] = [Tier::Primary, Tier::Fallback, Tier::Suspect, Tier::Kept];

    fn life(number: usize) -> Life {
        let about = About {
            service: "web".into(),
            key: format!("web-{number}").as_str().into(),
            address: SocketAddr::from(([127, 0, 0, 1], 9001)),
            pod: None,
            zone: None,
        };
        Life::begin(about, mpsc::unbounded_channel().0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Everyone is where it was put last, and nowhere else, whatever comes and goes in whatever order.
        #[test]
        fn everyone_is_where_it_was_put_last(
            steps in prop::collection::vec((0..700usize, 0..5usize, 1..4u32), 1..2_000),
        ) {
            let lives: Vec<Life> = (0..700).map(life).collect();
            let mut tiers: Tiers = lives[..600].iter().map(|it| (Tier::Primary, Member { endpoint: it.endpoint().clone(), weight: 1, ramp: None })).collect();
            let mut naive: BTreeMap<usize, (usize, u32)> = (0..600).map(|number| (number, (0, 1))).collect();
            let mut published = Vec::new();
            for (number, to, weight) in steps {
                let endpoint = lives[number].endpoint().clone();
                let changed = match TIERS.get(to) {
                    Some(tier) => {
                        let changes = naive.insert(number, (to, weight)) != Some((to, weight));
                        prop_assert_eq!(tiers.put(*tier, Member { endpoint, weight, ramp: None }), changes);
                        changes
                    }
                    None => {
                        let was_there = naive.remove(&number).is_some();
                        prop_assert_eq!(tiers.remove(&"web".into(), &endpoint.about().key), was_there);
                        was_there
                    }
                };
                // What was published before does not change.
                if changed && published.len() < 5 {
                    let here = tiers.of(Tier::Primary);
                    published.push((here.clone(), here.iter().map(|it| (it.endpoint.id(), it.weight)).collect::<Vec<_>>()));
                }
            }
            for (index, tier) in TIERS.into_iter().enumerate() {
                let mut here: Vec<_> = tiers.of(tier).iter().map(|it| (it.endpoint.id(), it.weight)).collect();
                let mut wanted: Vec<_> = naive
                    .iter()
                    .filter(|(_, (tier, _))| *tier == index)
                    .map(|(number, (_, weight))| (lives[*number].endpoint().id(), *weight))
                    .collect();
                here.sort();
                wanted.sort();
                prop_assert_eq!(here.len(), tiers.of(tier).len());
                prop_assert_eq!(here, wanted);
            }
            for (members, as_it_was) in published {
                prop_assert_eq!(members.iter().map(|it| (it.endpoint.id(), it.weight)).collect::<Vec<_>>(), as_it_was);
            }
        }
    }
}

//! How an endpoint is chosen: the policy that is configured, and the picker that is built from members.
//!
//! A [`Picker`] is built together with the members it picks from and lives as long as they do; what changes from request
//! to request (in flight, latency, slow start) it asks of each member. It only proposes: whether an endpoint takes the
//! request is decided at its gate, and one that refuses is excluded from the next pick of that request (law 5).
//!
//! A pick allocates nothing and does not depend on the number of members, with one exception: when what is left beside the
//! excluded is too rare to be drawn, it is looked for. Every policy keeps these promises, and the tests run over all:
//!
//! * a member of weight 0 is never picked, and no excluded one;
//! * there is a pick as long as any other member is left;
//! * with nothing in flight, members get requests in proportion to their weights;
//! * a member in slow start gets its share of that, but for [`Policy::Hash`]: there a key has one home, and a key that
//!   first went elsewhere would move twice.
//!
//! The picker of an update costs what has changed since the one before it, for what it needs to know of members is kept with
//! them ([`Members`]). But for [`Policy::Hash`] again: its table is filled anew, since every replica must have the same.
//!
//! An enum and not a boxed trait: the members' type stays open, so that pickers know nothing of endpoints, and a pick is
//! inlined.

mod hash;
mod lots;
mod maglev;
mod members;
mod p2c;
mod round_robin;
mod settle;
#[cfg(test)]
mod tests;
mod turns;

use fastrand::Rng;
use tokio::time::Instant;

pub use hash::{HashKey, hash_key};
pub use members::Members;

use lots::Lots;
use maglev::Maglev;
use p2c::{Measure, P2c};
use round_robin::RoundRobin;

/// How a service balances.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Policy {
    /// Two at random, the one with fewer in flight wins.
    #[default]
    LeastRequest,
    /// Two at random, the one with the lower expected latency wins.
    PeakEwma,
    /// In turn, smoothly by weight.
    RoundRobin,
    /// At random by weight.
    Random,
    /// By a key of the request (Maglev): the same key goes to the same endpoint, and few keys move when the set changes.
    Hash(HashKey),
}

/// What a picker knows of a member.
pub trait Candidate {
    /// Its weight beside the others; with 0 it gets nothing.
    fn weight(&self) -> u32;

    /// How many requests it has now.
    fn in_flight(&self) -> u64;

    /// The latency to expect, in seconds; 0 while it is unknown.
    fn latency(&self) -> f64;

    /// The part of its weight that it should get now, from 0 to 1: less than 1 during slow start.
    fn share(&self, now: Instant) -> f64;

    /// What it is known by to every replica: where its keys live follows from this alone.
    fn hash_seed(&self) -> &str;
}

/// What a picker knows of a request.
#[derive(Debug)]
pub struct PickContext<'a> {
    /// The time, for shares.
    pub now: Instant,
    /// The worker's own source of chance.
    pub rng: &'a mut Rng,
    /// The hash of the request's key, by [`hash_key`]; none if it has no key, and then chance decides.
    pub hash: Option<u64>,
    /// Members that are out of the question for this request. A handful: they are searched one by one.
    pub excluded: &'a [usize],
}

impl PickContext<'_> {
    fn excludes(&self, index: usize) -> bool {
        self.excluded.contains(&index)
    }
}

/// A policy, made ready for some members.
#[derive(Debug)]
pub struct Picker(Kind);

#[derive(Debug)]
enum Kind {
    P2c(P2c),
    RoundRobin(RoundRobin),
    Random(Lots),
    Maglev(Maglev),
}

impl Picker {
    /// The picker of these members.
    #[must_use]
    pub fn build<C: Candidate>(policy: &Policy, members: &Members<C>) -> Self {
        Self(match policy {
            Policy::LeastRequest => Kind::P2c(P2c::build(Measure::InFlight, members)),
            Policy::PeakEwma => Kind::P2c(P2c::build(Measure::Latency, members)),
            Policy::RoundRobin => Kind::RoundRobin(RoundRobin::build(members)),
            Policy::Random => Kind::Random(Lots::build(members)),
            Policy::Hash(_) => Kind::Maglev(Maglev::build(members)),
        })
    }

    /// Goes on where the service's earlier picker stopped. Round robin alone has such a place: beginning anew at every
    /// update would favour the first members.
    pub fn resume(&self, earlier: &Self) {
        if let (Kind::RoundRobin(this), Kind::RoundRobin(earlier)) = (&self.0, &earlier.0) {
            this.resume(earlier);
        }
    }

    /// The index of the member to try, among those that the picker was built from; none if all of them are excluded or of
    /// weight 0.
    pub fn pick<C: Candidate>(
        &self,
        members: &Members<C>,
        cx: &mut PickContext<'_>,
    ) -> Option<usize> {
        match &self.0 {
            Kind::P2c(picker) => picker.pick(members, cx),
            Kind::RoundRobin(picker) => picker.pick(members, cx),
            Kind::Random(lots) => lots.pick(members, cx),
            Kind::Maglev(picker) => picker.pick(members, cx),
        }
    }
}

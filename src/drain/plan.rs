//! When a drain must end, and who is due: the deadlines of all running drains, and the moments spread over a window.
//!
//! A [`Plan`] is told events with their time and answers what is due and when to ask again; it never reads a clock.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::endpoint::EndpointId;

/// What set a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// The timeout an operator or a hook asked for.
    Operator,
    /// The endpoint's own `drain_timeout`.
    Endpoint,
    /// The service's `drain.timeout`.
    Service,
    /// The pod's own end.
    Pod,
}

impl LimitedBy {
    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Endpoint => "endpoint",
            Self::Service => "service",
            Self::Pod => "pod",
        }
    }

    /// What a word means.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Operator, Self::Endpoint, Self::Service, Self::Pod]
            .into_iter()
            .find(|by| by.as_str() == word)
    }
}

/// A deadline and what set it (P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// What set it.
    pub limited_by: LimitedBy,
}

impl Deadline {
    /// The deadline of a drain that begins now: the operator's timeout if it is earlier than the endpoint's own, or else the
    /// service's.
    #[must_use]
    pub fn of(
        now: Instant,
        operator: Option<Duration>,
        endpoint: Option<Duration>,
        service: Duration,
    ) -> Self {
        let (own, by) = endpoint.map_or((service, LimitedBy::Service), |own| {
            (own, LimitedBy::Endpoint)
        });
        match operator {
            Some(asked) if asked < own => Self {
                at: now + asked,
                limited_by: LimitedBy::Operator,
            },
            _ => Self {
                at: now + own,
                limited_by: by,
            },
        }
    }

    /// The earlier of the two: deadlines are shortened, never lengthened.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

/// The deadlines of all running drains.
#[derive(Debug, Default)]
pub struct Plan {
    deadlines: HashMap<EndpointId, Deadline>,
    order: BTreeSet<(Instant, EndpointId)>,
}

impl Plan {
    /// Notes a deadline, or shortens the one there is. Returns the one in force.
    pub fn begin(&mut self, life: EndpointId, deadline: Deadline) -> Deadline {
        let in_force = match self.deadlines.get(&life) {
            Some(known) => known.or_earlier(deadline),
            None => deadline,
        };
        if let Some(old) = self.deadlines.insert(life, in_force) {
            self.order.remove(&(old.at, life));
        }
        self.order.insert((in_force.at, life));
        in_force
    }

    /// The drain is over, or its deadline lifted.
    pub fn end(&mut self, life: EndpointId) {
        if let Some(old) = self.deadlines.remove(&life) {
            self.order.remove(&(old.at, life));
        }
    }

    /// The deadline in force.
    #[must_use]
    pub fn deadline(&self, life: EndpointId) -> Option<Deadline> {
        self.deadlines.get(&life).copied()
    }

    /// When to call [`Plan::due`] next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The lives whose deadline has come, each once.
    pub fn due(&mut self, now: Instant) -> Vec<EndpointId> {
        let mut due = Vec::new();
        while let Some((at, life)) = self.order.first().copied()
            && at <= now
        {
            self.order.remove(&(at, life));
            due.push(life);
        }
        due
    }
}

/// The moment at which a stream that never ends by itself is ended: at random between 20 % and 80 % of the window, at once
/// when the window is shorter than 3 s, so that clients do not all come back together (P5).
///
/// `now` is when the moment is drawn: whoever is late gets one of what is left of that part, or the next. `random` is a
/// number from 0 to 1.
#[must_use]
pub fn stream_moment(since: Instant, deadline: Instant, now: Instant, random: f64) -> Instant {
    let window = deadline.saturating_duration_since(since);
    if window < SHORT_WINDOW {
        return since;
    }
    let from = now.max(since + window.mul_f64(0.2));
    let part = latest_stream_moment(since, deadline).saturating_duration_since(from);
    from + part.mul_f64(random.clamp(0.0, 1.0))
}

/// The end of the part of the window in which streams are ended. A moment drawn before the window was shortened still
/// holds when it is not after this.
#[must_use]
pub fn latest_stream_moment(since: Instant, deadline: Instant) -> Instant {
    since + deadline.saturating_duration_since(since).mul_f64(0.8)
}

/// A random moment of the last part, `spread` long, of a period that ends at `end`.
#[must_use]
pub fn spread_moment(since: Instant, end: Instant, spread: Duration, random: f64) -> Instant {
    let spread = spread.min(end.saturating_duration_since(since));
    end - spread.mul_f64(random.clamp(0.0, 1.0))
}

const SHORT_WINDOW: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn takes_the_earliest_and_says_what_set_it() {
        let now = Instant::now();
        let by = |operator, endpoint| Deadline::of(now, operator, endpoint, secs(30));
        assert_eq!(
            by(None, None),
            Deadline {
                at: now + secs(30),
                limited_by: LimitedBy::Service
            }
        );
        assert_eq!(
            by(None, Some(secs(60))),
            Deadline {
                at: now + secs(60),
                limited_by: LimitedBy::Endpoint
            }
        );
        assert_eq!(
            by(Some(secs(5)), Some(secs(60))),
            Deadline {
                at: now + secs(5),
                limited_by: LimitedBy::Operator
            }
        );
        assert_eq!(
            by(Some(secs(90)), None),
            Deadline {
                at: now + secs(30),
                limited_by: LimitedBy::Service
            }
        );
    }

    #[test]
    fn spreads_streams_between_a_fifth_and_four_fifths() {
        let now = Instant::now();
        let drawn = |at: u64, random| stream_moment(now, now + secs(10), now + secs(at), random);
        assert_eq!(drawn(0, 0.0), now + secs(2));
        assert_eq!(drawn(0, 1.0), now + secs(8));
        assert_eq!(drawn(4, 0.0), now + secs(4), "what is past is no moment");
        assert_eq!(drawn(4, 0.5), now + secs(6));
        assert_eq!(
            drawn(9, 0.5),
            now + secs(9),
            "too late for the part: at once"
        );
        assert_eq!(stream_moment(now, now + secs(2), now, 0.5), now);
    }

    proptest! {
        /// P5: a deadline can be shortened, never lengthened; each life comes due once, in order, and never early.
        #[test]
        fn agrees_with_a_naive_list(events in prop::collection::vec((0u64..5, 0u64..100, 0u8..4), 1..100)) {
            let start = Instant::now();
            let ids: Vec<_> = (0..5).map(|_| EndpointId::next()).collect();
            let mut plan = Plan::default();
            let mut model: HashMap<EndpointId, u64> = HashMap::new();
            let mut fired: BTreeSet<EndpointId> = BTreeSet::new();
            for (which, at, kind) in events {
                let life = ids[which as usize];
                match kind {
                    0 | 1 if !fired.contains(&life) => {
                        plan.begin(life, Deadline { at: start + secs(at), limited_by: LimitedBy::Service });
                        let known = model.entry(life).or_insert(at);
                        *known = at.min(*known);
                    }
                    2 => {
                        plan.end(life);
                        model.remove(&life);
                        fired.remove(&life);
                    }
                    _ => {
                        let due = plan.due(start + secs(at));
                        for life in due {
                            prop_assert!(model[&life] <= at);
                            prop_assert!(fired.insert(life), "due twice");
                        }
                        for (life, deadline) in &model {
                            prop_assert_eq!(fired.contains(life), *deadline <= at || fired.contains(life));
                        }
                    }
                }
                for (life, at) in &model {
                    prop_assert_eq!(plan.deadline(*life).map(|deadline| deadline.at), Some(start + secs(*at)));
                }
                let next = model.iter().filter(|(life, _)| !fired.contains(life)).map(|(_, at)| start + secs(*at)).min();
                prop_assert_eq!(plan.next(), next);
            }
        }
    }
}

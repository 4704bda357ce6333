//! What clients may have seen: a whole answer, or something that the script, a fault, the deadline or our own end explains.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::lives::Lives;
use super::{ALLOWANCE, IN_TIME};
use crate::client::{Asked, Seen};
use crate::endpoint::{Begun, Endpoint};
use crate::world::World;

/// P10: nothing that may not be repeated begins twice; what may, begins at most twice, and only after a connection that had
/// served before was closed without an answer.
pub(crate) fn nothing_runs_too_often(world: &World) {
    let mut times: HashMap<String, Vec<Rc<Begun>>> = HashMap::new();
    for endpoint in &world.endpoints {
        for begun in endpoint.begun.borrow().iter() {
            times
                .entry(begun.path.clone())
                .or_default()
                .push(begun.clone());
        }
    }
    for (path, mut runs) in times {
        runs.sort_by_key(|run| (run.at, run.fresh));
        let [first, again @ ..] = &runs[..] else {
            continue;
        };
        if again.is_empty() {
            continue;
        }
        let is_right = runs.len() == 2
            && first.method == "GET"
            && !first.fresh
            && again[0].fresh
            && (path.starts_with("close/") || first.killed.get());
        assert!(is_right, "P10: {path} ran as {runs:?}");
    }
}

/// P3, P5, P7, P11, P14: every client got its answer, or there is a reason.
pub(crate) fn every_client_is_served(world: &World, all: &[Asked]) {
    let lives = Lives::of(world);
    for asked in all {
        let client = Client {
            world,
            lives: &lives,
            asked,
        };
        assert!(client.is_right(), "{asked:?}: {:?}", client.runs());
        assert!(
            !asked.close || client.may_close(),
            "P14: {asked:?} closes the client's connection"
        );
    }
}

/// The service's limits to an answer's head, and to its next byte.
const HEAD: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(300);

struct Client<'w> {
    world: &'w World,
    lives: &'w Lives,
    asked: &'w Asked,
}

impl Client<'_> {
    fn is_right(&self) -> bool {
        let kind = self.kind();
        match &self.asked.seen {
            Seen::Left => true,
            Seen::Whole(200) => self.is_whole(),
            Seen::Whole(502) => kind == "close" || self.is_faulty(),
            Seen::Whole(503) => {
                let nobody = |able: &super::lives::Able| able.any == 0;
                // The one attempt that was left may have met a fault.
                let is_unlucky = kind == "close" && self.meets_fault();
                self.is_faulty() || is_unlucky || self.overlaps(nobody) || self.is_over()
            }
            Seen::Whole(504) => {
                self.is_cut() || self.is_over() || kind == "never" && self.lasts(HEAD)
            }
            Seen::Cut(200) => {
                let is_script = kind == "break" || kind == "hang" && self.lasts(SILENCE);
                is_script || self.is_faulty() || self.is_cut() || self.is_over()
            }
            // An idle connection is closed while we leave, perhaps at this very moment, and nobody is let in.
            Seen::Nothing => self.leaves_since(|plan| plan.wait_end),
            _ => false,
        }
    }

    /// It took a time limit's time.
    fn lasts(&self, limit: Duration) -> bool {
        self.asked.ended - self.asked.began >= limit
    }

    fn kind(&self) -> &str {
        self.asked.path.split('/').next().unwrap_or_default()
    }

    /// The answer is all that the endpoint sends. Only an event stream may be shorter, for a drain, and between two events.
    fn is_whole(&self) -> bool {
        let all: String = (0..10).map(|piece| format!("data: {piece}\n\n")).collect();
        let body = &self.asked.body;
        match self.kind() {
            // What ends with its connection cannot be told from what breaks off.
            "bare" if self.is_killed() => all.starts_with(body.as_str()),
            "drip" | "bare" => *body == all,
            "events" if *body != all => {
                let is_part = all.starts_with(body.as_str());
                let ends_well = body.is_empty() || body.ends_with("\n\n");
                is_part && ends_well && (self.drains() || self.leaves_since(|plan| plan.wait_end))
            }
            "events" => true,
            _ => body == "ok",
        }
    }

    /// Where it began, and what that was.
    fn runs(&self) -> Vec<(std::net::SocketAddr, Rc<Begun>)> {
        let mut runs = Vec::new();
        for endpoint in &self.world.endpoints {
            for begun in endpoint.begun.borrow().iter() {
                if begun.path == self.asked.path {
                    runs.push((endpoint.address, begun.clone()));
                }
            }
        }
        runs
    }

    /// Its endpoint drained before it ended.
    fn drains(&self) -> bool {
        self.runs().iter().any(|(address, work)| {
            let mut lives = self.lives.of_work(*address, work);
            lives.any(|life| life.closed.is_some_and(|closed| closed <= self.asked.ended))
        })
    }

    /// It was ended by the deadline of its endpoint's drain, and in time.
    fn is_cut(&self) -> bool {
        let ended = self.asked.ended;
        let may_wait = matches!(self.kind(), "events" | "half");
        let limit = if may_wait { ALLOWANCE } else { IN_TIME };
        // Who uploads looks at the answer when all is sent.
        let looks_late = self.asked.method == "POST";
        self.runs().iter().any(|(address, work)| {
            let mut lives = self.lives.of_work(*address, work);
            lives.any(|life| {
                let cut = life.deadline.filter(|_| life.closed.is_some());
                cut.is_some_and(|cut| cut <= ended && (looks_late || ended <= cut + limit))
            })
        })
    }

    /// Some endpoint was at fault meanwhile, and there may have been no other.
    fn is_faulty(&self) -> bool {
        self.meets_fault() && !self.world.must_shield.get() || self.is_killed()
    }

    /// Some endpoint was at fault meanwhile.
    fn meets_fault(&self) -> bool {
        let (began, ended) = (self.asked.began, self.asked.ended);
        let faults = |endpoint: &Rc<Endpoint>| endpoint.fails_between(began, ended);
        self.world.endpoints.iter().any(faults)
    }

    /// Its endpoint crashed.
    fn is_killed(&self) -> bool {
        self.runs().iter().any(|(_, work)| work.killed.get())
    }

    fn overlaps(&self, is: impl Fn(&super::lives::Able) -> bool) -> bool {
        self.lives
            .at_some_time(self.asked.began, self.asked.ended, is)
    }

    /// Our own time was over.
    fn is_over(&self) -> bool {
        self.leaves_since(|plan| plan.cut)
    }

    fn leaves_since(&self, moment: impl Fn(tidegate::server::Plan) -> Instant) -> bool {
        let plan = self.world.plan.get();
        plan.is_some_and(|plan| self.asked.ended >= moment(plan))
    }

    /// Its connection may end with the answer: it is broken, there is an upload that nobody takes, or we leave.
    fn may_close(&self) -> bool {
        match self.asked.seen {
            Seen::Whole(500..) if self.asked.method == "POST" => true,
            Seen::Whole(_) => self.leaves_since(|plan| plan.signal),
            _ => true,
        }
    }
}

//! P1, P3, P5, P13: a rolling update under 1,000 WebSockets, 100 gRPC calls and 100 event streams. Everyone is told in the way
//! of their kind, at the time of their kind, and between two messages; nobody comes back together with everyone else.

mod clients;
mod endpoint;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{SLACK, Setup, Tidegate, eventually};
use endpoint::StreamingEndpoint;

/// What a client has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socket,
    Events,
    Call,
}

const SOCKETS: usize = 1000;
const EVENTS: usize = 100;

/// So many connections, with so many calls each.
const CHANNELS: usize = 10;
const CALLS_EACH: usize = 10;

const CLIENTS: usize = SOCKETS + EVENTS + CHANNELS * CALLS_EACH;

/// The drain's timeout.
const WINDOW: Duration = Duration::from_secs(5);

/// What clients saw.
#[derive(Debug, Default)]
struct Board {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The first message of each stream: its endpoint's name, and when it came.
    begun: Vec<(Kind, String, Instant)>,
    /// The proper end of each stream: of which endpoint, and when.
    told: Vec<(Kind, String, Instant)>,
    /// Everything that a client must not see.
    faults: Vec<String>,
}

impl Board {
    fn begun(&self, kind: Kind, endpoint: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.begun.push((kind, endpoint.to_owned(), Instant::now()));
    }

    fn told(&self, kind: Kind, endpoint: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.told.push((kind, endpoint.to_owned(), Instant::now()));
    }

    fn fault(&self, fault: String) {
        self.seen.lock().unwrap().faults.push(fault);
    }

    /// How many streams are open, once nobody has seen what they must not.
    #[track_caller]
    fn open(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.faults, [""; 0]);
        seen.begun.len() - seen.told.len()
    }

    /// How many streams are open at an endpoint, as far as their clients know.
    fn open_at(&self, endpoint: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        let of =
            |list: &[(Kind, String, Instant)]| list.iter().filter(|it| it.1 == endpoint).count();
        of(&seen.begun) - of(&seen.told)
    }

    /// How many streams of a kind were told of their end at an endpoint.
    fn count(&self, kind: Kind, endpoint: &str) -> usize {
        self.times(kind, endpoint).len()
    }

    /// When streams of a kind were told of their end at an endpoint.
    fn times(&self, kind: Kind, endpoint: &str) -> Vec<Instant> {
        let seen = self.seen.lock().unwrap();
        let of = seen
            .told
            .iter()
            .filter(|told| told.0 == kind && told.1 == endpoint);
        of.map(|told| told.2).collect()
    }

    /// When WebSockets began at any endpoint, within a time.
    fn returns(&self, during: &Range<Instant>) -> Vec<Instant> {
        let seen = self.seen.lock().unwrap();
        let sockets = seen.begun.iter().filter(|begun| begun.0 == Kind::Socket);
        sockets
            .map(|begun| begun.2)
            .filter(|at| during.contains(at))
            .collect()
    }
}

/// A thread for all clients and endpoints.
struct Stage {
    handle: Handle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone();
        let thread = thread::spawn(move || runtime.block_on(stopped.cancelled()));
        Self {
            handle,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn every_stream_is_told_and_none_is_cut_while_all_endpoints_are_replaced() {
    raise_limit();
    let stage = Stage::start();
    let [old, new] = ["old", "new"].map(|name| {
        [0, 1, 2].map(|number| StreamingEndpoint::start(&stage.handle, &format!("{name}-{number}")))
    });
    let setup =
        Setup::without_file().service(&format!("drain: {{ timeout: {}s }}", WINDOW.as_secs()));
    let lines = |endpoints: &[&StreamingEndpoint]| -> Vec<_> {
        endpoints.iter().map(|endpoint| endpoint.line()).collect()
    };
    let mut listed: Vec<_> = old.iter().collect();
    setup.file().set(&lines(&listed));
    let tidegate = setup.start();
    let board = Arc::new(Board::default());
    clients::start(&stage.handle, tidegate.address(), &board);
    eventually("all streams are open", || {
        (board.open() == CLIENTS).then_some(())
    });

    for (leaving, coming) in old.iter().zip(&new) {
        listed.remove(0);
        listed.push(coming);
        let before = Instant::now();
        tidegate.file().set(&lines(&listed));
        tidegate.is(leaving.name(), "draining");
        let begun = before..Instant::now();
        tidegate.is_gone(leaving.name());
        // On a busy machine the last to be told have not read it yet when the drain is over.
        eventually("all streams are open again, elsewhere", || {
            (board.open() == CLIENTS && board.open_at(leaving.name()) == 0).then_some(())
        });
        all_were_told_in_time(&board, leaving.name(), &begun);
        the_report_says_so(&tidegate, &board, leaving);
    }
    // Whoever is at an old endpoint still was not told, or came back to one that drained.
    let told = old
        .iter()
        .map(|endpoint| board.count(Kind::Socket, endpoint.name()))
        .sum::<usize>();
    assert!(told >= SOCKETS);
    for endpoint in &old {
        assert_eq!(board.open_at(endpoint.name()), 0, "{}", endpoint.name());
    }
}

/// Each kind at its time, after a drain that began within `begun`.
fn all_were_told_in_time(board: &Board, endpoint: &str, begun: &Range<Instant>) {
    let (from, until) = (
        begun.start + WINDOW.mul_f64(0.2),
        begun.end + WINDOW.mul_f64(0.8),
    );
    for kind in [Kind::Socket, Kind::Events] {
        let times = board.times(kind, endpoint);
        assert!(times.iter().all(|at| *at >= from), "{kind:?} too early");
        assert!(
            times.iter().all(|at| *at <= until + MESSAGE + SLACK),
            "{kind:?} too late"
        );
    }
    for at in board.times(Kind::Call, endpoint) {
        assert!(at >= begun.start + WINDOW, "a call too early");
        let latest = begun.end + WINDOW + Duration::from_millis(250) + MESSAGE + SLACK;
        assert!(at <= latest, "a call too late");
    }
    for (what, times) in [
        ("told", board.times(Kind::Socket, endpoint)),
        ("back", board.returns(&(begun.end..Instant::now()))),
    ] {
        let parts = parts(&times, from, until);
        let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
        let all = times.len();
        assert!(all >= SOCKETS / 5, "{all} {what}");
        assert!(
            *least > all / 20 && *most < all * 2 / 5,
            "{what} in bursts: {parts:?}"
        );
    }
}

/// How many times are in each sixth of a period. What comes behind it is late because the machine is busy, and no burst.
fn parts(times: &[Instant], from: Instant, until: Instant) -> [usize; 6] {
    let mut parts = [0; 6];
    for at in times.iter().filter(|at| **at <= until) {
        let part = (*at - from).as_secs_f64() / (until - from).as_secs_f64();
        parts[((part * 6.0) as usize).min(5)] += 1;
    }
    parts
}

fn the_report_says_so(tidegate: &Tidegate, board: &Board, endpoint: &StreamingEndpoint) {
    let report = tidegate.report(endpoint.name());
    let [sockets, events, calls] =
        [Kind::Socket, Kind::Events, Kind::Call].map(|kind| board.count(kind, endpoint.name()));
    eventually("every answer to a Close is passed on", || {
        (endpoint.echoes() == sockets).then_some(())
    });
    let number = |name: &str| report[name].as_u64().unwrap() as usize;
    assert_eq!(
        number("in_flight_at_start"),
        sockets + events + calls,
        "{report}"
    );
    assert_eq!(number("finished"), sockets + events, "{report}");
    assert_eq!(
        report["cut"],
        serde_json::json!({ "request": 0, "stream": calls, "tunnel": 0 })
    );
    assert_eq!(
        report["started_after"],
        serde_json::json!({ "fallback": 0, "affinity": 0 })
    );
    assert_eq!(
        (&report["cause"], &report["limited_by"]),
        (&"removed".into(), &"service".into())
    );
}

/// Every stream takes two sockets here, and other tests have theirs.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= FILES);
    assert!(
        enough(limit.maximum),
        "the hard limit of open files is below {FILES}: raise it (ulimit -Hn)"
    );
    if !enough(limit.current) {
        let raised = Rlimit {
            current: Some(FILES),
            ..limit
        };
        setrlimit(Resource::Nofile, raised).unwrap();
    }
}

const FILES: u64 = 8192;

/// How long an endpoint takes for a message, and how long it then waits: what is awaited at most for a boundary.
const MESSAGE: Duration = Duration::from_millis(400);

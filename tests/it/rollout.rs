//! What it is all for: endpoints come and go under load, by file and by API, and no client notices.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Client, Endpoint, Setup, Tidegate, eventually};

const CLIENTS: usize = 64;
const ENDPOINTS: usize = 6;

/// For how long endpoints are flipped.
const LOAD: Duration = Duration::from_secs(6);

/// How long a client thinks between two requests.
const THINKS: Duration = Duration::from_millis(10);

/// What a client did.
#[derive(Default)]
struct Did {
    posts: Vec<String>,
    gets: usize,
}

/// When an endpoint was out of the rotation.
struct Out {
    endpoint: usize,
    /// Its drain was acknowledged.
    acknowledged: Instant,
    /// Its drain was over, and this was in flight when it began.
    drained: Instant,
    in_flight: usize,
    /// Just before it was put back.
    until: Instant,
}

#[test]
fn no_client_notices_that_endpoints_come_and_go() {
    let endpoints: Vec<_> = (0..ENDPOINTS)
        .map(|number| Endpoint::start(&format!("e{number}")))
        .collect();
    let tidegate = Setup::of(&endpoints.iter().collect::<Vec<_>>()).start();
    let stop = AtomicBool::new(false);
    let (did, outs) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, stop) = (tidegate.connect(), &stop);
                scope.spawn(move || load(client, number, stop))
            })
            .collect();
        let done = Done(&stop);
        let outs = flip(&tidegate, &endpoints);
        drop(done);
        let did: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect();
        (did, outs)
    });
    assert!(outs.len() >= 20, "only {} drains", outs.len());
    nothing_started_after_an_acknowledgement(&endpoints, &outs);
    nothing_ran_twice_or_was_lost(&endpoints, &did);
    every_drain_has_a_true_report(&tidegate, outs.len());
}

/// Ends the load, also when the test fails meanwhile: the scope waits for it.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Requests one after the other on one connection, which nobody may close. Every answer must be right.
fn load(mut client: Client, number: usize, stop: &AtomicBool) -> Did {
    let mut did = Did::default();
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let response = if turn % 2 == 0 {
            did.gets += 1;
            client.get("/get")
        } else {
            let path = format!("/post/{number}/{turn}");
            let response = client.post(&path, &path);
            did.posts.push(path);
            response
        };
        assert_eq!(response.status, 200, "{}", response.text());
        // Enough load for every race, and some of the machine for the tests beside this one.
        thread::park_timeout(THINKS);
        assert_eq!(
            response.head.field("connection"),
            None,
            "one of several endpoints drains"
        );
    }
    did
}

/// Takes one endpoint after the other out, by file or by API in turn, and puts it back.
fn flip(tidegate: &Tidegate, endpoints: &[Endpoint]) -> Vec<Out> {
    let events = tidegate.events();
    let start = Instant::now();
    let mut outs = Vec::new();
    let file = |draining: Option<usize>| {
        let line = |(number, endpoint): (usize, &Endpoint)| {
            endpoint.line(if draining == Some(number) {
                "state: draining"
            } else {
                ""
            })
        };
        tidegate
            .file()
            .set(&endpoints.iter().enumerate().map(line).collect::<Vec<_>>());
    };
    for turn in 0.. {
        if start.elapsed() > LOAD {
            break;
        }
        let endpoint = turn % endpoints.len();
        let id = endpoints[endpoint].name();
        let before = events.all().len();
        let is_acknowledged = || {
            let news = events.all();
            news[before..]
                .iter()
                .any(|event| event["endpoint"] == id && event["to"] == "draining")
                .then_some(())
        };
        let by_file = (turn / endpoints.len()).is_multiple_of(2);
        if by_file {
            file(Some(endpoint));
            eventually("the event acknowledges it", is_acknowledged);
        } else {
            assert_ne!(tidegate.drain(id, "")["reason"], "fallback");
        }
        let acknowledged = Instant::now();
        let report = eventually("it is drained", || {
            let news = events.all();
            let end = news[before..]
                .iter()
                .find(|event| event["endpoint"] == id && event["event"] == "drain_end")?;
            Some(end["report"].clone())
        });
        let drained = Instant::now();
        let others = || endpoints.iter().map(Endpoint::count).sum::<usize>();
        let so_far = others();
        eventually("requests go on", || (others() > so_far + 50).then_some(()));
        let until = Instant::now();
        if by_file {
            file(None);
        } else {
            tidegate.undrain(id);
        }
        outs.push(Out {
            endpoint,
            acknowledged,
            drained,
            in_flight: report["in_flight_at_start"].as_u64().unwrap() as usize,
            until,
        });
        eventually("it serves again", || {
            (endpoints[endpoint].last_at() > Some(until)).then_some(())
        });
    }
    outs
}

fn nothing_started_after_an_acknowledgement(endpoints: &[Endpoint], outs: &[Out]) {
    for out in outs {
        let requests = endpoints[out.endpoint].requests();
        let between = |from: Instant, until: Instant| {
            requests
                .iter()
                .filter(|request| request.at > from && request.at < until)
                .count()
        };
        // On a busy machine an endpoint may be late to take notice of what reached it before, and of no more than that.
        assert!(between(out.acknowledged, out.drained) <= out.in_flight);
        assert_eq!(between(out.drained, out.until), 0, "at e{}", out.endpoint);
    }
}

fn nothing_ran_twice_or_was_lost(endpoints: &[Endpoint], did: &[Did]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for request in endpoints.iter().flat_map(Endpoint::requests) {
        assert!(request.whole);
        if request.method() == "POST" {
            assert_eq!(request.body, request.path().as_bytes());
        }
        *seen.entry(request.path().to_owned()).or_default() += 1;
    }
    let gets: usize = did.iter().map(|did| did.gets).sum();
    // Nothing closes connections but drains, so no GET needs a second execution either.
    assert_eq!(seen.remove("/get"), Some(gets));
    let posts: HashSet<_> = did.iter().flat_map(|did| &did.posts).collect();
    assert_eq!(posts.len(), seen.len());
    for (path, count) in &seen {
        assert_eq!(*count, 1, "{path} ran {count} times");
        assert!(posts.contains(path), "{path}");
    }
}

fn every_drain_has_a_true_report(tidegate: &Tidegate, drains: usize) {
    let answer = tidegate.admin("GET", "/api/v1/drains").ok();
    let reports = answer["drains"].as_array().unwrap();
    assert_eq!(
        (reports.len(), answer["running"].as_array().unwrap().len()),
        (drains, 0)
    );
    for report in reports {
        let number = |name: &str| report[name].as_u64().unwrap();
        assert_eq!(report["outcome"], "clean", "{report}");
        assert_eq!(
            number("in_flight_at_start"),
            number("finished") + number("retried"),
            "{report}"
        );
        assert_eq!(
            report["started_after"],
            serde_json::json!({ "fallback": 0, "affinity": 0 }),
            "{report}"
        );
        assert!(
            report["ended"].as_str() >= report["since"].as_str(),
            "{report}"
        );
        assert!(
            matches!(&report["cause"], Value::String(cause) if cause == "source" || cause == "operator"),
            "{report}"
        );
    }
    let clean = tidegate.metric("tidegate_drains_total{outcome=\"clean\",service=\"web\"}");
    assert_eq!(clean, Some(drains as f64));
}

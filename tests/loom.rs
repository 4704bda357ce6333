//! Every interleaving of the gate (laws 1 and 2; P1, P6). Run with `RUSTFLAGS="--cfg tidegate_loom"`.
#![cfg(tidegate_loom)]

// The witnesses are std's on purpose: they are no part of what is explored, and loom runs one thread at a time.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use loom::thread;
use tidegate::gate::{Edge, Gate, Phase};

/// Two requests against one drain (law 1): nobody enters after the close returned, and whoever entered before is counted.
#[test]
fn refuses_after_close() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let closed = Arc::new(AtomicBool::new(false));
        let requests: Vec<_> = (0..2)
            .map(|_| {
                let (gate, closed) = (gate.clone(), closed.clone());
                thread::spawn(move || {
                    let after = closed.load(Ordering::SeqCst);
                    let entered = gate.enter().is_ok();
                    assert!(!(after && entered), "entered after the close returned");
                    entered
                })
            })
            .collect();
        let (_, inside) = gate.close();
        closed.store(true, Ordering::SeqCst);
        let entered = requests.into_iter().map(|request| request.join().unwrap());
        let entered = entered.filter(|entered| *entered).count() as u64;
        assert_eq!(
            entered, inside,
            "whoever entered is in the count that the close returned"
        );
        assert_eq!(gate.in_flight(), inside);
    });
}

/// A drain against one request that ends and one that comes (law 2): the edge to drained is seen exactly once.
#[test]
fn sees_one_edge() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        gate.enter().unwrap();
        let edges = Arc::new(AtomicUsize::new(0));
        let count = |edge: Edge, edges: &AtomicUsize| {
            if edge == Edge::Idle {
                edges.fetch_add(1, Ordering::SeqCst);
            }
        };
        let ends = {
            let (gate, edges) = (gate.clone(), edges.clone());
            thread::spawn(move || count(gate.leave(), &edges))
        };
        let comes = {
            let (gate, edges) = (gate.clone(), edges.clone());
            thread::spawn(move || {
                if gate.enter().is_ok() {
                    count(gate.leave(), &edges);
                }
            })
        };
        count(gate.close().0, &edges);
        ends.join().unwrap();
        comes.join().unwrap();
        assert_eq!(gate.phase(), Phase::Drained);
        assert_eq!(
            edges.load(Ordering::SeqCst),
            1,
            "the edge is seen exactly once"
        );
    });
}

/// Two closers and a request inside: the edge belongs to one of the three.
#[test]
fn two_closers_see_one_edge() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        gate.enter().unwrap();
        let edges = Arc::new(AtomicUsize::new(0));
        let count = |edge: Edge, edges: &AtomicUsize| {
            if edge == Edge::Idle {
                edges.fetch_add(1, Ordering::SeqCst);
            }
        };
        let closers: Vec<_> = (0..2)
            .map(|_| {
                let (gate, edges) = (gate.clone(), edges.clone());
                thread::spawn(move || count(gate.close().0, &edges))
            })
            .collect();
        count(gate.leave(), &edges);
        for closer in closers {
            closer.join().unwrap();
        }
        assert_eq!(gate.phase(), Phase::Drained);
        assert_eq!(edges.load(Ordering::SeqCst), 1);
    });
}

/// What a request wrote inside is visible to whoever sees the edge.
#[test]
fn the_edge_sees_the_work_done_inside() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let work = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        gate.enter().unwrap();
        let request = {
            let (gate, work) = (gate.clone(), work.clone());
            thread::spawn(move || {
                work.store(1, Ordering::Relaxed);
                gate.leave();
            })
        };
        gate.close();
        if gate.phase() == Phase::Drained {
            assert_eq!(work.load(Ordering::Relaxed), 1);
            assert!(gate.bury());
            assert_eq!(gate.phase(), Phase::Gone);
        }
        request.join().unwrap();
    });
}

/// A session against a gate that is narrowed and then closed: it may enter while the gate is narrow, is counted, and the
/// edge is seen once.
#[test]
fn a_narrow_gate_lets_sessions_in_and_is_drained_once() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let edges = Arc::new(AtomicUsize::new(0));
        let count = |edge: Edge, edges: &AtomicUsize| {
            if edge == Edge::Idle {
                edges.fetch_add(1, Ordering::SeqCst);
            }
        };
        let session = {
            let (gate, edges) = (gate.clone(), edges.clone());
            thread::spawn(move || {
                if gate.enter_session().is_ok() {
                    count(gate.leave(), &edges);
                }
            })
        };
        gate.narrow();
        assert_eq!(
            gate.phase(),
            Phase::Draining,
            "open to sessions: not drained"
        );
        count(gate.close().0, &edges);
        session.join().unwrap();
        assert_eq!(gate.phase(), Phase::Drained);
        assert!(gate.enter_session().is_err());
        assert_eq!(
            edges.load(Ordering::SeqCst),
            1,
            "the edge is seen exactly once"
        );
    });
}

/// Two requests of nobody's session against the narrowing (law 1): who enters is in the count that it returned.
#[test]
fn a_narrow_gate_refuses_all_but_sessions() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let narrow = Arc::new(AtomicBool::new(false));
        let requests: Vec<_> = (0..2)
            .map(|_| {
                let (gate, narrow) = (gate.clone(), narrow.clone());
                thread::spawn(move || {
                    let after = narrow.load(Ordering::SeqCst);
                    let entered = gate.enter().is_ok();
                    assert!(!(after && entered), "entered after the narrowing returned");
                    entered
                })
            })
            .collect();
        let inside = gate.narrow();
        narrow.store(true, Ordering::SeqCst);
        let entered = requests.into_iter().map(|request| request.join().unwrap());
        assert_eq!(entered.filter(|entered| *entered).count() as u64, inside);
        assert_eq!(gate.enter_session(), Ok(true));
    });
}

//! Every interleaving of the gate (laws 1 and 2; P1, P6). Run with `RUSTFLAGS="--cfg tidegate_loom"`.
#![cfg(tidegate_loom)]
#![expect(missing_docs, reason = "tests")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use tidegate::gate::{Edge, Gate, Phase};

/// Two requests against one drain: nobody enters after the close returned, and one edge is seen.
#[test]
fn refuses_after_close_and_sees_one_edge() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let closed = Arc::new(AtomicBool::new(false));
        let edges = Arc::new(AtomicUsize::new(0));
        let requests: Vec<_> = (0..2)
            .map(|_| {
                let (gate, closed, edges) = (gate.clone(), closed.clone(), edges.clone());
                thread::spawn(move || {
                    let after = closed.load(Ordering::SeqCst);
                    if gate.enter().is_ok() {
                        assert!(!after, "entered after the close returned");
                        if gate.leave() == Edge::Idle {
                            edges.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        if gate.close().0 == Edge::Idle {
            edges.fetch_add(1, Ordering::SeqCst);
        }
        closed.store(true, Ordering::SeqCst);
        assert!(gate.enter().is_err(), "entered after the close returned");
        for request in requests {
            request.join().unwrap();
        }
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
        let work = Arc::new(AtomicUsize::new(0));
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

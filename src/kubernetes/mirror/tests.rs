use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::pods::Leaving;
use super::super::slice::Place;
use super::super::view::View;
use super::*;
use crate::discovery::{ObservedState, Port};

const READY: ObservedState = ObservedState::Ready;
const SERVING: ObservedState = ObservedState::Draining { serving: true };

fn place(uid: &str, ip: u8, terminating: bool) -> Place {
    Place {
        ip: [10, 0, 0, ip].into(),
        uid: Some(uid.into()),
        pod: None,
        zone: None,
        ready: !terminating,
        serving: true,
        terminating,
    }
}

fn slice(name: &str, version: u64, places: Vec<Place>) -> Slice {
    Slice {
        name: name.into(),
        uid: format!("uid of {name}").into(),
        service: "web".into(),
        version: Some(version),
        is_ipv4: true,
        ports: vec![("".into(), Some(80))],
        places: places.into(),
    }
}

fn set(mirror: &Mirror) -> Vec<(String, ObservedState)> {
    let slices = mirror.slices("web");
    let set = View::new(None, false).look(slices, &Leaving::default());
    let mut all: Vec<_> = set
        .unwrap()
        .endpoints()
        .map(|one| (one.key.to_string(), one.state))
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

fn is(uid: &str, state: ObservedState) -> (String, ObservedState) {
    (uid.to_owned(), state)
}

#[test]
fn terminating_is_urgent_and_nothing_else_is() {
    let mut mirror = Mirror::default();
    let is_urgent =
        |mirror: &mut Mirror, version, places| mirror.apply(slice("a", version, places)).is_urgent;
    assert!(!is_urgent(&mut mirror, 1, vec![place("p", 1, false)]));
    assert!(is_urgent(&mut mirror, 2, vec![place("p", 1, true)]));
    assert!(!is_urgent(
        &mut mirror,
        3,
        vec![place("p", 1, true), place("q", 2, false)]
    ));
    assert!(is_urgent(
        &mut mirror,
        4,
        vec![place("p", 1, true), place("q", 2, true)]
    ));
    assert_eq!(set(&mirror), [is("p", SERVING), is("q", SERVING)]);
}

#[test]
fn what_comes_late_or_twice_changes_nothing() {
    let mut mirror = Mirror::default();
    mirror.apply(slice("a", 5, vec![place("p", 1, true)]));
    assert_eq!(
        mirror.apply(slice("a", 5, vec![place("p", 1, true)])),
        Changed::default()
    );
    assert_eq!(
        mirror.apply(slice("a", 4, vec![place("p", 1, false)])),
        Changed::default()
    );
    assert_eq!(
        mirror.delete(&slice("a", 3, vec![]), Instant::now()),
        Changed::default()
    );
    assert_eq!(set(&mirror), [is("p", SERVING)]);
}

#[test]
fn a_deleted_slice_counts_for_a_moment_while_its_service_has_others() {
    let mut mirror = Mirror::default();
    let now = Instant::now();
    mirror.replace(vec![
        slice("a", 1, vec![place("p", 1, false)]),
        slice("b", 2, vec![place("q", 2, false)]),
    ]);
    mirror.delete(&slice("a", 3, vec![]), now);
    assert_eq!(set(&mirror), [is("p", READY), is("q", READY)]);
    // Terminating is never delayed: what another slice says of it is newer.
    mirror.apply(slice(
        "b",
        4,
        vec![place("p", 1, true), place("q", 2, false)],
    ));
    assert_eq!(set(&mirror), [is("p", SERVING), is("q", READY)]);
    assert_eq!(mirror.next(), Some(now + HOLD));
    assert!(mirror.due(now + HOLD / 2).is_empty());
    mirror.apply(slice("b", 5, vec![place("q", 2, false)]));
    assert_eq!(mirror.due(now + HOLD), ["web".into()]);
    assert_eq!(set(&mirror), [is("q", READY)]);
    assert_eq!(mirror.next(), None);
    // The last one is gone at once: nothing can be on its way from it.
    mirror.delete(&slice("b", 6, vec![]), now);
    assert_eq!(set(&mirror), []);
}

#[test]
fn a_slice_made_again_takes_the_place_of_the_one_that_is_held() {
    let mut mirror = Mirror::default();
    let now = Instant::now();
    mirror.replace(vec![
        slice("a", 1, vec![place("p", 1, false)]),
        slice("b", 2, vec![]),
    ]);
    mirror.delete(&slice("a", 3, vec![]), now);
    let again = Slice {
        uid: "another".into(),
        ..slice("a", 4, vec![place("r", 3, false)])
    };
    mirror.apply(again);
    assert_eq!(set(&mirror), [is("r", READY)]);
    assert_eq!(mirror.next(), None);
    // A late word about the deletion is about the old one.
    mirror.delete(&slice("a", 3, vec![]), now);
    assert_eq!(set(&mirror), [is("r", READY)]);
}

#[test]
fn says_what_is_wrong_with_the_port() {
    let mut mirror = Mirror::default();
    mirror.apply(slice("a", 1, vec![place("p", 1, false)]));
    let leaving = Leaving::default();
    let look = |port, service| View::new(port, false).look(mirror.slices(service), &leaving);
    let wrong = look(Some(Port::Name("http".into())), "web");
    assert_eq!(
        wrong.unwrap_err(),
        "port: \"http\" is a port of no slice; there are 80"
    );
    assert!(look(None, "other").unwrap().is_empty());
}

/// What can happen to one slice.
#[derive(Debug, Clone)]
enum Event {
    Set(u8, Vec<(u8, bool)>),
    Delete(u8),
    Repeat(u8),
    Wait,
    Relist,
}

fn event() -> impl Strategy<Value = Event> {
    let places = prop::collection::vec((0u8..6, any::<bool>()), 0..5);
    prop_oneof![
        4 => (0u8..3, places).prop_map(|(name, places)| Event::Set(name, places)),
        2 => (0u8..3).prop_map(Event::Delete),
        2 => (0u8..20).prop_map(Event::Repeat),
        1 => Just(Event::Wait),
        1 => Just(Event::Relist),
    ]
}

proptest! {
    /// Whatever comes twice or late, and whatever is held for a moment: in the end the set is what the slices say, nothing
    /// that stands in a slice is ever missing, and what terminates in one is terminating in the set at once.
    #[test]
    fn agrees_with_a_plain_list_of_slices(events in prop::collection::vec(event(), 1..40)) {
        let mut mirror = Mirror::default();
        let mut now = Instant::now();
        let mut model: BTreeMap<u8, Slice> = BTreeMap::new();
        let mut sent: Vec<Slice> = Vec::new();
        for (version, event) in (1u64..).zip(events) {
            match event {
                Event::Set(name, places) => {
                    let mut seen = BTreeSet::new();
                    let places = places.into_iter().filter(|(pod, _)| seen.insert(*pod));
                    let places = places.map(|(pod, gone)| place(&format!("p{pod}"), pod, gone)).collect();
                    let mut next = slice(&format!("s{name}"), version, places);
                    next.uid = match model.get(&name) {
                        Some(known) => known.uid.clone(),
                        None => format!("born at {version}").into(),
                    };
                    mirror.apply(next.clone());
                    sent.push(next.clone());
                    model.insert(name, next);
                }
                Event::Delete(name) => {
                    if let Some(mut last) = model.remove(&name) {
                        last.version = Some(version);
                        mirror.delete(&last, now);
                    }
                }
                Event::Repeat(which) => {
                    // Of a slice that was forgotten nothing is left that tells how old an event is; the server's own order
                    // does, and the list that follows a broken one.
                    let known = sent.len().checked_sub(1 + usize::from(which)).map(|at| sent[at].clone());
                    if let Some(late) = known.filter(|late| mirror.known(&late.name).is_some()) {
                        mirror.apply(late);
                    }
                }
                Event::Wait => {
                    now += HOLD;
                    mirror.due(now);
                }
                Event::Relist => mirror.replace(model.values().cloned().collect()),
            }
            let found: HashMap<String, ObservedState> = set(&mirror).into_iter().collect();
            for place in model.values().flat_map(|slice| &*slice.places) {
                let state = found.get(&**place.uid.as_ref().unwrap());
                prop_assert!(state.is_some(), "{:?} is missing", place);
                prop_assert!(!place.terminating || state == Some(&SERVING), "{:?} is {:?}", place, state);
            }
        }
        mirror.due(now + HOLD);
        let found: BTreeSet<String> = set(&mirror).into_iter().map(|(uid, _)| uid).collect();
        let wanted: BTreeSet<String> =
            model.values().flat_map(|slice| &*slice.places).map(|place| place.uid.as_ref().unwrap().to_string()).collect();
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(mirror.next(), None);
        prop_assert_eq!(mirror.held, 0);
    }
}

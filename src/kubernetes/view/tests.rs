use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use tokio::time::Instant;

use super::super::pods::{self, PodMeta};
use super::super::slice::Slice;
use super::super::watch::Kept;
use super::*;

/// What can happen.
#[derive(Debug, Clone)]
enum Event {
    /// A slice is new or has changed: uids, and hosts of few, so that they meet.
    Set(u8, bool, Vec<(Option<u8>, u8, [bool; 3])>),
    Hold(u8),
    Forget(u8),
    Leaves(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let uid = prop::option::weighted(0.8, 0..12_u8);
    let place = (uid, 0..12_u8, any::<[bool; 3]>());
    let places = prop::collection::vec(place, 0..5);
    prop_oneof![
        6 => (0..4_u8, prop::bool::weighted(0.7), places).prop_map(|(name, v4, places)| Event::Set(name, v4, places)),
        1 => (0..4_u8).prop_map(Event::Hold),
        1 => (0..4_u8).prop_map(Event::Forget),
        1 => (0..12_u8).prop_map(Event::Leaves),
    ]
}

fn slice(name: u8, is_ipv4: bool, version: u64, places: &[(Option<u8>, u8, [bool; 3])]) -> Slice {
    let place = |(uid, host, said): &(Option<u8>, u8, [bool; 3])| Place {
        ip: match is_ipv4 {
            true => [10, 0, 0, *host].into(),
            false => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(*host)].into(),
        },
        uid: uid.map(|uid| format!("u{uid}").into()),
        pod: uid.map(|uid| format!("shop/p{uid}").into()),
        zone: None,
        ready: said[0],
        serving: said[1],
        terminating: said[2],
    };
    Slice {
        name: format!("s{name}").into(),
        uid: format!("uid of {name}").into(),
        service: "web".into(),
        version: Some(version),
        is_ipv4,
        ports: vec![("".into(), Some(80))],
        places: places.iter().map(place).collect(),
    }
}

fn pod(uid: u8) -> pods::Kept {
    let metadata = json!({
        "uid": format!("u{uid}"),
        "deletionTimestamp": "2026-11-22T10:00:30Z", "deletionGracePeriodSeconds": 30,
    });
    let pod = json!({ "metadata": metadata });
    Kept::of(serde_json::from_value::<PodMeta>(pod).unwrap()).unwrap()
}

/// All slices put together at once.
fn naive(slices: &[Held], leaving: &Leaving) -> Vec<Observed> {
    let shown = slices.iter().enumerate().flat_map(|(index, held)| {
        let places = held.slice.places.iter();
        places.map(move |place| show(place, 80, index))
    });
    let ages: Vec<Age> = slices.iter().map(age).collect();
    let is_ipv4 = slices.iter().any(|held| held.slice.is_ipv4);
    let mut all = merge(shown.collect(), &ages, is_ipv4);
    leaving.mark(&mut all);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn says_what_all_slices_put_together_say(events in prop::collection::vec(event(), 1..30)) {
        let mut slices: BTreeMap<u8, (Slice, Option<Instant>)> = BTreeMap::new();
        let mut leaving = Leaving::default();
        let mut view = View::new(None, true);
        for (version, event) in (1_u64..).zip(events) {
            match event {
                Event::Set(name, is_ipv4, places) => {
                    let mut new = slice(name, is_ipv4, version, &places);
                    if let Some((known, _)) = slices.get(&name) {
                        new.share(known);
                    }
                    slices.insert(name, (new, None));
                }
                Event::Hold(name) => {
                    if let Some((_, until)) = slices.get_mut(&name) {
                        *until = Some(Instant::now());
                    }
                }
                Event::Forget(name) => drop(slices.remove(&name)),
                Event::Leaves(uid) => {
                    leaving.see(&pod(uid));
                    view.stir(Some(&format!("u{uid}")));
                }
            }
            let held: Vec<Held> = slices
                .values()
                .map(|(slice, until)| Held { slice: slice.clone(), until: *until })
                .collect();
            let set = view.look(&held, &leaving).unwrap();
            let mut found: Vec<Observed> = set.endpoints().map(|one| (**one).clone()).collect();
            found.sort_by(|one, other| (&one.pod, &one.key).cmp(&(&other.pod, &other.key)));
            prop_assert_eq!(&found, &naive(&held, &leaving));
            // What has not changed is the same allocation.
            let again = view.look(&held, &leaving).unwrap();
            let mut both = set.endpoints().zip(again.endpoints());
            prop_assert!(set.len() == again.len() && both.all(|(one, other)| Arc::ptr_eq(one, other)));
        }
    }
}

#[test]
fn a_change_in_one_slice_leaves_the_other_parts_as_they_are() {
    let all = |number: u8| [(Some(number), number, [true, true, false])];
    let mut held: Vec<Held> = (0..10_u8)
        .map(|n| Held {
            slice: slice(n, true, 1, &all(n)),
            until: None,
        })
        .collect();
    let mut view = View::new(None, false);
    let leaving = Leaving::default();
    let first = view.look(&held, &leaving).unwrap();
    let mut new = slice(
        7,
        true,
        2,
        &[
            (Some(7), 7, [false, true, true]),
            (Some(77), 77, [true, true, false]),
        ],
    );
    new.share(&held[7].slice);
    held[7].slice = new;
    let second = view.look(&held, &leaving).unwrap();
    for (number, (one, other)) in first.parts().iter().zip(second.parts()).enumerate() {
        assert_eq!(Arc::ptr_eq(one, other), number != 7, "{number}");
    }
    assert_eq!(second.len(), 11);
}

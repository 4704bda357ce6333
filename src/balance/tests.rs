use std::cell::Cell;

use fastrand::Rng;
use proptest::prelude::*;

use super::members::CHUNK;
use super::*;

/// A member as a test wants it.
#[derive(Debug, Clone)]
struct Fake {
    weight: u32,
    in_flight: u64,
    latency: f64,
    share: f64,
    seed: String,
}

impl Fake {
    fn new(weight: u32, seed: usize) -> Self {
        Self {
            weight,
            in_flight: 0,
            latency: 0.0,
            share: 1.0,
            seed: format!("pod-{seed}"),
        }
    }
}

impl Candidate for Fake {
    fn weight(&self) -> u32 {
        self.weight
    }

    fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn latency(&self) -> f64 {
        self.latency
    }

    fn share(&self, _now: Instant) -> f64 {
        self.share
    }

    fn hash_seed(&self) -> &str {
        &self.seed
    }
}

fn by_client() -> Policy {
    Policy::Hash(HashKey::ClientAddress)
}

fn policies() -> [Policy; 5] {
    [
        Policy::LeastRequest,
        Policy::PeakEwma,
        Policy::RoundRobin,
        Policy::Random,
        by_client(),
    ]
}

/// All but the one that knows no shares.
fn policies_with_shares() -> impl Iterator<Item = Policy> {
    policies()
        .into_iter()
        .filter(|policy| *policy != by_client())
}

fn members(weights: &[u32]) -> Members<Fake> {
    let numbered = weights.iter().zip(0..);
    numbered
        .map(|(&weight, seed)| Fake::new(weight, seed))
        .collect()
}

fn alter(members: &mut Members<Fake>, index: usize, change: impl FnOnce(&mut Fake)) {
    let mut member = members[index].clone();
    change(&mut member);
    members.set(index, member);
}

fn pick(
    picker: &Picker,
    members: &Members<Fake>,
    rng: &mut Rng,
    excluded: &[usize],
) -> Option<usize> {
    let mut cx = PickContext {
        now: Instant::now(),
        rng,
        hash: None,
        excluded,
    };
    picker.pick(members, &mut cx)
}

fn pick_key(picker: &Picker, members: &Members<Fake>, key: u64, excluded: &[usize]) -> usize {
    let mut cx = PickContext {
        now: Instant::now(),
        rng: &mut Rng::with_seed(0),
        hash: Some(hash_key(&key.to_le_bytes())),
        excluded,
    };
    picker.pick(members, &mut cx).unwrap()
}

/// How often each member is picked, as a part of all picks.
fn parts(policy: &Policy, members: &Members<Fake>, excluded: &[usize]) -> Vec<f64> {
    let picker = Picker::build(policy, members);
    let mut rng = Rng::with_seed(7);
    let mut parts = vec![0.0; members.len()];
    for _ in 0..PICKS {
        parts[pick(&picker, members, &mut rng, excluded).unwrap()] += 1.0 / PICKS as f64;
    }
    parts
}

fn assert_parts(policy: &Policy, members: &Members<Fake>, excluded: &[usize], wanted: &[f64]) {
    let total: f64 = wanted.iter().sum();
    for (part, wanted) in parts(policy, members, excluded).into_iter().zip(wanted) {
        let wanted = wanted / total;
        // Four deviations of chance, and what the slots of a table can be out.
        let tolerance = 4.0 * (wanted / PICKS as f64).sqrt() + 0.0005;
        assert!(
            (part - wanted).abs() <= tolerance,
            "{policy:?}: {part} for {wanted}"
        );
    }
}

/// A member that counts how often anything is asked of it.
#[derive(Clone)]
struct Counted<'c> {
    member: Fake,
    asked: &'c Cell<usize>,
}

impl Counted<'_> {
    fn asked(&self) -> &Fake {
        self.asked.set(self.asked.get() + 1);
        &self.member
    }
}

impl Candidate for Counted<'_> {
    fn weight(&self) -> u32 {
        self.asked().weight
    }

    fn in_flight(&self) -> u64 {
        self.asked().in_flight
    }

    fn latency(&self) -> f64 {
        self.asked().latency
    }

    fn share(&self, _now: Instant) -> f64 {
        self.asked().share
    }

    fn hash_seed(&self) -> &str {
        &self.asked().seed
    }
}

/// The most that any pick asks of all members together; one member is excluded.
fn asked_at_most(policy: &Policy, members: &Members<Fake>) -> usize {
    let asked = Cell::new(0);
    let counted = members.iter().map(|member| Counted {
        member: member.clone(),
        asked: &asked,
    });
    let counted: Members<_> = counted.collect();
    let picker = Picker::build(policy, &counted);
    let mut rng = Rng::with_seed(11);
    let most = (0..1_000u64).map(|request| {
        asked.set(0);
        let mut cx = PickContext {
            now: Instant::now(),
            rng: &mut rng,
            hash: Some(hash_key(&request.to_le_bytes())),
            excluded: &[3],
        };
        assert!(picker.pick(&counted, &mut cx).is_some());
        asked.get()
    });
    most.max().unwrap()
}

/// No pick looks at more of ten thousand members than of ten: a load is two to four questions, and there are two loads.
#[test]
fn a_pick_looks_at_as_few_of_many_members_as_of_few() {
    for policy in policies() {
        for weights in [&[1][..], &[1, 2, 3, 4, 5]] {
            let many = |count| members(&weights.repeat(count / weights.len()));
            for count in [10, 10_000] {
                let asked = asked_at_most(&policy, &many(count));
                assert!(
                    asked <= 12,
                    "{policy:?}: {asked} questions to {count} members"
                );
            }
        }
    }
}

/// A picker of ten thousand asks all of them once; the next one asks those in the chunk of the one that has changed.
#[test]
fn a_picker_for_an_update_looks_at_as_few_as_have_changed() {
    for policy in policies_with_shares() {
        for weights in [&[1][..], &[1, 2, 3, 4, 5]] {
            let asked = Cell::new(0);
            let counted = |weight| Counted {
                member: Fake::new(weight, 0),
                asked: &asked,
            };
            let all = weights.repeat(10_000 / weights.len());
            let mut members: Members<_> = all.into_iter().map(counted).collect();
            let _ = Picker::build(&policy, &members);
            for change in [7, 9_999] {
                members.set(change, counted(9));
                let _ = Picker::build(&policy, &members);
            }
            asked.set(0);
            let before = members.clone();
            members.swap_remove(5_000);
            let _ = Picker::build(&policy, &members);
            let asked = asked.get();
            assert!(asked <= 8 * CHUNK, "{policy:?}: {asked} questions");
            assert_eq!(before.len(), 10_000);
        }
    }
}

/// What is known of chunks is never out of date.
#[test]
fn a_set_that_was_changed_is_picked_from_as_one_made_anew() {
    for policy in policies() {
        let mut rng = Rng::with_seed(5);
        let mut changed = members(&[1; 700]);
        for step in 0..300 {
            let index = rng.usize(..changed.len());
            match step % 3 {
                0 => changed.swap_remove(index),
                1 => alter(&mut changed, index, |member| member.weight = rng.u32(..4)),
                _ => changed.push(Fake::new(rng.u32(..4), 1_000 + step)),
            }
            let anew: Members<_> = changed.iter().cloned().collect();
            let both = [&changed, &anew].map(|members| {
                let picker = Picker::build(&policy, members);
                let mut rng = Rng::with_seed(9);
                let picks = (0..50).map(|_| pick(&picker, members, &mut rng, &[]));
                picks.collect::<Vec<_>>()
            });
            assert_eq!(both[0], both[1], "{policy:?}");
        }
    }
}

#[test]
fn idle_members_get_requests_by_weight() {
    for policy in policies() {
        for weights in [
            &[1][..],
            &[1, 1],
            &[100, 1],
            &[1, 2, 3, 4],
            &[0, 5, 0, 5, 0],
            &[7, 0, 1_000_000, 3],
            &[u32::MAX, u32::MAX, 1],
            &[100_003, 99_991, 50_021],
        ] {
            let wanted: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
            assert_parts(&policy, &members(weights), &[], &wanted);
        }
    }
}

#[test]
fn many_members_get_requests_by_weight() {
    for policy in policies() {
        for divisor in [1, 4] {
            let weights: Vec<u32> = (0..1000).map(|i| 1 + i % divisor).collect();
            let parts = parts(&policy, &members(&weights), &[]);
            for weight in 1..=divisor {
                let of_weight = parts.iter().zip(&weights).filter(|(_, w)| **w == weight);
                let sum: f64 = of_weight.map(|(part, _)| part).sum();
                let wanted = f64::from(weight) / f64::from((1..=divisor).sum::<u32>());
                assert!(
                    (sum - wanted).abs() < 0.01,
                    "{policy:?}: {sum} for {wanted}"
                );
            }
        }
    }
}

#[test]
fn what_is_excluded_falls_to_the_others() {
    for policy in policies() {
        for (weights, excluded, left) in [
            (&[1, 1, 1][..], &[0][..], &[false, true, true][..]),
            (&[1, 1, 1], &[2, 0], &[false, true, false]),
            (&[1, 1000, 1], &[1], &[true, false, true]),
            (&[1, 1_000_000, 0], &[1], &[true, false, false]),
        ] {
            let parts = parts(&policy, &members(weights), excluded);
            let picked: Vec<bool> = parts.iter().map(|&part| part > 0.0).collect();
            assert_eq!(picked, left, "{policy:?}");
        }
    }
}

#[test]
fn an_excluded_member_leaves_its_part_to_all_others_alike() {
    for policy in policies() {
        let mut wanted = [1.0; 10];
        wanted[4] = 0.0;
        let parts = parts(&policy, &members(&[1; 10]), &[4]);
        for (part, wanted) in parts.iter().zip(wanted) {
            assert!((part - wanted / 9.0).abs() < 0.01, "{policy:?}: {parts:?}");
        }
    }
}

#[test]
fn slow_start_gives_a_share() {
    for policy in policies_with_shares() {
        for (weights, shares) in [
            (&[1, 1, 1, 1][..], &[1.0, 1.0, 1.0, 0.2][..]),
            (&[2, 2, 3], &[1.0, 1.0, 0.5]),
            (&[1, 1], &[0.0, 1.0]),
            // All began together: nobody is slower than the others.
            (&[1, 1, 2], &[0.1, 0.1, 0.1]),
            (&[1, 3], &[0.0, 0.0]),
        ] {
            let mut members = members(weights);
            for (index, share) in shares.iter().enumerate() {
                alter(&mut members, index, |member| member.share = *share);
            }
            let alike = shares.iter().all(|share| *share == shares[0]);
            let wanted: Vec<f64> = weights
                .iter()
                .zip(shares)
                .map(|(&weight, share)| f64::from(weight) * if alike { 1.0 } else { *share })
                .collect();
            assert_parts(&policy, &members, &[], &wanted);
        }
    }
}

#[test]
fn nobody_is_picked_where_nobody_is() {
    for policy in policies() {
        for weights in [&[][..], &[0], &[0, 0, 0]] {
            let members = members(weights);
            let picker = Picker::build(&policy, &members);
            assert_eq!(pick(&picker, &members, &mut Rng::with_seed(1), &[]), None);
        }
    }
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), 0..10_u32, any::<u32>()]
}

fn odd_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(1.0),
        0.0..1.0,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(-1.0)
    ]
}

fn fake() -> impl Strategy<Value = Fake> {
    let in_flight = prop_oneof![Just(0), 0..100_u64, Just(u64::MAX)];
    (weight(), in_flight, odd_float(), odd_float(), 0..5_usize).prop_map(
        |(weight, in_flight, latency, share, seed)| Fake {
            weight,
            in_flight,
            latency,
            share,
            seed: format!("pod-{seed}"),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_members_give_an_allowed_one_if_there_is_one(
        members in prop::collection::vec(fake(), 0..20).prop_map(Members::from_iter),
        excluded in prop::collection::vec(0..25_usize, 0..20),
        hash in any::<Option<u64>>(),
        seed in any::<u64>(),
    ) {
        let allowed = |index: usize| members[index].weight > 0 && !excluded.contains(&index);
        for policy in policies() {
            let picker = Picker::build(&policy, &members);
            let mut rng = Rng::with_seed(seed);
            for _ in 0..20 {
                let mut cx = PickContext { now: Instant::now(), rng: &mut rng, hash, excluded: &excluded };
                match picker.pick(&members, &mut cx) {
                    Some(index) => prop_assert!(allowed(index), "{:?} picked {}", policy, index),
                    None => prop_assert!(!(0..members.len()).any(allowed), "{:?}", policy),
                }
            }
        }
    }

    #[test]
    fn every_member_of_a_small_round_comes_as_often_as_it_weighs(
        weights in prop::collection::vec(0..20_u32, 1..20),
        factor in 1..1000_u32,
    ) {
        let members = members(&weights.iter().map(|weight| weight * factor).collect::<Vec<_>>());
        let picker = Picker::build(&Policy::RoundRobin, &members);
        let mut counts = vec![0; weights.len()];
        // A round may be shorter, where the weights have a common factor, but it fits in this many picks.
        for _ in 0..weights.iter().sum() {
            counts[pick(&picker, &members, &mut Rng::with_seed(1), &[]).unwrap()] += 1;
        }
        prop_assert_eq!(counts, weights);
    }
}

#[test]
fn round_robin_goes_round_and_on() {
    let members = members(&[3; 4]);
    let mut rng = Rng::with_seed(1);
    let picker = Picker::build(&Policy::RoundRobin, &members);
    let picks: Vec<_> = (0..6)
        .map(|_| pick(&picker, &members, &mut rng, &[]).unwrap())
        .collect();
    assert_eq!(picks, [0, 1, 2, 3, 0, 1]);
    let next = Picker::build(&Policy::RoundRobin, &members);
    next.resume(&picker);
    assert_eq!(pick(&next, &members, &mut rng, &[]), Some(2));
}

#[test]
fn round_robin_strides_evenly_where_a_round_is_long() {
    let weights: Vec<u32> = (0..50).map(|i| 10_007 + 997 * i).collect();
    let members = members(&weights);
    let picker = Picker::build(&Policy::RoundRobin, &members);
    let mut rng = Rng::with_seed(1);
    let total: u32 = weights.iter().sum();
    let mut counts = vec![0.0; weights.len()];
    for done in 1..=5000 {
        counts[pick(&picker, &members, &mut rng, &[]).unwrap()] += 1.0;
        for (count, &weight) in counts.iter().zip(&weights) {
            let due = f64::from(done) * f64::from(weight) / f64::from(total);
            // At no moment is anyone further ahead or behind; chance would be out by dozens.
            assert!((count - due).abs() < 4.0, "{count} for {due}");
        }
    }
}

#[test]
fn fewer_in_flight_wins() {
    let mut members = members(&[1; 4]);
    alter(&mut members, 0, |member| member.in_flight = 5);
    alter(&mut members, 1, |member| member.in_flight = 1);
    let parts = parts(&Policy::LeastRequest, &members, &[]);
    // The two idle ones win every pair but their own; the busiest wins none.
    let wanted = [0.0, 1.0 / 6.0, 5.0 / 12.0, 5.0 / 12.0];
    for (part, wanted) in parts.iter().zip(wanted) {
        assert!((part - wanted).abs() < 0.01, "{parts:?}");
    }
    assert_eq!(parts[0], 0.0);
}

/// A closed loop: so many requests are always in flight, a random one ends, and the next is picked.
fn loaded(policy: &Policy, members: &mut Members<Fake>, concurrency: usize) -> Vec<f64> {
    let picker = Picker::build(policy, members);
    let mut rng = Rng::with_seed(3);
    let mut parts = vec![0.0; members.len()];
    let mut running: Vec<usize> = Vec::new();
    for _ in 0..PICKS {
        if running.len() == concurrency {
            let ended = running.swap_remove(rng.usize(..concurrency));
            alter(members, ended, |member| member.in_flight -= 1);
        }
        let index = pick(&picker, members, &mut rng, &[]).unwrap();
        alter(members, index, |member| member.in_flight += 1);
        running.push(index);
        parts[index] += 1.0 / PICKS as f64;
    }
    parts
}

#[test]
fn the_lighter_gets_its_part_under_any_load() {
    for policy in [Policy::LeastRequest, Policy::PeakEwma] {
        for concurrency in [1, 2, 5, 50, 1000] {
            let mut members = members(&[100, 1]);
            for index in 0..members.len() {
                alter(&mut members, index, |member| member.latency = 0.1);
            }
            let parts = loaded(&policy, &mut members, concurrency);
            assert!(
                (0.002..0.02).contains(&parts[1]),
                "{policy:?} {concurrency}: {parts:?}"
            );
        }
    }
}

#[test]
fn load_is_kept_in_proportion_to_weight() {
    let mut members = members(&[1, 2, 3, 4]);
    loaded(&Policy::LeastRequest, &mut members, 1000);
    for member in members.iter() {
        let due = f64::from(member.weight) * 100.0;
        assert!(
            (member.in_flight as f64 - due).abs() < 0.1 * due,
            "{member:?}"
        );
    }
}

#[test]
fn lower_latency_wins() {
    let mut members = members(&[1; 3]);
    for (index, latency) in [0.3, 0.1, 0.2].into_iter().enumerate() {
        alter(&mut members, index, |member| member.latency = latency);
    }
    let parts = parts(&Policy::PeakEwma, &members, &[]);
    assert!(
        parts[0] == 0.0 && (parts[1] - 2.0 / 3.0).abs() < 0.01,
        "{parts:?}"
    );
}

#[test]
fn an_unknown_latency_is_probed_one_request_at_a_time() {
    let mut members = members(&[1; 2]);
    alter(&mut members, 0, |member| member.latency = 0.001);
    // But for the few times when every second draw is the first again.
    assert!(parts(&Policy::PeakEwma, &members, &[])[1] > 0.999);
    alter(&mut members, 1, |member| member.in_flight = 1);
    alter(&mut members, 0, |member| member.in_flight = 1000);
    assert!(parts(&Policy::PeakEwma, &members, &[])[1] < 0.001);
}

/// The owners of many keys, by seed and not by place.
fn homes(members: &Members<Fake>, excluded: &[usize]) -> Vec<String> {
    let picker = Picker::build(&by_client(), members);
    let keys = 0..PICKS as u64;
    keys.map(|key| {
        members[pick_key(&picker, members, key, excluded)]
            .seed
            .clone()
    })
    .collect()
}

fn moved(before: &[String], after: &[String], left: &str) -> f64 {
    let pairs = before.iter().zip(after);
    let moved = pairs.filter(|(before, after)| *before != left && before != after);
    moved.count() as f64 / before.len() as f64
}

#[test]
fn keys_have_the_same_home_in_any_order_of_members() {
    for weights in [[1; 100], std::array::from_fn(|i| i as u32 % 7)] {
        let members = members(&weights);
        let before = homes(&members, &[]);
        let mut shuffled: Vec<_> = members.iter().cloned().collect();
        Rng::with_seed(5).shuffle(&mut shuffled);
        assert_eq!(homes(&shuffled.into_iter().collect(), &[]), before);
    }
}

#[test]
fn few_keys_move_when_a_member_leaves() {
    let evenly = |_| 1;
    let unevenly = |i: u32| 1 + i % 3;
    for (count, weight, most) in [
        (100, evenly as fn(u32) -> u32, 0.01),
        (100, unevenly, 0.02),
        (3, evenly, 0.03),
        (1000, evenly, 0.01),
    ] {
        let mut members = members(&(0..count).map(weight).collect::<Vec<_>>());
        let before = homes(&members, &[]);
        let left = members[count as usize / 2].clone();
        members.swap_remove(count as usize / 2);
        let moved = moved(&before, &homes(&members, &[]), &left.seed);
        assert!(moved < most, "{moved} of {count}");
    }
}

#[test]
fn only_the_keys_of_an_excluded_member_move_and_all_over() {
    let members = members(&[1; 100]);
    let (before, after) = (homes(&members, &[]), homes(&members, &[50]));
    assert_eq!(moved(&before, &after, "pod-50"), 0.0);
    let pairs = before.iter().zip(&after);
    let heirs: std::collections::HashSet<_> = pairs
        .filter(|(before, _)| *before == "pod-50")
        .map(|(_, after)| after)
        .collect();
    assert!(!heirs.contains(&"pod-50".to_owned()) && heirs.len() > 90);
}

#[test]
fn keys_are_spread_evenly() {
    let members = members(&[1; 100]);
    let picker = Picker::build(&by_client(), &members);
    let mut counts = vec![0.0; 100];
    for key in 0..1_000_000 {
        counts[pick_key(&picker, &members, key, &[])] += 1.0;
    }
    let (least, most) = counts
        .iter()
        .fold((f64::MAX, 0.0_f64), |(least, most), &count| {
            (least.min(count), most.max(count))
        });
    // Four deviations of chance.
    assert!(least > 9_600.0 && most < 10_400.0, "{least} to {most}");
}

const PICKS: usize = 100_000;

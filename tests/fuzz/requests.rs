//! Bytes of clients: one canonical request reaches an endpoint, or none.

use std::sync::OnceLock;
use std::time::Duration;

use crate::cases::{self, GOOD};
use crate::dice::{Change, PIECES, changed, pick, time};
use crate::world::{everything, play};

/// Good requests and bad ones.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let good = GOOD
            .iter()
            .map(|good| good.replace("%CASE%", "").into_bytes());
        let bad = cases::all().into_iter().map(|case| case.bytes);
        // The good ones have the better half.
        let good: Vec<_> = good.collect();
        let often = good.iter().cycle().take(1000).cloned();
        often.chain(bad).collect()
    })
}

#[test]
fn one_canonical_request_or_none() {
    bolero::check!()
        .with_type::<(u16, Vec<Change>, u8, u16)>()
        .with_iterations(usize::MAX)
        .with_test_time(time())
        .for_each(|(seed, changes, follower, split)| {
            let seeds = seeds();
            let mut bytes = changed(&seeds[usize::from(*seed) % seeds.len()], changes, &PIECES);
            // Another request in one piece with it, now and then.
            if follower % 4 == 0 {
                bytes.extend_from_slice(pick(&GOOD, *follower).replace("%CASE%", "").as_bytes());
            }
            let (front, back) = bytes.split_at(usize::from(*split) % (bytes.len() + 1));
            play(everything, async |world| {
                world.send(&[front, back], Duration::from_millis(100)).await;
                let script = world.script.borrow();
                assert!(script.faults.is_empty(), "{:#?}", script.faults);
            });
        });
}

//! What is hashed of a request, and how: every replica and every version must find the same home for a key.
//!
//! The standard library's hasher promises no such thing, so the function is written out here, and its values are pinned by
//! a test. It takes eight bytes at a time and folds a 128-bit product, as wyhash and its kin do. It is no secret: who can
//! choose a key can choose an endpoint, which sending the same key over and over does as well.

/// What of a request is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, without its port.
    ClientAddress,
    /// The value of a header field, by its lower-case name.
    Header(http::HeaderName),
    /// The value of a cookie, by its name.
    Cookie(String),
}

/// The hash of a key, the same in every process and every version.
#[must_use]
pub fn hash_key(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The length tells "a" from "a\0".
    let state = words.iter().fold(bytes.len() as u64, |state, word| {
        mix(state ^ u64::from_le_bytes(*word))
    });
    mix(mix(state ^ u64::from_le_bytes(last)))
}

/// Another number that shows nothing of this one.
pub(super) const fn mix(number: u64) -> u64 {
    let product = (number ^ START) as u128 * FACTOR as u128;
    (product >> 64) as u64 ^ product as u64
}

/// Brings an evenly spread number into `0..bound`, evenly, and gives back what is left of it, again evenly spread.
pub(super) const fn scale(number: u64, bound: u64) -> (u64, u64) {
    let product = number as u128 * bound as u128;
    ((product >> 64) as u64, product as u64)
}

// The first digits of pi and, made odd, of the golden ratio: numbers without a pattern and without a choice.
const START: u64 = 0x243F_6A88_85A3_08D3;
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn values_are_the_same_in_every_version() {
        let values = ["", "a", "tidegate", "10.0.0.1:8080"].map(|key| hash_key(key.as_bytes()));
        assert_eq!(values, PINNED);
    }

    #[test]
    fn keys_alike_have_hashes_unlike() {
        let mut seen = HashSet::new();
        let mut changed = 0;
        for number in 0..100_000_u64 {
            let hash = hash_key(format!("user-{number}").as_bytes());
            assert!(seen.insert(hash));
            changed += u64::from(
                (hash ^ hash_key(format!("user-{}", number ^ 1).as_bytes())).count_ones(),
            );
        }
        let mean = changed as f64 / 100_000.0;
        assert!((31.5..32.5).contains(&mean), "{mean} of 64 bits change");
    }

    #[test]
    fn the_length_counts() {
        let all: HashSet<_> = (0..64).map(|length| hash_key(&vec![0; length])).collect();
        assert_eq!(all.len(), 64);
    }

    #[test]
    fn every_range_is_filled_evenly() {
        for bound in [2, 3, 10, 100, 1000] {
            let mut counts = vec![0_u32; bound];
            for number in 0..100_000_u64 {
                counts[scale(hash_key(&number.to_le_bytes()), bound as u64).0 as usize] += 1;
            }
            let mean = 100_000.0 / bound as f64;
            let off = counts.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean);
            let chi = off.sum::<f64>() / (bound - 1) as f64;
            assert!(
                chi < 1.0 + 5.0 * (2.0 / (bound - 1) as f64).sqrt(),
                "{bound}: {chi}"
            );
        }
    }

    const PINNED: [u64; 4] = [
        8_058_920_265_583_599_731,
        5_659_040_483_958_573_011,
        2_968_834_471_110_429_554,
        16_958_052_600_145_775_928,
    ];
}

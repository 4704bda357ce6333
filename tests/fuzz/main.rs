//! Whatever comes, the promises about messages hold: targets for fuzzers, which also run for a moment with every test run.
//!
//! Each target turns dice into input, most of it from seeds of our own with a few changes, and compares what tidegate does
//! with a plain reading of the same input. `TIDEGATE_FUZZ_SECONDS` sets how long each runs (two seconds, if it is not set),
//! `BOLERO_RANDOM_SEED` plays one case again, and `cargo bolero test --test fuzz requests::one_canonical_request_or_none` gives a
//! target to a fuzzer that looks for new paths. What one finds becomes a test.
//!
//! The state machine of drains has its own dice: `tests/simulate`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod admin;
mod answers;
mod blocks;
#[expect(dead_code, reason = "whether a case may pass matters elsewhere")]
#[path = "../it/smuggling/cases.rs"]
mod cases;
mod configs;
mod dice;
mod fields;
mod requests;
mod routing;
mod slices;
#[path = "../it/smuggling/strict.rs"]
mod strict;
mod world;

//! The whole proxy on one thread: in-memory streams, a clock that stands still until everybody waits, and dice with a seed.
//!
//! A [`World`] has scripted endpoints, a source that the test speaks through, the one writer and two workers, exactly as the
//! process runs them. After a rollout the `model` looks at what endpoints and clients saw and at what the writer told, and
//! holds it against the laws and promises. A failing seed is printed; `TIDEGATE_SEED=n` plays it alone, `TIDEGATE_SEEDS=n`
//! plays so many.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod client;
mod endpoint;
mod model;
mod rollouts;
mod scenarios;
mod world;

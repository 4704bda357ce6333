//! The atomics of the gate: the standard library's, or loom's when every interleaving is explored.

#[cfg(not(tidegate_loom))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(tidegate_loom)]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

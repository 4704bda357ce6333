//! Endpoints in a file that is watched.
//!
//! The file holds tidegate's own list (`native`) or Kubernetes' slices (`slices`); what is in it is decided by a pure
//! function ([`parse()`]).

mod native;
mod parse;
mod slices;

pub use parse::parse;

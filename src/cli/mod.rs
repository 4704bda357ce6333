//! Commands.

mod check;

pub use check::check;

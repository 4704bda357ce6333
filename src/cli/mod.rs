//! The command line.

mod check;
mod client;
mod drain;
mod output;
mod progress;
mod status;
mod table;

pub use check::check;
pub use client::TokenArgs;
pub use drain::{DrainArgs, UndrainArgs, drain, undrain};
pub use status::{Output, StatusArgs, status};

//! Streams and how they come about.

pub mod tls;

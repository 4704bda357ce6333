//! HTTP/2's bytes (RFC 9113), as the server reads and writes them with clients.
//!
//! * [`frame`]: frames, their heads, and why things end.
//! * [`hpack`]: fields, as blocks carry them (RFC 7541).

pub mod frame;
pub mod hpack;

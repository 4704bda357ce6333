//! HTTP/2's bytes (RFC 9113), as the server reads and writes them with clients.
//!
//! * [`hpack`]: fields, as blocks carry them (RFC 7541).

pub mod hpack;

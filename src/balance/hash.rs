//! placeholder

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

//! TLS on listeners.

use std::path::PathBuf;

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Chosen by SNI; the first one when none fits. Never empty.
    pub certificates: Vec<Certificate>,
    /// The lowest version spoken.
    pub min_version: Version,
}

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

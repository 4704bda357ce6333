//! TLS, by rustls: 1.2 and 1.3, and nowhere else in the crate.
//!
//! * [`Acceptor`]: a listener's side, its certificates chosen by SNI and read again when their files change.
//! * [`Connector`]: a service's side towards its endpoints, which have to prove who they are.
//! * `pair`: a certificate and its key, which are a pair or nothing at all.

mod held;
mod listener;
mod names;
mod pair;
#[cfg(test)]
mod tests;
mod upstream;
mod wire;

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio_rustls::{client, server};

pub use held::{Held, Offer};
pub use listener::{Acceptor, ClientCertificates, Expiry, Settings};
pub use upstream::{Connector, UpstreamSettings, UpstreamTlsError, is_server_name};
pub use wire::Wire;

/// A TLS connection with a client.
pub type TlsStream = server::TlsStream<Wire>;

/// A TLS connection with an endpoint.
pub type UpstreamTlsStream = client::TlsStream<Wire>;

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, the own certificate first.
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

/// Why TLS cannot be spoken.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {what}; {right}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
        /// What would be right.
        right: &'static str,
    },
    /// A certificate and a key that are not a pair.
    #[error("{} and {} are no pair: {what}", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A certificate and a key from elsewhere that cannot be used.
    #[error("{name}: {what}")]
    Held {
        /// Where they are from.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The system has nobody to trust.
    #[error(
        "this system trusts no authorities; install its ca-certificates, or name a file under ca"
    )]
    NoAuthorities,
    /// What the settings ask for cannot be spoken.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] tokio_rustls::rustls::Error),
}

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// What came is no TLS: most likely clear HTTP on the wrong port.
    #[error("the client does not speak TLS here")]
    NotTls,
    /// Anything else, as rustls or the socket says it.
    #[error(transparent)]
    Other(std::io::Error),
}

impl From<std::io::Error> for HandshakeError {
    fn from(error: std::io::Error) -> Self {
        use tokio_rustls::rustls::{Error, InvalidMessage};
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls,
            _ => Self::Other(error),
        }
    }
}

impl TlsError {
    fn file(file: &Path, what: impl fmt::Display, right: &'static str) -> Self {
        Self::File {
            file: file.into(),
            what: what.to_string(),
            right,
        }
    }
}

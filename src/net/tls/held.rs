//! A certificate and its key from elsewhere than files, and the names that they are shown for.

use std::sync::Arc;
use std::time::SystemTime;

use super::TlsError;
use super::pair::{Pair, provider};

/// A certificate and its key, read and found to be a pair. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Held {
    /// Where it is from, for people.
    name: Arc<str>,
    pub(super) pair: Arc<Pair>,
}

/// A certificate that a listener shows to clients that ask for certain names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The names, `*.example.com` for one label more; those of the certificate itself when there are none.
    pub names: Vec<String>,
    /// The certificate.
    pub held: Held,
}

impl Held {
    /// Reads a chain and a key, both PEM. `name` says where they are from.
    ///
    /// # Errors
    /// [`TlsError::Held`].
    pub fn read(name: &str, cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pair = Pair::of(cert, key, &provider()).map_err(|what| TlsError::Held {
            name: name.into(),
            what,
        })?;
        Ok(Self {
            name: name.into(),
            pair: Arc::new(pair),
        })
    }

    /// Where it is from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The end of its validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.pair.not_after
    }
}

/// Read anew it is another one, whatever it holds.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pair, &other.pair)
    }
}

impl Eq for Held {}

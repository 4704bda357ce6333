//! Certificates by the name that a client asks for (SNI, RFC 6066): the exact name, then a wildcard, then the first.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::pair::Pair;

/// A listener's certificates.
#[derive(Debug, Default)]
pub(super) struct ByName {
    first: Option<Arc<CertifiedKey>>,
    names: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    pub(super) fn of(pairs: &[Pair]) -> Self {
        let mut all = Self::default();
        for pair in pairs {
            all.first.get_or_insert_with(|| pair.key.clone());
            for name in &pair.names {
                // The first one listed for a name is the one that is shown.
                all.names
                    .entry(name.clone())
                    .or_insert_with(|| pair.key.clone());
            }
        }
        all
    }

    fn find(&self, asked: &str) -> Option<&Arc<CertifiedKey>> {
        let asked = asked.to_ascii_lowercase();
        self.names.get(&asked).or_else(|| {
            let (_, domain) = asked.split_once('.')?;
            self.names.get(&format!("*.{domain}"))
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello
            .server_name()
            .and_then(|asked| self.find(asked))
            .or(self.first.as_ref())
            .cloned()
    }
}

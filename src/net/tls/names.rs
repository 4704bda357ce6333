//! Certificates by the name that a client asks for (SNI, RFC 6066): the exact name, then a wildcard, then the first.
//!
//! Those of files are there from the beginning; others come and go ([`Offer`]). Of two for the same name that of a file is
//! shown, and only one of a file is shown to a client that asks for no known name.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::Expiry;
use super::held::Offer;
use super::pair::Pair;

/// What a listener shows.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) files: ByName,
    pub(super) offered: Arc<ArcSwap<ByName>>,
}

/// Certificates by their names.
#[derive(Debug, Default)]
pub(super) struct ByName {
    first: Option<Arc<CertifiedKey>>,
    names: HashMap<String, Arc<CertifiedKey>>,
    /// Of those that are offered.
    pub(super) expiries: Vec<Expiry>,
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

    /// Of two for the same name the first one is shown.
    pub(super) fn offered(offers: &[Offer]) -> Self {
        let mut all = Self::default();
        for offer in offers {
            all.expiries.push(Expiry {
                cert: offer.held.name().into(),
                not_after: offer.held.not_after(),
            });
            let pair = &offer.held.pair;
            let own = offer.names.is_empty().then_some(&pair.names);
            for name in offer.names.iter().chain(own.into_iter().flatten()) {
                all.names
                    .entry(name.to_ascii_lowercase())
                    .or_insert_with(|| pair.key.clone());
            }
        }
        all
    }
}

impl Resolver {
    fn find(&self, asked: &str) -> Option<Arc<CertifiedKey>> {
        let asked = asked.to_ascii_lowercase();
        let offered = self.offered.load();
        let find = |name: &str| self.files.names.get(name).or(offered.names.get(name));
        let found = find(&asked).or_else(|| {
            let (_, domain) = asked.split_once('.')?;
            find(&format!("*.{domain}"))
        });
        found.cloned()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello
            .server_name()
            .and_then(|asked| self.find(asked))
            .or_else(|| self.files.first.clone())
    }
}

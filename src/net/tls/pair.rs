//! A certificate with its key, and certificates that are trusted, read from PEM files.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Certificate, TlsError};

/// A certificate and its key that belong together.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names that the certificate is for, in lower case.
    pub(super) names: Vec<String>,
    /// The end of its validity.
    pub(super) not_after: SystemTime,
}

const CHAIN: &str = "should be a PEM file with the own certificate first";
const KEY: &str = "should be a PEM file with the private key";
const AUTHORITIES: &str = "should be a PEM file with the certificates of authorities";

/// Who signs and checks.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Pair {
    /// Reads both files.
    pub(super) fn read(files: &Certificate, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let chain = certificates(&files.cert, CHAIN)?;
        let own = chain
            .first()
            .ok_or_else(|| TlsError::file(&files.cert, "has no certificate", CHAIN))?;
        let (names, not_after) =
            facts(own).map_err(|what| TlsError::file(&files.cert, what, CHAIN))?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| TlsError::file(&files.key, error, KEY))?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::Pair {
            cert: files.cert.clone(),
            key: files.key.clone(),
            what: error.to_string(),
        })?;
        Ok(Self {
            key: Arc::new(key),
            names,
            not_after,
        })
    }

    /// The pair in two texts, or what is wrong with them.
    pub(super) fn of(cert: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the certificate: {error}"))?;
        let own = chain.first().ok_or("it has no certificate")?;
        let (names, not_after) = facts(own).map_err(|what| format!("the certificate: {what}"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key: {error}"))?;
        let key = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| format!("certificate and key are no pair: {error}"))?;
        Ok(Self {
            key: Arc::new(key),
            names,
            not_after,
        })
    }
}

/// The authorities in a file.
pub(super) fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, AUTHORITIES)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::file(file, error, AUTHORITIES))?;
    }
    if roots.is_empty() {
        return Err(TlsError::file(file, "has no certificate", AUTHORITIES));
    }
    Ok(roots)
}

fn certificates(
    file: &Path,
    right: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::file(file, error, right))
}

/// What we need to know of a certificate beside what rustls does: its DNS names, and its end.
fn facts(certificate: &CertificateDer<'_>) -> Result<(Vec<String>, SystemTime), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let names = alternatives
        .into_iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok((names, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

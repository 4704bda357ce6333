//! TLS on listeners, by rustls: 1.2 and 1.3, certificates chosen by SNI.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
pub(super) use tokio_rustls::server::TlsStream;

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

/// Speaks TLS with clients.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
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
    /// What the settings ask for cannot be spoken.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl Acceptor {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn new(settings: &Settings) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut chosen = BySni::default();
        for certificate in &settings.certificates {
            chosen.add(certificate, &provider)?;
        }
        let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version {
            Version::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Version::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(chosen));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(config).into(),
        })
    }

    /// The handshake of a connection. The caller bounds its time.
    ///
    /// # Errors
    /// As rustls; an alert has been sent where there is one.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.tls.accept(stream).await
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// Certificates by the name that a client asks for (SNI, RFC 6066): the exact name, then a wildcard, then the first.
#[derive(Debug, Default)]
struct BySni {
    first: Option<Arc<CertifiedKey>>,
    names: HashMap<String, Arc<CertifiedKey>>,
}

impl BySni {
    fn add(&mut self, settings: &Certificate, provider: &CryptoProvider) -> Result<(), TlsError> {
        let wrong = |file: &Path, what: &dyn fmt::Display, right| TlsError::File {
            file: file.into(),
            what: what.to_string(),
            right,
        };
        const CHAIN: &str = "should be a PEM file with the server's certificate first";
        const KEY: &str = "should be a PEM file with the private key";
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&settings.cert)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(&settings.cert, &error, CHAIN))?;
        let own = chain
            .first()
            .ok_or_else(|| wrong(&settings.cert, &"has no certificate", CHAIN))?;
        let key = PrivateKeyDer::from_pem_file(&settings.key)
            .map_err(|error| wrong(&settings.key, &error, KEY))?;
        let names: Vec<String> = webpki::EndEntityCert::try_from(own)
            .map_err(|error| wrong(&settings.cert, &error, CHAIN))?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let pair =
            CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::Pair {
                cert: settings.cert.clone(),
                key: settings.key.clone(),
                what: error.to_string(),
            })?;
        let pair = Arc::new(pair);
        self.first.get_or_insert_with(|| pair.clone());
        for name in names {
            self.names.entry(name).or_insert_with(|| pair.clone());
        }
        Ok(())
    }

    fn find(&self, asked: &str) -> Option<&Arc<CertifiedKey>> {
        let asked = asked.to_ascii_lowercase();
        self.names.get(&asked).or_else(|| {
            let (_, domain) = asked.split_once('.')?;
            self.names.get(&format!("*.{domain}"))
        })
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello
            .server_name()
            .and_then(|asked| self.find(asked))
            .or(self.first.as_ref())
            .cloned()
    }
}

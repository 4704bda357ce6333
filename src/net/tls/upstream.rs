//! TLS to endpoints: whom they are taken for, whom we trust, and what we show.
//!
//! Connections are shared by requests to many hosts, so the name that an endpoint has to prove is configured and never
//! the client's `Host`: a client would otherwise choose whom we trust. Without a name the endpoint's certificate has to be
//! for its IP address.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use thiserror::Error;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme,
};

use super::pair::{Pair, authorities, provider};
use super::{Certificate, TlsError, Wire};
use crate::net::Stream;

/// TLS of a service's connections to its endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The name that an endpoint's certificate has to be for, sent as SNI; none means its IP address, and no SNI.
    pub server_name: Option<String>,
    /// The authorities that may have signed it, PEM; none means those that the system trusts.
    pub authorities: Option<PathBuf>,
    /// What we show, where the endpoint asks.
    pub certificate: Option<Certificate>,
    /// Whoever answers is taken for the endpoint.
    pub unverified: bool,
    /// What is offered inside, the preferred one first (ALPN, RFC 7301).
    pub protocols: Vec<Vec<u8>>,
}

/// Speaks TLS with endpoints. Clones share what is in force; two are equal when their settings are.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    settings: UpstreamSettings,
    /// Sessions to resume live in here, over all workers, and go with what they were checked by.
    config: ArcSwapOption<ClientConfig>,
}

/// Why there is no TLS with an endpoint.
#[derive(Debug, Error)]
pub enum UpstreamTlsError {
    /// What came is no TLS: most likely clear HTTP.
    #[error("the endpoint does not speak TLS; does it want clear text, or another port?")]
    NotTls,
    /// It has a certificate, which is not believed.
    #[error("the endpoint's certificate is refused: {0}")]
    Certificate(rustls::CertificateError),
    /// Anything else, as rustls or the socket says it.
    #[error(transparent)]
    Other(io::Error),
}

impl From<io::Error> for UpstreamTlsError {
    fn from(error: io::Error) -> Self {
        use rustls::Error;
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls,
            Some(Error::InvalidCertificate(why)) => Self::Certificate(why.clone()),
            _ => Self::Other(error),
        }
    }
}

impl Connector {
    /// By these settings. Nothing is read before [`Connector::refresh`].
    #[must_use]
    pub fn new(settings: UpstreamSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                config: ArcSwapOption::empty(),
            }),
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &UpstreamSettings {
        &self.shared.settings
    }

    /// Reads all files, for the first time or again. What they hold is in force from the next handshake on.
    ///
    /// # Errors
    /// [`TlsError`], naming the file; then everything stays as it was.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let fresh = self.shared.settings.read()?;
        self.shared.config.store(Some(Arc::new(fresh)));
        Ok(())
    }

    /// The files that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let settings = &self.shared.settings;
        let pair = settings.certificate.iter();
        settings
            .authorities
            .as_deref()
            .into_iter()
            .chain(pair.flat_map(|pair| [&*pair.cert, &*pair.key]))
    }

    /// The handshake with the endpoint at `ip`. The caller bounds its time.
    ///
    /// # Errors
    /// [`UpstreamTlsError`]; no byte of a request has been written then.
    pub async fn secure(&self, stream: Stream, ip: IpAddr) -> Result<Stream, UpstreamTlsError> {
        let Stream::Tcp(stream) = stream else {
            let error = io::Error::other("TLS is spoken over TCP alone");
            return Err(UpstreamTlsError::Other(error));
        };
        let unread = || io::Error::other("its certificates have not been read");
        let config = self.shared.config.load_full().ok_or_else(unread)?;
        let name = match &self.shared.settings.server_name {
            Some(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            None => ServerName::IpAddress(ip.into()),
        };
        let secured = TlsConnector::from(config)
            .connect(name, Wire::client(stream))
            .await?;
        Ok(Stream::UpstreamTls(Box::new(secured)))
    }
}

impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        self.shared.settings == other.shared.settings
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connector")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// Whether a text can be the name of a certificate.
#[must_use]
pub fn is_server_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

impl UpstreamSettings {
    fn read(&self) -> Result<ClientConfig, TlsError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let builder = if self.unverified {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Credulous(provider.clone())))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let pair = Pair::read(files, &provider)?;
                let shown = SingleCertAndKey::from(pair.key);
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        if let Some(file) = &self.authorities {
            return authorities(file);
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Systems carry a few that no strict reader takes; the rest is what is trusted.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
        Ok(roots)
    }
}

/// Believes everyone, but still holds them to the key of the certificate they show.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

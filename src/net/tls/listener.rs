//! TLS of a listener: one configuration for all workers, swapped whole when its files have changed.

use std::fmt;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::{ProducesTickets, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, ServerConfig};

use super::held::Offer;
use super::names::{ByName, Resolver};
use super::pair::{Pair, authorities, provider};
use super::{Certificate, HandshakeError, TlsError, TlsStream, Version, Wire};

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Chosen by SNI; the first one when none fits. Empty only where others are offered.
    pub certificates: Vec<Certificate>,
    /// The lowest version spoken.
    pub min_version: Version,
    /// Certificates that clients show.
    pub clients: Option<ClientCertificates>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// Certificates that clients show (mutual TLS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities that may have signed them, PEM.
    pub authorities: PathBuf,
    /// Whether a client without one is served.
    pub optional: bool,
}

/// Speaks TLS with clients. Clones share what is in force.
#[derive(Clone)]
pub struct Acceptor {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    in_force: ArcSwap<InForce>,
    /// By name, beside those of files.
    offered: Arc<ArcSwap<ByName>>,
}

/// What was read together and goes together.
struct InForce {
    config: Arc<ServerConfig>,
    expiries: Vec<Expiry>,
}

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The file that it was read from, or where else it is from.
    pub cert: PathBuf,
    /// The end of its validity.
    pub not_after: SystemTime,
}

impl Acceptor {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn new(settings: &Settings) -> Result<Self, TlsError> {
        let offered = Arc::default();
        let in_force = settings.read(&offered, None)?;
        Ok(Self {
            shared: Arc::new(Shared {
                settings: settings.clone(),
                in_force: ArcSwap::from_pointee(in_force),
                offered,
            }),
        })
    }

    /// Shows these certificates from the next handshake on, beside those of files, and no others.
    pub fn offer(&self, offers: &[Offer]) {
        self.shared.offered.store(Arc::new(ByName::offered(offers)));
    }

    /// Reads all files again. What they hold is in force from the next handshake on; connections that exist stay as they
    /// are, and sessions can be resumed.
    ///
    /// # Errors
    /// [`TlsError`], naming the file; then everything stays as it was.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let known = self.shared.in_force.load_full();
        let fresh = {
            let offered = &self.shared.offered;
            self.shared.settings.read(offered, Some(&known.config))?
        };
        self.shared.in_force.store(Arc::new(fresh));
        Ok(())
    }

    /// The files that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let settings = &self.shared.settings;
        settings
            .certificates
            .iter()
            .flat_map(|pair| [&*pair.cert, &*pair.key])
            .chain(settings.clients.iter().map(|clients| &*clients.authorities))
    }

    /// When its certificates end.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        let mut all = self.shared.in_force.load().expiries.clone();
        all.extend_from_slice(&self.shared.offered.load().expiries);
        all
    }

    /// The handshake of a connection. The caller bounds its time.
    ///
    /// # Errors
    /// [`HandshakeError`]; an alert has been sent where there is one.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream, HandshakeError> {
        let config = self.shared.in_force.load().config.clone();
        let accept = TlsAcceptor::from(config).accept(Wire::server(stream));
        match accept.into_fallible().await {
            Ok(mut stream) => {
                stream.get_mut().0.handshake_over();
                Ok(stream)
            }
            Err((error, mut wire)) => {
                // An alert that came at the end of a handshake is held like a ticket.
                wire.handshake_over();
                poll_fn(|cx| Poll::Ready(Pin::new(&mut wire).poll_flush(cx).is_ready())).await;
                Err(error.into())
            }
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Acceptor")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// What is spoken inside, the preferred one first (ALPN, RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Settings {
    fn read(
        &self,
        offered: &Arc<ArcSwap<ByName>>,
        known: Option<&ServerConfig>,
    ) -> Result<InForce, TlsError> {
        let provider = provider();
        let pairs = self
            .certificates
            .iter()
            .map(|files| Pair::read(files, &provider))
            .collect::<Result<Vec<_>, _>>()?;
        let versions: &[&rustls::SupportedProtocolVersion] = match self.min_version {
            Version::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Version::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(authorities(&clients.authorities)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if clients.optional {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier.build().map_err(|error| {
                    TlsError::file(&clients.authorities, error, "should be authorities")
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver {
            files: ByName::of(&pairs),
            offered: offered.clone(),
        }));
        let protocols = &PROTOCOLS[usize::from(!self.http2)..];
        config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        config.ticketer = self.ticketer(known)?;
        // Each connection gives its client another one for the next: a second one would only be for clients that open more
        // connections than they had.
        config.send_tls13_tickets = 1;
        let expiries = self.certificates.iter().zip(&pairs);
        Ok(InForce {
            config: Arc::new(config),
            expiries: expiries
                .map(|(files, pair)| Expiry {
                    cert: files.cert.clone(),
                    not_after: pair.not_after,
                })
                .collect(),
        })
    }

    /// Tickets need no memory and can be resumed on every worker. They outlive new certificates, but not new authorities: a
    /// resumed session is not asked for its certificate again.
    fn ticketer(&self, known: Option<&ServerConfig>) -> Result<Arc<dyn ProducesTickets>, TlsError> {
        match known {
            Some(known) if self.clients.is_none() => Ok(known.ticketer.clone()),
            _ => Ok(Ticketer::new()?),
        }
    }
}

//! A listener's TLS against a client of rustls, over a socket.

use std::fs;
use std::future::poll_fn;
use std::path::PathBuf;
use std::task::{Context, Waker};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};

use super::wire::tests::has_come;
use super::*;
use crate::net::Stream;

/// An authority, and a folder with what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// What a client has seen.
#[derive(Debug)]
struct Seen {
    certificate: CertificateDer<'static>,
    kind: HandshakeKind,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Signs a certificate for these names into `file.crt` and `file.key`.
    fn sign(&self, file: &str, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(2040, 1, 2);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Certificate {
            cert: self.path(&format!("{file}.crt")),
            key: self.path(&format!("{file}.key")),
        };
        fs::write(&files.cert, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn client(&self, own: Option<&Certificate>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(pair::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_file(&own.cert).unwrap()],
                    PrivateKeyDer::from_pem_file(&own.key).unwrap(),
                )
                .unwrap(),
        };
        Arc::new(config).into()
    }
}

fn settings(certificates: Vec<Certificate>) -> Settings {
    Settings {
        certificates,
        min_version: Version::Tls12,
        clients: None,
        http2: true,
    }
}

fn own(file: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&file.cert).unwrap()
}

/// One connection that asks for `name`.
async fn connect(acceptor: &Acceptor, client: &TlsConnector, name: &str) -> std::io::Result<Seen> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor
            .accept(stream)
            .await
            .map_err(std::io::Error::other)?;
        stream.write_all(b"!").await?;
        stream.shutdown().await
    };
    let ask = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = client.connect(name, stream).await?;
        // What comes after the handshake brings the tickets along.
        stream.read_to_end(&mut Vec::new()).await?;
        let session = stream.get_ref().1;
        let shown = session.peer_certificates().unwrap()[0].clone().into_owned();
        Ok(Seen {
            certificate: shown,
            kind: session.handshake_kind().unwrap(),
        })
    };
    let (served, seen) = tokio::join!(serve, ask);
    served.and(seen)
}

#[tokio::test]
async fn shows_the_exact_name_then_the_wildcard_then_the_first() {
    let authority = Authority::new();
    let first = authority.sign("first", &["first.test"]);
    let wild = authority.sign("wild", &["*.shop.test"]);
    let exact = authority.sign("exact", &["api.shop.test"]);
    let acceptor = Acceptor::new(&settings(vec![first.clone(), wild.clone(), exact.clone()]));
    let acceptor = acceptor.unwrap();
    let client = authority.client(None);
    for (name, shown) in [
        ("api.shop.test", &exact),
        ("API.shop.test", &exact),
        ("www.shop.test", &wild),
        ("first.test", &first),
    ] {
        let seen = connect(&acceptor, &client, name).await.unwrap();
        assert_eq!(seen.certificate, own(shown), "{name}");
    }
    let refused = connect(&acceptor, &client, "a.b.shop.test").await;
    assert!(
        refused.is_err(),
        "a wildcard is one label; the first certificate does not fit"
    );
}

#[tokio::test]
async fn swaps_key_and_certificate_together_or_not_at_all() {
    let authority = Authority::new();
    let files = authority.sign("web", &["web.test"]);
    let old = own(&files);
    let acceptor = Acceptor::new(&settings(vec![files.clone()])).unwrap();
    let workers = acceptor.clone();
    let client = authority.client(None);

    let next = authority.sign("next", &["web.test"]);
    fs::rename(&next.cert, &files.cert).unwrap();
    let error = acceptor.refresh().unwrap_err();
    assert!(
        error.to_string().contains("are no pair"),
        "half of a pair is none: {error}"
    );
    fs::write(&files.key, "nonsense").unwrap();
    assert!(matches!(acceptor.refresh(), Err(TlsError::File { .. })));
    let seen = connect(&workers, &client, "web.test").await.unwrap();
    assert_eq!(seen.certificate, old, "the old pair stays");

    fs::rename(&next.key, &files.key).unwrap();
    acceptor.refresh().unwrap();
    let fresh = authority.client(None);
    let seen = connect(&workers, &fresh, "web.test").await.unwrap();
    assert_eq!(
        seen.certificate,
        own(&files),
        "clones share what is in force"
    );
}

#[tokio::test]
async fn resumes_sessions_on_every_worker_and_over_a_renewal() {
    let authority = Authority::new();
    let files = authority.sign("web", &["web.test"]);
    let acceptor = Acceptor::new(&settings(vec![files])).unwrap();
    let client = authority.client(None);
    let first = connect(&acceptor, &client, "web.test").await.unwrap();
    assert_eq!(first.kind, HandshakeKind::Full);
    acceptor.refresh().unwrap();
    let second = connect(&acceptor.clone(), &client, "web.test")
        .await
        .unwrap();
    assert_eq!(second.kind, HandshakeKind::Resumed);
}

/// Both ends of a connection whose handshake is over.
async fn ends() -> (client::TlsStream<TcpStream>, TlsStream) {
    let authority = Authority::new();
    let acceptor = Acceptor::new(&settings(vec![authority.sign("web", &["web.test"])])).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ask = async {
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let name = ServerName::try_from("web.test").unwrap();
        let client = authority.client(None);
        client.connect(name, stream.await.unwrap()).await
    };
    let serve = async { acceptor.accept(listener.accept().await.unwrap().0).await };
    let (client, server) = tokio::join!(ask, serve);
    (client.unwrap(), server.unwrap())
}

#[tokio::test]
async fn tickets_wait_for_the_first_answer() {
    let (client, mut server) = ends().await;
    let (tcp, _) = client.get_ref();
    assert!(!has_come(tcp), "a packet of their own");
    server.write_all(b"!").await.unwrap();
    tcp.readable().await.unwrap();
    let mut bytes = [0; 1024];
    let came = tcp.try_read(&mut bytes).unwrap();
    let ticket = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
    assert_eq!(bytes[5 + ticket], 0x17, "and the answer behind them");
    assert_eq!(came, 5 + ticket + 5 + 1 + 17);
}

#[tokio::test]
async fn what_was_decrypted_can_be_read_though_the_socket_is_empty() {
    let (mut client, server) = ends().await;
    client.write_all(b"ab").await.unwrap();
    let mut server = Stream::Tls(Box::new(server));
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(server.read_u8().await.unwrap(), b'a');
    assert!(server.poll_readable(&mut cx).is_ready() && !server.is_quiet());
    assert_eq!(server.read_u8().await.unwrap(), b'b');
    assert!(server.poll_readable(&mut cx).is_pending() && server.is_quiet());
    client.shutdown().await.unwrap();
    poll_fn(|cx| server.poll_readable(cx)).await;
    assert!(server.read_u8().await.is_err());
    assert!(server.poll_readable(&mut cx).is_ready() && !server.is_quiet());
}

/// What is held at the end of a handshake may be an alert.
#[tokio::test]
async fn a_client_without_its_certificate_is_told() {
    use tokio_rustls::rustls::{AlertDescription, Error};
    let authority = Authority::new();
    let mut settings = settings(vec![authority.sign("web", &["web.test"])]);
    settings.clients = Some(ClientCertificates {
        authorities: authority.path("ca.crt"),
        optional: false,
    });
    let acceptor = Acceptor::new(&settings).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serve = async { acceptor.accept(listener.accept().await.unwrap().0).await };
    let ask = async {
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let name = ServerName::try_from("web.test").unwrap();
        let client = authority.client(None);
        let mut stream = client.connect(name, stream.await.unwrap()).await.unwrap();
        stream.read_u8().await.unwrap_err()
    };
    let (served, error) = tokio::join!(serve, ask);
    served.unwrap_err();
    let error = error.into_inner().unwrap().downcast::<Error>().unwrap();
    let wanted = Error::AlertReceived(AlertDescription::CertificateRequired);
    assert_eq!(*error, wanted);
}

#[tokio::test]
async fn asks_clients_for_their_certificates() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let files = authority.sign("web", &["web.test"]);
    let known = authority.sign("client", &["client.test"]);
    let unknown = stranger.sign("client", &["client.test"]);
    for optional in [false, true] {
        let mut settings = settings(vec![files.clone()]);
        settings.clients = Some(ClientCertificates {
            authorities: authority.path("ca.crt"),
            optional,
        });
        let acceptor = Acceptor::new(&settings).unwrap();
        for (client, served) in [
            (authority.client(Some(&known)), true),
            (authority.client(Some(&unknown)), false),
            (authority.client(None), optional),
        ] {
            let seen = connect(&acceptor, &client, "web.test").await;
            assert_eq!(seen.is_ok(), served, "optional {optional}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn new_authorities_end_old_sessions() {
    let authority = Authority::new();
    let files = authority.sign("web", &["web.test"]);
    let known = authority.sign("client", &["client.test"]);
    let mut settings = settings(vec![files]);
    settings.clients = Some(ClientCertificates {
        authorities: authority.path("ca.crt"),
        optional: false,
    });
    fs::copy(authority.path("ca.crt"), authority.path("clients.crt")).unwrap();
    settings.clients.as_mut().unwrap().authorities = authority.path("clients.crt");
    let acceptor = Acceptor::new(&settings).unwrap();
    let client = authority.client(Some(&known));
    connect(&acceptor, &client, "web.test").await.unwrap();
    let other = Authority::new();
    fs::copy(other.path("ca.crt"), authority.path("clients.crt")).unwrap();
    acceptor.refresh().unwrap();
    let seen = connect(&acceptor, &client, "web.test").await;
    assert!(seen.is_err(), "a resumed session would not be asked again");
}

#[test]
fn tells_when_certificates_end_and_which_files_they_are() {
    let authority = Authority::new();
    let files = authority.sign("web", &["web.test"]);
    let acceptor = Acceptor::new(&settings(vec![files.clone()])).unwrap();
    let expiries = acceptor.expiries();
    assert_eq!(expiries[0].cert, files.cert);
    let since_1970 = expiries[0]
        .not_after
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    // 2040-01-02T00:00:00Z
    assert_eq!(since_1970, Duration::from_secs(2_209_075_200));
    let named: Vec<_> = acceptor.files().collect();
    assert_eq!(named, [&*files.cert, &*files.key]);
}

#[tokio::test]
async fn says_when_a_client_speaks_no_tls() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(&settings(vec![authority.sign("web", &["web.test"])])).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let refused = acceptor.accept(stream).await;
    assert!(
        matches!(refused, Err(HandshakeError::NotTls)),
        "{refused:?}"
    );
}

/// One connection to the endpoint behind `acceptor`: what was agreed on inside, and how the handshake went.
async fn reach(
    acceptor: &Acceptor,
    connector: &Connector,
) -> Result<(Option<Vec<u8>>, HandshakeKind), UpstreamTlsError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        // What the client does not like is the client's to tell.
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let _ = stream.write_all(b"!").await;
            let _ = stream.shutdown().await;
        }
    };
    let ask = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector.secure(Stream::Tcp(stream), address.ip()).await?;
        stream.read_to_end(&mut Vec::new()).await?;
        let Stream::UpstreamTls(secured) = &stream else {
            panic!("no TLS");
        };
        let kind = secured.get_ref().1.handshake_kind().unwrap();
        Ok((stream.protocol().map(<[u8]>::to_vec), kind))
    };
    tokio::join!(serve, ask).1
}

fn connector(authority: &Authority, change: impl FnOnce(&mut UpstreamSettings)) -> Connector {
    let mut settings = UpstreamSettings {
        server_name: Some("web.test".into()),
        authorities: Some(authority.path("ca.crt")),
        protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..UpstreamSettings::default()
    };
    change(&mut settings);
    let connector = Connector::new(settings);
    connector.refresh().unwrap();
    connector
}

#[tokio::test]
async fn an_endpoint_has_to_prove_its_name_by_an_authority_that_is_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let acceptor =
        |names: &[&str]| Acceptor::new(&settings(vec![authority.sign("web", names)])).unwrap();
    let web = acceptor(&["web.test"]);
    let agreed = reach(&web, &connector(&authority, |_| {})).await.unwrap();
    assert_eq!(agreed.0.as_deref(), Some(&b"h2"[..]));
    let wrong_name = connector(&authority, |it| it.server_name = Some("api.test".into()));
    let unnamed = connector(&authority, |it| it.server_name = None);
    let distrusting = connector(&other, |_| {});
    for refusing in [&wrong_name, &unnamed, &distrusting] {
        let refused = reach(&web, refusing).await;
        let is_told = matches!(refused, Err(UpstreamTlsError::Certificate(_)));
        assert!(is_told, "{refused:?}");
    }
    let by_address = acceptor(&["127.0.0.1"]);
    reach(&by_address, &unnamed).await.unwrap();
    let credulous = connector(&other, |it| it.unverified = true);
    reach(&web, &credulous).await.unwrap();
}

#[tokio::test]
async fn sessions_with_endpoints_are_resumed_until_other_authorities_are_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = authority.sign("web", &["web.test"]);
    let acceptor = Acceptor::new(&settings(vec![files])).unwrap();
    let trusted = authority.path("trusted.crt");
    fs::copy(authority.path("ca.crt"), &trusted).unwrap();
    let connector = connector(&authority, |it| it.authorities = Some(trusted.clone()));
    let kind = async || reach(&acceptor, &connector).await.map(|it| it.1);
    assert_eq!(kind().await.unwrap(), HandshakeKind::Full);
    assert_eq!(kind().await.unwrap(), HandshakeKind::Resumed);
    fs::write(&trusted, "no certificate").unwrap();
    connector.refresh().unwrap_err();
    assert_eq!(kind().await.unwrap(), HandshakeKind::Resumed);
    fs::copy(other.path("ca.crt"), &trusted).unwrap();
    connector.refresh().unwrap();
    kind().await.unwrap_err();
}

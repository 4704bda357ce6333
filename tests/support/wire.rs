//! What a client's bytes go by: TCP, or TLS over it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;

/// A connection to tidegate.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Connects.
    #[track_caller]
    pub(super) fn tcp(address: SocketAddr) -> Self {
        Self::Tcp(connect(address))
    }

    /// Connects to `shop.test` over TLS, offering these protocols. Returns what was chosen.
    #[track_caller]
    pub(super) fn tls(address: SocketAddr, ca: &str, offers: &[&str]) -> (Self, Option<String>) {
        Self::try_tls(address, ca, offers).unwrap()
    }

    /// The same, or why there is no handshake.
    pub(super) fn try_tls(
        address: SocketAddr,
        ca: &str,
        offers: &[&str],
    ) -> io::Result<(Self, Option<String>)> {
        Self::try_tls_as("shop.test", address, ca, offers)
    }

    /// The same with the server of this name.
    pub(super) fn try_tls_as(
        name: &'static str,
        address: SocketAddr,
        ca: &str,
        offers: &[&str],
    ) -> io::Result<(Self, Option<String>)> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
            .unwrap();
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = offers.iter().map(|it| it.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name).unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = connect(address);
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let chosen = tls.alpn_protocol();
        let chosen = chosen.map(|name| String::from_utf8_lossy(name).into_owned());
        Ok((Self::Tls(Box::new(StreamOwned::new(tls, tcp))), chosen))
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Says that nothing more comes, inside TLS where there is any.
    pub(super) fn finish(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        self.socket().shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[track_caller]
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

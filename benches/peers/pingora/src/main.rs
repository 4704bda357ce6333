//! A plain reverse proxy on Pingora's crates: what `benches/compare` runs as that peer.
//!
//! `pingora-peer ADDRESS TLS_ADDRESS CERT KEY LOGS FORWARDED ENDPOINT...`, where LOGS and FORWARDED are `true` or `false`:
//! whether each request is logged on standard output, in pieces of 64 KiB, and whether `X-Forwarded-For` and `-Proto` are
//! added. One thread, the limits of time that the other peers have, WebSockets let through as Pingora does by itself.

use std::error::Error;
use std::io::{BufWriter, Stdout, Write as _, stdout};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::lb::LoadBalancer;
use pingora::lb::selection::RoundRobin;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{HttpPeer, ProxyHttp, Server, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

struct Peer {
    endpoints: Arc<LoadBalancer<RoundRobin>>,
    log: Option<Mutex<BufWriter<Stdout>>>,
    forwarded: bool,
}

const LOG_BUFFER: usize = 64 * 1024;

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        let endpoint = self.endpoints.select(b"", 16);
        let endpoint = endpoint.ok_or_else(|| pingora::Error::new(pingora::HTTPStatus(503)))?;
        let mut peer = HttpPeer::new(endpoint, false, String::new());
        peer.options.connection_timeout = Some(Duration::from_secs(1));
        peer.options.read_timeout = Some(Duration::from_secs(60));
        peer.options.write_timeout = Some(Duration::from_secs(60));
        peer.options.idle_timeout = Some(Duration::from_secs(30));
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        if self.forwarded {
            let client = session.client_addr().and_then(|client| client.as_inet());
            if let Some(client) = client {
                request.insert_header("X-Forwarded-For", client.ip().to_string())?;
            }
            request.insert_header("X-Forwarded-Proto", "http")?;
        }
        Ok(())
    }

    async fn logging(
        &self,
        session: &mut Session,
        _error: Option<&pingora::Error>,
        _context: &mut Self::CTX,
    ) {
        let Some(log) = &self.log else { return };
        let Ok(mut log) = log.lock() else { return };
        let status = session
            .response_written()
            .map_or(0, |answer| answer.status.as_u16());
        let (line, bytes) = (session.request_summary(), session.body_bytes_sent());
        // Whoever closes it wants no more lines.
        let _ = match session.client_addr() {
            Some(client) => writeln!(log, "{client} \"{line}\" {status} {bytes}"),
            None => writeln!(log, "- \"{line}\" {status} {bytes}"),
        };
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = |name: &str| words.next().ok_or(format!("no {name}"));
    let (address, tls) = (word("ADDRESS")?, word("TLS_ADDRESS")?);
    let (cert, key) = (word("CERT")?, word("KEY")?);
    let (logs, forwarded): (bool, bool) = (word("LOGS")?.parse()?, word("FORWARDED")?.parse()?);
    let endpoints: Vec<String> = words.collect();

    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let peer = Peer {
        endpoints: Arc::new(LoadBalancer::try_from_iter(endpoints)?),
        log: logs.then(|| Mutex::new(BufWriter::with_capacity(LOG_BUFFER, stdout()))),
        forwarded,
    };
    let mut service = http_proxy_service(&server.configuration, peer);
    service.add_tcp(&address);
    let mut settings = TlsSettings::intermediate(&cert, &key)?;
    settings.enable_h2();
    service.add_tls_with_settings(&tls, None, settings);
    server.add_service(service);
    server.run_forever()
}

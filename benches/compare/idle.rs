//! What an idle client costs: memory for each keep-alive connection.
//!
//! Every client connects, asks once, looks at the answer, and asks nothing more; some seconds later the proxies' resident
//! memory is compared with what it was before the first one. Then each asks once more: whoever has put a connection away has
//! to find it again. The proxies are idle at the same time, so that a round takes no longer for many than for one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use crate::fleet::Fleet;
use crate::support::contender::{Contender, Peer};
use crate::support::footprint::Footprint;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    /// Clients of each proxy.
    pub(crate) clients: usize,
    /// How long they have been idle when it is measured.
    pub(crate) time: Duration,
    pub(crate) tls: bool,
}

/// A client's connection.
trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

const REQUEST: &[u8] = b"GET /100 HTTP/1.1\r\nhost: bench.example.com\r\n\r\n";

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// KiB for each client that was served and is idle since, of each proxy of a fleet that has served nobody yet.
pub(crate) fn round(
    fleet: &Fleet,
    measure: Measure,
) -> anyhow::Result<Vec<(Peer, anyhow::Result<f64>)>> {
    let config = trusting(&fleet.dir.path().join("bench.crt"))?;
    let connect = |contender: &Contender| connect(contender, measure.tls, &config);
    // What the first one brings about is not the price of one; and whatever came before has to be over.
    let first = |contender: &Contender| ask(&mut connect(contender)?);
    let warm: Vec<_> = fleet.contenders.iter().map(first).collect();
    be_idle(measure.time);
    let crowd = |contender: &Contender| -> anyhow::Result<(u64, Vec<Box<dyn Wire>>)> {
        let before = resident(contender)?;
        let mut clients = Vec::with_capacity(measure.clients);
        for number in 0..measure.clients {
            let mut client = connect(contender)?;
            ask(&mut client).with_context(|| format!("client {number}"))?;
            clients.push(client);
        }
        Ok((before, clients))
    };
    let crowds: Vec<_> = fleet
        .contenders
        .iter()
        .zip(warm)
        .map(|(contender, warm)| warm.and_then(|()| crowd(contender)))
        .collect();
    be_idle(measure.time);
    let cost = |contender: &Contender, (before, mut clients): (u64, Vec<_>)| {
        let after = resident(contender)?;
        for client in &mut clients {
            ask(client).context("it has forgotten a client")?;
        }
        Ok((after as f64 - before as f64) / measure.clients as f64)
    };
    let costs = fleet.contenders.iter().zip(crowds).map(|(contender, it)| {
        let cost = it.and_then(|crowd| cost(contender, crowd));
        (contender.peer, cost)
    });
    Ok(costs.collect())
}

fn connect(
    contender: &Contender,
    tls: bool,
    config: &Arc<ClientConfig>,
) -> anyhow::Result<Box<dyn Wire>> {
    let address = if tls {
        contender.tls
    } else {
        contender.address
    };
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    if !tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from("bench.example.com")?;
    let session = ClientConnection::new(config.clone(), name)?;
    Ok(Box::new(StreamOwned::new(session, stream)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "that nothing happens is what is measured"
)]
fn be_idle(time: Duration) {
    std::thread::sleep(time);
}

/// KiB of all its processes.
fn resident(contender: &Contender) -> anyhow::Result<u64> {
    let pids = contender.child.pids();
    let each = pids
        .into_iter()
        .map(|pid| Footprint::of(pid).map(|it| it.resident_kib));
    each.sum()
}

fn ask(client: &mut Box<dyn Wire>) -> anyhow::Result<()> {
    client.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    // A head and a hundred bytes.
    let is_whole = |answer: &[u8]| {
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
        end.is_some_and(|end| answer.len() >= end + 4 + 100)
    };
    while !is_whole(&answer) {
        let read = client.read(&mut piece)?;
        ensure!(read > 0, "closed before the answer's end");
        answer.extend_from_slice(&piece[..read]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "not served");
    Ok(())
}

/// A client that trusts the one certificate that all of them show.
fn trusting(cert: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert)?)?;
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

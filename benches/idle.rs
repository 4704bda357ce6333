//! What an idle client costs: memory for each keep-alive connection, beside HAProxy and nginx.
//!
//! `cargo bench --bench idle`. Every client connects, asks once, looks at the answer, and asks nothing more; some seconds later
//! the proxies' resident memory is compared with what it was before the first one. Then each asks once more: whoever has put
//! a connection away has to find it again.

use std::io::{Read, Write, stdout};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use support::contender::{Contender, Setup, certify};
use support::footprint::Footprint;
use support::machine;
use support::origin::Origin;

/// KiB of memory per idle client, beside HAProxy and nginx.
#[derive(Debug, Parser)]
struct Options {
    /// Clients of each proxy
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// How long they have been idle when it is measured
    #[arg(long, default_value = "6s")]
    idle: humantime::Duration,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A client's connection.
trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

const REQUEST: &[u8] = b"GET /100 HTTP/1.1\r\nhost: bench.example.com\r\n\r\n";

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let dir = tempfile::tempdir()?;
    let origin = Origin::on_ports(2)?;
    let endpoints = origin.addresses()?;
    let setup = Setup {
        dir: dir.path(),
        endpoints: &endpoints,
        access_log: false,
        forwarded: false,
    };
    certify(dir.path())?;
    let description = machine::describe();
    origin.serve()?;
    let peers = [Contender::haproxy(&setup)?, Contender::nginx(&setup)?];
    let contenders = [Contender::tidegate(&setup)?]
        .into_iter()
        .chain(peers.into_iter().flatten());
    let tls = trusting(&dir.path().join("bench.crt"))?;
    let mut out = stdout().lock();
    writeln!(out, "machine   {description}")?;
    writeln!(
        out,
        "setup     {} clients of each proxy, idle for {} after an answer of 100 bytes; KiB of resident memory per client\n",
        options.clients, options.idle
    )?;
    writeln!(out, "{:10} {:>8} {:>8}  version", "", "clear", "TLS")?;
    for contender in contenders {
        let clear = cost(&contender, contender.address, &options, |stream| {
            Ok(Box::new(stream))
        })?;
        let over_tls = cost(&contender, contender.tls, &options, |stream| {
            let name = ServerName::try_from("bench.example.com")?;
            let session = ClientConnection::new(tls.clone(), name)?;
            Ok(Box::new(StreamOwned::new(session, stream)))
        })?;
        writeln!(
            out,
            "{:10} {clear:>8.1} {over_tls:>8.1}  {}",
            contender.name, contender.version
        )?;
        out.flush()?;
    }
    Ok(())
}

/// KiB for each client that was served at `address` and is idle since.
fn cost(
    contender: &Contender,
    address: SocketAddr,
    options: &Options,
    wrap: impl Fn(TcpStream) -> anyhow::Result<Box<dyn Wire>>,
) -> anyhow::Result<f64> {
    let connect = || -> anyhow::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        wrap(stream)
    };
    // What the first one brings about is not the price of one; and whatever came before has to be over.
    ask(&mut connect()?)?;
    be_idle(*options.idle);
    let before = resident(contender)?;
    let mut clients = Vec::with_capacity(options.clients);
    for number in 0..options.clients {
        let mut client = connect()?;
        ask(&mut client)
            .with_context(|| format!("client {number} of {} at {address}", contender.name))?;
        clients.push(client);
    }
    be_idle(*options.idle);
    let after = resident(contender)?;
    for client in &mut clients {
        ask(client).with_context(|| format!("{} has forgotten a client", contender.name))?;
    }
    Ok((after as f64 - before as f64) / options.clients as f64)
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

//! WebSockets that are open and silent: an endpoint that agrees to each, and clients that keep them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// Starts the endpoint. It keeps what it has agreed to until the process ends.
pub(crate) fn endpoint() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::Builder::new()
        .name("tunnels".into())
        .spawn(move || {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                if agree(&mut stream).is_ok() {
                    kept.push(stream);
                }
            }
        })?;
    Ok(address)
}

fn agree(stream: &mut TcpStream) -> anyhow::Result<()> {
    head(stream)?;
    stream.write_all(ANSWER)?;
    Ok(())
}

/// A client whose WebSocket is open.
pub(crate) fn open(proxy: SocketAddr, path: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: bench.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let answer = head(&mut stream).context("no tunnel")?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 101 "),
        "no tunnel: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(stream)
}

/// Reads a head, and not a byte more.
fn head(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(head)
}

/// To the key of RFC 6455's own example.
const ANSWER: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhaRbK+xOo=\r\n\r\n";

const PATIENCE: Duration = Duration::from_secs(10);

//! The PROXY protocol, versions 1 and 2: who a client is, as told by a balancer in front that passes bytes on.
//!
//! The header comes before everything else, TLS included, and nothing behind it is read here. A listener that asks for it
//! takes no connection without it (as the protocol demands, since anybody could otherwise name an address of their choice).

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult as _, v1, v2};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Both ends of a client's connection with the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub client: SocketAddr,
    /// Where it came in.
    pub local: SocketAddr,
}

/// Why there are none.
#[derive(Debug, Error)]
pub enum ProxyProtocolError {
    /// The connection ended or broke.
    #[error("the connection ended within the PROXY header: {0}")]
    Ended(#[from] std::io::Error),
    /// What came is something else.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// It is longer than anything that is of use.
    #[error("the PROXY header is too long")]
    TooLong,
}

/// What a version 2 header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Behind the signature: version, family, and the length of the rest.
const FIXED: usize = 16;

/// The longest line of version 1.
const LINE_MAX: usize = 107;

/// Addresses take 216 bytes at most; the rest may be extensions, which are passed over.
const BYTES_MAX: usize = 2048;

/// Reads the header off the front of a connection. None when the balancer speaks for itself (`LOCAL`, `UNKNOWN`): then
/// the connection's own addresses count.
///
/// # Errors
/// [`ProxyProtocolError`]. The caller bounds the time.
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Ends>, ProxyProtocolError> {
    // The shortest header of either version is longer than the signature.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > BYTES_MAX {
            return Err(ProxyProtocolError::TooLong);
        }
        header.resize(FIXED + rest, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
    } else if header.starts_with(b"PROXY ") {
        // A line is short, and what follows it is not ours to read: byte by byte.
        while !header.ends_with(b"\n") {
            if header.len() == LINE_MAX {
                return Err(ProxyProtocolError::TooLong);
            }
            header.push(stream.read_u8().await?);
        }
    } else {
        return Err(ProxyProtocolError::Missing);
    }
    ends(&header)
}

fn ends(header: &[u8]) -> Result<Option<Ends>, ProxyProtocolError> {
    let parsed = HeaderResult::parse(header);
    if parsed.is_incomplete() {
        return Err(ProxyProtocolError::Missing);
    }
    let (client, local): (SocketAddr, SocketAddr) = match parsed {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Unknown => return Ok(None),
            v1::Addresses::Tcp4(ip) => (
                (ip.source_address, ip.source_port).into(),
                (ip.destination_address, ip.destination_port).into(),
            ),
            v1::Addresses::Tcp6(ip) => (
                (ip.source_address, ip.source_port).into(),
                (ip.destination_address, ip.destination_port).into(),
            ),
        },
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => return Ok(None),
        HeaderResult::V2(Ok(header)) => match header.addresses {
            v2::Addresses::IPv4(ip) => (
                (ip.source_address, ip.source_port).into(),
                (ip.destination_address, ip.destination_port).into(),
            ),
            v2::Addresses::IPv6(ip) => (
                (ip.source_address, ip.source_port).into(),
                (ip.destination_address, ip.destination_port).into(),
            ),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => return Ok(None),
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => {
            return Err(ProxyProtocolError::Missing);
        }
    };
    Ok(Some(Ends { client, local }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a header in front of `GET`; what was found, and what is left.
    fn seen(bytes: &[u8]) -> (Result<Option<Ends>, ProxyProtocolError>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut stream = bytes;
        let found = runtime.block_on(read(&mut stream));
        (found, stream.to_vec())
    }

    fn ends_of(client: &str, local: &str) -> Option<Ends> {
        Some(Ends {
            client: client.parse().unwrap(),
            local: local.parse().unwrap(),
        })
    }

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([0x20 | command, family]);
        header.extend((addresses.len() as u16).to_be_bytes());
        header.extend(addresses);
        header.extend(b"GET");
        header
    }

    #[test]
    fn reads_both_versions_and_nothing_behind_them() {
        let v4 = [10, 0, 0, 1, 10, 0, 0, 2, 0x1f, 0x90, 0, 80];
        let mut v4_extended = v4.to_vec();
        v4_extended.extend([0x04, 0, 2, 0, 0]);
        let cases: [(Vec<u8>, Option<Ends>); 6] = [
            (
                b"PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\r\nGET".to_vec(),
                ends_of("10.0.0.1:8080", "10.0.0.2:80"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 8080 80\r\nGET".to_vec(),
                ends_of("[2001:db8::1]:8080", "[::1]:80"),
            ),
            (b"PROXY UNKNOWN\r\nGET".to_vec(), None),
            (
                version_2(1, 0x11, &v4),
                ends_of("10.0.0.1:8080", "10.0.0.2:80"),
            ),
            (
                version_2(1, 0x11, &v4_extended),
                ends_of("10.0.0.1:8080", "10.0.0.2:80"),
            ),
            (version_2(0, 0x00, &[]), None),
        ];
        for (bytes, ends) in cases {
            let (found, left) = seen(&bytes);
            assert_eq!(found.unwrap(), ends, "{bytes:?}");
            assert_eq!(left, b"GET", "{bytes:?}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"PROXY TCP4 10.0.0.1 10.0.0.2 8080\r\nGET",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 8080 99999\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP",
        ] {
            assert!(seen(bytes).0.is_err(), "{bytes:?}");
        }
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        assert!(matches!(seen(&endless).0, Err(ProxyProtocolError::TooLong)));
        assert!(matches!(
            seen(&version_2(1, 0x11, &[0; 3000])).0,
            Err(ProxyProtocolError::TooLong)
        ));
    }

    proptest! {
        #[test]
        fn never_panics(version in 0u8..3, rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = match version {
                0 => rest,
                1 => [b"PROXY ".as_slice(), &rest].concat(),
                _ => [SIGNATURE.as_slice(), &rest].concat(),
            };
            let _ = seen(&bytes);
        }
    }
}

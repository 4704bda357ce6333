//! One question to an endpoint, on a connection of its own: a check that shared one would tell of the connection and not of
//! the endpoint. It goes the way of requests (address, TLS, protocol), so that it fails where they would.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::grpc;
use crate::net::tls::{Connector, UpstreamTlsError};
use crate::net::{Dialer, Stream};
use crate::snapshot::{Probe, Protocol};

/// Who is asked what, and how it is reached.
pub(super) struct Question<'q> {
    pub(super) dialer: &'q Dialer,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<&'q Connector>,
    pub(super) protocol: Protocol,
    pub(super) probe: &'q Probe,
}

/// What is wrong with an endpoint.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("no connection: {0}")]
    Unconnected(io::Error),
    #[error(transparent)]
    Tls(#[from] UpstreamTlsError),
    #[error("the connection broke off: {0}")]
    BrokenOff(#[from] io::Error),
    #[error("the answer is no HTTP")]
    NotHttp,
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("cannot be asked: {0}")]
    Unasked(#[from] http::Error),
    #[error("answered {0}")]
    Status(u16),
    #[error("answered grpc-status {0}")]
    GrpcStatus(String),
    #[error("the answer is no message of grpc.health.v1")]
    NotHealth,
    #[error("says {0}")]
    Says(&'static str),
}

impl Question<'_> {
    /// Asks. The caller bounds the time.
    pub(super) async fn ask(&self) -> Result<(), Fault> {
        let dialled = self.dialer.dial(self.address).await;
        let stream = dialled.map_err(Fault::Unconnected)?;
        let stream = match self.tls {
            Some(connector) => connector.secure(stream, self.address.ip()).await?,
            None => stream,
        };
        match self.probe {
            Probe::Tcp => Ok(()),
            Probe::Http(path) => {
                let status = if self.protocol.is_http2(stream.chose_http2()) {
                    self.http2(stream, path).await?
                } else {
                    self.http1(stream, path).await?
                };
                // As kubelets and HAProxy take it: a redirect is an answer of somebody who is well.
                if (200..400).contains(&status) {
                    Ok(())
                } else {
                    Err(Fault::Status(status))
                }
            }
            Probe::Grpc(service) => self.grpc(stream, service).await,
        }
    }

    /// What stands in Host: the name that the endpoint has to prove, where there is one, or else its address.
    fn host(&self) -> String {
        let name = self.tls.and_then(|tls| tls.settings().server_name.clone());
        name.unwrap_or_else(|| self.address.to_string())
    }

    async fn http1(&self, mut stream: Stream, path: &str) -> Result<u16, Fault> {
        let host = self.host();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut head = Vec::new();
        loop {
            if let Some(status) = take_status(&mut head)? {
                return Ok(status);
            }
            if head.len() > HEAD_MAX {
                return Err(Fault::NotHttp);
            }
            if stream.read_buf(&mut head).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    async fn http2(&self, stream: Stream, path: &str) -> Result<u16, Fault> {
        let request = self.request(Method::GET, path)?.body(())?;
        let exchange = async |sender| {
            let response = send(sender, request, Bytes::new()).await?;
            Ok(response.status().as_u16())
        };
        over_http2(stream, exchange).await
    }

    async fn grpc(&self, stream: Stream, service: &str) -> Result<(), Fault> {
        let request = self
            .request(Method::POST, grpc::PATH)?
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(())?;
        let message = grpc::request(service).into();
        let exchange = async |sender| {
            let response = send(sender, request, message).await?;
            let (head, body) = response.into_parts();
            if head.status != StatusCode::OK {
                return Err(Fault::Status(head.status.as_u16()));
            }
            let (body, trailers) = read(body).await?;
            judge(&head.headers, &trailers, &body)
        };
        over_http2(stream, exchange).await
    }

    fn request(&self, method: Method, path: &str) -> Result<http::request::Builder, Fault> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.host())
            .path_and_query(path)
            .build()?;
        Ok(Request::builder()
            .method(method)
            .uri(uri)
            .header(USER_AGENT, AGENT))
    }
}

/// The final status of an HTTP/1.x response whose head has come whole; interim ones are taken off.
fn take_status(bytes: &mut Vec<u8>) -> Result<Option<u16>, Fault> {
    loop {
        let known = bytes.len().min(VERSION.len());
        if bytes[..known] != VERSION[..known] {
            return Err(Fault::NotHttp);
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let (Some(b' '), Some(digits)) = (bytes.get(8), bytes.get(9..12)) else {
            return Err(Fault::NotHttp);
        };
        let status = StatusCode::from_bytes(digits).map_err(|_| Fault::NotHttp)?;
        if !status.is_informational() {
            return Ok(Some(status.as_u16()));
        }
        bytes.drain(..end + 4);
    }
}

/// Speaks HTTP/2 on a stream for as long as the exchange takes.
async fn over_http2<T, F>(
    stream: Stream,
    exchange: impl FnOnce(SendRequest<Bytes>) -> F,
) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let handshake = Builder::new()
        .enable_push(false)
        .max_header_list_size(HEAD_MAX as u32)
        .handshake(stream);
    let (sender, connection) = handshake.await?;
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange(sender)));
    let outcome = tokio::select! {
        biased;
        outcome = &mut exchange => outcome,
        // What has come by then is still to be read; what has not is told as an error.
        _ = &mut connection => exchange.await,
    };
    // It says GOAWAY, if there is room for it at once.
    let _ = connection.now_or_never();
    outcome
}

async fn send(
    mut sender: SendRequest<Bytes>,
    request: Request<()>,
    message: Bytes,
) -> Result<Response<RecvStream>, Fault> {
    poll_fn(|cx| sender.poll_ready(cx)).await?;
    let (response, mut body) = sender.send_request(request, message.is_empty())?;
    if !message.is_empty() {
        body.send_data(message, true)?;
    }
    Ok(response.await?)
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), Fault> {
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole.extend_from_slice(&piece);
        if whole.len() > HEAD_MAX {
            return Err(Fault::NotHealth);
        }
    }
    Ok((whole, body.trailers().await?.unwrap_or_default()))
}

/// What a whole answer by gRPC means. Its status is in the trailers, or in the head where there is nothing else.
fn judge(head: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<(), Fault> {
    let status = trailers.get(GRPC_STATUS).or_else(|| head.get(GRPC_STATUS));
    let status = status.map_or("(none)".into(), |value| {
        String::from_utf8_lossy(value.as_bytes())
    });
    if status != "0" {
        return Err(Fault::GrpcStatus(status.into_owned()));
    }
    match grpc::status(body) {
        Some(grpc::SERVING) => Ok(()),
        Some(other) => Err(Fault::Says(grpc::word(other))),
        None => Err(Fault::NotHealth),
    }
}

const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
const VERSION: &[u8] = b"HTTP/1.";
const GRPC_STATUS: &str = "grpc-status";

/// Heads, and messages, may be so long.
const HEAD_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Result<Option<u16>, String> {
        take_status(&mut text.into()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn finds_the_final_status() {
        assert_eq!(status("HTTP/1.1 204 No\r\nA: b\r\n\r\n"), Ok(Some(204)));
        assert_eq!(status("HTTP/1.0 500\r\n\r\nbody"), Ok(Some(500)));
        let interim = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n";
        assert_eq!(status(interim), Ok(None));
        assert_eq!(status(&format!("{interim}HTTP/1.1 2")), Ok(None));
        let both = format!("{interim}{interim}HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(status(&both), Ok(Some(200)));
        for begun in ["", "HTT", "HTTP/1.1 200 OK\r\n"] {
            assert_eq!(status(begun), Ok(None), "{begun:?}");
        }
    }

    #[test]
    fn what_is_no_http_is_told_at_once() {
        for wrong in [
            "S",
            "SSH-2.0-x\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2x0\r\n\r\n",
            "HTTP/1.\r\n\r\n",
        ] {
            assert!(status(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn judges_an_answer_by_grpc() {
        let none = HeaderMap::new();
        let with = |value: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert(GRPC_STATUS, http::HeaderValue::from_static(value));
            fields
        };
        let said = |head: &HeaderMap, trailers: &HeaderMap, body: &[u8]| {
            judge(head, trailers, body).map_err(|fault| fault.to_string())
        };
        let serving = b"\0\0\0\0\x02\x08\x01";
        assert_eq!(said(&none, &with("0"), serving), Ok(()));
        let not_serving = said(&none, &with("0"), b"\0\0\0\0\x02\x08\x02");
        assert_eq!(not_serving, Err("says NOT_SERVING".into()));
        let unknown = said(&with("5"), &none, b"");
        assert_eq!(unknown, Err("answered grpc-status 5".into()));
        assert!(said(&none, &none, serving).is_err(), "cut off");
        assert!(said(&none, &with("0"), b"").is_err());
    }
}

//! One call of a replica's hook: by another replica, or by the pod that wants to stop (P15).

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::api::{ErrorBody, HookAnswer};
use crate::control::PodName;
use crate::document::write_duration;

/// Why a replica has not answered.
#[derive(Debug)]
pub struct CallError {
    /// Nobody listens there.
    pub is_refused: bool,
    /// A fragment for people.
    pub why: String,
}

/// To a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Bytes of an answer.
const ANSWER_BYTES: usize = 1 << 20;

impl CallError {
    pub(super) fn of(error: impl Display) -> Self {
        Self::from(error.to_string())
    }
}

impl From<String> for CallError {
    fn from(why: String) -> Self {
        Self {
            is_refused: false,
            why,
        }
    }
}

impl From<&str> for CallError {
    fn from(why: &str) -> Self {
        Self::from(why.to_owned())
    }
}

/// The hook's target. With `elsewhere` the replica answers for itself only, and hears which endpoints others know.
#[must_use]
pub fn target(pod: &PodName, limit: Duration, elsewhere: Option<&[String]>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pod = match pod {
        PodName::Name(name) => format!("pod={}", encoded(name)),
        PodName::Address(ip) => format!("ip={}", encoded(&ip.to_string())),
    };
    let limit = write_duration(limit);
    let here = match elsewhere {
        None => String::new(),
        Some([]) => "&here=true".to_owned(),
        Some(ids) => format!("&here=true&seen={}", encoded(&ids.join(","))),
    };
    format!("/drain?{pod}&limit={limit}{here}")
}

/// One call of a hook by a socket in the file system.
///
/// # Errors
/// Why there is no answer, as a fragment.
pub async fn call_by_file(
    path: &Path,
    target: &str,
    token: Option<&str>,
) -> Result<HookAnswer, CallError> {
    let stream = UnixStream::connect(path).await.map_err(CallError::of)?;
    ask(stream, "localhost", target, token).await
}

/// One call of another replica's hook.
///
/// # Errors
/// Why there is no answer, as a fragment.
pub async fn call(
    peer: SocketAddr,
    host: &str,
    target: &str,
    token: Option<&str>,
) -> Result<HookAnswer, CallError> {
    let connected = timeout_at(Instant::now() + CONNECT, TcpStream::connect(peer)).await;
    let stream = connected
        .map_err(|_| "no connection in time")?
        .map_err(|error| CallError {
            is_refused: error.kind() == io::ErrorKind::ConnectionRefused,
            why: error.to_string(),
        })?;
    ask(stream, host, target, token).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    target: &str,
    token: Option<&str>,
) -> Result<HookAnswer, CallError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(CallError::of)?;
    let mut request = Request::get(target).header(HOST, host);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(CallError::of)?;
    // The sender goes with the answer, and with the sender the connection.
    let answered = async move {
        let response = sender.send_request(request).await;
        let response = response.map_err(CallError::of)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect();
        let body = body.await.map_err(CallError::of)?.to_bytes();
        Ok::<_, CallError>((status, body))
    };
    let (answered, _) = tokio::join!(answered, connection);
    let (status, body) = answered?;
    if !status.is_success() {
        let said = serde_json::from_slice::<ErrorBody>(&body)
            .map_or_else(|_| String::new(), |body| format!(": {}", body.error));
        return Err(format!("it answered {status}{said}").into());
    }
    serde_json::from_slice(&body).map_err(|_| "it is no replica of tidegate".into())
}

//! Who may ask what, and how a refusal reads.
//!
//! The admin side listens on loopback by default, so its enemies are web pages and other users of the machine:
//! * A page that makes its own name resolve to our address (DNS rebinding) gives itself away by `Host`: only `localhost`,
//!   loopback addresses, the address that the connection came to, and the configured names are accepted; 403 otherwise. An
//!   address cannot be rebound, and a port in `Host` says nothing about who asks, so forwarded ports work.
//! * A page that just sends a form or an image request gives itself away by `Origin` or `Sec-Fetch-Site`: refused for every
//!   call that changes something, the hook included.
//! * Another user of the machine is held off by the token, where one is configured, or by the permissions of a socket in the
//!   file system (`listen`). The hook has one of its own
//!   (`hook_token_file`): a kubelet cannot keep a secret in a pod's manifest, but a command in the pod can.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Admin;
use super::api::ErrorBody;
use crate::control::HandleError;

/// The connection that a request came by, as the listener knows it.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// Our end; none of a socket in the file system.
    pub(super) local: Option<SocketAddr>,
    /// The listener stops: whatever streams should end.
    pub(super) stop: CancellationToken,
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody {
                error: error.into(),
                ids: Vec::new(),
            },
            header: None,
        }
    }

    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some((name, value)) = self.header {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<HandleError> for Refusal {
    fn from(error: HandleError) -> Self {
        let (status, advice) = match &error {
            HandleError::NoService(_) => (
                StatusCode::NOT_FOUND,
                ": `tidegate status` or GET /api/v1/services lists them",
            ),
            HandleError::NoEndpoint { .. } => (
                StatusCode::NOT_FOUND,
                ": `tidegate status` or GET /api/v1/services lists them",
            ),
            // These say themselves what to do.
            HandleError::Ambiguous { .. } | HandleError::DrainedBySource(_) => {
                (StatusCode::CONFLICT, "")
            }
            HandleError::Leaving => (StatusCode::SERVICE_UNAVAILABLE, ": ask another replica"),
        };
        let mut refusal = Self::new(status, format!("{error}{advice}"));
        if let HandleError::Ambiguous { ids, .. } = error {
            refusal.body.ids = ids;
        }
        refusal
    }
}

/// Refuses requests that were meant for another host.
pub(super) async fn host(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let local = request
        .extensions()
        .get::<Connection>()
        .and_then(|connection| Some(connection.local?.ip()));
    let asked = asked_host(&request)?;
    if !is_own(&asked, local, &admin.settings.borrow().hosts) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "host {:?} is not this admin's: ask by its address or as localhost, or add the name to admin.hosts",
                asked.as_str()
            ),
        ));
    }
    Ok(next.run(request).await)
}

/// Refuses what a browser sends on behalf of somebody else's page, where it would change something.
pub(super) async fn origin(request: Request, next: Next) -> Result<Response, Refusal> {
    let hook = request.method() == Method::GET && request.uri().path() == HOOK;
    if (hook || !request.method().is_safe()) && is_foreign(&request) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "a page of another site may not change anything here: use the command line, or a page of this address",
        ));
    }
    Ok(next.run(request).await)
}

/// Refuses changing calls without the token, where there is one.
pub(super) async fn token(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let file = admin.settings.borrow().token_file.clone();
    if let Some(file) = file
        && !request.method().is_safe()
    {
        compare(&file, "token_file", request.headers())?;
    }
    Ok(next.run(request).await)
}

/// Refuses the hook without its token, where there is one, by whatever method: it changes something by any.
pub(super) async fn hook_token(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let file = admin.settings.borrow().hook_token_file.clone();
    if let Some(file) = file {
        compare(&file, "hook_token_file", request.headers())?;
    }
    Ok(next.run(request).await)
}

/// Refuses what does not carry the token of a file.
fn compare(file: &Path, key: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    // Read each time: the file is small, the calls are few, and there is no moment at which an old token still counts.
    let token = read_token(file).map_err(|error| {
        warn!(file = %file.display(), %error, "changing calls are refused without a token to compare with");
        Refusal::new(
            StatusCode::FORBIDDEN,
            format!("changing calls are refused while admin.{key} is missing or empty: write a token into it"),
        )
    })?;
    let given = bearer(headers).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNAUTHORIZED,
        format!("this call needs the token of admin.{key}: send it as `Authorization: Bearer TOKEN`, or give the command line --token-file"),
    )
    .with(WWW_AUTHENTICATE, "Bearer"))
}

/// No call but the webhook needs a body: reads what is sent, within bounds, so that a refusal of too much can be seen, and
/// gives it to that one only.
pub(super) async fn take_body(request: Request, next: Next) -> Result<Response, Refusal> {
    let (head, mut body) = request.into_parts();
    let is_review = head.uri.path() == WEBHOOK;
    let most = if is_review { REVIEW_MAX } else { BODY_MAX };
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body is larger than {most} bytes: no call but the webhook needs one, send none"
            ),
        )
    };
    if body.size_hint().lower() > most {
        return Err(too_large());
    }
    let read = async {
        let (mut seen, mut kept) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::bad("the body is malformed: send none"))?;
            seen += frame.data_ref().map_or(0, |data| data.len() as u64);
            if seen > most {
                return Err(too_large());
            }
            if let Some(data) = frame.data_ref().filter(|_| is_review) {
                kept.extend_from_slice(data);
            }
        }
        Ok(kept)
    };
    let kept = match tokio::time::timeout(BODY_TIME, read).await {
        Ok(read) => read?,
        Err(_) => {
            return Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come in time: no call needs one, send none",
            ));
        }
    };
    let body = Body::from(kept);
    Ok(next.run(Request::from_parts(head, body)).await)
}

/// Gives every refusal a sentence, those of axum and of the layers included, and every answer the headers that keep
/// browsers from guessing and storing.
pub(super) async fn explain(response: Response) -> Response {
    let status = response.status();
    let mut response =
        if (status.is_client_error() || status.is_server_error()) && !is_json(&response) {
            let allow = response.headers().get(ALLOW).cloned();
            let error = match (status, &allow) {
                (StatusCode::METHOD_NOT_ALLOWED, Some(allow)) => {
                    format!(
                        "this call does not take that method: use {}",
                        allow.to_str().unwrap_or_default()
                    )
                }
                (StatusCode::GATEWAY_TIMEOUT, _) => {
                    "no answer in time: tidegate is busy, ask again".into()
                }
                (StatusCode::BAD_REQUEST, _) => {
                    "the path cannot be read: write it as percent-encoded UTF-8".into()
                }
                _ => format!("failed with {status}: look into tidegate's log"),
            };
            let mut refusal = Refusal::new(status, error).into_response();
            if let Some(allow) = allow {
                refusal.headers_mut().insert(ALLOW, allow);
            }
            refusal
        } else {
            response
        };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The host that a request names: that of an absolute target, else the one `Host`.
fn asked_host(request: &Request) -> Result<Authority, Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let asked = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, _) => return Err(Refusal::bad("the request has no Host: send one")),
        (Some(_), Some(_)) => return Err(Refusal::bad("the request has several Hosts: send one")),
    };
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.clone());
    }
    asked
        .to_str()
        .ok()
        .and_then(|asked| Authority::from_str(asked).ok())
        .filter(|asked| !asked.as_str().contains('@'))
        .ok_or_else(|| {
            Refusal::bad("the Host cannot be read: send the address that you connect to")
        })
}

fn is_own(asked: &Authority, local: Option<IpAddr>, names: &[String]) -> bool {
    let host = asked.host();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    let known = match address {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || local.is_some_and(|local| local.to_canonical() == address)
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    known
        || names.iter().any(|name| {
            name.eq_ignore_ascii_case(host) || name.eq_ignore_ascii_case(asked.as_str())
        })
}

/// Whether a browser says that another site's page sent this.
fn is_foreign(request: &Request) -> bool {
    let headers = request.headers();
    if headers
        .get_all(SEC_FETCH_SITE)
        .iter()
        .any(|site| site != "same-origin" && site != "none")
    {
        return true;
    }
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    headers.get_all(ORIGIN).iter().any(|origin| {
        let host = origin.to_str().ok().and_then(|origin| {
            origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"))
        });
        host.is_none() || host.map(str::to_ascii_lowercase) != own.map(str::to_ascii_lowercase)
    })
}

/// The token in a file.
pub(super) fn read_token(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(TOKEN_MAX)
        .read_to_string(&mut text)?;
    match text.trim() {
        "" => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is empty",
        )),
        token => Ok(token.into()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (given, None) = (given.next()?, given.next()) else {
        return None;
    };
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_json(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json")
}

/// The hook's path.
pub(super) const HOOK: &str = "/drain";
/// The webhook's path.
pub(super) const WEBHOOK: &str = "/admission";
/// Bytes of a review: a pod's, the longest that an API server stores.
const REVIEW_MAX: u64 = 2 * 1024 * 1024;
/// Bytes of another request's body.
const BODY_MAX: u64 = 64 * 1024;
/// A body arrives whole within this.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Bytes of the token's file that are read.
const TOKEN_MAX: u64 = 4096;
const SEC_FETCH_SITE: &str = "sec-fetch-site";

#[cfg(test)]
mod tests {
    use super::*;

    fn own(asked: &str, local: &str) -> bool {
        is_own(
            &asked.parse().unwrap(),
            Some(local.parse().unwrap()),
            &["tide.example".into(), "edge.example:9000".into()],
        )
    }

    #[test]
    fn knows_its_own_names() {
        for asked in [
            "localhost",
            "LocalHost:9901",
            "localhost:1234",
            "127.0.0.1:9901",
            "127.0.0.1",
            "[::1]:9901",
            "10.1.2.3:9901",
            "[::ffff:10.1.2.3]:9901",
            "tide.example",
            "TIDE.example:9901",
            "edge.example:9000",
        ] {
            assert!(own(asked, "10.1.2.3"), "{asked}");
        }
    }

    #[test]
    fn knows_whom_it_is_not() {
        for asked in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.1.2.4:9901",
            "tide.example.evil.example",
            "edge.example:9001",
            "0.0.0.0:9901",
        ] {
            assert!(!own(asked, "10.1.2.3"), "{asked}");
        }
    }

    #[test]
    fn reads_one_bearer_only() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            headers
        };
        assert_eq!(bearer(&headers(&["Bearer abc"])), Some("abc"));
        assert_eq!(bearer(&headers(&["bearer abc"])), Some("abc"));
        for wrong in [
            &["Basic abc"][..],
            &["abc"],
            &[],
            &["Bearer abc", "Bearer abc"],
        ] {
            assert_eq!(bearer(&headers(wrong)), None, "{wrong:?}");
        }
    }
}

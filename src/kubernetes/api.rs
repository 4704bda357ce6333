//! How the API server is reached, and what it means when it does not answer as it should.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config, Error};
use tokio::time::timeout;
use tokio_rustls::rustls;
use tower::BoxError;
use tower::util::MapErrLayer;

use super::place::Place;

/// Why the API server could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// Neither a kubeconfig nor a service account.
    #[error("no cluster is configured: {0}")]
    NoCluster(String),
    /// Nobody answered.
    #[error("the API server cannot be reached: {0}")]
    Away(String),
    /// Somebody answered who cannot show that they are the API server.
    #[error(
        "the API server is not trusted: {0}; it has to be certified by certificate-authority-data of the kubeconfig, or by \
         the service account's ca.crt"
    )]
    Untrusted(String),
    /// It does not know who asks.
    #[error(
        "the API server does not know who asks: {0}; the kubeconfig's token or client certificate, or the service account's \
         token, has to be valid"
    )]
    Unknown(String),
    /// It did not answer in time.
    #[error("the API server has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// It answered that this is not allowed.
    #[error(
        "the API server forbids to {verb} {resource} {place}; grant {} on it",
        grant(verb)
    )]
    Forbidden {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        resource: &'static str,
        /// Where.
        place: Place,
    },
    /// Nobody has installed this kind.
    #[error(
        "the API server knows no {resource} of {api_version}; install their definitions (CRDs; of the Gateway API those of \
         its standard channel)"
    )]
    Absent {
        /// The plural.
        resource: &'static str,
        /// The group and version.
        api_version: String,
    },
    /// What is known is too old to go on from.
    #[error("the API server no longer knows what happened since the last look")]
    Gone,
    /// It answered something else.
    #[error("the API server answered {code}: {message}")]
    Refused {
        /// The status.
        code: u16,
        /// Its words.
        message: String,
    },
    /// What it said could not be read.
    #[error("the API server's answer cannot be read: {0}")]
    Garbled(String),
}

impl ApiError {
    /// Whether the next try may come soon: nobody is there whom it could burden.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Whether another try needs to read again who and where we are.
    pub(super) fn wants_another_client(&self) -> bool {
        matches!(self, Self::Untrusted(_) | Self::Unknown(_))
    }
}

/// Why a request got no answer, and from where. Made where both are known: the client tells nobody where it asks.
#[derive(Debug, thiserror::Error)]
#[error("{server}: {why}")]
struct Unanswered {
    server: String,
    why: String,
    side: Side,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The way there, or there is nobody.
    Way,
    /// Theirs: they are not who they should be.
    Theirs,
    /// Ours: they take us for nobody they know.
    Ours,
}

/// A client of the cluster that the environment names: a kubeconfig, or else the pod's own service account.
pub(super) async fn client() -> Result<Client, ApiError> {
    let config = Config::infer().await;
    let mut config = config.map_err(|error| ApiError::NoCluster(chain(&error)))?;
    config.connect_timeout = Some(CONNECT);
    // Whoever asks knows best when to ask again.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let server = server.trim_end_matches('/').to_owned();
    let builder = ClientBuilder::try_from(config);
    let builder = builder.map_err(|error| ApiError::NoCluster(chain(&error)))?;
    let say = MapErrLayer::new(move |error| unanswered(&server, error));
    Ok(builder.with_layer(&say).build())
}

/// What the client itself has to say of a request stays as it is.
fn unanswered(server: &str, error: BoxError) -> BoxError {
    if error.is::<Error>() {
        return error;
    }
    Box::new(Unanswered {
        server: server.to_owned(),
        why: chain(&*error),
        side: side(&*error),
    })
}

/// Whom a handshake failed for, if that was it.
fn side(error: &(dyn StdError + 'static)) -> Side {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(_)) => return Side::Theirs,
            Some(rustls::Error::AlertReceived(_)) => return Side::Ours,
            _ => {}
        }
        // What an error of I/O wraps is not its source, but what it says itself; and it may be wrapped twice.
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    Side::Way
}

/// Sorts an error by what follows from it.
pub(super) fn sort(
    error: Error,
    verb: &'static str,
    resource: &'static str,
    place: &Place,
) -> ApiError {
    match error {
        Error::Api(status) => refused(status.code, status.message, verb, resource, place),
        Error::SerdeError(error) => ApiError::Garbled(error.to_string()),
        Error::Service(error) => match error.downcast_ref::<Unanswered>() {
            Some(it) if it.side == Side::Theirs => ApiError::Untrusted(it.to_string()),
            Some(it) if it.side == Side::Ours => ApiError::Unknown(it.to_string()),
            _ => ApiError::Away(chain(&*error)),
        },
        error => ApiError::Away(chain(&error)),
    }
}

/// The same for a status that came as an event of a watch.
pub(super) fn refused(
    code: u16,
    message: String,
    verb: &'static str,
    resource: &'static str,
    place: &Place,
) -> ApiError {
    match code {
        401 => ApiError::Unknown(format!("401 {message}")),
        403 => ApiError::Forbidden {
            verb,
            resource,
            place: place.clone(),
        },
        410 => ApiError::Gone,
        code => ApiError::Refused { code, message },
    }
}

/// What it takes to be allowed.
fn grant<'v>(verb: &&'v str) -> &'v str {
    match *verb {
        "list" | "watch" => "list and watch",
        verb => verb,
    }
}

/// Waits for an answer, up to a bound.
pub(super) async fn within<T>(answer: impl Future<Output = T>) -> Result<T, ApiError> {
    timeout(ANSWER, answer)
        .await
        .map_err(|_| ApiError::Silent(ANSWER))
}

/// The innermost cause says most, and is seldom in the outermost one's words.
fn chain(error: &dyn StdError) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// A server that is there answers long before.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

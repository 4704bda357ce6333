//! How the API server is reached, and what it means when it does not answer as it should.

use std::time::Duration;

use kube::{Client, Config, Error};
use tokio::time::timeout;

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
}

/// A client of the cluster that the environment names: a kubeconfig, or else the pod's own service account.
pub(super) async fn client() -> Result<Client, ApiError> {
    let config = Config::infer().await;
    let mut config = config.map_err(|error| ApiError::NoCluster(chain(&error)))?;
    config.connect_timeout = Some(CONNECT);
    // Whoever asks knows best when to ask again.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ApiError::NoCluster(chain(&error)))
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
fn chain(error: &dyn std::error::Error) -> String {
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

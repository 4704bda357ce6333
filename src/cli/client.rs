//! The way from the command line to a running tidegate: its admin API, over plain blocking HTTP.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use thiserror::Error;
use ureq::http::Response;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body};

use super::file::FileConnector;
use crate::admin::api::{DrainAnswer, Drains, ErrorBody, Service, UndrainAnswer};
use crate::document::write_duration;
use crate::net::UNIX;

/// The token of commands that change something.
#[derive(Debug, Clone, Default, Args)]
pub struct TokenArgs {
    /// The file with the token that tidegate asks for when `admin.token_file` is set
    #[arg(long, value_name = "FILE", env = "TIDEGATE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token, if there is one.
    pub(super) fn read(&self) -> Result<Option<String>, ClientError> {
        let path = self.token_file.as_deref();
        // An empty variable is as good as none.
        let path = path.filter(|path| !path.as_os_str().is_empty());
        path.map(read_token).transpose()
    }
}

/// Why a call has no answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// No URL of an admin side.
    #[error(
        "--admin {0:?}: should be the address of tidegate's admin side, as http://127.0.0.1:9901 or unix:/run/tidegate/admin.sock"
    )]
    BadUrl(String),
    /// No token.
    #[error("--token-file {}: {why}; should be a file that holds the token", path.display())]
    BadToken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers.
    #[error("cannot reach tidegate at {url}: {why}; is it running, or is --admin wrong?")]
    Unreachable {
        /// The admin side.
        url: String,
        /// What the system says.
        why: String,
    },
    /// tidegate says no.
    #[error("{0}")]
    Refused(String),
    /// Somebody else answers.
    #[error("what answers at {url} is not the admin side of tidegate: {why}; is --admin wrong?")]
    Stranger {
        /// The admin side.
        url: String,
        /// What is odd.
        why: String,
    },
}

/// A running tidegate.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: Agent,
    /// What paths are put behind.
    url: String,
    /// The admin side, in the words that were typed.
    shown: String,
    authorization: Option<String>,
}

impl Client {
    /// The one at `--admin`, with the token of a file.
    pub(crate) fn new(admin: &str, token: &TokenArgs) -> Result<Self, ClientError> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .max_redirects(0)
            // A proxy for the outside world has no business between here and tidegate.
            .proxy(None)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build();
        let token = token.read()?;
        let (agent, url) = match file(admin)? {
            Some(path) => {
                let connector = FileConnector(path);
                let agent = Agent::with_parts(config, connector, DefaultResolver::default());
                (agent, NOWHERE.to_owned())
            }
            None => (config.new_agent(), base(admin)?),
        };
        let shown = if url == NOWHERE {
            admin.to_owned()
        } else {
            url.clone()
        };
        Ok(Self {
            agent,
            url,
            shown,
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// The text of every service, or of one.
    pub(crate) fn services_text(&self, service: Option<&str>) -> Result<String, ClientError> {
        match service {
            None => self.get("/api/v1/services"),
            Some(service) => self.get(&format!("/api/v1/services/{}", encoded(service))),
        }
    }

    /// One service.
    pub(crate) fn service(&self, service: &str) -> Result<Service, ClientError> {
        self.read(&self.services_text(Some(service))?)
    }

    /// Every drain.
    pub(crate) fn drains(&self) -> Result<Drains, ClientError> {
        self.read(&self.get("/api/v1/drains")?)
    }

    /// Starts a drain; with `wait`, comes back when it is over, however long that takes.
    pub(crate) fn drain(
        &self,
        service: &str,
        endpoint: &str,
        timeout: Option<Duration>,
        wait: bool,
    ) -> Result<DrainAnswer, ClientError> {
        let mut url = format!("{}?wait={wait}", self.drain_url(service, endpoint));
        if let Some(timeout) = timeout {
            url.push_str("&timeout=");
            url.push_str(&write_duration(timeout));
        }
        let mut call = self
            .agent
            .post(url)
            .config()
            .timeout_global((!wait).then_some(ANSWER_MAX))
            .build();
        if let Some(authorization) = &self.authorization {
            call = call.header("authorization", authorization);
        }
        self.read(&self.text(call.send_empty())?)
    }

    /// Puts an endpoint back.
    pub(crate) fn undrain(
        &self,
        service: &str,
        endpoint: &str,
    ) -> Result<UndrainAnswer, ClientError> {
        let mut call = self
            .agent
            .delete(self.drain_url(service, endpoint))
            .config()
            .timeout_global(Some(ANSWER_MAX))
            .build();
        if let Some(authorization) = &self.authorization {
            call = call.header("authorization", authorization);
        }
        self.read(&self.text(call.call())?)
    }

    /// Reads an answer of the API.
    pub(crate) fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, ClientError> {
        serde_json::from_str(text).map_err(|error| self.stranger(error.to_string()))
    }

    fn get(&self, path: &str) -> Result<String, ClientError> {
        self.text(
            self.agent
                .get(format!("{}{path}", self.url))
                .config()
                .timeout_global(Some(ANSWER_MAX))
                .build()
                .call(),
        )
    }

    fn text(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<String, ClientError> {
        let mut answer = answer.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| self.unreachable(error))?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_str::<ErrorBody>(&text) {
            Ok(body) => Err(ClientError::Refused(body.error)),
            Err(_) => Err(self.stranger(format!("it says {status}"))),
        }
    }

    fn drain_url(&self, service: &str, endpoint: &str) -> String {
        format!(
            "{}/api/v1/services/{}/endpoints/{}/drain",
            self.url,
            encoded(service),
            encoded(endpoint)
        )
    }

    fn unreachable(&self, error: ureq::Error) -> ClientError {
        let why = match error {
            ureq::Error::Io(error) => why(&error),
            ureq::Error::Timeout(_) => "no answer in time".into(),
            ureq::Error::Protocol(error) => return self.stranger(error.to_string()),
            other => other.to_string(),
        };
        ClientError::Unreachable {
            url: self.shown.clone(),
            why,
        }
    }

    fn stranger(&self, why: String) -> ClientError {
        ClientError::Stranger {
            url: self.shown.clone(),
            why,
        }
    }
}

/// What the system says, without its number where there is a word for it.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::UnexpectedEof => error.kind().to_string(),
        _ => error.to_string(),
    }
}

/// The file of an admin side that listens there; none when it is anything else.
pub(super) fn file(admin: &str) -> Result<Option<PathBuf>, ClientError> {
    match admin.strip_prefix(UNIX) {
        // As a URL would have it, too: unix:///run/tidegate/admin.sock.
        Some(path) => match path.strip_prefix("//").unwrap_or(path) {
            "" => Err(ClientError::BadUrl(admin.into())),
            path => Ok(Some(path.into())),
        },
        None => Ok(None),
    }
}

/// The URL that paths are put behind. A bare address means http, which is all that the admin side speaks.
pub(super) fn base(admin: &str) -> Result<String, ClientError> {
    let url = if admin.contains("://") {
        admin.to_string()
    } else {
        format!("http://{admin}")
    };
    let bad = || ClientError::BadUrl(admin.into());
    let parsed: Uri = url.parse().map_err(|_| bad())?;
    if parsed.scheme_str() != Some("http")
        || parsed.host().is_none_or(str::is_empty)
        || parsed.query().is_some()
    {
        return Err(bad());
    }
    Ok(url.trim_end_matches('/').to_string())
}

fn read_token(path: &Path) -> Result<String, ClientError> {
    let bad = |why: String| ClientError::BadToken {
        path: path.into(),
        why,
    };
    let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    match text.trim() {
        "" => Err(bad("is empty".into())),
        // Never shown, not even where it is wrong.
        token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(bad("holds more than one word of plain ASCII".into()))
        }
        token => Ok(token.into()),
    }
}

fn encoded(part: &str) -> impl std::fmt::Display {
    utf8_percent_encode(part, PART)
}

/// What is not written as it is in a part of a path.
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');
/// How the admin side is called by whoever comes to it without an address.
const NOWHERE: &str = "http://127.0.0.1";
/// To a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// To the end of an answer that waits for nothing.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Bytes of an answer: some hundred thousand endpoints.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// A server that answers one request and tells what it was asked.
    fn once(answer: &'static str) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let head = BufReader::new(&stream)
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            (&stream).write_all(answer.as_bytes()).unwrap();
            head
        });
        (url, asked)
    }

    fn client(url: &str) -> Client {
        Client::new(url, &TokenArgs::default()).unwrap()
    }

    #[test]
    fn takes_urls_and_bare_addresses() {
        assert_eq!(
            base("http://127.0.0.1:9901/").unwrap(),
            "http://127.0.0.1:9901"
        );
        assert_eq!(base("10.0.0.7:9901").unwrap(), "http://10.0.0.7:9901");
        for wrong in ["https://x", "ftp://x", "http://", "", "http://x?y", "a b"] {
            let error = base(wrong).unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:9901"), "{error}");
        }
        for same in ["unix:/run/a.sock", "unix:///run/a.sock"] {
            assert_eq!(file(same).unwrap(), Some("/run/a.sock".into()));
        }
        assert_eq!(file("10.0.0.7:9901").unwrap(), None);
        file("unix:").unwrap_err();
    }

    #[test]
    fn says_that_nobody_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(
            client(&url).drains().unwrap_err().to_string(),
            format!(
                "cannot reach tidegate at {url}: connection refused; is it running, or is --admin wrong?"
            )
        );
    }

    #[test]
    fn passes_on_what_tidegate_says() {
        let (url, asked) = once(
            "HTTP/1.1 404 Not Found\r\ncontent-length: 18\r\nconnection: close\r\n\r\n{\"error\":\"no way\"}",
        );
        let error = client(&url).services_text(Some("a b")).unwrap_err();
        assert_eq!(error.to_string(), "no way");
        assert_eq!(
            asked.join().unwrap()[0],
            "GET /api/v1/services/a%20b HTTP/1.1"
        );
    }

    #[test]
    fn knows_a_stranger() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
            "SSH-2.0-OpenSSH_9.7\r\n",
        ] {
            let (url, asked) = once(answer);
            let error = client(&url).drains().unwrap_err().to_string();
            assert!(
                error.contains("is not the admin side of tidegate"),
                "{error}"
            );
            asked.join().unwrap();
        }
    }

    #[test]
    fn asks_for_a_drain_with_the_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "sesame\n").unwrap();
        let token = TokenArgs {
            token_file: Some(file.path().into()),
        };
        let (url, asked) = once(
            "HTTP/1.1 409 Conflict\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{\"error\":\"no\"}",
        );
        Client::new(&url, &token)
            .unwrap()
            .drain("web", "a/b:80", Some(Duration::from_secs(90)), false)
            .unwrap_err();
        let head = asked.join().unwrap();
        assert_eq!(
            head[0],
            "POST /api/v1/services/web/endpoints/a%2Fb:80/drain?wait=false&timeout=90s HTTP/1.1"
        );
        assert!(
            head.contains(&"authorization: Bearer sesame".into()),
            "{head:?}"
        );
    }

    #[test]
    fn never_shows_a_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            fs::write(file.path(), text).unwrap();
            read_token(file.path())
        };
        assert_eq!(read(" sesame\n").unwrap(), "sesame");
        assert!(read("\n").unwrap_err().to_string().contains("is empty"));
        assert!(
            !read("open sesame")
                .unwrap_err()
                .to_string()
                .contains("sesame")
        );
    }
}

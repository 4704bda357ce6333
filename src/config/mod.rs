//! The config: the file, checked and turned into everyone's settings.
//!
//! The text becomes a tree in which everything knows its place, and the tree is walked: each part of the file has a module
//! here that reads it ([`Config::parse`]). A walk never stops at a fault. It notes it, goes on with the default in its
//! place, and the result is thrown away at the end, so that a person sees everything that is wrong at once. What follows
//! from a fault is not told beside it: a misspelled `services` is one fault and not one more for each route.
//!
//! A text is judged without the disk; only [`Config::read`] and [`Config::check`] look at the files that it names.

mod action;
mod addresses;
mod conditions;
mod describe;
mod error;
mod file;
mod files;
mod health;
mod kubernetes;
mod listener;
mod process;
mod route;
mod service;
mod source;
mod upstream;
mod values;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::document::Fault;
use crate::kubernetes as cluster;
use crate::route::{Action, Matcher};
use crate::snapshot::ServiceSettings;
use crate::{admin, discovery, server};

pub use error::{ConfigError, lines};

/// The reference: every key with its default, as a config that works.
pub const DEFAULT: &str = include_str!("../../config/default.yaml");

/// A checked config, in our types.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// The listeners.
    pub listeners: Vec<server::Settings>,
    /// The routes, in the order of the file.
    pub routes: Vec<Route>,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// Which objects of a cluster add routes and services of their own.
    pub kubernetes: Option<cluster::Settings>,
    /// The admin side.
    pub admin: admin::Settings,
    /// tidegate's own end.
    pub shutdown: Shutdown,
    /// The share of successful requests without a retry that is logged.
    pub access_log_sample: f64,
    /// What is logged, unless the command line says so.
    pub log_level: String,
    /// Where operators' drains are kept (P16).
    pub state_dir: Option<PathBuf>,
    /// Whether the config is read again when its file changes.
    pub reload_on_change: bool,
    /// Whom to become, when started as root, once the addresses are bound.
    pub user: Option<String>,
    /// Worker threads; none means one for each core.
    pub workers: Option<usize>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What it asks of a request.
    pub matcher: Matcher,
    /// What it does; it always leads to services that are there.
    pub action: Action,
}

/// A service and its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// What is configured of it.
    pub settings: Arc<ServiceSettings>,
    /// Where its endpoints are watched.
    pub source: discovery::Settings,
}

/// tidegate's own end: one budget, from which everything else follows (P11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// Still accepting, closings announced, `/lbz` failing.
    pub wait_period: Duration,
    /// All over this long after the signal, the wait period included.
    pub grace_period: Duration,
    /// What a new process may take to be ready after `SIGUSR2`; then the running one goes on.
    pub upgrade_timeout: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            wait_period: Duration::from_secs(15),
            grace_period: Duration::from_secs(60),
            upgrade_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Reads a config file and looks at the files that it names, as `run` and a reload do.
    ///
    /// # Errors
    /// The file cannot be read, or everything that is wrong in it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::check(path).map(|(config, _)| config)
    }

    /// Reads as [`read`](Self::read) does, and also gives what is worth a warning: endpoint files that are not there yet.
    ///
    /// # Errors
    /// The file cannot be read, or everything that is wrong in it.
    pub fn check(path: &Path) -> Result<(Self, Vec<Fault>), ConfigError> {
        let text = fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
            file: path.to_owned(),
            cause,
        })?;
        let outcome = file::walk(&text, path);
        let (mut faults, warnings) = files::look_at(&outcome.named);
        faults.extend(outcome.faults);
        faults.sort_by_key(|fault| fault.at);
        match outcome.config {
            Some(config) if faults.is_empty() => Ok((config, warnings)),
            _ => Err(ConfigError::Faulty {
                file: path.to_owned(),
                faults,
            }),
        }
    }

    /// Judges a text as the content of `path`, without a look at the disk. Relative paths in it are relative to the
    /// directory of `path`.
    ///
    /// # Errors
    /// Everything that is wrong in it, in the order of the text.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Fault>> {
        let outcome = file::walk(text, path);
        outcome.config.ok_or(outcome.faults)
    }
}

/// The config file to use: the one given, or else the first that is there of `config/tidegate.yaml` and
/// `/etc/tidegate/tidegate.yaml`.
///
/// # Errors
/// None was given and none is there.
pub fn find(given: Option<&Path>) -> Result<PathBuf, ConfigError> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => first_of(&PLACES.map(Path::new)),
    }
}

fn first_of(places: &[&Path]) -> Result<PathBuf, ConfigError> {
    // A place that may not be looked at is taken, so that reading it says why.
    let found = places.iter().find(|path| path.try_exists().unwrap_or(true));
    match found {
        Some(path) => Ok((*path).to_owned()),
        None => Err(ConfigError::NotFound {
            looked_for: places.iter().map(|path| (*path).to_owned()).collect(),
        }),
    }
}

const PLACES: [&str; 2] = ["config/tidegate.yaml", "/etc/tidegate/tidegate.yaml"];

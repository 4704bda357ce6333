//! A config read again: what can change changes, what cannot says so, and a broken one changes nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::certificates::{self, Believed};
use super::listeners::Change;
use super::objects;
use super::{App, desired};
use crate::config::Config;
use crate::control::{Desired, EventKind, HandleError};
use crate::kubernetes::Part;
use crate::server::Plan;
use crate::worker::Mail;

/// The config in force: the file's, and what a cluster's objects add.
#[derive(Debug)]
pub(super) struct InForce {
    config: Arc<Config>,
    part: Arc<Part>,
}

/// What became of the last reload, for `/api/v1/config`.
#[derive(Debug)]
pub(super) struct LastReload {
    /// Described when somebody asks: a thousand services fill pages.
    config: Arc<Config>,
    result: &'static str,
    at: SystemTime,
    errors: Vec<String>,
    /// What a cluster's objects add, described then, too.
    pub(super) objects: Option<Arc<Part>>,
}

impl InForce {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            part: Arc::default(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn shared(&self) -> Arc<Config> {
        self.config.clone()
    }

    pub(super) fn part(&self) -> &Arc<Part> {
        &self.part
    }

    pub(super) fn set_part(&mut self, part: Arc<Part>) {
        self.part = part;
    }
}

impl LastReload {
    /// At the start there was none: what is in force is what was read.
    pub(super) fn first(config: Arc<Config>) -> Self {
        Self {
            config,
            result: "success",
            at: SystemTime::now(),
            errors: Vec::new(),
            objects: None,
        }
    }

    pub(super) fn describe(&self) -> Value {
        json!({
            "config": self.config.describe(),
            "objects": self.objects.as_deref().map(objects::describe),
            "last_reload": {
                "result": self.result,
                "time": humantime::format_rfc3339_millis(self.at).to_string(),
                "errors": self.errors,
            },
        })
    }
}

impl App {
    /// Reads the config again.
    pub(super) async fn reload(&mut self) {
        self.systemd.reloading();
        let path = self.in_force.config.path.clone();
        let read = {
            let path = path.clone();
            aside(move || Config::read(&path)).await
        };
        let faults = match read {
            Some(Ok(config)) => self.take_up(config).await,
            Some(Err(error)) => error.to_string().lines().map(ToOwned::to_owned).collect(),
            None => vec![format!("{}: reading it broke down", path.display())],
        };
        let ok = faults.is_empty();
        for fault in &faults {
            error!(error = %fault, "reload failed; the running config stays in force");
        }
        if ok {
            info!(config = %path.display(), "reloaded");
        }
        let result = if ok { "success" } else { "error" };
        let config = self.in_force.config.clone();
        let before = match self.last_reload.lock() {
            Ok(mut last) => {
                (last.result, last.at) = (result, SystemTime::now());
                last.errors.clone_from(&faults);
                Some(std::mem::replace(&mut last.config, config))
            }
            Err(_) => None,
        };
        // What 10,000 routes allocate is given back beside the writer, too.
        aside(move || drop(before)).await;
        self.handle.tell(EventKind::Config {
            to: result,
            reason: faults.first().cloned(),
        });
        self.systemd.ready();
        // Counted last: whoever waits for it finds everything else done.
        self.metrics.config_reload(ok);
    }

    /// Puts a config in force. Returns what stopped it; then nothing has changed.
    async fn take_up(&mut self, mut config: Config) -> Vec<String> {
        let old = self.in_force.config.clone();
        keep_what_cannot_change(&mut config, &old);
        let config = Arc::new(config);
        let part = if config.kubernetes.is_some() {
            self.in_force.part.clone()
        } else {
            Arc::default()
        };
        let ready = {
            let config = config.clone();
            aside(move || MadeReady::of(&config, &part)).await
        };
        let Some(ready) = ready else {
            return vec![format!(
                "{}: taking it up broke down",
                config.path.display()
            )];
        };
        let MadeReady { desired, believed } = match ready {
            Ok(ready) => ready,
            Err(error) => return vec![format!("{}: {error:#}", config.path.display())],
        };
        let change = match Change::to(&config.listeners, &self.places, self.mail.len(), &self.room)
        {
            Ok(change) => change,
            Err(error) => return vec![format!("{}: {error:#}", config.path.display())],
        };
        let cluster = self.cluster.clone();
        if config.kubernetes.is_none() {
            self.forget_part();
        }
        if self.put_in_force(desired).await.is_err() {
            return vec!["tidegate is leaving".into()];
        }
        self.objects.follow(&cluster, config.kubernetes.as_ref());
        self.certificates.follow_services(believed);
        let plan = Plan::new(Instant::now(), Duration::ZERO, config.shutdown.grace_period);
        self.change_listeners(change, plan).await;
        for mail in &self.mail {
            // A worker that is gone logs nothing.
            let _ = mail.send(Mail::Sample(config.access_log_sample)).await;
        }
        match &self.log_level {
            Some(level) => level.set(&config.log_level),
            None if config.log_level != old.log_level => {
                warn!(key = "log.level", "--log or TIDEGATE_LOG stays in force");
            }
            None => {}
        }
        self.admin_settings
            .send_replace(Arc::new(config.admin.clone()));
        self.in_force.config = config;
        Vec::new()
    }

    /// Has the writer carry it out.
    pub(super) async fn put_in_force(&self, desired: Arc<Desired>) -> Result<(), HandleError> {
        let carried_out = self.handle.reload(desired.clone()).await;
        aside(move || drop(desired)).await;
        carried_out
    }
}

/// Everything that a new config takes, made ready before anything changes.
struct MadeReady {
    desired: Arc<Desired>,
    believed: Vec<Believed>,
}

impl MadeReady {
    fn of(config: &Config, part: &Part) -> anyhow::Result<Self> {
        certificates::read_for(&config.services)?;
        Ok(Self {
            desired: desired(config, part),
            believed: certificates::believed(&config.services),
        })
    }
}

/// Does what takes long with a large config on a thread of its own: the writer has this one, and a drain must not wait (P2).
/// None when it broke down, which is a bug of ours and told by its panic.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// What cannot change while it runs keeps its old value, and says so.
fn keep_what_cannot_change(config: &mut Config, old: &Config) {
    let told = |what: &str| {
        warn!(
            key = what,
            "cannot change without a restart; the old value stays in force"
        )
    };
    if config.workers != old.workers {
        told("workers");
        config.workers = old.workers;
    }
    if config.user != old.user {
        told("user");
        config.user.clone_from(&old.user);
    }
    if config.state_dir != old.state_dir {
        told("state_dir");
        config.state_dir.clone_from(&old.state_dir);
    }
    if config.admin.address != old.admin.address {
        told("admin.address");
        config.admin.address.clone_from(&old.admin.address);
    }
    if config.admin.socket != old.admin.socket {
        told("admin.socket");
        config.admin.socket.clone_from(&old.admin.socket);
    }
    if config.admin.probes_address != old.admin.probes_address {
        told("admin.probes_address");
        config.admin.probes_address = old.admin.probes_address;
    }
    if config.admin.per_endpoint_metrics != old.admin.per_endpoint_metrics {
        told("admin.per_endpoint_metrics");
        config.admin.per_endpoint_metrics = old.admin.per_endpoint_metrics;
    }
}

//! The signals that mean something, and what is done about them.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, warn};

use super::App;
use super::changes::Changes;
use super::upgrade::{Successor, Upgrade};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Reload,
    Upgrade,
    Leave {
        /// With the wait period.
        wait: bool,
    },
}

/// Where they arrive.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr2: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signal handler");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
            usr2: listen(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> Ask {
        tokio::select! {
            biased;
            _ = self.term.recv() => Ask::Leave { wait: true },
            _ = self.int.recv() => Ask::Leave { wait: false },
            _ = self.hup.recv() => Ask::Reload,
            _ = self.usr2.recv() => Ask::Upgrade,
        }
    }

    /// The exit code of the next signal that ends a process: 128 and its number.
    pub(super) async fn fatal(&mut self) -> u8 {
        tokio::select! {
            biased;
            _ = self.term.recv() => 143,
            _ = self.int.recv() => 130,
        }
    }
}

impl App {
    /// Does what it is told, until it is told to leave.
    pub(super) async fn until_told(mut self, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let mut changes = Changes::of(std::iter::once(&*self.in_force.config().path));
        let mut upgrade: Option<Upgrade> = None;
        let mut reload_later = false;
        loop {
            let watched = self.in_force.config().reload_on_change;
            let ask = tokio::select! {
                biased;
                ask = signals.next() => ask,
                outcome = outcome(&mut upgrade) => {
                    upgrade = None;
                    match outcome {
                        Ok(successor) => return Ok(self.hand_over(successor, reload_later, signals).await),
                        Err(error) => error!(error = format!("{error:#}"), "upgrade failed; this process goes on"),
                    }
                    if !std::mem::take(&mut reload_later) {
                        continue;
                    }
                    Ask::Reload
                }
                () = changes.next(), if watched => Ask::Reload,
                () = self.objects.changed() => {
                    self.take_up_part().await;
                    continue;
                }
            };
            match ask {
                Ask::Reload if upgrade.is_some() => reload_later = true,
                Ask::Reload => self.reload().await,
                Ask::Upgrade if upgrade.is_some() => {
                    warn!("an upgrade is under way; another one is refused")
                }
                Ask::Upgrade => upgrade = self.upgrade(),
                Ask::Leave { wait } => {
                    if let Some(upgrade) = upgrade {
                        upgrade.give_up().await;
                    }
                    return Ok(self.leave(wait, signals).await);
                }
            }
        }
    }
}

/// How an upgrade went; never, when there is none.
async fn outcome(upgrade: &mut Option<Upgrade>) -> anyhow::Result<Successor> {
    match upgrade {
        Some(upgrade) => upgrade.outcome().await,
        None => std::future::pending().await,
    }
}

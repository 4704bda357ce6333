//! An upgrade on a machine (`SIGUSR2`): the new binary goes on with the sockets, the old one drains.
//!
//! The two talk over a pair of Unix sockets, of which the new process has one end as its standard input, in lines of JSON:
//!
//! ```text
//! old                                        new
//!  │ version, sockets, drains, waiting ──────▶│ reads its config, binds what is new, hears its sources
//!  │◀───────────────────────────────── ready │ nothing is accepted yet
//!  │ reports of drains that are over ────────▶│
//!  │ take: the drains as they stand ─────────▶│ takes no wishes any more ─ accepts, answers on the admin side
//!  │◀─────────────────────────────── serving │
//!  │ stops accepting, drains without waiting  │ asks the old one about its drains and work, too, until it is gone
//!  │ the report of each drain that ends ─────▶│ counts and shows it as its own
//! ```
//!
//! Until `serving` the old one accepts as ever: whatever ends the new one before, nobody has noticed. Both accept on the
//! same sockets for a moment, and the kernel's queues are never without somebody who empties them.

mod letters;
mod predecessor;
mod program;
mod relay;
mod successor;

pub use predecessor::Predecessor;
pub(super) use program::Program;
pub(super) use successor::{Successor, Upgrade};

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::inherited::{Kind, Set};
use super::signals::Signals;
use super::systemd::Systemd;
use super::{App, Doors};
use crate::control;
use crate::net::Courier;
use successor::Dowry;

/// What both have to speak. Another number is refused, and the old one goes on.
const VERSION: u64 = 2;

/// Set for the new process, to the old one's id.
const MARK: &str = "TIDEGATE_UPGRADE_FROM";

impl App {
    /// Starts the new process. None when there can be none, which is told.
    pub(super) fn upgrade(&self) -> Option<Upgrade> {
        let begun = self
            .dowry()
            .and_then(|dowry| Upgrade::begin(&self.program, dowry, &self.tasks));
        begun
            .inspect_err(|error| {
                error!(
                    error = format!("{error:#}"),
                    "no upgrade; this process goes on"
                );
            })
            .ok()
    }

    fn dowry(&self) -> anyhow::Result<Dowry> {
        let places = self.places.iter().map(|place| Set {
            kind: Some(Kind::Listener),
            name: place.settings.name.to_string(),
            address: place.settings.address.into(),
            sockets: Vec::new(),
            lent: place.lent,
        });
        let mut sets = Vec::new();
        for (mut set, place) in places.zip(&self.places) {
            for socket in &place.sockets {
                set.sockets.push(socket.try_clone()?.into());
            }
            sets.push(set);
        }
        for admin in &self.admin_sockets {
            let mut set = admin.like();
            for socket in &admin.sockets {
                set.sockets.push(socket.try_clone()?);
            }
            sets.push(set);
        }
        Ok(Dowry {
            sets,
            handle: self.handle.clone(),
            timeout: self.in_force.config().shutdown.upgrade_timeout,
        })
    }

    /// The new process serves: leaves to it what it has taken, and goes. `reload`: somebody asked for one meanwhile.
    pub(super) async fn hand_over(
        mut self,
        successor: Successor,
        reload: bool,
        signals: &mut Signals,
    ) -> ExitCode {
        info!(pid = successor.pid, "upgrade: a new process has taken over");
        self.systemd.followed_by(successor.pid);
        // We are not the service any more: our end is not its.
        self.systemd = Systemd::default();
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.abort();
        }
        self.admin_until.hand_over();
        self.admin_sockets.clear();
        for (kind, name) in &successor.adopted {
            if *kind == Kind::Listener {
                self.hand_over_listener(name).await;
            }
        }
        if reload {
            successor.signal(rustix::process::Signal::HUP);
        }
        let (handle, tasks) = (self.handle.clone(), self.tasks.clone());
        let (stop, last) = (self.stop.clone(), CancellationToken::new());
        let told = last.clone();
        let touch = self.tasks.spawn_local(async move {
            let touch = successor.stay_in_touch(handle, tasks, told);
            stop.run_until_cancelled(touch).await;
        });
        self.touch = Some((last, touch));
        self.leave(false, signals).await
    }

    /// Begins once everything is there, and has the process that serves until then go.
    pub(super) async fn follow(
        &mut self,
        mut predecessor: Predecessor,
        doors: Doors,
        adopted: &[(Kind, String)],
    ) -> anyhow::Result<()> {
        let waiting = std::mem::take(&mut predecessor.waiting);
        let prepared = async {
            self.first_part().await;
            self.prepare().await;
            self.first_sets(&waiting).await;
        };
        predecessor.while_there(prepared).await?;
        let (drains, reports) = predecessor.take(adopted).await?;
        self.handle.inherit(drains, reports).await?;
        let (elder, asks) = control::elder();
        let own = self.handle.clone();
        self.handle = self.handle.clone().with_elder(elder);
        self.serve_admin(doors.admin, doors.admin_settings);
        self.accept(doors.listeners).await;
        predecessor.let_go().await;
        let stop = self.stop.clone();
        self.tasks.spawn_local(async move {
            stop.run_until_cancelled(predecessor.stay_in_touch(asks, own))
                .await
        });
        Ok(())
    }
}

/// The next word of the other process.
async fn hear(courier: &mut Courier) -> anyhow::Result<Value> {
    let line = courier.receive().await?;
    let line = line.context("the other process is gone")?;
    serde_json::from_str(&line).context("the other process is not understood")
}

//! The process that is to follow this one, as the old one sees it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::{MARK, Program, VERSION, hear, letters, relay};
use crate::app::inherited::{Kind, Set};
use crate::app::systemd::WATCHDOG_PID;
use crate::control::{Handle, Legacy};
use crate::drain::Report;
use crate::net::{Courier, SOCKETS_MAX};

/// An upgrade under way.
#[derive(Debug)]
pub(crate) struct Upgrade {
    outcome: oneshot::Receiver<anyhow::Result<Successor>>,
    cancel: CancellationToken,
}

/// A process that has taken over.
#[derive(Debug)]
pub(crate) struct Successor {
    courier: Courier,
    /// Its id.
    pub(crate) pid: u32,
    /// The listeners that it goes on with.
    pub(crate) adopted: Vec<(Kind, String)>,
    /// Reports of drains that end from now on.
    ends: mpsc::UnboundedReceiver<Arc<Report>>,
}

/// What a new process is given.
#[derive(Debug)]
pub(crate) struct Dowry {
    pub(crate) sets: Vec<Set>,
    pub(crate) handle: Handle,
    /// What it may take.
    pub(crate) timeout: Duration,
}

/// How long a process that has closed its end may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

impl Upgrade {
    /// Starts the program.
    ///
    /// # Errors
    /// Why there can be no upgrade.
    pub(crate) fn begin(
        program: &Program,
        dowry: Dowry,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        if std::process::id() == 1 {
            bail!(
                "this is process 1, with which everything here ends: what started it, a container's runtime, replaces it"
            );
        }
        let (ours, theirs) = UnixStream::pair()?;
        let child = start(program, theirs)
            .with_context(|| format!("{} cannot be started", program.path.display()))?;
        info!(program = %program.path.display(), pid = child.id(), "upgrade: a new process is started");
        let courier = Courier::new(ours)?;
        let (tell, outcome) = oneshot::channel();
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        tasks.spawn_local(async move {
            // Nobody listens when we leave; then it has been ended.
            let _ = tell.send(attempt(child, courier, dowry, cancelled).await);
        });
        Ok(Self { outcome, cancel })
    }

    /// How it went. May be given up and called again.
    pub(crate) async fn outcome(&mut self) -> anyhow::Result<Successor> {
        match (&mut self.outcome).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("it was given up")),
        }
    }

    /// Ends the new process.
    pub(crate) async fn give_up(mut self) {
        self.cancel.cancel();
        // It may just have taken over; then it is told to leave as we are.
        if let Ok(successor) = self.outcome().await {
            successor.signal(rustix::process::Signal::TERM);
        }
    }
}

fn start(program: &Program, theirs: UnixStream) -> std::io::Result<Child> {
    let mut arguments = program.arguments.iter();
    let mut command = Command::new(&program.path);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command
        .args(arguments)
        .env(MARK, std::process::id().to_string())
        // Once it has taken over, the signs of life are its to give.
        .env_remove(WATCHDOG_PID)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
}

async fn attempt(
    mut child: Child,
    mut courier: Courier,
    dowry: Dowry,
    cancelled: CancellationToken,
) -> anyhow::Result<Successor> {
    let Dowry {
        sets,
        handle,
        timeout,
    } = dowry;
    let talk = tokio::time::timeout(timeout, talk(&mut courier, &sets, &handle));
    let told = tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(anyhow!("tidegate leaves")),
        told = talk => told.unwrap_or_else(|_| Err(anyhow!(
            "it was not ready within {timeout:?} (shutdown.upgrade_timeout); its own lines of this log say what it waited for"
        ))),
    };
    match told {
        Ok((adopted, legacy)) => Ok(Successor {
            courier,
            pid: child.id(),
            adopted,
            ends: legacy.ends,
        }),
        Err(error) => {
            drop(courier);
            let end = end(&mut child).await;
            handle.go_on().await;
            Err(error.context(end))
        }
    }
}

/// Everything from the first word to `serving`.
async fn talk(
    courier: &mut Courier,
    sets: &[Set],
    handle: &Handle,
) -> anyhow::Result<(Vec<(Kind, String)>, Legacy)> {
    let say = |word: Value| word.to_string();
    courier
        .send(&say(json!({ "version": VERSION })), &[])
        .await?;
    for set in sets {
        for sockets in set.sockets.chunks(SOCKETS_MAX) {
            let word = json!({
                "kind": set.kind.map(Kind::as_str),
                "name": set.name,
                "address": set.address.to_string(),
                "sockets": sockets.len(),
                "lent": set.lent,
            });
            courier.send(&say(word), sockets).await?;
        }
    }
    let waiting = handle.waiting_for().await?;
    let waiting: Vec<_> = waiting.iter().map(|name| name.as_str()).collect();
    let word = json!({ "drains": handle.told().await?, "waiting": waiting });
    courier.send(&say(word), &[]).await?;
    let ready = hear(courier).await?;
    let adopted = ready["ready"].as_array().context("it is not understood")?;
    let name = |pair: &Value| Some((Kind::of(pair[0].as_str()?)?, pair[1].as_str()?.to_owned()));
    let adopted = adopted.iter().filter_map(name).collect();
    let legacy = handle.hand_over().await?;
    for report in &legacy.reports {
        let word = json!({ "report": letters::report(report) });
        courier.send(&say(word), &[]).await?;
    }
    let take = json!({ "take": &legacy.drains });
    courier.send(&say(take), &[]).await?;
    hear(courier).await?;
    Ok((adopted, legacy))
}

/// Ends a process that did not make it, and tells how it ended.
async fn end(child: &mut Child) -> String {
    let gone = tokio::time::timeout(LAST_BREATH, async {
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return status;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    if let Ok(status) = gone.await {
        return format!("the new process ended ({status})");
    }
    // It cannot be killed when it is gone, and what is gone is waited for at once.
    let _ = child.kill();
    let _ = child.wait();
    "the new process was ended".into()
}

impl Successor {
    /// Tells it something as a person would.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may be gone, which its own log tells.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Answers what it asks about drains, and reports those that end, until nothing more is to be told.
    pub(crate) async fn stay_in_touch(
        self,
        handle: Handle,
        tasks: TaskTracker,
        last: CancellationToken,
    ) {
        relay::serve(self.courier, handle.relay(), tasks, self.ends, last).await;
    }
}

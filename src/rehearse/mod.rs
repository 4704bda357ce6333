//! A rolling update, rehearsed: real endpoints, a real proxy, a steady load, and a count of what clients lost.
//!
//! A promise about draining is worth what it is worth from outside. So the endpoints note what reaches them and when, the
//! clients note how far each request got, and neither asks the proxy: it is only asked when it *says* that an endpoint is
//! draining and drained, because that is the word it is held to. Whatever arrives at an endpoint after the first word was a
//! lie, and whatever fails because the endpoint was stopped after the second was one too.
//!
//! A [`Rehearsal`] builds the stage: a directory with a config and an endpoint file, free addresses and the first
//! endpoints. Whoever holds it starts a proxy with that config, and calls [`Rehearsal::begin`]. Everything of the rehearsal
//! runs on one thread of its own, so that whoever shows it cannot slow it down. One thread is also why events have an order
//! that can be judged without a doubt.

mod admin;
mod answer;
mod board;
mod client;
mod histogram;
mod ledger;
mod live;
mod load;
mod mix;
pub mod report;
mod rollout;
mod script;
mod stage;
#[cfg(test)]
pub(crate) mod stand_in;
pub mod summary;
mod tally;
mod upstream;

pub use live::{Live, LiveEndpoint};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::admin::Admin;
use self::board::{Board, lock};
use self::load::Load;
use self::report::Report;
use self::rollout::{Pace, Rollout};
use self::stage::Stage;

/// How a rehearsal goes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many endpoints there are.
    pub endpoints: usize,
    /// Requests a second.
    pub rate: u32,
    /// How long it goes on; none means until it is told to stop.
    pub duration: Option<Duration>,
    /// The time between a replacement's admission and the next drain.
    pub rest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoints: 3,
            rate: 200,
            duration: None,
            rest: Duration::from_secs(1),
        }
    }
}

/// The proxy that is rehearsed with: all that must be known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Where clients reach it.
    pub proxy: SocketAddr,
    /// Its admin side.
    pub admin: SocketAddr,
    /// The endpoint file that it watches.
    pub endpoint_file: PathBuf,
    /// The service whose endpoints are in it.
    pub service: String,
}

/// A rehearsal. Dropping it ends it, and removes its directory.
#[derive(Debug)]
pub struct Rehearsal {
    stage: Stage,
    board: Arc<Board>,
    begin: Option<oneshot::Sender<()>>,
    stop: CancellationToken,
    done: oneshot::Receiver<anyhow::Result<Report>>,
    thread: Option<JoinHandle<()>>,
}

impl Rehearsal {
    /// Builds the stage and starts the endpoints. Nothing happens until [`Self::begin`].
    ///
    /// # Errors
    /// What could not be written, bound or started.
    pub fn prepare(settings: Settings) -> anyhow::Result<Self> {
        let stage = Stage::build()?;
        let board = Arc::new(Board::new());
        let (begin, begun) = oneshot::channel();
        let (ended, done) = oneshot::channel();
        let (prepared, is_prepared) = mpsc::sync_channel(1);
        let stop = CancellationToken::new();
        let play = Play {
            subject: stage.subject.clone(),
            board: Arc::clone(&board),
            settings,
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("rehearse".into())
            .spawn(move || {
                // Whoever does not listen any more does not need to know.
                let _ = ended.send(play.run(&prepared, begun));
            })
            .context("no thread could be started")?;
        let mut rehearsal = Self {
            stage,
            board,
            begin: Some(begin),
            stop,
            done,
            thread: Some(thread),
        };
        if is_prepared.recv().is_err() {
            let why = rehearsal.done.try_recv().ok().and_then(Result::err);
            return Err(why.unwrap_or_else(|| anyhow!("the endpoints could not be started")));
        }
        Ok(rehearsal)
    }

    /// The config to start the proxy with.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.stage.config()
    }

    /// What that config makes of the proxy.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.stage.subject
    }

    /// The proxy was started: once it says that it is ready, the load and the rolling update begin.
    pub fn begin(&mut self) {
        if let Some(begin) = self.begin.take() {
            // An error means that it is over already; its end says why.
            let _ = begin.send(());
        }
    }

    /// How it stands.
    #[must_use]
    pub fn live(&self) -> Live {
        self.board.live()
    }

    /// Asks for the end: a replacement that has begun is finished first, and so are the requests under way.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Returns at the end, whoever brings it about. Nothing is lost when this is dropped before.
    ///
    /// # Errors
    /// Why there could be no rehearsal at all. What fails in the course of one is in its report.
    pub async fn ended(&mut self) -> anyhow::Result<Report> {
        (&mut self.done)
            .await
            .unwrap_or_else(|_| Err(anyhow!("the rehearsal ended without a report")))
    }

    /// Removes the directory and waits for nothing: for a process that is about to exit.
    pub fn abandon(mut self) {
        self.thread = None;
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        self.stop.cancel();
        self.begin = None;
        if let Some(thread) = self.thread.take() {
            // Its result went another way.
            let _ = thread.join();
        }
    }
}

/// What the thread of a rehearsal has.
struct Play {
    subject: Subject,
    board: Arc<Board>,
    settings: Settings,
    stop: CancellationToken,
}

impl Play {
    fn run(
        self,
        prepared: &mpsc::SyncSender<()>,
        begun: oneshot::Receiver<()>,
    ) -> anyhow::Result<Report> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime could be started")?
            .block_on(Box::pin(self.play(prepared, begun)))
    }

    async fn play(
        self,
        prepared: &mpsc::SyncSender<()>,
        begun: oneshot::Receiver<()>,
    ) -> anyhow::Result<Report> {
        let admin = Admin::new(
            self.subject.admin,
            self.subject.service.clone(),
            Arc::clone(&self.board),
        );
        let pace = Pace {
            rest: self.settings.rest,
            patience: PATIENCE,
            drain: DRAIN_LIMIT,
        };
        let mut rollout = Rollout::start(
            self.subject.clone(),
            Arc::clone(&self.board),
            admin.clone(),
            pace,
            self.settings.endpoints,
        )
        .await?;
        prepared
            .send(())
            .context("nobody waits for the rehearsal")?;
        if begun.await.is_err() {
            return Ok(self.report(Duration::ZERO));
        }
        match self
            .stop
            .run_until_cancelled(admin.ready(READY_LIMIT))
            .await
        {
            Some(ready) => ready?,
            None => return Ok(self.report(Duration::ZERO)),
        }

        let watching = CancellationToken::new();
        let watched = admin.watch(&watching);
        let rehearsed = async {
            let ran = Box::pin(self.rehearse(&mut rollout)).await;
            watching.cancel();
            ran
        };
        let (ran, ()) = tokio::join!(rehearsed, watched);
        rollout.end().await;
        Ok(self.report(ran?))
    }

    /// Load and rolling update, side by side. How long the load ran.
    async fn rehearse(&self, rollout: &mut Rollout) -> anyhow::Result<Duration> {
        rollout.admitted().await?;
        let began = Instant::now();
        *lock(&self.board.began) = Some(began);
        let settings = load::Settings::new(self.subject.proxy, self.settings.rate);
        let load = Load::new(settings, Arc::clone(&self.board));
        let enough = CancellationToken::new();
        let rolled = async {
            let stop = self.stop.child_token();
            let rolled = tokio::select! {
                biased;
                rolled = rollout.run(&stop) => rolled,
                never = expire(self.settings.duration, &stop) => never,
            };
            if let Err(error) = rolled {
                self.board.problem(format!("{error:#}"));
            }
            enough.cancel();
            began.elapsed()
        };
        let (ran, ()) = tokio::join!(rolled, load.run(enough.clone()));
        Ok(ran)
    }

    fn report(&self, ran: Duration) -> Report {
        Report::of(&self.board, self.settings.rate, ran)
    }
}

/// Stops what `stop` stops when the time is over, and does not return.
async fn expire<T>(after: Option<Duration>, stop: &CancellationToken) -> T {
    if let Some(after) = after {
        tokio::time::sleep(after).await;
        stop.cancel();
    }
    std::future::pending().await
}

/// For the proxy, to be ready once it was started.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// For a word of the proxy that should come within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a drain: the config says 5 s, and the promise allows a little more (P5).
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;

//! The proxy inside another command: the same that `run` runs, on a thread of its own, without signals and access log.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::demo::Proxy;
use crate::app::{Bound, Inherited, Options};
use crate::config::Config;
use crate::server::Plan;
use crate::telemetry::Format;

/// A proxy that runs until it is told to stop.
#[derive(Debug)]
pub(super) struct Embedded {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// What its end may take: nothing but the load of the command itself is in flight.
const GRACE: Duration = Duration::from_secs(5);

impl Embedded {
    /// Starts it and waits until it serves.
    pub(super) fn start(config: &Path) -> anyhow::Result<Self> {
        let bound = Bound::bind(Config::read(config)?, Inherited::default())?;
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("tidegate-app".into())
            .spawn(move || serve(bound, stopped, &tell))?;
        match told.recv() {
            Ok(()) => Ok(Self { stop, thread }),
            // It ended before it served, and says why.
            Err(_) => match thread.join() {
                Ok(ended) => Err(ended
                    .err()
                    .unwrap_or_else(|| anyhow!("the proxy ended at its start"))),
                Err(_) => Err(anyhow!("the proxy panicked at its start")),
            },
        }
    }
}

fn serve(
    bound: Bound,
    stopped: oneshot::Receiver<()>,
    tell: &mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("the runtime cannot be started")?;
    runtime.block_on(async {
        let app = bound
            .start(
                Options {
                    format: Format::Text,
                    access_log: false,
                    log_level: None,
                },
                None,
            )
            .await?;
        // The command that started it is there, or has gone and ends it at once.
        let _ = tell.send(());
        let _ = stopped.await;
        app.leave_by(Plan::new(Instant::now(), Duration::ZERO, GRACE))
            .await;
        Ok(())
    })
}

impl Proxy for Embedded {
    fn stop(self) -> anyhow::Result<()> {
        // An error means that it has ended by itself.
        let _ = self.stop.send(());
        self.thread
            .join()
            .map_err(|_| anyhow!("the proxy panicked"))?
    }
}

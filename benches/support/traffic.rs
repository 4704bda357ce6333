//! Load in the background, while something else is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;

use super::load::Load;

/// Clients that ask at a steady rate until they are stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Traffic {
    /// Starts so many clients, which ask for `size` bytes at `rate` times a second in all.
    pub(crate) fn start(
        to: SocketAddr,
        clients: usize,
        size: usize,
        rate: f64,
    ) -> anyhow::Result<Self> {
        let mut load = Load::connect(to, clients, size)?;
        let stop = Arc::new(AtomicBool::new(false));
        // Relaxed: nothing else is told by it.
        let more = {
            let stop = stop.clone();
            move || !stop.load(Ordering::Relaxed)
        };
        let thread = thread::Builder::new()
            .name("clients".into())
            .spawn(move || load.run(Some(rate), more))?;
        Ok(Self { stop, thread })
    }

    /// How many answers there were. An error if one of them was not right.
    pub(crate) fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .ok()
            .context("the clients have broken down")?
            .context("the clients")
    }
}

//! Endpoints in a file that is watched.
//!
//! The file holds tidegate's own list (`native`) or Kubernetes' slices (`slices`); what is in it is decided by a pure
//! function ([`parse()`]). When it is read, and whether what was read is believed, is decided beside it: the system's
//! events (`watch`) along every link on the way (`chain`) say when, and `eye` says whether.
//!
//! Invariants: the file that cannot be read, or does not parse, changes nothing (law 6, P9). Half of a file is never
//! believed. A rename is read at once (P2). Reading and parsing happen off the runtime's thread, one after the other, so
//! that observations come in the order of the file's versions. Nothing is left behind when [`Source::run`] is over (P12).

mod chain;
mod eye;
mod native;
mod parse;
mod slices;
#[cfg(test)]
mod tests;
mod text;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tracing::error;

use eye::{Eye, Look};
use watch::{Stir, Watch};

use super::{Observer, Port, Source};

pub use eye::check;
pub use parse::parse;

/// A watched file of endpoints.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    port: Option<Port>,
    reread: Duration,
}

impl File {
    /// A source that watches `path`. `port` says which port of slices with several is meant.
    #[must_use]
    pub fn new(path: PathBuf, port: Option<Port>) -> Self {
        Self {
            path,
            port,
            reread: REREAD,
        }
    }

    /// Reads again this often, whatever the system says or does not say; every 5 s unless told.
    #[must_use]
    pub fn reread_every(self, reread: Duration) -> Self {
        Self { reread, ..self }
    }

    fn eye(&self) -> Eye {
        Eye::new(self.path.clone(), self.port.clone(), self.reread)
    }

    async fn watch(self, out: Observer, stop: CancellationToken) {
        let mut eye = self.eye();
        // Nothing is known of the first text; to wait until it has been still would only delay the start.
        let mut stir = Stir::Whole;
        loop {
            let look;
            (eye, look) = self.look(eye, stir).await;
            let told = async {
                if let Some(heard) = look.heard {
                    out.tell(heard).await;
                }
            };
            if stop.run_until_cancelled(told).await.is_none() {
                break;
            }
            let next = match look.stir {
                Some(stir) => Some(stir),
                None => next(&mut eye.watch, look.wait, &stop).await,
            };
            let Some(next) = next else { break };
            stir = next;
        }
        eye.watch.close().await;
    }

    /// Looks off the runtime's thread.
    async fn look(&self, mut eye: Eye, stir: Stir) -> (Eye, Look) {
        let looked = task::spawn_blocking(move || {
            let look = eye.look(stir);
            (eye, look)
        });
        looked.await.unwrap_or_else(|error| {
            // A bug, and maybe one that the next version of the file does not meet.
            error!(path = %self.path.display(), %error, "reading the endpoint file broke off");
            let mut eye = self.eye();
            let heard = eye.blame_us(": cannot be read: tidegate broke off, see its log");
            let wait = self.reread;
            (
                eye,
                Look {
                    heard,
                    stir: None,
                    wait,
                },
            )
        })
    }
}

/// Waits for the next reason to look; nothing means the end.
async fn next(watch: &mut Watch, wait: Duration, stop: &CancellationToken) -> Option<Stir> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        stir = watch.stirred() => Some(stir),
        () = time::sleep(wait) => Some(Stir::Maybe),
    }
}

impl Source for File {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn run(self: Box<Self>, out: Observer, stop: CancellationToken) -> BoxFuture<'static, ()> {
        self.watch(out, stop).boxed()
    }
}

/// How long a change may go unseen that the system does not tell of.
const REREAD: Duration = Duration::from_secs(5);

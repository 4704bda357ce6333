//! Our own leaving (P11): the workers finish what they have, then the last lines are written.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::info;

use super::App;
use super::objects::Objects;
use super::signals::Signals;
use crate::server::Plan;
use crate::worker::{Left, Mail};

/// How long the last lines may take to be written.
const LAST_WORDS_MIN: Duration = Duration::from_millis(50);
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

impl App {
    /// Leaves. A second signal ends it at once.
    pub(super) async fn leave(self, wait: bool, signals: &mut Signals) -> ExitCode {
        let shutdown = self.in_force.config().shutdown.clone();
        let wait_period = if wait {
            shutdown.wait_period
        } else {
            Duration::ZERO
        };
        let plan = Plan::new(Instant::now(), wait_period, shutdown.grace_period);
        self.systemd
            .stopping(shutdown.grace_period + 2 * LAST_WORDS_MAX);
        tokio::select! {
            biased;
            code = signals.fatal() => ExitCode::from(code),
            () = self.leave_by(plan) => ExitCode::SUCCESS,
        }
    }

    /// Leaves by a plan, without a signal's help; the demo ends so.
    pub async fn leave_by(mut self, plan: Plan) {
        self.probes.leaving.store(true, Ordering::SeqCst);
        tell(&plan, "leaving");
        // What objects say changes nothing any more, and another replica may write to them.
        self.objects = Objects::default();
        // The workers have their own handles; with ours open the kernel would go on to fill a queue that nobody empties.
        self.places.clear();
        let (done, mut all_done) = mpsc::channel(1);
        let left = Left {
            cut: Arc::new(AtomicU32::new(0)),
            forced: Arc::new(AtomicU32::new(0)),
            done,
        };
        for mail in &self.mail {
            // A worker that is gone has left.
            let _ = mail.send(Mail::Leave(plan, left.clone())).await;
        }
        let (cut, forced) = (left.cut.clone(), left.forced.clone());
        drop(left);
        let probes = self.probes.clone();
        tokio::select! {
            biased;
            // Nobody ever sends; it closes when the last worker is done.
            _ = all_done.recv() => {}
            () = async {
                tokio::time::sleep_until(plan.wait_end).await;
                probes.accepting.store(false, Ordering::SeqCst);
                std::future::pending::<()>().await;
            } => {}
        }
        self.probes.accepting.store(false, Ordering::SeqCst);
        self.report_last(last_words(plan.end) / 4).await;
        self.finish(last_words(plan.end) / 2).await;
        let lost = self.flush(last_words(plan.end));
        info!(
            cut = cut.load(Ordering::Relaxed),
            forced = forced.load(Ordering::Relaxed),
            access_log_lost = lost,
            took_ms = plan.signal.elapsed().as_millis() as u64,
            "tidegate has left"
        );
    }

    /// Has the process that has taken over hear of the last drains.
    async fn report_last(&mut self, limit: Duration) {
        let Some((last, touch)) = self.touch.take() else {
            return;
        };
        let said = async {
            // The writer takes note of what has ended before it answers.
            let _ = self.handle.told().await;
            last.cancel();
            let _ = touch.await;
        };
        // What is not heard by then stands in the log alone.
        let _ = tokio::time::timeout(limit, said).await;
    }

    /// Ends the threads and tasks. The admin side answers until here.
    async fn finish(&mut self, limit: Duration) {
        self.mail.clear();
        self.admin_sockets.clear();
        self.stop.cancel();
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.abort();
        }
        self.tasks.close();
        // An event stream that nobody reads may hold its connection; nothing depends on its end.
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        for thread in self.threads.drain(..) {
            // The worker has said that it is done; a panic in it has been told.
            let _ = thread.join();
        }
    }

    /// Writes the last lines of the access log. Returns how many are lost, or may be.
    fn flush(&mut self, limit: Duration) -> u64 {
        drop(self.log.take());
        let lost = self.log_end.take().map_or(0, |end| end.finish(limit));
        if lost > 0 {
            tracing::warn!(lines = lost, "lines of the access log may be lost");
        }
        lost
    }
}

/// Tells what a plan comes to.
pub(super) fn tell(plan: &Plan, what: &str) {
    let [
        accepting_until_ms,
        idle_closed_until_ms,
        cut_after_ms,
        over_after_ms,
    ] = plan.outline_ms();
    info!(
        accepting_until_ms,
        idle_closed_until_ms, cut_after_ms, over_after_ms, "{what}"
    );
}

/// What is left of the budget for telling the last things: nothing runs past its end, but a moment everybody has.
fn last_words(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
        .clamp(LAST_WORDS_MIN, LAST_WORDS_MAX)
}

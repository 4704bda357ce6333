//! Workers: one thread and one runtime for each core, sharing snapshots, gates and mailboxes, and nothing else (law 9).
//!
//! A worker is a future first and a thread second: [`Worker::run`] is all it does, so the simulation runs several of them on
//! one thread and a paused clock, and [`spawn`] gives each a thread and a runtime of its own.

mod mailbox;
mod thrift;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

pub use mailbox::{Inbox, Left, Mail, Mailboxes, Report, mailboxes};

use crate::clock::Clock;
use crate::control::Command;
use crate::net::{Dialer, tls};
use crate::pool::Pool;
use crate::proxy::{Belongings, Plea, Proxy, Settings as ProxySettings};
use crate::server::{self, Acceptor, Crowd, Entry, Plan};
use crate::snapshot::Reader;
use crate::telemetry::{AccessLog, Metrics};

/// Everything a worker is given.
#[derive(Debug)]
pub struct Worker {
    /// What is fixed for it.
    pub settings: ProxySettings,
    /// The routes.
    pub reader: Reader,
    /// Shared counters.
    pub metrics: Arc<Metrics>,
    /// Where its lines go.
    pub log: AccessLog,
    /// What it hears.
    pub inbox: Inbox,
}

/// Drains whose holders are named.
const HOLDERS_MAX: usize = 10;

impl Worker {
    /// Serves until everything has left. `dialer` opens its connections.
    pub async fn run(self, dialer: Dialer) {
        let clock = Clock::new();
        let pool = Pool::new(
            self.settings.worker,
            dialer,
            self.metrics.clone(),
            self.settings.seed,
        );
        let log = self.log.worker();
        let belongings = Belongings {
            pool: pool.clone(),
            clock: clock.clone(),
            reader: self.reader,
            metrics: self.metrics.worker(),
            log: log.clone(),
            neighbours: self.inbox.neighbours.clone(),
        };
        let proxy = Proxy::new(self.settings, belongings);
        let keepers = TaskTracker::new();
        let stop = CancellationToken::new();
        keepers.spawn_local(until(stop.clone(), clock.run()));
        keepers.spawn_local(until(stop.clone(), pool.clone().watch_idle()));
        keepers.spawn_local(until(stop.clone(), log.run()));
        keepers.spawn_local(until(stop.clone(), thrift::give_back()));
        let duty = Duty {
            proxy,
            pool: pool.clone(),
            entries: RefCell::default(),
            leaving: TaskTracker::new(),
        };
        Rc::new(duty).serve(self.inbox).await;
        stop.cancel();
        pool.end().await;
        keepers.close();
        keepers.wait().await;
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// A worker at work.
#[derive(Debug)]
struct Duty {
    proxy: Rc<Proxy>,
    pool: Rc<Pool>,
    entries: RefCell<Vec<Rc<Entry>>>,
    /// Listeners on their way out, and our own leaving.
    leaving: TaskTracker,
}

impl Duty {
    async fn serve(self: Rc<Self>, mut inbox: Inbox) {
        loop {
            tokio::select! {
                biased;
                Some(command) = inbox.commands.recv() => self.obey(command),
                mail = inbox.mail.recv() => match mail {
                    Some(mail) => self.read(mail),
                    // The process has no more to say: it has left.
                    None => break,
                },
                Some(plea) = inbox.pleas.recv() => self.relieve(&plea),
            }
        }
        self.leaving.close();
        self.leaving.wait().await;
    }

    /// What the writer says.
    fn obey(&self, command: Command) {
        match command {
            Command::Drain { orders, confirm } => {
                self.pool.drain(&orders);
                drop(confirm);
            }
            Command::Window(order) => self.pool.window(order),
            Command::Cut(endpoints) => self.pool.cut(&endpoints),
            Command::Holders { endpoint, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.pool.holders(endpoint, Instant::now(), HOLDERS_MAX));
            }
        }
    }

    /// Another worker has somebody waiting for a connection.
    fn relieve(&self, plea: &Plea) {
        self.pool.relinquish(&plea.service);
    }

    fn read(self: &Rc<Self>, mail: Mail) {
        match mail {
            Mail::Listen {
                settings,
                tls,
                door,
                crowd,
            } => match Acceptor::open(door) {
                Ok(acceptor) => self.listen(settings, tls, acceptor, crowd),
                Err(error) => {
                    error!(listener = %settings.name, %error, "cannot listen on this worker")
                }
            },
            Mail::HandOver(name) => self.hand_over(&name),
            Mail::Unlisten(name, plan) => self.unlisten(&name, plan),
            Mail::Report(answer) => {
                self.proxy.metrics().flush();
                // Whoever asked may have gone.
                let _ = answer.send(Report {
                    census: self.pool.census(),
                });
            }
            Mail::Sample(share) => self.proxy.sample(share),
            Mail::Leave(plan, left) => {
                let duty = self.clone();
                self.leaving
                    .spawn_local(async move { duty.leave(plan, left).await });
            }
        }
    }

    /// Accepts from now on.
    fn listen(
        self: &Rc<Self>,
        settings: server::Settings,
        tls: Option<tls::Acceptor>,
        acceptor: Acceptor,
        crowd: Arc<Crowd>,
    ) {
        let entry = Entry::new(settings, tls, self.proxy.clone(), crowd);
        self.entries.borrow_mut().push(entry.clone());
        self.leaving.spawn_local(entry.accept(acceptor));
    }

    /// A listener that goes on under other settings. Those it has accepted keep the old ones.
    fn hand_over(&self, name: &Arc<str>) {
        let mut entries = self.entries.borrow_mut();
        entries.retain(|entry| !entry.is_over());
        entries
            .iter()
            .filter(|entry| entry.name() == name)
            .for_each(|entry| entry.hand_over());
    }

    /// A listener that a config has no more: it finishes what it has.
    fn unlisten(self: &Rc<Self>, name: &Arc<str>, plan: Plan) {
        let (gone, kept) = self
            .entries
            .take()
            .into_iter()
            .partition(|entry| entry.name() == name);
        self.entries.replace(kept);
        let gone: Vec<Rc<Entry>> = gone;
        for entry in gone {
            self.leaving.spawn_local(async move {
                entry.stop();
                entry.leave(plan);
                tokio::time::timeout_at(plan.end, entry.done())
                    .await
                    .unwrap_or_else(|_| {
                        entry.force();
                    });
                entry.done().await;
            });
        }
    }

    /// Our own leaving, by its plan (P11).
    async fn leave(&self, plan: Plan, left: Left) {
        let entries = self.entries.borrow().clone();
        entries.iter().for_each(|entry| entry.leave(plan));
        tokio::time::sleep_until(plan.wait_end).await;
        entries.iter().for_each(|entry| entry.stop());
        self.pool.leave(plan.wait_end, plan.cut);
        let done = async {
            for entry in &entries {
                entry.done().await;
            }
            self.proxy.tails().close();
            self.proxy.tails().wait().await;
        };
        tokio::pin!(done);
        if tokio::time::timeout_at(plan.cut, done.as_mut())
            .await
            .is_err()
        {
            let cut = self.proxy.cut();
            left.cut.fetch_add(cut as u32, Ordering::Relaxed);
            if tokio::time::timeout_at(plan.force(), done.as_mut())
                .await
                .is_err()
            {
                let forced: usize = entries.iter().map(|entry| entry.force()).sum();
                left.forced.fetch_add(forced as u32, Ordering::Relaxed);
                debug!(forced, "the budget is over");
                // What is not written by the end is lost, and counted above.
                let _ = tokio::time::timeout_at(plan.end, done).await;
            }
        }
        self.proxy.metrics().flush();
        drop(left);
    }
}

/// Gives a worker a thread and a runtime of its own.
///
/// # Errors
/// When either cannot be had.
pub fn spawn(worker: Worker) -> io::Result<JoinHandle<()>> {
    let name = format!("tidegate-{}", worker.settings.worker);
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(worker.run(Dialer::Tcp)),
            Err(error) => error!(%error, "a worker has no runtime"),
        }
    })
}

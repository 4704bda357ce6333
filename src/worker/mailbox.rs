//! What a worker can be told, and where.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tokio::sync::{mpsc, oneshot};

use crate::control::Command;
use crate::net::tls;
use crate::pool::Census;
use crate::proxy::Plea;
use crate::server::{Crowd, Door, Plan, Settings};

/// What the process tells a worker.
#[derive(Debug)]
pub enum Mail {
    /// Accept on this socket.
    Listen {
        /// How.
        settings: Settings,
        /// TLS, where it is spoken.
        tls: Option<tls::Acceptor>,
        /// Where its connections come from: one of the listener's sockets, of this worker's own.
        door: Door,
        /// Its connections, over all workers.
        crowd: Arc<Crowd>,
    },
    /// Stop accepting on a listener, whose sockets somebody else goes on with. Its connections stay as they are.
    HandOver(Arc<str>),
    /// Stop accepting on a listener, and let its connections go by this plan.
    Unlisten(Arc<str>, Plan),
    /// Add up what was counted.
    Report(oneshot::Sender<Report>),
    /// Log this share of successes.
    Sample(f64),
    /// Leave by this plan. What is left is dropped when done.
    Leave(Plan, Left),
}

/// What a worker reports.
#[derive(Debug)]
pub struct Report {
    /// Its upstream connections by service.
    pub census: HashMap<Arc<str>, Census>,
}

/// What had to be ended by force when we left; dropping the last one tells that all workers are done.
#[derive(Debug, Clone)]
pub struct Left {
    /// Requests cut at the deadline.
    pub cut: Arc<AtomicU32>,
    /// Connections ended at the end of the budget.
    pub forced: Arc<AtomicU32>,
    /// Closed when every worker is done.
    pub done: mpsc::Sender<()>,
}

/// What a worker hears.
#[derive(Debug)]
pub struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) pleas: mpsc::Receiver<Plea>,
    pub(super) mail: mpsc::Receiver<Mail>,
    pub(super) neighbours: Vec<mpsc::Sender<Plea>>,
}

/// Where all workers are told.
#[derive(Debug)]
pub struct Mailboxes {
    /// By the writer, one for each worker.
    pub commands: Vec<mpsc::Sender<Command>>,
    /// By the process, one for each worker.
    pub mail: Vec<mpsc::Sender<Mail>>,
}

/// What may wait in a mailbox: far more than there ever is, unless the worker is stuck.
const COMMANDS_MAX: usize = 4096;
const PLEAS_MAX: usize = 64;
const MAIL_MAX: usize = 64;

/// Mailboxes for so many workers, and their receiving ends.
#[must_use]
pub fn mailboxes(workers: usize) -> (Mailboxes, Vec<Inbox>) {
    let (plea_senders, plea_receivers): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| mpsc::channel(PLEAS_MAX)).unzip();
    let mut boxes = Mailboxes {
        commands: Vec::new(),
        mail: Vec::new(),
    };
    let mut inboxes = Vec::new();
    for (worker, pleas) in plea_receivers.into_iter().enumerate() {
        let (command, commands) = mpsc::channel(COMMANDS_MAX);
        let (letter, mail) = mpsc::channel(MAIL_MAX);
        let others = plea_senders
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != worker);
        let neighbours = others.map(|(_, sender)| sender.clone()).collect();
        boxes.commands.push(command);
        boxes.mail.push(letter);
        inboxes.push(Inbox {
            commands,
            pleas,
            mail,
            neighbours,
        });
    }
    (boxes, inboxes)
}

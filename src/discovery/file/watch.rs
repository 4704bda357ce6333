//! What the system says of a file while nobody looks.
//!
//! The directories on the way to the file are watched, never the file: a file that is replaced takes its watch along.
//! What is heard is sorted by one question: is what stands there now whole? It is after a rename, and when a writer has
//! closed it. Between a writer's first byte and its close it is not, and must not be believed.

use std::collections::BTreeMap;
use std::fs::File;
use std::future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::chain::{Chain, Identity};

/// A reason to look at the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stir {
    /// Something happened, and what stands there now may be half of it.
    Maybe,
    /// What stands there now was put there whole, or finished.
    Whole,
}

/// The watches on the way to a file.
pub(super) struct Watch {
    path: PathBuf,
    ears: Option<Ears>,
    /// The way as it was when the watches were last set.
    chain: Chain,
    /// What is watched, and which directory it was; nothing, when another may have taken its place.
    watched: BTreeMap<PathBuf, Option<Identity>>,
    /// Since when a writer is known to be at work.
    written_since: Option<Instant>,
    /// How often something was heard of a writer.
    writes: u64,
    warned: bool,
}

/// The watcher and what it hears; the channel ends when its thread does.
struct Ears {
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<notify::Result<Event>>,
    /// More happened than the channel holds.
    lost: Arc<AtomicBool>,
    /// Somebody waits for an opening to be heard.
    is_catching_up: Arc<AtomicBool>,
    /// What was opened meanwhile.
    opened: std_mpsc::Receiver<PathBuf>,
}

impl Watch {
    /// Watches nothing until it is [set](Self::set).
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            ears: None,
            chain: Chain::default(),
            watched: BTreeMap::new(),
            written_since: None,
            writes: 0,
            warned: false,
        }
    }

    /// Sets the watches to where the way to the file now leads. What cannot be watched is said once; the file is looked at
    /// from time to time all the same.
    pub(super) fn set(&mut self) {
        if let Err(error) = self.try_set()
            && !self.warned
        {
            self.warned = true;
            let path = self.path.display();
            warn!(%path, %error, "cannot watch the endpoint file; it is read again from time to time");
        }
    }

    fn try_set(&mut self) -> notify::Result<()> {
        let chain = Chain::follow(&self.path).map_err(notify::Error::io)?;
        if chain.end != self.chain.end {
            // Whoever was writing wrote to another file.
            self.written_since = None;
        }
        self.chain = chain;
        let ears = match &mut self.ears {
            Some(ears) => ears,
            None => self.ears.insert(Ears::new()?),
        };
        let wanted = &self.chain.directories;
        self.watched.retain(|directory, identity| {
            let is_wanted = identity.is_some() && wanted.get(directory) == identity.as_ref();
            if !is_wanted {
                // An error means that the directory went away, and its watch with it.
                let _ = ears.watcher.unwatch(directory);
            }
            is_wanted
        });
        let mut result = Ok(());
        for (directory, identity) in wanted {
            if self.watched.contains_key(directory) {
                continue;
            }
            match ears.watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(directory.clone(), Some(*identity));
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Takes in what was heard up to now, without waiting, and says the strongest reason to look.
    pub(super) fn heard(&mut self) -> Option<Stir> {
        let mut strongest = None;
        while let Some(event) = self
            .ears
            .as_mut()
            .and_then(|ears| ears.events.try_recv().ok())
        {
            strongest = strongest.max(self.judge(event));
        }
        strongest
    }

    /// Makes sure that all that happened up to now can be [heard](Self::heard). Blocks for as long as the system's queue
    /// takes, which is some microseconds. Says whether it is sure; if not, the watches must be [set](Self::set) again.
    pub(super) fn catch_up(&mut self) -> bool {
        // The first directory has no watched parent, which would tell of the same once more.
        let first = self.watched.iter().next();
        let (Some(ears), Some((directory, identity)), true) = (&self.ears, first, CLOSE_IS_SEEN)
        else {
            return true;
        };
        let is_sure = ears.catch_up(directory, *identity);
        if !is_sure {
            // An answer that comes late would pass for the answer to the next question.
            self.ears = None;
            self.watched.clear();
            self.written_since = None;
        }
        is_sure
    }

    /// Waits for a reason to look; for ever, when nothing is watched. Nothing is lost when the wait is given up.
    pub(super) async fn stirred(&mut self) -> Stir {
        while let Some(ears) = &mut self.ears {
            let Some(event) = ears.events.recv().await else {
                break;
            };
            if let Some(stir) = self.judge(event) {
                return stir;
            }
        }
        future::pending().await
    }

    /// Since when a writer is at work, as far as is known.
    pub(super) fn written_since(&self) -> Option<Instant> {
        self.written_since
    }

    /// How often something was heard of a writer: what was read while this changed may be half old and half new.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Ends all watches and waits for the watcher's thread to be over.
    pub(super) async fn close(self) {
        if let Some(Ears {
            watcher,
            mut events,
            ..
        }) = self.ears
        {
            drop(watcher);
            while events.recv().await.is_some() {}
        }
    }

    fn judge(&mut self, event: notify::Result<Event>) -> Option<Stir> {
        let lost = self
            .ears
            .as_ref()
            // Relaxed: it is a hint that stands for itself; what it is about is read from the file.
            .is_some_and(|ears| ears.lost.swap(false, Ordering::Relaxed));
        let event = match event {
            Ok(event) if !lost && !event.need_rescan() => event,
            _ => {
                // Anything may be among what was lost: a write that just began, or the close of one.
                self.writes += 1;
                self.written_since = None;
                return Some(Stir::Maybe);
            }
        };
        event
            .paths
            .iter()
            .filter_map(|path| self.judge_one(event.kind, path))
            .max()
    }

    fn judge_one(&mut self, kind: EventKind, path: &Path) -> Option<Stir> {
        let is_moved = matches!(
            kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        if is_moved && let Some(identity) = self.watched.get_mut(path) {
            // What is there from now on is another directory, even if it should get the old one's inode.
            *identity = None;
            return Some(Stir::Maybe);
        }
        if !self.chain.names.contains(path) {
            return None;
        }
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                self.written_since = None;
                self.writes += 1;
                Some(Stir::Whole)
            }
            EventKind::Modify(ModifyKind::Data(_)) if CLOSE_IS_SEEN => {
                self.writes += 1;
                self.written_since.get_or_insert_with(Instant::now);
                None
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                self.written_since = None;
                Some(Stir::Whole)
            }
            EventKind::Create(CreateKind::Any | CreateKind::File | CreateKind::Folder)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                self.written_since = None;
                Some(Stir::Maybe)
            }
            _ => Some(Stir::Maybe),
        }
    }
}

impl Ears {
    fn new() -> notify::Result<Self> {
        let (out, events) = mpsc::channel(EVENTS_MAX);
        let (open, opened) = std_mpsc::sync_channel(EVENTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let is_catching_up = Arc::new(AtomicBool::new(false));
        let (overflow, is_awaited) = (lost.clone(), is_catching_up.clone());
        let watcher =
            notify::recommended_watcher(move |event: notify::Result<Event>| match event {
                Ok(event) if is_repetition(&event) => {
                    // Acquire: what made it true came before the opening.
                    if is_awaited.load(Ordering::Acquire) {
                        // When there are too many, whoever waits has a limit.
                        let _ = event
                            .paths
                            .into_iter()
                            .try_for_each(|path| open.try_send(path));
                    }
                }
                event => {
                    if out.try_send(event).is_err() {
                        overflow.store(true, Ordering::Relaxed);
                    }
                }
            })?;
        Ok(Self {
            watcher,
            events,
            lost,
            is_catching_up,
            opened,
        })
    }

    /// Waits until all is in the channel that happened up to now. The system keeps its events in order; so we do something
    /// that it tells of, and wait until we hear of it: we open a watched directory, which others rarely do and writers never.
    fn catch_up(&self, directory: &Path, identity: Option<Identity>) -> bool {
        self.is_catching_up.store(true, Ordering::Release);
        // Others' openings that were heard behind the last one of ours.
        while self.opened.try_recv().is_ok() {}
        let opened = File::open(directory).and_then(|directory| directory.metadata());
        let is_same = opened.is_ok_and(|found| Some(Identity::of(&found)) == identity);
        let limit = Instant::now() + CATCH_UP_MAX;
        let mut is_heard = false;
        while is_same && !is_heard {
            match self.opened.recv_timeout(limit - Instant::now()) {
                Ok(path) => is_heard = path == directory,
                Err(_) => break,
            }
        }
        self.is_catching_up.store(false, Ordering::Release);
        is_heard
    }
}

/// What says nothing new: files that are opened, by ourselves too, and renames whose two ends were told before.
fn is_repetition(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Name(kind)) => kind == RenameMode::Both,
        _ => false,
    }
}

/// Whether the system tells when a writer closes a file. Where it does not, stillness has to do.
const CLOSE_IS_SEEN: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A queue that takes longer than this is not worth waiting for.
const CATCH_UP_MAX: Duration = Duration::from_millis(200);

/// Events that wait for us while a large file is parsed; when there are more, it is looked at once for all.
const EVENTS_MAX: usize = 256;

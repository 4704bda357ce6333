//! Operators' drains, kept in a file over reloads, restarts and upgrades (P16).
//!
//! In memory there are hooks' drains, too: a process that follows this one is told of all of them, the file of operators'.
//!
//! The file is replaced as a whole: written beside and renamed, so that whoever ends in the middle leaves the old one or the
//! new one. The rename comes before the answer to the operator; that the disk has it comes after, since a disk can take far
//! longer than a drain may. A file that nobody understands is told and begun anew: a state that is lost keeps nobody from
//! serving.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::handle::Legacy;
use super::registry::{Asked, Entry};
use super::writer::Writer;
use crate::drain::Cause;
use crate::endpoint::{EndpointKey, ServiceName};

/// The drains that are kept.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    file: Option<PathBuf>,
    kept: BTreeMap<Place, Kept>,
    changed: bool,
    /// Another process keeps them from now on.
    handed_over: bool,
}

/// Whose drain it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    service: ServiceName,
    key: EndpointKey,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    cause: Cause,
    timeout: Option<Duration>,
    at: SystemTime,
    /// `drained: true` was answered to somebody.
    settled: bool,
}

const FILE: &str = "drains.json";
const VERSION: u64 = 1;

impl Keeper {
    /// Reads what is kept in a directory; without one nothing is. What the process before this one has told is newer.
    pub(super) fn open(dir: Option<&Path>, inherited: Option<&Value>) -> Self {
        let file = dir.map(|dir| dir.join(FILE));
        if let Some(kept) = inherited.and_then(parse) {
            return Self {
                file,
                kept,
                ..Self::default()
            };
        }
        let Some(file) = file else {
            return Self::default();
        };
        let kept = match read(&file) {
            Ok(kept) => kept,
            Err(error) => {
                error!(
                    file = %file.display(), %error,
                    "the state file cannot be read; operators' drains of an earlier run are not in force"
                );
                BTreeMap::new()
            }
        };
        if !kept.is_empty() {
            info!(drains = kept.len(), file = %file.display(), "operators' drains go on");
        }
        Self {
            file: Some(file),
            kept,
            ..Self::default()
        }
    }

    fn put(&mut self, service: &ServiceName, key: &EndpointKey, kept: Kept) {
        let place = Place::of(service, key);
        if self.kept.get(&place) != Some(&kept) {
            let is_written = kept.is_written();
            let before = self.kept.insert(place, kept);
            self.changed |= is_written || before.is_some_and(|before| before.is_written());
        }
    }

    fn remove(&mut self, service: &ServiceName, key: &EndpointKey) {
        // Nearly always there is none, and an observation can remove thousands of endpoints.
        if !self.kept.is_empty() {
            let was = self.kept.remove(&Place::of(service, key));
            self.changed |= was.is_some_and(|was| was.is_written());
        }
    }

    fn retain(&mut self, mut stays: impl FnMut(&ServiceName, &EndpointKey) -> bool) {
        let before = self.kept.len();
        self.kept
            .retain(|place, _| stays(&place.service, &place.key));
        self.changed |= self.kept.len() != before;
    }

    /// Writes what has changed.
    fn save(&mut self) {
        if self.handed_over || !std::mem::take(&mut self.changed) {
            return;
        }
        let Some(file) = &self.file else {
            return;
        };
        if let Err(error) = replace(file, &text(&self.kept)) {
            error!(file = %file.display(), %error, "an operator's drain cannot be kept; it ends with the process");
            // Another chance with the next change.
            self.changed = true;
            return;
        }
        let file = file.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = sync(&file) {
                warn!(file = %file.display(), %error, "the disk may not have the newest state");
            }
        });
    }
}

fn read(file: &Path) -> Result<BTreeMap<Place, Kept>, String> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text)
            .ok()
            .and_then(|all| parse(&all))
            .ok_or_else(|| "it is not what tidegate writes".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse(all: &Value) -> Option<BTreeMap<Place, Kept>> {
    if all["version"] != VERSION {
        return None;
    }
    let one = |drain: &Value| {
        let timeout = match &drain["timeout_ms"] {
            Value::Null => None,
            timeout => Some(Duration::from_millis(timeout.as_u64()?)),
        };
        let kept = Kept {
            cause: match &drain["cause"] {
                Value::Null => Cause::Operator,
                cause => cause_of(cause.as_str()?)?,
            },
            timeout,
            at: humantime::parse_rfc3339(drain["since"].as_str()?).ok()?,
            settled: drain["settled"].as_bool()?,
        };
        let place = Place {
            service: drain["service"].as_str()?.into(),
            key: drain["endpoint"].as_str()?.into(),
        };
        Some((place, kept))
    };
    all["drains"].as_array()?.iter().map(one).collect()
}

/// Who can ask for a drain.
fn cause_of(word: &str) -> Option<Cause> {
    [Cause::Operator, Cause::Hook]
        .into_iter()
        .find(|cause| cause.as_str() == word)
}

fn value<'k>(kept: impl Iterator<Item = (&'k Place, &'k Kept)>) -> Value {
    let one = |(place, kept): (&Place, &Kept)| {
        json!({
            "service": place.service.as_str(),
            "endpoint": place.key.as_str(),
            "cause": kept.cause.as_str(),
            "timeout_ms": kept.timeout.map(|timeout| timeout.as_millis() as u64),
            "since": humantime::format_rfc3339_nanos(kept.at).to_string(),
            "settled": kept.settled,
        })
    };
    let drains: Vec<Value> = kept.map(one).collect();
    json!({ "version": VERSION, "drains": drains })
}

/// What the file holds: a hook's drain ends with the process, or goes on in the one that follows (P16).
fn text(kept: &BTreeMap<Place, Kept>) -> String {
    let written = kept.iter().filter(|(_, kept)| kept.is_written());
    format!("{:#}\n", value(written))
}

/// The name of the new file has the process in it: two that overlap in an upgrade do not write into each other's.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let fresh = file.with_extension(format!("json.{}", std::process::id()));
    File::create(&fresh)?.write_all(text.as_bytes())?;
    fs::rename(&fresh, file)
}

fn sync(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_all()?;
    file.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

impl Place {
    fn of(service: &ServiceName, key: &EndpointKey) -> Self {
        Self {
            service: service.clone(),
            key: key.clone(),
        }
    }
}

impl Kept {
    fn is_written(&self) -> bool {
        self.cause == Cause::Operator
    }
}

impl Writer {
    /// Notes how a drain that was asked for of an endpoint stands, before anybody is answered.
    pub(super) fn keep_asked(&mut self, service: &ServiceName, key: &EndpointKey) {
        let entry = self
            .services
            .get(service)
            .and_then(|record| record.entries.get(key));
        let asked = entry.and_then(|entry| {
            // What has left its source has nothing to come back to: the drain ends with it.
            entry.listed.as_ref()?;
            Some((entry.asked.as_ref()?, entry.settled))
        });
        match asked {
            Some((asked, settled)) => {
                let kept = Kept {
                    cause: asked.cause,
                    timeout: asked.timeout,
                    at: asked.at,
                    settled,
                };
                let is_written = kept.is_written();
                self.keeper.put(service, key, kept);
                if is_written && self.keeper.file.is_none() && !settled {
                    warn!(%service, endpoint = %key, "without a state_dir this drain does not outlast the process");
                }
            }
            None => self.keeper.remove(service, key),
        }
        self.keeper.save();
    }

    /// An endpoint has left its source: nothing is kept of it. Saved once all of them are known.
    pub(super) fn keep_no_more(&mut self, service: &ServiceName, key: &EndpointKey) {
        self.keeper.remove(service, key);
    }

    /// A set is known: what left is forgotten. `first`: so is what was kept of endpoints that are not in it.
    pub(super) fn keep_listed(&mut self, service: &ServiceName, first: bool) {
        if first && let Some(record) = self.services.get(service) {
            self.keeper
                .retain(|of, key| of != service || record.entries.contains_key(key));
        }
        self.keeper.save();
    }

    /// A config is in force: nothing is kept of services that it does not have.
    pub(super) fn keep_configured(&mut self) {
        let services = &self.services;
        self.keeper
            .retain(|service, _| services.get(service).is_some_and(|it| it.configured));
        self.keeper.save();
    }

    /// Every drain that was asked for, for the process that follows. From now on it keeps them, and this one takes no more
    /// wishes but its successor's.
    pub(super) fn hand_over(&mut self) -> Legacy {
        self.keeper.handed_over = true;
        let (heir, ends) = mpsc::unbounded_channel();
        self.heir = Some(heir);
        Legacy {
            drains: self.told(),
            reports: self.reports.iter().cloned().collect(),
            ends,
        }
    }

    /// Every drain that was asked for.
    pub(super) fn told(&self) -> Value {
        value(self.keeper.kept.iter())
    }

    /// Nobody follows after all.
    pub(super) fn go_on(&mut self) {
        self.keeper.handed_over = false;
        self.heir = None;
        // Whoever did not make it may have written.
        self.keeper.changed = true;
        self.keeper.save();
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.keeper.handed_over
    }

    /// The drains that were asked for in the process before this one, as they stand now.
    pub(super) fn inherit(&mut self, drains: &Value) {
        let Some(told) = parse(drains) else {
            return;
        };
        let known = self.keeper.kept.clone();
        for place in known.keys().filter(|place| !told.contains_key(place)) {
            // It may have left its source meanwhile, or be drained by it.
            let _ = self.undrain(place.service.as_str(), place.key.as_str());
            self.keeper.remove(&place.service, &place.key);
        }
        let news = told
            .into_iter()
            .filter(|(place, kept)| known.get(place) != Some(kept));
        for (Place { service, key }, kept) in news {
            let entry = self
                .services
                .get_mut(&service)
                .and_then(|record| record.entries.get_mut(&key));
            match entry {
                Some(entry) => {
                    entry.settled = kept.settled;
                    self.note_asked(&service, &key, kept.cause, kept.timeout);
                }
                None => self.keeper.put(&service, &key, kept),
            }
        }
        // The file may be older than what was told.
        self.keeper.changed = true;
        self.keeper.save();
    }

    /// A new endpoint's drain, if an operator asked for one in an earlier run.
    pub(super) fn recall(&self, service: &ServiceName, entry: &mut Entry, key: &EndpointKey) {
        if self.keeper.kept.is_empty() {
            return;
        }
        if let Some(kept) = self.keeper.kept.get(&Place::of(service, key)) {
            entry.settled = kept.settled;
            entry.asked = Some(Box::new(Asked {
                cause: kept.cause,
                timeout: kept.timeout,
                at: kept.at,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<BTreeMap<Place, Kept>> {
        parse(&serde_json::from_str(text).ok()?)
    }

    fn kept() -> impl Strategy<Value = Kept> {
        (
            prop::option::of(0u64..1_000_000),
            0u64..4_000_000_000_000,
            any::<bool>(),
        )
            .prop_map(|(timeout, at, settled)| Kept {
                cause: Cause::Operator,
                timeout: timeout.map(Duration::from_millis),
                at: SystemTime::UNIX_EPOCH + Duration::from_millis(at),
                settled,
            })
    }

    proptest! {
        #[test]
        fn reads_what_it_has_written(drains in prop::collection::vec((".*", ".*", kept()), 0..5)) {
            let kept: BTreeMap<_, _> = drains
                .into_iter()
                .map(|(service, key, kept)| (Place::of(&service.as_str().into(), &key.as_str().into()), kept))
                .collect();
            prop_assert_eq!(parsed(&text(&kept)), Some(kept));
        }

        #[test]
        fn half_a_file_is_none_and_nothing_worse(cut in 0usize..300) {
            let kept = Kept { cause: Cause::Operator, timeout: None, at: SystemTime::UNIX_EPOCH, settled: true };
            let whole = text(&[(Place::of(&"web".into(), &"a".into()), kept)].into());
            let half = &whole[..cut.min(whole.trim_end().len() - 1)];
            prop_assert_eq!(parsed(half), None);
        }
    }

    #[tokio::test]
    async fn begins_anew_after_a_broken_file_and_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        let mut keeper = Keeper::open(Some(dir.path()), None);
        assert!(keeper.kept.is_empty());
        let kept = Kept {
            cause: Cause::Operator,
            timeout: None,
            at: SystemTime::UNIX_EPOCH,
            settled: false,
        };
        keeper.put(&"web".into(), &"a".into(), kept);
        keeper.save();
        assert_eq!(Keeper::open(Some(dir.path()), None).kept, keeper.kept);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

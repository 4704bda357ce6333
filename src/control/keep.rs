//! Operators' drains, kept in a file over reloads, restarts and upgrades (P16).
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
use tracing::{error, info, warn};

use super::registry::{Asked, Entry};
use super::writer::Writer;
use crate::drain::Cause;
use crate::endpoint::{EndpointKey, ServiceName};

/// The drains that are kept.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    file: Option<PathBuf>,
    kept: BTreeMap<(ServiceName, EndpointKey), Kept>,
    changed: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    timeout: Option<Duration>,
    at: SystemTime,
    /// `drained: true` was answered to somebody.
    settled: bool,
}

const FILE: &str = "drains.json";
const VERSION: u64 = 1;

impl Keeper {
    /// Reads what is kept in a directory; without one nothing is.
    pub(super) fn open(dir: Option<&Path>) -> Self {
        let Some(dir) = dir else {
            return Self::default();
        };
        let file = dir.join(FILE);
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
            changed: false,
        }
    }

    fn put(&mut self, service: &ServiceName, key: &EndpointKey, kept: Kept) {
        let place = (service.clone(), key.clone());
        if self.kept.get(&place) != Some(&kept) {
            self.kept.insert(place, kept);
            self.changed = true;
        }
    }

    fn remove(&mut self, service: &ServiceName, key: &EndpointKey) {
        // Nearly always there is none, and an observation can remove thousands of endpoints.
        if !self.kept.is_empty() {
            let was = self.kept.remove(&(service.clone(), key.clone()));
            self.changed |= was.is_some();
        }
    }

    fn retain(&mut self, mut stays: impl FnMut(&ServiceName, &EndpointKey) -> bool) {
        let before = self.kept.len();
        self.kept.retain(|(service, key), _| stays(service, key));
        self.changed |= self.kept.len() != before;
    }

    /// Writes what has changed.
    fn save(&mut self) {
        if !std::mem::take(&mut self.changed) {
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

fn read(file: &Path) -> Result<BTreeMap<(ServiceName, EndpointKey), Kept>, String> {
    match fs::read_to_string(file) {
        Ok(text) => parse(&text).ok_or_else(|| "it is not what tidegate writes".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse(text: &str) -> Option<BTreeMap<(ServiceName, EndpointKey), Kept>> {
    let all: Value = serde_json::from_str(text).ok()?;
    if all["version"] != VERSION {
        return None;
    }
    let one = |drain: &Value| {
        let timeout = match &drain["timeout_ms"] {
            Value::Null => None,
            timeout => Some(Duration::from_millis(timeout.as_u64()?)),
        };
        let kept = Kept {
            timeout,
            at: humantime::parse_rfc3339(drain["since"].as_str()?).ok()?,
            settled: drain["settled"].as_bool()?,
        };
        let place = (
            drain["service"].as_str()?.into(),
            drain["endpoint"].as_str()?.into(),
        );
        Some((place, kept))
    };
    all["drains"].as_array()?.iter().map(one).collect()
}

fn text(kept: &BTreeMap<(ServiceName, EndpointKey), Kept>) -> String {
    let one = |((service, key), kept): (&(ServiceName, EndpointKey), &Kept)| {
        json!({
            "service": service.as_str(),
            "endpoint": key.as_str(),
            "timeout_ms": kept.timeout.map(|timeout| timeout.as_millis() as u64),
            "since": humantime::format_rfc3339_nanos(kept.at).to_string(),
            "settled": kept.settled,
        })
    };
    let drains: Vec<Value> = kept.iter().map(one).collect();
    format!("{:#}\n", json!({ "version": VERSION, "drains": drains }))
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

impl Writer {
    /// Notes how an operator's drain of an endpoint stands, before anybody is answered.
    pub(super) fn keep_asked(&mut self, service: &ServiceName, key: &EndpointKey) {
        let entry = self
            .services
            .get(service)
            .and_then(|record| record.entries.get(key));
        let asked = entry.and_then(|entry| {
            // What has left its source has nothing to come back to: the drain ends with it.
            entry.listed.as_ref()?;
            let asked = entry.asked.as_ref()?;
            (asked.cause == Cause::Operator).then_some((asked, entry.settled))
        });
        match asked {
            Some((asked, settled)) => {
                let kept = Kept {
                    timeout: asked.timeout,
                    at: asked.at,
                    settled,
                };
                self.keeper.put(service, key, kept);
                if self.keeper.file.is_none() && !settled {
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

    /// A new endpoint's drain, if an operator asked for one in an earlier run.
    pub(super) fn recall(&self, service: &ServiceName, entry: &mut Entry, key: &EndpointKey) {
        if self.keeper.kept.is_empty() {
            return;
        }
        if let Some(kept) = self.keeper.kept.get(&(service.clone(), key.clone())) {
            entry.settled = kept.settled;
            entry.asked = Some(Asked {
                cause: Cause::Operator,
                timeout: kept.timeout,
                at: kept.at,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept() -> impl Strategy<Value = Kept> {
        (
            prop::option::of(0u64..1_000_000),
            0u64..4_000_000_000_000,
            any::<bool>(),
        )
            .prop_map(|(timeout, at, settled)| Kept {
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
                .map(|(service, key, kept)| ((service.as_str().into(), key.as_str().into()), kept))
                .collect();
            prop_assert_eq!(parse(&text(&kept)), Some(kept));
        }

        #[test]
        fn half_a_file_is_none_and_nothing_worse(cut in 0usize..300) {
            let kept = Kept { timeout: None, at: SystemTime::UNIX_EPOCH, settled: true };
            let whole = text(&[(("web".into(), "a".into()), kept)].into());
            let half = &whole[..cut.min(whole.trim_end().len() - 1)];
            prop_assert_eq!(parse(half), None);
        }
    }

    #[tokio::test]
    async fn begins_anew_after_a_broken_file_and_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        let mut keeper = Keeper::open(Some(dir.path()));
        assert!(keeper.kept.is_empty());
        let kept = Kept {
            timeout: None,
            at: SystemTime::UNIX_EPOCH,
            settled: false,
        };
        keeper.put(&"web".into(), &"a".into(), kept);
        keeper.save();
        assert_eq!(Keeper::open(Some(dir.path())).kept, keeper.kept);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

//! Notices that the config's file has changed (`reload_on_change`), by looking at it.
//!
//! A look costs a system call and sees everything: a rename, a write in place, a link that leads elsewhere, a folder that
//! comes back. A config is not an endpoint list, where every millisecond counts.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// What tells one version of a file from another; none when there is no file.
type Looks = Option<(u64, u64, i64, i64)>;

/// A file that is watched for changes.
#[derive(Debug)]
pub(super) struct Changes {
    known: Looks,
    seen: Looks,
}

/// Between two looks. A change has to look the same twice, so that half of a file is not read.
const PAUSE: Duration = Duration::from_millis(500);

impl Changes {
    /// What the file looks like now is not news.
    pub(super) fn of(file: &Path) -> Self {
        let now = look(file);
        Self {
            known: now,
            seen: now,
        }
    }

    /// Until the file has changed and come to rest.
    pub(super) async fn next(&mut self, file: &Path) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let now = look(file);
            let rests = now == self.seen;
            self.seen = now;
            if rests && now.is_some() && now != self.known {
                self.known = now;
                return;
            }
        }
    }
}

fn look(file: &Path) -> Looks {
    let about = std::fs::metadata(file).ok()?;
    Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

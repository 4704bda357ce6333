//! Notices that files have changed, by looking at them: the config's (`reload_on_change`), and certificates'.
//!
//! A look costs a system call a file and sees everything: a rename, a write in place, a link that leads elsewhere, a
//! folder that comes back. These are not endpoint lists, where every millisecond counts.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What tells one version of a file from another; none when there is no file.
type Looks = Option<(u64, u64, i64, i64)>;

/// Files that are watched for changes, all together.
#[derive(Debug)]
pub(super) struct Changes {
    files: Vec<PathBuf>,
    known: Vec<Looks>,
    seen: Vec<Looks>,
}

/// Between two looks. A change has to look the same twice, so that half of a file is not read.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

impl Changes {
    /// What the files look like now is not news.
    pub(super) fn of<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        let files: Vec<PathBuf> = files.map(Path::to_owned).collect();
        let now = look(&files);
        Self {
            files,
            known: now.clone(),
            seen: now,
        }
    }

    /// Until a file has changed, and all are there and have come to rest.
    pub(super) async fn next(&mut self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            if self.look() {
                return;
            }
        }
    }

    /// One look, [`PAUSE`] after the last one: whether a file has changed, and all are there and have come to rest.
    pub(super) fn look(&mut self) -> bool {
        let now = look(&self.files);
        let rest = now == self.seen && now.iter().all(Option::is_some);
        let news = rest && now != self.known;
        self.seen = now;
        if news {
            self.known.clone_from(&self.seen);
        }
        news
    }
}

fn look(files: &[PathBuf]) -> Vec<Looks> {
    let look = |file: &PathBuf| {
        let about = std::fs::metadata(file).ok()?;
        Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
    };
    files.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_change_once_it_rests_and_only_while_all_files_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
        std::fs::write(&cert, "1").unwrap();
        std::fs::write(&key, "1").unwrap();
        let mut changes = Changes::of([&*cert, &*key].into_iter());
        assert!(!changes.look());
        std::fs::write(&cert, "22").unwrap();
        assert!(!changes.look(), "it may be half of it");
        std::fs::write(&cert, "333").unwrap();
        assert!(!changes.look(), "it has changed again");
        assert!(changes.look());
        assert!(!changes.look(), "told once");
        std::fs::remove_file(&key).unwrap();
        assert!(!changes.look() && !changes.look());
        std::fs::write(&key, "4444").unwrap();
        assert!(!changes.look());
        assert!(changes.look());
    }
}

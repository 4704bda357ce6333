//! The way to a file: every name on it that somebody may replace.
//!
//! A ConfigMap is mounted as `web.yaml -> ..data/web.yaml` and `..data -> ..2024_x`, and an update is a rename of another
//! link over `..data`: nothing happens to the file itself, nor in the directory where it really is. So each link that is
//! passed on the way is a name to be watched, in the directory that holds it, and the end of the way is another. Where
//! the way is broken, it ends at the name that is missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The way to a file at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The links that were passed and what the way ends at, each with the real path of its directory.
    pub(super) names: BTreeSet<PathBuf>,
    /// The directories that hold them, and which they are: another one may be put in a directory's place.
    pub(super) directories: BTreeMap<PathBuf, Identity>,
    /// What the way ends at.
    pub(super) end: PathBuf,
}

/// Which directory it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Chain {
    /// Follows the way to `path` as the system would.
    ///
    /// # Errors
    /// When even the working directory is not known.
    pub(super) fn follow(path: &Path) -> io::Result<Self> {
        let mut chain = Self::default();
        let mut here = PathBuf::new();
        let mut ahead = VecDeque::new();
        enqueue(&mut ahead, &std::path::absolute(path)?);
        let mut links = 0;
        while let Some(step) = ahead.pop_front() {
            match step {
                Step::Root => here = PathBuf::from("/"),
                Step::Up => {
                    here.pop();
                }
                Step::Into(name) => {
                    let next = here.join(name);
                    let is_last = ahead.is_empty();
                    let found = fs::symlink_metadata(&next);
                    let is_dir = found.as_ref().is_ok_and(fs::Metadata::is_dir);
                    let target = found
                        .is_ok_and(|found| found.is_symlink())
                        .then(|| fs::read_link(&next));
                    if is_dir && !is_last {
                        here = next;
                        continue;
                    }
                    chain.add(&here, &next);
                    match target {
                        Some(Ok(target)) if links < LINKS_MAX => {
                            links += 1;
                            enqueue(&mut ahead, &target);
                        }
                        _ => break,
                    }
                }
            }
        }
        Ok(chain)
    }

    fn add(&mut self, directory: &Path, name: &Path) {
        // One that vanishes right now is missing from the chain; whoever looks next sees where it ends then.
        if let Ok(found) = fs::metadata(directory) {
            self.directories
                .insert(directory.into(), Identity::of(&found));
        }
        self.names.insert(name.into());
        self.end = name.into();
    }
}

impl Identity {
    /// Which directory this was said of.
    pub(super) fn of(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

enum Step {
    Root,
    Up,
    Into(OsString),
}

/// Puts a path, or what a link says, before what is still to go.
fn enqueue(ahead: &mut VecDeque<Step>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::RootDir => ahead.push_front(Step::Root),
            Component::ParentDir => ahead.push_front(Step::Up),
            Component::Normal(name) => ahead.push_front(Step::Into(name.into())),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

/// As many as Linux follows.
const LINKS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(chain: &Chain, root: &Path) -> Vec<String> {
        let inside = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        chain.names.iter().map(inside).collect()
    }

    #[test]
    fn passes_every_link_of_a_config_map() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("..1")).unwrap();
        fs::write(root.join("..1/web.yaml"), "").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/web.yaml", root.join("web.yaml")).unwrap();
        let chain = Chain::follow(&root.join("web.yaml")).unwrap();
        assert_eq!(names(&chain, &root), ["..1/web.yaml", "..data", "web.yaml"]);
        assert_eq!(chain.end, root.join("..1/web.yaml"));
        let held: Vec<_> = chain.directories.keys().cloned().collect();
        assert_eq!(held, [root.clone(), root.join("..1")]);
    }

    #[test]
    fn follows_absolute_links_and_steps_up() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("c")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        symlink(root.join("a/b"), root.join("c/link")).unwrap();
        let chain = Chain::follow(&root.join("c/./link/../file")).unwrap();
        assert_eq!(names(&chain, &root), ["a/file", "c/link"]);
    }

    #[test]
    fn ends_where_the_way_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let chain = Chain::follow(&root.join("one/two/file")).unwrap();
        assert_eq!(names(&chain, &root), ["one"]);
        assert!(chain.directories.contains_key(&root));
        symlink("turn", root.join("round")).unwrap();
        symlink("round", root.join("turn")).unwrap();
        let chain = Chain::follow(&root.join("round")).unwrap();
        assert_eq!(names(&chain, &root), ["round", "turn"]);
        fs::write(root.join("plain"), "").unwrap();
        let chain = Chain::follow(&root.join("plain/below")).unwrap();
        assert_eq!(names(&chain, &root), ["plain"]);
    }
}

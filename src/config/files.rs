//! The files that a config names, and whether they are there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::document::{Fault, Item, Position};

/// A file named in a config.
#[derive(Debug)]
pub(super) struct Named {
    at: Position,
    key: String,
    path: PathBuf,
    need: Need,
}

/// How much a file is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing works without it.
    AtStart,
    /// It is watched, and may come later.
    InTime,
}

/// The files named so far, and the directory that their paths are relative to.
#[derive(Debug)]
pub(super) struct Files {
    base: PathBuf,
    pub(super) named: Vec<Named>,
}

impl Files {
    /// Those of the config at `path`.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            base: path.parent().unwrap_or(Path::new("")).to_owned(),
            named: Vec::new(),
        }
    }

    /// A path, relative to the config file's directory.
    pub(super) fn path(&self, item: &Item<'_>) -> Option<PathBuf> {
        item.name().map(|text| self.place(text))
    }

    /// A path in the words of the file.
    pub(super) fn place(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    /// The path of a file that is to be looked at.
    pub(super) fn file(&mut self, item: &Item<'_>, need: Need) -> Option<PathBuf> {
        let path = self.path(item)?;
        self.named.push(Named {
            at: item.at(),
            key: item.key.into(),
            path: path.clone(),
            need,
        });
        Some(path)
    }
}

/// Looks at all of them: what is needed and cannot be read is a fault, what may come later a warning.
pub(super) fn look_at(named: &[Named]) -> (Vec<Fault>, Vec<Fault>) {
    let (mut faults, mut warnings) = (Vec::new(), Vec::new());
    for file in named {
        let Err(cause) = readable(&file.path) else {
            continue;
        };
        let path = file.path.display();
        let (list, message) = match (file.need, cause.kind()) {
            (Need::AtStart, _) => (
                &mut faults,
                format!("{path} cannot be read: {cause}; put it there, or correct the path"),
            ),
            (Need::InTime, io::ErrorKind::NotFound) => (
                &mut warnings,
                format!("{path} is not there; run starts without it and is not ready until it is"),
            ),
            (Need::InTime, _) => (
                &mut warnings,
                format!("{path} cannot be read: {cause}; run is not ready until it can"),
            ),
        };
        list.push(Fault {
            at: file.at,
            key: file.key.clone(),
            message,
        });
    }
    (faults, warnings)
}

fn readable(path: &Path) -> io::Result<()> {
    // Asked first, since opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    File::open(path).map(drop)
}

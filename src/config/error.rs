//! Why there is no config.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::document::Fault;

/// Why there is no config. Displays as what goes to stderr: a line each, without a last line end.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// None was named and none is where one is looked for.
    #[error("no config file: looked for {}; name one with -c FILE", paths(.looked_for))]
    NotFound {
        /// Where it could have been.
        looked_for: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}; {}", .file.display(), remedy(.cause))]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file can be read, and this is wrong in it.
    #[error("{}", lines(.file, .faults))]
    Faulty {
        /// The file.
        file: PathBuf,
        /// Everything that is wrong, in the order of the text; never empty.
        faults: Vec<Fault>,
    },
}

/// Faults of a file, a line each: `FILE:LINE:COLUMN: key: what is wrong, what would be right`.
#[must_use]
pub fn lines(file: &Path, faults: &[Fault]) -> String {
    faults
        .iter()
        .map(|fault| format!("{}:{fault}", file.display()))
        .collect::<Vec<_>>()
        .join("\n")
}

fn paths(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(" and ")
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "create it, or name another with -c FILE",
        io::ErrorKind::PermissionDenied => "let the user that runs tidegate read it",
        io::ErrorKind::InvalidData => "write it in UTF-8",
        _ => "name a file that can be read with -c FILE",
    }
}

//! A file of endpoints, changed in the ways that people and controllers change files.

use std::fs;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Debug, Clone)]
pub(crate) struct EndpointFile {
    path: PathBuf,
}

impl EndpointFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces it at once, by a rename, with these lines of endpoints.
    pub(crate) fn set(&self, lines: &[String]) {
        self.replace(&Self::of(lines));
    }

    /// Replaces it at once, by a rename.
    pub(crate) fn replace(&self, text: &str) {
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, text).unwrap();
        fs::rename(&fresh, &self.path).unwrap();
    }

    /// Writes it where it is.
    pub(crate) fn overwrite(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }

    /// A whole file of these lines.
    pub(crate) fn of(lines: &[String]) -> String {
        if lines.is_empty() {
            return "endpoints: []\n".into();
        }
        format!(
            "endpoints:\n{}",
            lines
                .iter()
                .map(|line| format!("  {line}"))
                .collect::<String>()
        )
    }
}

//! A file's text, or why there is none.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use thiserror::Error;

use crate::document::Position;

/// Why a file gives no text. The words follow the file's name.
#[derive(Debug, Error)]
pub(super) enum TextError {
    #[error(": is not there")]
    Missing,
    #[error(": cannot be read: {0}")]
    Unreadable(io::Error),
    #[error(": is {0}, should be a file")]
    Kind(&'static str),
    #[error(": is larger than {} MiB", LENGTH_MAX >> 20)]
    Large,
    #[error(":{}:{}: is not UTF-8", .0.line, .0.column)]
    Encoding(Position),
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<String, TextError> {
    // Asked before it is opened: to open a pipe is to wait for its other end.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(TextError::Kind("a directory"));
    }
    if !kind.is_file() {
        return Err(TextError::Kind("a pipe, socket or device"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LENGTH_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LENGTH_MAX {
        return Err(TextError::Large);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let good = String::from_utf8_lossy(good);
        let last = good.rsplit('\n').next().unwrap_or_default();
        TextError::Encoding(Position {
            line: 1 + good.matches('\n').count(),
            column: 1 + last.chars().count(),
        })
    })
}

impl From<io::Error> for TextError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error),
        }
    }
}

/// A hundred thousand endpoints are a tenth of this.
const LENGTH_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn says_why_there_is_no_text() {
        let dir = tempfile::tempdir().unwrap();
        let said = |name: &str| read(&dir.path().join(name)).unwrap_err().to_string();
        assert_eq!(said("missing"), ": is not there");
        assert_eq!(said("missing/below"), ": is not there");
        fs::create_dir(dir.path().join("dir")).unwrap();
        assert_eq!(said("dir"), ": is a directory, should be a file");
        fs::write(dir.path().join("latin"), b"a: 1\n\xc3\xa4b: \xe4\n").unwrap();
        assert_eq!(said("latin"), ":2:5: is not UTF-8");
        assert!(said("latin/below").starts_with(": cannot be read: "));
        let large = fs::File::create(dir.path().join("large")).unwrap();
        large.set_len(LENGTH_MAX + 1).unwrap();
        assert_eq!(said("large"), ": is larger than 64 MiB");
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        assert_eq!(
            said("socket"),
            ": is a pipe, socket or device, should be a file"
        );
    }
}

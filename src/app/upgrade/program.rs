//! Which file an upgrade starts.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The file that this process was started from, by the name by which it was: what is there when the upgrade comes is the new
/// version. A link that leads elsewhere by then is followed, which the kernel's own name of a running program would not be.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(super) path: PathBuf,
    /// All of them, with the name.
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// To be asked at the start: later the file may be another.
    pub(crate) fn of_this_process() -> Self {
        let arguments: Vec<_> = env::args_os().collect();
        let running = env::current_exe();
        let typed = arguments.first().and_then(|name| found(Path::new(name)));
        let path = match (typed, running) {
            (Some(typed), Ok(running)) if same(&typed, &running) => typed,
            // The name that a caller gives need not be that of a file.
            (_, Ok(running)) => running,
            (typed, Err(_)) => typed.unwrap_or_default(),
        };
        Self { path, arguments }
    }
}

/// As a shell finds it.
fn found(name: &Path) -> Option<PathBuf> {
    let places = match name.components().count() {
        1 => env::split_paths(&env::var_os("PATH")?).collect(),
        _ => vec![env::current_dir().ok()?],
    };
    let mut files = places.into_iter().map(|place| place.join(name));
    files.find(|file| file.is_file())
}

fn same(a: &Path, b: &Path) -> bool {
    let known = |path| fs::metadata(path).map(|about| (about.dev(), about.ino()));
    matches!((known(a), known(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_file_that_runs() {
        let program = Program::of_this_process();
        assert!(same(&program.path, &env::current_exe().unwrap()));
        assert_eq!(program.arguments, env::args_os().collect::<Vec<_>>());
    }

    #[test]
    fn looks_where_a_shell_would() {
        assert!(found(Path::new("sh")).unwrap().is_absolute());
        assert_eq!(found(Path::new("no-such-program-anywhere")), None);
        let here = found(Path::new("./Cargo.toml")).unwrap();
        assert!(same(&here, Path::new("Cargo.toml")));
    }
}

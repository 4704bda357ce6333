//! A wall clock that jumps moves stamps in logs and reports, and no limit.

use std::fs;
use std::path::{Path, PathBuf};

/// Who may ask what time it is: for stamps, for `Date`, and for when certificates end. `.clippy.toml` keeps everybody from the
/// standard library's other clock, and tests pause tokio's.
const STAMPS: [&str; 11] = [
    "admin/shape.rs",
    "app/reload.rs",
    "control",
    "drain",
    "net/tls",
    "proxy/account.rs",
    "proxy/refusal.rs",
    "rehearse",
    "server/date.rs",
    "telemetry",
    "kubernetes",
];

#[test]
fn the_wall_clock_is_for_stamps_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 100);
    for file in files {
        let path = file.strip_prefix(&root).unwrap();
        let may = STAMPS.iter().any(|allowed| path.starts_with(allowed));
        let text = fs::read_to_string(&file).unwrap();
        let is_test = path.to_string_lossy().contains("tests");
        assert!(
            may || is_test || !text.contains("SystemTime::now"),
            "{} asks the wall clock",
            path.display()
        );
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

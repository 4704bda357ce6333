//! The layers of `src/lib.rs` and the fences around dependencies, read from the source itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_module_uses_only_lower_rows() {
    let rows = rows();
    let sources = sources();
    let mut breaches = Vec::new();
    for file in &sources {
        let own = &file.module;
        let row = rows[own];
        for (number, used) in file.uses() {
            let below = rows.get(&used).is_some_and(|used| *used <= row);
            if !below {
                breaches.push(format!(
                    "{}:{number}: {own} (row {row}) uses {used}",
                    file.name
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn no_two_modules_of_a_row_use_each_other() {
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    for file in sources() {
        let used = file.uses().into_iter().map(|(_, used)| used);
        uses.entry(file.module.clone())
            .or_default()
            .extend(used.filter(|used| *used != file.module));
    }
    // Whoever uses nothing that is left is not part of a circle, and goes.
    while let Some(free) = uses
        .iter()
        .find(|(_, used)| used.is_empty())
        .map(|(name, _)| name.clone())
    {
        uses.remove(&free);
        for used in uses.values_mut() {
            used.remove(&free);
        }
    }
    assert!(uses.is_empty(), "these use each other: {uses:?}");
}

#[test]
fn the_table_names_every_module_and_no_other() {
    let mut found: Vec<_> = sources().into_iter().map(|file| file.module).collect();
    found.dedup();
    found.sort();
    let known: Vec<_> = rows().into_keys().collect();
    assert_eq!(found, known);
}

#[test]
fn no_dependency_leaves_its_fence() {
    let mut breaches = Vec::new();
    for file in sources() {
        for (number, line) in file.code() {
            for (name, places) in FENCES {
                let inside = places.iter().any(|place| file.name.starts_with(place));
                if !inside && names(line, name) {
                    breaches.push(format!("{}:{number}: {name} is for {places:?}", file.name));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn no_lock_of_std_is_in_the_request_path() {
    let rows = rows();
    let mut breaches = Vec::new();
    for file in sources() {
        if rows.get(&file.module).is_some_and(|row| *row > 7) {
            continue;
        }
        for (number, line) in file.code() {
            if ["Mutex", "RwLock"].iter().any(|lock| names(line, lock)) {
                breaches.push(format!("{}:{number}: {line}", file.name));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn what_decides_does_no_io_and_reads_no_clock() {
    let mut breaches = Vec::new();
    for file in sources() {
        let is_pure = PURE.iter().any(|place| file.name.starts_with(place));
        for (number, line) in file.code() {
            let io = IO.iter().find(|io| line.contains(**io));
            if let (true, Some(io)) = (is_pure, io) {
                breaches.push(format!("{}:{number}: {io}", file.name));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// Outside of these places a crate may not be named. What converts a foreign shape stays at the rim, so that exchanging
/// the crate changes one place.
const FENCES: &[(&str, &[&str])] = &[
    ("arc_swap", &["snapshot/", "net/tls/"]),
    // What a handshake with the API server failed for is said by its error alone.
    ("tokio_rustls", &["net/tls/", "kubernetes/api.rs"]),
    ("rustls", &["net/tls/", "kubernetes/api.rs"]),
    ("rustls_native_certs", &["net/tls/"]),
    ("x509_parser", &["net/tls/"]),
    ("ppp", &["net/proxy_protocol.rs"]),
    ("prometheus", &["telemetry/"]),
    ("hyper", &["admin/", "rehearse/"]),
    // In `net/` and `config/` it is the name of a protocol.
    (
        "h2",
        &["pool/", "proxy/", "server/", "net/", "config/", "health/"],
    ),
    ("httpdate", &["server/date.rs"]),
    ("axum", &["admin/", "app/"]),
    ("tower_http", &["admin/"]),
    ("notify", &["discovery/file/"]),
    ("saphyr_parser", &["document/"]),
    ("httparse", &["http1/", "pool/h1/", "server/http1/"]),
    ("ureq", &["cli/", "rehearse/"]),
    ("clap", &["cli/", "rehearse/"]),
    ("anyhow", &["main.rs", "app/", "cli/", "rehearse/"]),
    ("kube", &["kubernetes/"]),
    ("k8s_openapi", &["kubernetes/"]),
    ("nix", &["app/privilege.rs", "admin/listen.rs"]),
    ("listenfd", &["app/inherited.rs"]),
    ("socket2", &["net/", "admin/serve.rs", "app/inherited.rs"]),
    // Serde's derives make a shape that others depend on: the API's, the access log's line, reports. Files of people are
    // read by `document` instead, which knows where everything stands.
    ("Serialize", &["admin/", "telemetry/access.rs", "rehearse/"]),
    (
        "Deserialize",
        &["admin/", "rehearse/", "kubernetes/gateway/api.rs"],
    ),
];

/// Time comes in as an argument here, and nothing goes out.
const PURE: &[&str] = &[
    "gate/",
    "balance/",
    "drain/",
    "ending/",
    "route/",
    "control/reconcile.rs",
];

const IO: &[&str] = &[
    "::now()",
    ".elapsed()",
    "std::fs",
    "std::io",
    "tokio::net",
    "tokio::io",
    "TcpStream",
    "async ",
];

/// A source file.
struct Source {
    /// Below `src/`.
    name: String,
    /// The module of `src/lib.rs` that it belongs to.
    module: String,
    text: String,
}

impl Source {
    /// Its lines that are code, numbered. Tests, at the very end of a file, may use what they like; comments, too.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let own = self.text.split("#[cfg(test)]\nmod tests {").next();
        let lines = own.unwrap_or_default().lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }

    /// The modules of the crate that it names, with their lines.
    fn uses(&self) -> Vec<(usize, String)> {
        let mut uses = Vec::new();
        let mut group = false;
        for (number, line) in self.code() {
            let mut rest = line;
            if group {
                uses.extend(self.group(rest).map(|name| (number, name)));
                group = !rest.contains('}');
            }
            while let Some(at) = rest.find("crate::") {
                rest = &rest[at + "crate::".len()..];
                if let Some(names) = rest.strip_prefix('{') {
                    uses.extend(self.group(names).map(|name| (number, name)));
                    group = !names.contains('}');
                } else {
                    uses.push((number, word(rest).to_owned()));
                }
            }
        }
        uses
    }

    /// The modules in a line of `use crate::{…}`.
    fn group<'a>(&self, line: &'a str) -> impl Iterator<Item = String> + 'a {
        assert!(
            !line.contains('{'),
            "{}: a group in a group: {line}",
            self.name
        );
        let names = line.split('}').next().unwrap_or_default().split(',');
        names
            .map(|name| word(name.trim()).to_owned())
            .filter(|name| !name.is_empty())
    }
}

/// Everything that is compiled into the library, and `main.rs`; files of tests alone are left out.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let read = |path: &PathBuf| {
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let module = name
            .split('/')
            .next()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let is_test = name.ends_with("tests.rs") || name.contains("tests/");
        let text = fs::read_to_string(path).unwrap();
        (!is_test && module != "lib").then_some(Source { name, module, text })
    };
    files.iter().filter_map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}

/// The row of each module, from the table in `src/lib.rs`.
fn rows() -> BTreeMap<String, u32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = line.split(" | ");
        let (Some(row), Some(modules)) = (cells.next(), cells.next()) else {
            continue;
        };
        let Ok(row) = row.parse() else { continue };
        // Every second piece stands between backticks.
        for name in modules.split('`').skip(1).step_by(2) {
            rows.insert(name.to_owned(), row);
        }
    }
    rows
}

/// Whether a line names something: the word alone, not as a part of another.
fn names(line: &str, name: &str) -> bool {
    let mut from = 0;
    while let Some(at) = line[from..].find(name).map(|at| at + from) {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        let part =
            |neighbour: Option<char>| neighbour.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if !part(before) && !part(after) {
            return true;
        }
        from = at + name.len();
    }
    false
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

//! What the open internet may do to a proxy, line by line: `table.md` names for each attack and fault what tidegate does, and
//! the tests that hold it to that. Here are those that have no better place.

mod admin;
mod answers;
mod clock;
mod descriptors;
mod requests;
mod slow;
mod streams;

use std::fs;
use std::path::Path;

use crate::support::Tidegate;

/// Where the tests of the table may be, for a path as it stands there.
const PLACES: [&str; 5] = [
    "tests/it/{}.rs",
    "tests/it/{}/mod.rs",
    "tests/{}.rs",
    "{}.rs",
    "{}/mod.rs",
];

#[test]
fn every_line_of_the_table_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = include_str!("table.md");
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what comes"))
        .filter(|line| !line.starts_with("| ---"))
        .collect();
    assert!(rows.len() >= 50, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [.., tests] = cells[..] else {
            panic!("no row: {row}")
        };
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            wrong.push(format!("names no test: {row}"));
        }
        wrong.extend(
            names
                .iter()
                .filter(|name| !exists(root, name))
                .map(|name| format!("{name} is no test")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a name, as `refusal::a_slow_head_is_408`, is that of a test.
fn exists(root: &Path, name: &str) -> bool {
    let Some((path, test)) = name.rsplit_once("::") else {
        return false;
    };
    PLACES.iter().any(|place| {
        let text = fs::read_to_string(root.join(place.replace("{}", path))).unwrap_or_default();
        let is_test = |at: usize| {
            let before: Vec<&str> = text[..at].trim_end().rsplit('\n').take(4).collect();
            before.iter().any(|line| line.contains("test")) || text.contains("proptest!")
        };
        text.find(&format!("fn {test}(")).is_some_and(is_test)
    })
}

/// Memory that is in use now.
fn resident_kib(tidegate: &Tidegate) -> u64 {
    status(tidegate, "VmRSS:")
}

fn status(tidegate: &Tidegate, field: &str) -> u64 {
    let path = format!("/proc/{}/status", tidegate.pid().as_raw_nonzero());
    let status = fs::read_to_string(path).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time so far, in seconds.
fn cpu_seconds(tidegate: &Tidegate) -> f64 {
    let path = format!("/proc/{}/stat", tidegate.pid().as_raw_nonzero());
    let stat = fs::read_to_string(path).unwrap();
    // The second field, the name, may contain anything.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum();
    ticks / TICKS
}

/// Of a second, wherever Linux tells processor time.
const TICKS: f64 = 100.0;

//! A program that others wrote, run beside a test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::Value;

use crate::support::PATIENCE;

/// A script of `tests/real`. It tells facts, each a line of JSON whose `fact` names it, and may be told lines of JSON, too.
/// Dropping it ends it.
pub(super) struct Program {
    script: &'static str,
    process: Child,
    input: ChildStdin,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    lines: Mutex<Lines>,
    news: Condvar,
}

#[derive(Default)]
struct Lines {
    /// What nobody has asked for yet.
    facts: Vec<Value>,
    /// What it said beside facts, once it has ended.
    last: Option<String>,
}

impl Program {
    /// Runs a script with these arguments.
    #[track_caller]
    pub(super) fn start(script: &'static str, arguments: &[&str]) -> Self {
        let mut process = Command::new(python())
            .arg(root().join("tests/real").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = Arc::new(Told::default());
        let (output, mut errors) = (
            process.stdout.take().unwrap(),
            process.stderr.take().unwrap(),
        );
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let kept = told.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                kept.change(|lines| lines.facts.push(serde_json::from_str(&line).unwrap()));
            }
            let last = errors.join().unwrap();
            kept.change(|lines| lines.last = Some(last));
        });
        Self {
            script,
            input: process.stdin.take().unwrap(),
            process,
            told,
        }
    }

    /// Waits for the next fact that nobody has taken, and takes it.
    #[track_caller]
    pub(super) fn next(&self) -> Value {
        self.take("anything", |_| true)
    }

    /// Waits for the next fact of this name that nobody has taken, and takes it.
    #[track_caller]
    pub(super) fn fact(&self, name: &str) -> Value {
        self.fact_where(name, |_| true)
    }

    /// Waits for the next fact of this name that is the one, and takes it.
    #[track_caller]
    pub(super) fn fact_where(&self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.take(name, |fact| fact["fact"] == name && is_it(fact))
    }

    #[track_caller]
    fn take(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut lines = self.told.lines.lock().unwrap();
        let mut late = false;
        loop {
            if let Some(place) = lines.facts.iter().position(&is_it) {
                return lines.facts.remove(place);
            }
            if late || lines.last.is_some() {
                let (facts, last) = (lines.facts.clone(), lines.last.clone());
                drop(lines);
                panic!(
                    "{} did not tell of {what:?}, but of {facts:#?}, and said {last:?}",
                    self.script
                );
            }
            let (next, waited) = self.told.news.wait_timeout(lines, PATIENCE).unwrap();
            (lines, late) = (next, waited.timed_out());
        }
    }

    /// Tells it something.
    #[track_caller]
    pub(super) fn tell(&self, line: &Value) {
        writeln!(&self.input, "{line}").unwrap();
    }

    /// The line in an endpoint file of a script that listens.
    #[track_caller]
    pub(super) fn line(&self, id: &str) -> String {
        let port = self.fact("listening")["port"].as_u64().unwrap();
        format!("- {{ address: \"127.0.0.1:{port}\", id: {id} }}\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What has ended by itself needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Told {
    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lines.lock().unwrap());
        self.news.notify_all();
    }
}

#[track_caller]
fn python() -> PathBuf {
    let installed = root().join("target/real");
    let wanted = std::fs::read(root().join("tests/real/requirements.txt")).unwrap();
    assert!(
        std::fs::read(installed.join("requirements.txt")).is_ok_and(|list| list == wanted),
        "the programs that this test runs are not installed: run `sh tests/setup.sh`"
    );
    installed.join("bin/python")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

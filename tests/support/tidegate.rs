//! A running tidegate: the real binary, watched from outside.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Client, EndpointFile, Events, eventually};

/// A process. Dropping it ends it, and tells what it said when the test fails.
#[derive(Debug)]
pub(crate) struct Tidegate {
    process: Child,
    /// The process that an upgrade has put in its place.
    heir: Option<Pid>,
    dir: TempDir,
    file: EndpointFile,
    access: Lines,
    log: Lines,
}

/// The binary under test.
pub(crate) const fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_tidegate")
}

impl Tidegate {
    /// Runs it with a config.
    #[track_caller]
    pub(super) fn run(
        dir: TempDir,
        config: &str,
        file: EndpointFile,
        mut command: Command,
        arguments: &[String],
        stdout: Option<Stdio>,
    ) -> Self {
        let path = dir.path().join("tidegate.yaml");
        fs::write(&path, config).unwrap();
        let mut process = command
            .args(["run", "-c"])
            .arg(&path)
            .args(arguments)
            // The cluster of a test, and never that of the person who runs it.
            .env_remove("TIDEGATE_LOG")
            .env("KUBECONFIG", dir.path().join("kubeconfig"))
            .stdout(stdout.unwrap_or_else(Stdio::piped))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let access = process.stdout.take().map_or_else(Lines::none, Lines::of);
        let log = Lines::of(process.stderr.take().unwrap());
        let mut tidegate = Self {
            process,
            heir: None,
            dir,
            file,
            access,
            log,
        };
        eventually("tidegate serves", || {
            let gone = tidegate.process.try_wait().unwrap();
            assert!(
                gone.is_none(),
                "it ended with {gone:?} and said {:#?}",
                tidegate.log.all()
            );
            tidegate.told("tidegate serves")
        });
        tidegate
    }

    /// Waits until `/readyz` says so.
    #[track_caller]
    pub(crate) fn ready(&self) {
        eventually("tidegate is ready", || {
            let answer = self.admin("GET", "/readyz");
            (answer.status == 200).then_some(())
        });
    }

    /// Where its listener `http` is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener("http")
    }

    /// Where a listener is.
    #[track_caller]
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        self.place("listener", name)
    }

    /// Where the admin side is.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.place("admin", "admin")
    }

    /// Where the second admin listener is.
    pub(crate) fn probes_address(&self) -> SocketAddr {
        self.place("admin", "probes")
    }

    /// The newest address it tells of something that listens.
    #[track_caller]
    fn place(&self, kind: &str, name: &str) -> SocketAddr {
        eventually("it tells where it listens", || {
            let lines = self.log.all();
            let line = lines.iter().rfind(|line| is_place(line, kind, name))?;
            let address = match line {
                Value::String(text) => text.split("address=").nth(1)?,
                line => line["address"].as_str()?,
            };
            address.parse().ok()
        })
    }

    /// A connection with its listener `http`.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> super::Response {
        self.connect().get(path)
    }

    /// A call of the admin side, without a body or a token.
    #[track_caller]
    pub(crate) fn admin(&self, method: &str, path: &str) -> Answer {
        Answer::to(self.admin_address(), method, path, "")
    }

    /// A call of the admin side with more fields, each with its line's end.
    #[track_caller]
    pub(crate) fn admin_with(&self, method: &str, path: &str, fields: &str) -> Answer {
        Answer::to(self.admin_address(), method, path, fields)
    }

    /// Drains an endpoint of `web` by the API, and returns when it is acknowledged. `parameters` as `?timeout=1s`.
    #[track_caller]
    pub(crate) fn drain(&self, id: &str, parameters: &str) -> Value {
        self.admin(
            "POST",
            &format!("/api/v1/services/web/endpoints/{id}/drain{parameters}"),
        )
        .ok()
    }

    /// Puts an endpoint of `web` back.
    #[track_caller]
    pub(crate) fn undrain(&self, id: &str) -> Value {
        self.admin(
            "DELETE",
            &format!("/api/v1/services/web/endpoints/{id}/drain"),
        )
        .ok()
    }

    /// The lives of an endpoint of `web`, as the API shows them.
    #[track_caller]
    pub(crate) fn lives(&self, id: &str) -> Vec<Value> {
        let service = self.admin("GET", "/api/v1/services/web").ok();
        let endpoints = service["endpoints"].as_array().unwrap().iter();
        endpoints
            .filter(|endpoint| endpoint["id"] == id)
            .cloned()
            .collect()
    }

    /// Waits until the newest life of an endpoint of `web` is in a state. Returns it.
    #[track_caller]
    pub(crate) fn is(&self, id: &str, state: &str) -> Value {
        eventually(&format!("{id} is {state}"), || {
            self.lives(id)
                .into_iter()
                .find(|life| life["state"] == state)
        })
    }

    /// Waits until no life of an endpoint of `web` is left.
    #[track_caller]
    pub(crate) fn is_gone(&self, id: &str) {
        eventually(&format!("{id} is gone"), || {
            self.lives(id).is_empty().then_some(())
        });
    }

    /// Waits until so many requests are in flight at an endpoint of `web`, over all its lives.
    #[track_caller]
    pub(crate) fn in_flight(&self, id: &str, count: u64) {
        eventually(&format!("{count} in flight at {id}"), || {
            let lives = self.lives(id);
            let sum: u64 = lives
                .iter()
                .filter_map(|life| life["in_flight"].as_u64())
                .sum();
            (sum == count).then_some(())
        });
    }

    /// Waits for the report of a drain of an endpoint that is over: the newest one.
    #[track_caller]
    pub(crate) fn report(&self, id: &str) -> Value {
        eventually(&format!("the drain of {id} is over"), || {
            let drains = self.admin("GET", "/api/v1/drains").ok();
            drains["drains"]
                .as_array()?
                .iter()
                .find(|report| report["id"] == id)
                .cloned()
        })
    }

    /// Listens to events from now on.
    #[track_caller]
    pub(crate) fn events(&self) -> Events {
        Events::of(self.admin_address())
    }

    /// The value of a series of `/metrics`, as it stands there with its labels; none when it is not there.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.admin("GET", "/metrics").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    /// Waits for a line of the access log about a path.
    #[track_caller]
    pub(crate) fn logged(&self, path: &str) -> Value {
        eventually(&format!("the access log tells of {path}"), || {
            self.access
                .all()
                .into_iter()
                .find(|line| line["path"] == path)
        })
    }

    /// Every line of the access log so far.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        self.access.all()
    }

    /// A line of the log with this message, the newest.
    pub(crate) fn told(&self, message: &str) -> Option<Value> {
        self.log.all().into_iter().rfind(|line| match line {
            Value::String(text) => text.contains(message),
            line => line["message"] == message,
        })
    }

    /// How many lines of the log hold a text.
    pub(crate) fn tells(&self, text: &str) -> usize {
        self.log
            .all()
            .iter()
            .filter(|line| line.to_string().contains(text))
            .count()
    }

    /// Reads its log no more: the pipe is closed at the next line, and whatever is said after that fails.
    pub(crate) fn close_log(&mut self) {
        self.log.stop.store(true, Ordering::Relaxed);
    }

    /// The endpoint file of `web`.
    pub(crate) fn file(&self) -> &EndpointFile {
        &self.file
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its config.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("tidegate.yaml")
    }

    /// Writes another config, and has it read by `SIGHUP`. Returns when it has been, with the result.
    #[track_caller]
    pub(crate) fn reload(&self, config: &str) -> String {
        let count = || {
            let text = self.admin("GET", "/metrics").text();
            let lines = text
                .lines()
                .filter(|line| line.starts_with("tidegate_config_reload_total{"));
            lines
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>()
        };
        let before = count();
        fs::write(self.config(), config).unwrap();
        self.signal(Signal::HUP);
        eventually("the config is read", || (count() > before).then_some(()));
        let answer = self.admin("GET", "/api/v1/config").ok();
        answer["last_reload"]["result"].as_str().unwrap().to_owned()
    }

    /// Ends it without a word, and runs it again in the same place with another config. Port 0 is another port then.
    #[track_caller]
    pub(crate) fn again(mut self, config: &str) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let dir = std::mem::replace(&mut self.dir, TempDir::new().unwrap());
        let file = EndpointFile::new(self.file.path().to_owned());
        let mut command = Command::new(binary());
        command.stdin(Stdio::null());
        let again = Self::run(dir, config, file, command, &[], None);
        again.ready();
        again
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Its process; after an upgrade the newest one.
    pub(crate) fn pid(&self) -> Pid {
        self.heir.unwrap_or_else(|| Pid::from_child(&self.process))
    }

    /// Has it replaced by a new process (`SIGUSR2`), which is signalled from then on. Returns the old one once that one
    /// serves.
    #[track_caller]
    pub(crate) fn upgrade(&mut self) -> Pid {
        let before = self.tells(TAKEN_OVER);
        self.signal(Signal::USR2);
        eventually("a new process takes over", || {
            (self.tells(TAKEN_OVER) > before).then_some(())
        });
        self.taken_over()
    }

    /// Another process has taken over, as the log tells. Returns the one before.
    #[track_caller]
    pub(crate) fn taken_over(&mut self) -> Pid {
        // What the old one leaves behind is ours to wait for.
        set_child_subreaper(Some(getpid())).unwrap();
        let old = self.pid();
        let line = eventually("a new process takes over", || self.told(TAKEN_OVER));
        let pid = i32::try_from(line["pid"].as_u64().unwrap()).unwrap();
        self.heir = Pid::from_raw(pid);
        old
    }

    /// Waits until a process that was replaced has ended. Returns its exit code.
    #[track_caller]
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<i32> {
        if pid == Pid::from_child(&self.process) {
            let status = eventually("it ends", || self.process.try_wait().unwrap());
            return status.code();
        }
        self.heir = self.heir.filter(|heir| *heir != pid);
        let (_, status) = eventually("it ends", || {
            waitpid(Some(pid), WaitOptions::NOHANG).unwrap()
        });
        status.exit_status()
    }

    /// Its resident memory.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most memory that it had at any time.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, key: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid().as_raw_nonzero()))
            .unwrap()
            .count()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let status = eventually("tidegate ends", || self.process.try_wait().unwrap());
        self.access.finish();
        self.log.finish();
        status
    }
}

/// Whether a line, JSON or text, tells where something listens.
fn is_place(line: &Value, kind: &str, name: &str) -> bool {
    match line {
        Value::String(text) => {
            let text = text.replace('"', "");
            text.contains(&format!(" listening {kind}={name} "))
        }
        line => line["message"] == "listening" && line[kind] == name,
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        if let Some(heir) = self.heir {
            let _ = kill_process(heir, Signal::KILL);
        }
        // What has ended by itself needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.access.finish();
        self.log.finish();
        if thread::panicking() {
            eprintln!(
                "tidegate's log:\n{}\nits access log:\n{}",
                self.log.last(),
                self.access.last()
            );
        }
    }
}

/// Lines of JSON that a process writes, kept as they come.
#[derive(Debug)]
struct Lines {
    lines: Arc<Mutex<Vec<Value>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    fn none() -> Self {
        Self {
            lines: Arc::default(),
            stop: Arc::default(),
            thread: None,
        }
    }

    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let read = move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // Not everything that may be said before the log begins is JSON.
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                kept.lock().unwrap().push(line);
            }
        };
        Self {
            lines,
            stop,
            thread: Some(thread::spawn(read)),
        }
    }

    fn all(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    fn last(&self) -> String {
        let lines = self.all();
        let last = lines.iter().skip(lines.len().saturating_sub(LAST));
        last.map(|line| format!("{line}\n")).collect()
    }

    /// Waits for the last line: the process has ended.
    fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

const LAST: usize = 60;

const TAKEN_OVER: &str = "upgrade: a new process has taken over";

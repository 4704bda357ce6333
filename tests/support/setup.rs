//! The config of a tidegate under test, as text.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Endpoint, EndpointFile, Tidegate, binary};

/// One listener, one service `web` whose endpoints are in a file, and everything routed there, unless it is told otherwise.
#[derive(Debug)]
pub(crate) struct Setup {
    dir: TempDir,
    workers: usize,
    listener: String,
    service: String,
    admin: String,
    rest: String,
    whole: Option<String>,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    stdin: Stdio,
    arguments: Vec<String>,
    stdout: Option<Stdio>,
}

impl Setup {
    /// With these endpoints.
    pub(crate) fn of(endpoints: &[&Endpoint]) -> Self {
        let lines: Vec<_> = endpoints.iter().map(|endpoint| endpoint.line("")).collect();
        let setup = Self::without_file();
        setup.file().set(&lines);
        setup
    }

    /// With an endpoint file that is not there.
    pub(crate) fn without_file() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            workers: 2,
            listener: String::new(),
            service: "source: { file: { path: web.yaml } }".into(),
            admin: String::new(),
            rest: String::new(),
            whole: None,
            command: vec![binary().into()],
            environment: Vec::new(),
            stdin: Stdio::null(),
            arguments: Vec::new(),
            stdout: None,
        }
    }

    /// With a config of its own. Addresses with port 0 are the ones to listen on.
    pub(crate) fn config(text: &str) -> Self {
        Self::without_file().with_config(text)
    }

    /// With this config instead.
    pub(crate) fn with_config(mut self, text: &str) -> Self {
        self.whole = Some(text.to_owned());
        self
    }

    /// The endpoint file.
    pub(crate) fn file(&self) -> EndpointFile {
        EndpointFile::new(self.dir.path().join("web.yaml"))
    }

    /// With so many workers: one makes what it remembers of connections plain to see.
    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// More keys of the listener, as `debug_headers: true`.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        self.listener += &format!(", {keys}");
        self
    }

    /// More keys of the service, as `retry: { attempts: 1 }`.
    pub(crate) fn service(mut self, keys: &str) -> Self {
        self.service += &format!(", {keys}");
        self
    }

    /// More keys of `admin`.
    pub(crate) fn admin(mut self, keys: &str) -> Self {
        self.admin += &format!(", {keys}");
        self
    }

    /// More keys of the top level, a line each.
    pub(crate) fn rest(mut self, keys: &str) -> Self {
        self.rest += &format!("{keys}\n");
        self
    }

    /// Started by this command, to which `run` and its arguments are added.
    pub(crate) fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With a variable of the environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With this as its standard input.
    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Where its files will be.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// One more argument of `tidegate run`.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With its access log there, where the test does not see it.
    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// With so many open files at the most.
    pub(crate) fn files(self, most: u32) -> Self {
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        self.command(&["sh", "-c", &limited, binary()])
    }

    /// Another file beside the config.
    pub(crate) fn with_file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    /// The config.
    pub(crate) fn text(&self) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let Self {
            workers,
            listener,
            service,
            admin,
            rest,
            ..
        } = self;
        format!(
            "listeners: [{{ name: http, address: \"127.0.0.1:0\"{listener} }}]\n\
             routes: [{{ service: web }}]\n\
             services: [{{ name: web, {service} }}]\n\
             admin: {{ address: \"127.0.0.1:0\"{admin} }}\n\
             workers: {workers}\n{rest}"
        )
    }

    /// Starts tidegate and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Tidegate {
        let tidegate = self.start_unready();
        tidegate.ready();
        tidegate
    }

    /// Starts tidegate and waits until it serves, ready or not.
    #[track_caller]
    pub(crate) fn start_unready(self) -> Tidegate {
        let text = self.text();
        let file = self.file();
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .envs(self.environment)
            .stdin(self.stdin);
        Tidegate::run(self.dir, &text, file, command, &self.arguments, self.stdout)
    }
}

//! Where a rehearsal plays: a directory of its own with the config and the endpoint file, and two free addresses.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::time::Instant;

use super::Subject;

/// The stage. Its directory is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    directory: PathBuf,
    /// The proxy that will be started on it.
    pub(super) subject: Subject,
}

/// An endpoint, as the endpoint file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Its address.
    pub(super) address: SocketAddr,
    /// Its id.
    pub(super) id: &'a str,
    /// Whether it is on its way out.
    pub(super) draining: bool,
}

impl Stage {
    /// Makes the directory, writes the config, and an endpoint file without endpoints.
    pub(super) fn build() -> anyhow::Result<Self> {
        let directory = make_directory().context("no temporary directory could be made")?;
        let file = directory.join("endpoints.yaml");
        // Both at once, so that they differ.
        let (proxy, admin) = (free()?, free()?);
        let subject = Subject {
            proxy: proxy.local_addr()?,
            admin: admin.local_addr()?,
            endpoint_file: file,
            service: SERVICE.into(),
        };
        let stage = Self { directory, subject };
        fs::write(stage.config(), config(&stage.subject))?;
        write_endpoints(&stage.subject.endpoint_file, &[])?;
        Ok(stage)
    }

    /// The config to start the proxy with.
    pub(super) fn config(&self) -> PathBuf {
        self.directory.join("tidegate.yaml")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed is in a directory for such things.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Replaces the endpoint file in one step, and returns the moment before that.
pub(super) fn write_endpoints(path: &Path, entries: &[Entry<'_>]) -> io::Result<Instant> {
    let mut text = "endpoints:".to_owned();
    if entries.is_empty() {
        text.push_str(" []");
    }
    text.push('\n');
    for Entry {
        address,
        id,
        draining,
    } in entries
    {
        let state = if *draining { "draining" } else { "ready" };
        text.push_str(&format!(
            "  - {{ address: \"{address}\", id: {id}, state: {state} }}\n"
        ));
    }
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    let now = Instant::now();
    fs::rename(&next, path)?;
    Ok(now)
}

/// The config of the proxy that is rehearsed with.
fn config(subject: &Subject) -> String {
    let Subject {
        proxy,
        admin,
        service,
        ..
    } = subject;
    format!(
        "\
# Written by `tidegate demo`, and removed at its end.
listeners:
  - name: demo
    address: \"{proxy}\"
routes:
  - {{ service: {service} }}
services:
  - name: {service}
    source:
      file: {{ path: endpoints.yaml }}
    drain:
      timeout: 5s
admin:
  address: \"{admin}\"
shutdown:
  wait_period: 0s
  grace_period: 5s
access_log: {{ sample: 0.0 }}
"
    )
}

fn make_directory() -> io::Result<PathBuf> {
    let mut tries = 0;
    loop {
        let name = format!("tidegate-demo-{:016x}", fastrand::u64(..));
        let directory = std::env::temp_dir().join(name);
        // Its own, and nobody else's to look into or to be there first.
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 16 => tries += 1,
            made => return made.map(|()| directory),
        }
    }
}

/// A free address, below those that systems give to whoever asks for any: nobody gets it by chance before the proxy is
/// started there, not even the endpoints and clients of this rehearsal.
fn free() -> io::Result<TcpListener> {
    let chosen = (0..64).find_map(|_| {
        let port = fastrand::u16(PORTS);
        TcpListener::bind(("127.0.0.1", port)).ok()
    });
    chosen.map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok)
}

const PORTS: std::ops::Range<u16> = 15_000..30_000;
const SERVICE: &str = "demo";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    #[test]
    fn writes_a_config_and_removes_it_at_the_end() {
        let stage = Stage::build().unwrap();
        let text = fs::read_to_string(stage.config()).unwrap();
        assert_eq!(document::parse(&text).unwrap().len(), 1);
        assert!(text.contains(&stage.subject.proxy.to_string()));
        assert_ne!(stage.subject.proxy, stage.subject.admin);
        let directory = stage.directory.clone();
        drop(stage);
        assert!(!directory.exists());
    }

    #[test]
    fn writes_the_endpoints_whole() {
        let stage = Stage::build().unwrap();
        let path = &stage.subject.endpoint_file;
        assert_eq!(fs::read_to_string(path).unwrap(), "endpoints: []\n");
        let entry = |id, draining| Entry {
            address: SocketAddr::from(([127, 0, 0, 1], 9001)),
            id,
            draining,
        };
        write_endpoints(path, &[entry("demo-1", true), entry("demo-2", false)]).unwrap();
        assert_eq!(
            fs::read_to_string(path).unwrap(),
            "endpoints:\n\
             \x20 - { address: \"127.0.0.1:9001\", id: demo-1, state: draining }\n\
             \x20 - { address: \"127.0.0.1:9001\", id: demo-2, state: ready }\n"
        );
    }
}

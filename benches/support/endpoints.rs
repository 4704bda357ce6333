//! A file of endpoints, replaced by rename, as a careful controller does it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::time::Instant;

/// The file.
pub(crate) struct EndpointFile {
    path: PathBuf,
    fresh: PathBuf,
    port: u16,
}

impl EndpointFile {
    /// In `dir`; every endpoint listens on `port` of an address of its own.
    pub(crate) fn new(dir: &Path, port: u16) -> Self {
        Self {
            path: dir.join("endpoints.yaml"),
            fresh: dir.join("endpoints.yaml.new"),
            port,
        }
    }

    /// A service's source, as a config names it.
    pub(crate) fn as_source(&self) -> String {
        format!(
            "source: {{ file: {{ path: \"{}\" }} }}",
            self.path.display()
        )
    }

    /// Replaces it by the endpoints with these numbers. Returns the moment before the rename.
    pub(crate) fn replace(
        &self,
        numbers: impl IntoIterator<Item = u32>,
    ) -> anyhow::Result<Instant> {
        let mut text = String::from("endpoints:\n");
        for number in numbers {
            let address = address(number, self.port);
            let name = name(number);
            writeln!(text, "  - {{ address: \"{address}\", id: {name} }}")?;
        }
        std::fs::write(&self.fresh, text)?;
        let before = Instant::now();
        std::fs::rename(&self.fresh, &self.path)?;
        Ok(before)
    }
}

/// The id of an endpoint.
pub(crate) fn name(number: u32) -> String {
    format!("web-{number}")
}

/// An address of the loopback for each number.
pub(crate) fn address(number: u32, port: u16) -> SocketAddr {
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    SocketAddr::from((Ipv4Addr::from(first + number), port))
}

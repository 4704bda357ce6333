//! The admin side: API, probes, metrics and the dashboard, on a listener and a runtime of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

/// How the admin side listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub address: SocketAddr,
    /// A file with the token that changing calls need.
    pub token_file: Option<PathBuf>,
    /// Whether metrics name endpoints.
    pub per_endpoint_metrics: bool,
    /// A second listener, for probes, metrics and the hook only.
    pub probes_address: Option<SocketAddr>,
    /// Further names accepted in `Host`.
    pub hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9901)),
            token_file: None,
            per_endpoint_metrics: false,
            probes_address: None,
            hosts: Vec::new(),
        }
    }
}

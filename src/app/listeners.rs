//! A listener before anybody accepts on it: bound, its certificates read. What can fail, has not.

use std::net::TcpListener;

use anyhow::Context as _;

use crate::net::{bind_listeners, tls};
use crate::server;

/// A listener that can be given to the workers.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) settings: server::Settings,
    pub(super) tls: Option<tls::Acceptor>,
    /// One socket for each worker.
    pub(super) sockets: Vec<TcpListener>,
}

impl Listening {
    /// Binds it for so many workers.
    pub(super) fn bind(settings: &server::Settings, workers: usize) -> anyhow::Result<Self> {
        let place = || format!("listener {}", settings.name);
        let tls = settings
            .tls
            .as_ref()
            .map(tls::Acceptor::new)
            .transpose()
            .with_context(place)?;
        let sockets = bind_listeners(settings.address, workers).with_context(place)?;
        Ok(Self {
            settings: settings.clone(),
            tls,
            sockets,
        })
    }
}

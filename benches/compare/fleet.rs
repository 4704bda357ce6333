//! The proxies, running side by side on their core.

use std::net::SocketAddr;
use std::thread;

use anyhow::Context as _;

use crate::row::State;
use crate::support::contender::{Contender, Peer, Setup, certify};
use crate::support::pin;

/// All of them, in one state. They end with it.
pub(crate) struct Fleet {
    pub(crate) state: State,
    pub(crate) contenders: Vec<Contender>,
    /// Who is not among them, and why.
    pub(crate) missing: Vec<(Peer, String)>,
    /// Their configs and logs. Dropped after they have ended.
    pub(crate) dir: tempfile::TempDir,
}

impl Fleet {
    /// Starts them from a thread on their core: they stay where they are born.
    pub(crate) fn start(
        state: State,
        peers: &[Peer],
        endpoints: &[SocketAddr],
        forwarded: bool,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        certify(dir.path())?;
        let setup = Setup {
            dir: dir.path(),
            endpoints,
            access_log: state == State::Logging,
            forwarded,
        };
        let (mut contenders, mut missing) = (Vec::new(), Vec::new());
        let start = || -> anyhow::Result<()> {
            pin::pin(pin::PROXY_CORE)?;
            for peer in peers {
                match peer.start(&setup) {
                    Ok(Some(contender)) => contenders.push(contender),
                    Ok(None) => missing.push((*peer, "not installed".to_owned())),
                    Err(error) if *peer == Peer::Tidegate => return Err(error),
                    Err(error) => missing.push((*peer, format!("does not start: {error:#}"))),
                }
            }
            Ok(())
        };
        thread::scope(|scope| scope.spawn(start).join())
            .ok()
            .context("the proxies cannot be started")??;
        Ok(Self {
            state,
            contenders,
            missing,
            dir,
        })
    }
}

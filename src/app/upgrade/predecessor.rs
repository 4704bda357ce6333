//! The process before this one, as the new one sees it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::info;

use super::{MARK, VERSION, hear, letters, relay};
use crate::app::inherited::{Inherited, Kind, Set};
use crate::control::{ElderAsk, Handle};
use crate::drain::Report;
use crate::net::{Address, Courier};

/// It serves until it is told that we do.
#[derive(Debug)]
pub struct Predecessor {
    courier: Courier,
    /// What it knew of drains when it started us.
    pub(in crate::app) drains: Value,
    /// Services whose sources it has not heard either.
    pub(in crate::app) waiting: Vec<String>,
}

impl Predecessor {
    /// Listens to the process that started this one for an upgrade, and takes its sockets. None when there is none.
    ///
    /// # Errors
    /// When it is gone, or speaks another version.
    pub async fn meet() -> anyhow::Result<Option<(Self, Inherited)>> {
        let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().to_string());
        let mark = std::env::var(MARK).ok();
        if mark.is_none() || mark != parent {
            return Ok(None);
        }
        let courier = stdin().and_then(Courier::new);
        let mut courier = courier.context("standard input is not the process to follow")?;
        let version = hear(&mut courier).await?;
        ensure!(
            version["version"] == VERSION,
            "the running process speaks version {} of an upgrade, and this one {VERSION}: restart it instead",
            version["version"]
        );
        let mut sets = Vec::new();
        loop {
            let word = hear(&mut courier).await?;
            if word["kind"].is_null() {
                let waiting = serde_json::from_value(word["waiting"].clone())?;
                let predecessor = Self {
                    courier,
                    drains: word["drains"].clone(),
                    waiting,
                };
                return Ok(Some((predecessor, Inherited::new(sets))));
            }
            add(&mut sets, &word, &mut courier)?;
        }
    }

    /// Something that is worth waiting for only while it is there.
    pub(in crate::app) async fn while_there<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            biased;
            word = hear(&mut self.courier) => {
                word?;
                anyhow::bail!("the running process spoke out of turn");
            }
            done = work => Ok(done),
        }
    }

    /// Says that everything is there, and has these listeners of its. Returns the drains as they stand, from now on it takes
    /// no wishes, and the reports of those that are over, the newest first.
    pub(in crate::app) async fn take(
        &mut self,
        adopted: &[(Kind, String)],
    ) -> anyhow::Result<(Value, Vec<Report>)> {
        let adopted: Vec<_> = adopted
            .iter()
            .map(|(kind, name)| json!([kind.as_str(), name]))
            .collect();
        let ready = json!({ "ready": adopted }).to_string();
        self.courier.send(&ready, &[]).await?;
        let mut reports = Vec::new();
        loop {
            let mut word = hear(&mut self.courier).await?;
            if word["report"].is_null() {
                return Ok((word["take"].take(), reports));
            }
            reports.extend(letters::report_of(&word["report"]));
        }
    }

    /// Says that we accept: it goes.
    pub(in crate::app) async fn let_go(&self) {
        // When it is gone already, nobody has to be told.
        let _ = self.courier.send(&json!("serving").to_string(), &[]).await;
    }

    /// Passes on what is asked of it and what it reports, until it is gone.
    pub(in crate::app) async fn stay_in_touch(
        self,
        asks: mpsc::Receiver<ElderAsk>,
        handle: Handle,
    ) {
        relay::ask(self.courier, asks, handle).await;
        info!("the process before this one is gone");
    }
}

/// Our end of the pair; the descriptor itself leads nowhere from now on, as a server's should.
fn stdin() -> io::Result<UnixStream> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(stream)
}

/// The sockets of a listener; many come in several letters.
fn add(sets: &mut Vec<Set>, word: &Value, courier: &mut Courier) -> anyhow::Result<()> {
    let understood = || {
        let kind = Kind::of(word["kind"].as_str()?)?;
        let address: Address = word["address"].as_str()?.parse().ok()?;
        let count = usize::try_from(word["sockets"].as_u64()?).ok()?;
        let lent = word["lent"].as_bool()?;
        Some((kind, word["name"].as_str()?, address, count, lent))
    };
    let (kind, name, address, count, lent) =
        understood().context("the running process is not understood")?;
    let sockets = courier.sockets(count)?;
    for socket in &sockets {
        rustix::io::ioctl_fionbio(socket, true)?;
    }
    match sets.last_mut() {
        Some(last) if last.kind == Some(kind) && last.name == name => last.sockets.extend(sockets),
        _ => sets.push(Set {
            kind: Some(kind),
            name: name.into(),
            address,
            sockets,
            lent,
        }),
    }
    Ok(())
}

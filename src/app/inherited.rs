//! Sockets that listened before this process did, and which of its listeners go on with them.
//!
//! All sockets of a listener are taken, whatever the number of workers: one that nobody accepts on would be filled by the
//! kernel with connections that nobody serves.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, ensure};
use listenfd::ListenFd;

use crate::net::{Address, bound_to};

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Listener,
    Admin,
    Probes,
}

/// The sockets of one listener.
#[derive(Debug)]
pub(super) struct Set {
    /// None: for whatever has its address.
    pub(super) kind: Option<Kind>,
    pub(super) name: String,
    /// As the config had it.
    pub(super) address: Address,
    pub(super) sockets: Vec<OwnedFd>,
    /// Whoever passed them keeps them open, and goes on with them when we are gone.
    pub(super) lent: bool,
}

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(super) sets: Vec<Set>,
    taken: Vec<(Kind, String)>,
}

impl Kind {
    /// The word of the log and of the talk between processes.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Admin => "admin",
            Self::Probes => "probes",
        }
    }

    /// The key of the config.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Listener => "listeners",
            Self::Admin => "admin",
            Self::Probes => "admin.probes_address",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        [Self::Listener, Self::Admin, Self::Probes]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

impl Set {
    /// The same without sockets.
    pub(super) fn like(&self) -> Self {
        Self {
            kind: self.kind,
            name: self.name.clone(),
            address: self.address.clone(),
            sockets: Vec::new(),
            lent: self.lent,
        }
    }
}

impl Inherited {
    pub(super) fn new(sets: Vec<Set>) -> Self {
        Self {
            sets,
            taken: Vec::new(),
        }
    }

    /// The sockets that systemd has opened for this process (`LISTEN_FDS`). To be asked while there is one thread.
    ///
    /// # Errors
    /// When it passed something that is no listening TCP socket.
    pub fn activated() -> anyhow::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut sets: Vec<Set> = Vec::new();
        for index in 0..passed.len() {
            let fault = || {
                format!(
                    "socket {index} of systemd is not for tidegate, which takes ListenStream= with TCP addresses"
                )
            };
            let socket = passed.take_tcp_listener(index).with_context(fault)?;
            let socket = socket.with_context(fault)?;
            socket.set_nonblocking(true)?;
            let address = Address::Tcp(socket.local_addr().with_context(fault)?);
            match sets.iter_mut().find(|set| set.address == address) {
                // Of one with ReusePort=, one for each.
                Some(set) => set.sockets.push(socket.into()),
                None => sets.push(Set {
                    kind: None,
                    name: address.to_string(),
                    address,
                    sockets: vec![socket.into()],
                    lent: true,
                }),
            }
        }
        Ok(Self::new(sets))
    }

    /// # Errors
    /// When systemd passed a socket that no listener wants: it would be filled with connections that nobody serves.
    pub(super) fn nothing_is_left(&self) -> anyhow::Result<()> {
        let left: Vec<_> = self.sets.iter().filter(|set| set.kind.is_none()).collect();
        let names: Vec<_> = left.iter().map(|set| set.address.to_string()).collect();
        ensure!(
            left.is_empty(),
            "systemd passed sockets at addresses that nothing in the config has: {}; give each ListenStream= of the socket unit a listener with the same address, or take it out",
            names.join(", ")
        );
        Ok(())
    }

    /// The sockets for a listener of this config, if there are any. A port that the kernel chose belongs to the name.
    pub(super) fn take(&mut self, kind: Kind, name: &str, address: &Address) -> Option<Set> {
        let fits = |set: &Set| {
            let there = set.sockets.first().and_then(bound_to);
            let chosen = address.tcp().is_some_and(|address| address.port() == 0);
            set.kind.is_none_or(|of| of == kind)
                && if chosen {
                    set.name == name && set.address == *address
                } else {
                    set.address == *address || there.is_some_and(|it| address.tcp() == Some(it))
                }
        };
        let at = self.sets.iter().position(fits)?;
        let set = self.sets.swap_remove(at);
        self.taken.push((kind, set.name.clone()));
        Some(set)
    }

    /// What was taken, by the names that it had before.
    pub(super) fn taken(&self) -> &[(Kind, String)] {
        &self.taken
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    #[test]
    fn finds_sockets_by_address_and_by_name_where_the_kernel_chose() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = || TcpListener::bind(any).unwrap();
        let (chosen, fixed, admin) = (socket(), socket(), socket());
        let real = |socket: &TcpListener| socket.local_addr().unwrap();
        let (at, admin_at) = (real(&fixed), real(&admin));
        let set = |kind, name: &str, address: SocketAddr, socket: TcpListener| Set {
            kind: Some(kind),
            name: name.into(),
            address: address.into(),
            sockets: vec![socket.into()],
            lent: false,
        };
        let mut inherited = Inherited::new(vec![
            set(Kind::Listener, "http", any, chosen),
            set(Kind::Listener, "old", at, fixed),
            set(Kind::Admin, "admin", admin_at, admin),
        ]);
        let mut take =
            |kind, name, address: SocketAddr| inherited.take(kind, name, &address.into()).is_some();
        assert!(!take(Kind::Listener, "new", any), "another name");
        assert!(!take(Kind::Listener, "http", admin_at), "another kind");
        assert!(take(Kind::Listener, "new", at), "the address decides");
        assert!(take(Kind::Listener, "http", any));
        assert!(!take(Kind::Listener, "http", any), "only once");
        assert!(take(Kind::Admin, "admin", admin_at));
        let names: Vec<_> = inherited.taken().iter().map(|(_, name)| &**name).collect();
        assert_eq!(names, ["old", "http", "admin"]);
    }
}

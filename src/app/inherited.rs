//! Sockets that listened before this process did, and which of its listeners go on with them.
//!
//! All sockets of a listener are taken, whatever the number of workers: one that nobody accepts on would be filled by the
//! kernel with connections that nobody serves.

use std::net::{SocketAddr, TcpListener};

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
    pub(super) kind: Kind,
    pub(super) name: String,
    /// As the config had it.
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
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
            address: self.address,
            sockets: Vec::new(),
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

    /// The sockets for a listener of this config, if there are any. A port that the kernel chose belongs to the name.
    pub(super) fn take(
        &mut self,
        kind: Kind,
        name: &str,
        address: SocketAddr,
    ) -> Option<Vec<TcpListener>> {
        let fits = |set: &Set| {
            let there = set.sockets.first().and_then(|it| it.local_addr().ok());
            set.kind == kind
                && if address.port() == 0 {
                    set.name == name && set.address == address
                } else {
                    set.address == address || there == Some(address)
                }
        };
        let at = self.sets.iter().position(fits)?;
        let set = self.sets.swap_remove(at);
        self.taken.push((set.kind, set.name));
        Some(set.sockets)
    }

    /// What was taken, by the names that it had before.
    pub(super) fn taken(&self) -> &[(Kind, String)] {
        &self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_sockets_by_address_and_by_name_where_the_kernel_chose() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = || TcpListener::bind(any).unwrap();
        let (chosen, fixed, admin) = (socket(), socket(), socket());
        let real = |socket: &TcpListener| socket.local_addr().unwrap();
        let (at, admin_at) = (real(&fixed), real(&admin));
        let set = |kind, name: &str, address, socket| Set {
            kind,
            name: name.into(),
            address,
            sockets: vec![socket],
        };
        let mut inherited = Inherited::new(vec![
            set(Kind::Listener, "http", any, chosen),
            set(Kind::Listener, "old", at, fixed),
            set(Kind::Admin, "admin", admin_at, admin),
        ]);
        let mut take = |kind, name, address| inherited.take(kind, name, address).is_some();
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

//! Who the other replicas are, for the wait of a pod (P15).

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::admin::{self, Peer, Peers};
use crate::discovery::{KubernetesService, Observed, ObservedState};
use crate::kubernetes::{Cluster, Followed};

/// The other replicas, by the settings in force.
pub(super) struct Others {
    settings: watch::Receiver<Arc<admin::Settings>>,
    cluster: Arc<Cluster>,
    /// Our own ports: a list, or a service in Kubernetes, names this replica, too.
    ports: Vec<u16>,
    followed: Mutex<Option<(KubernetesService, Followed)>>,
}

impl Others {
    pub(super) fn new(
        settings: watch::Receiver<Arc<admin::Settings>>,
        cluster: Arc<Cluster>,
        ports: Vec<u16>,
    ) -> Self {
        let others = Self {
            settings,
            cluster,
            ports,
            followed: Mutex::new(None),
        };
        // Watched from the start, so that they are known when the first pod goes.
        let _ = others.now();
        others
    }

    /// All of them, as they are now.
    pub(super) fn now(&self) -> Result<Vec<Peer>, String> {
        let peers = self.settings.borrow().peers.clone();
        let mut peers: Vec<Peer> = match peers {
            Peers::List(addresses) => {
                let peer = |address| Peer {
                    address,
                    is_ready: true,
                };
                addresses.into_iter().map(peer).collect()
            }
            Peers::Kubernetes(service) => self.followed(&service)?,
        };
        peers.retain(|peer| !self.is_self(peer.address));
        Ok(peers)
    }

    fn followed(&self, service: &KubernetesService) -> Result<Vec<Peer>, String> {
        let mut followed = self.followed.lock().map_err(|error| error.to_string())?;
        if followed.as_ref().is_none_or(|(known, _)| known != service) {
            *followed = self
                .cluster
                .follow(service)
                .map(|new| (service.clone(), new));
        }
        let (_, followed) = followed.as_ref().ok_or("Kubernetes cannot be watched")?;
        let set = followed.now()?;
        Ok(set.endpoints().map(|one| peer(one)).collect())
    }

    fn is_self(&self, address: SocketAddr) -> bool {
        // Only an address of this machine can be bound.
        self.ports.contains(&address.port()) && UdpSocket::bind((address.ip(), 0)).is_ok()
    }
}

fn peer(observed: &Observed) -> Peer {
    Peer {
        address: observed.address,
        // One that terminates finishes what it has.
        is_ready: observed.state != ObservedState::NotReady,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_itself_out_and_nobody_else() {
        let settings = admin::Settings {
            peers: Peers::List(
                ["127.0.0.1:9901", "127.0.0.1:9911", "192.0.2.7:9901"]
                    .map(|address| address.parse().unwrap())
                    .into(),
            ),
            ..admin::Settings::default()
        };
        let (_keep, settings) = watch::channel(Arc::new(settings));
        let others = Others::new(settings, Arc::default(), vec![9901]);
        let others: Vec<_> = others.now().unwrap();
        let addresses: Vec<_> = others.iter().map(|one| one.address.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1:9911", "192.0.2.7:9901"]);
    }
}

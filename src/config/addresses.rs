//! The addresses that tidegate listens on, each of which only one can have.

use std::net::{IpAddr, SocketAddr};

use crate::document::{Faults, Item, Position};

/// The addresses asked for so far.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    claims: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    /// None for a default, which stands nowhere in the file.
    at: Option<Position>,
    key: String,
    /// Who asks for it, in words for a message.
    owner: String,
    address: SocketAddr,
}

impl Addresses {
    /// Reads an address to listen on, and notes who asks for it.
    pub(super) fn read(&mut self, item: &Item<'_>, owner: &str) -> Option<SocketAddr> {
        let address = item.socket_address()?;
        self.claims.push(Claim {
            at: Some(item.at()),
            key: item.key.into(),
            owner: owner.into(),
            address,
        });
        Some(address)
    }

    /// Notes an address that is listened on without being in the file.
    pub(super) fn by_default(&mut self, address: SocketAddr, owner: &str) {
        self.claims.push(Claim {
            at: None,
            key: String::new(),
            owner: format!("{owner} (its default)"),
            address,
        });
    }

    /// Notes a fault of each address that an earlier one takes.
    pub(super) fn finish(mut self, faults: &Faults) {
        self.claims.sort_by_key(|claim| claim.at);
        for (index, claim) in self.claims.iter().enumerate() {
            let earlier = self.claims[..index]
                .iter()
                .find(|other| clash(other.address, claim.address));
            if let (Some(at), Some(other)) = (claim.at, earlier) {
                let message = format!(
                    "is {}, which clashes with {} of {}; take another for one of them",
                    claim.address, other.address, other.owner
                );
                faults.add(at, &claim.key, message);
            }
        }
    }
}

/// Whether a system lets only one of both be listened on. `[::]` takes IPv4 as well.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 asks for any free one.
    a.port() == b.port() && a.port() != 0 && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

fn covers(all: IpAddr, one: IpAddr) -> bool {
    let (all, one) = (all.to_canonical(), one.to_canonical());
    all == one || all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

#[cfg(test)]
mod tests {
    #[test]
    fn knows_which_addresses_exclude_each_other() {
        let clash = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(super::clash(a, b), super::clash(b, a));
            super::clash(a, b)
        };
        assert!(clash("127.0.0.1:80", "127.0.0.1:80"));
        assert!(clash("0.0.0.0:80", "127.0.0.1:80"));
        assert!(clash("[::]:80", "127.0.0.1:80"));
        assert!(clash("[::]:80", "0.0.0.0:80"));
        assert!(clash("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
        assert!(!clash("0.0.0.0:80", "[::1]:80"));
        assert!(!clash("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!clash("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
    }
}

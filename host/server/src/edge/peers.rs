//! How many connections one client may have, told by its address, so that it cannot take all there are.
//!
//! Behind a proxy or a load balancer everybody has one and the same address: those are listed, and not counted. Does not know
//! what is done with a connection, nor how many there may be in all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;

/// Cheap to clone; all clones count together.
#[derive(Clone)]
pub(super) struct Peers {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    proxies: Arc<[IpNet]>,
}

/// One connection of a client, until it is dropped.
pub(super) struct PeerPlace {
    /// None: it is not counted.
    counted: Option<(Peers, IpAddr)>,
}

impl Peers {
    /// `most`: connections of one client at the same time. Those from `proxies` are not counted.
    pub fn new(most: usize, proxies: &[IpNet]) -> Self {
        Self { counts: Arc::default(), most, proxies: proxies.into() }
    }

    /// A place for one more connection of a client; none if it has as many as it may have.
    pub fn enter(&self, address: IpAddr) -> Option<PeerPlace> {
        let address = address.to_canonical();
        if self.proxies.iter().any(|network| network.contains(&address)) {
            return Some(PeerPlace { counted: None });
        }
        let client = client(address);
        let mut counts = self.lock();
        let count = counts.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(PeerPlace { counted: Some((self.clone(), client)) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let Some((peers, client)) = &self.counted else { return };
        let mut counts = peers.lock();
        if let Some(count) = counts.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(client);
            }
        }
    }
}

/// Whose an address is: in IPv6 everybody has a network of 64 bits, and may come from any address in it.
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("test addresses are valid")
    }

    #[test]
    fn one_client_has_so_many_connections_and_another_has_its_own() {
        let peers = Peers::new(2, &[]);
        let both = ["203.0.113.1", "::ffff:203.0.113.1"].map(|text| peers.enter(address(text)).expect("there is room"));
        assert!(peers.enter(address("203.0.113.1")).is_none(), "however it is written, it is one client");
        assert!(peers.enter(address("203.0.113.2")).is_some());
        drop(both);
        assert!(peers.enter(address("203.0.113.1")).is_some());
        assert!(peers.lock().is_empty(), "nothing is kept of those that are gone");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let peers = Peers::new(1, &[]);
        let _one = peers.enter(address("2001:db8:1:2::1")).expect("there is room");
        assert!(peers.enter(address("2001:db8:1:2:ffff::1")).is_none());
        assert!(peers.enter(address("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn those_behind_a_proxy_are_not_counted() {
        let proxies = ["10.0.0.0/8", "::1/128"].map(|text| text.parse().expect("a network"));
        let peers = Peers::new(0, &proxies);
        for text in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert!(peers.enter(address(text)).is_some(), "{text}");
        }
        assert!(peers.enter(address("11.0.0.1")).is_none());
    }
}

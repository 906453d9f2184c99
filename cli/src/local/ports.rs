//! Which ports the peers of a local hypercube use, and whether they are free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use hcube_core::ids::Vertex;

/// Distance between the ports of two kinds; more than the peers that a local hypercube has.
const STRIDE: u16 = 100;
/// Where a search for free ports starts and ends.
const SEARCH: std::ops::Range<u16> = 8000..32_000;

/// Whether peers reach each other directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// They do.
    #[default]
    Direct,
    /// Every peer has a loopback address of its own, so that whoever stands at its announced address knows who
    /// calls.
    Proxied,
}

/// The addresses of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// For clients: base + vertex.
    pub client: SocketAddr,
    /// Where others reach it: base + 100 + vertex.
    pub peer: SocketAddr,
    /// Where it listens for others: the same, unless something stands between.
    pub peer_listen: SocketAddr,
    /// For administration: base + 200 + vertex.
    pub admin: SocketAddr,
}

impl Ports {
    /// Those of a vertex.
    pub fn new(base: u16, vertex: Vertex, network: Network) -> Self {
        let at = |kind: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, base + kind * STRIDE + vertex.0));
        let peer_listen = match network {
            Network::Direct => at(1),
            Network::Proxied => SocketAddr::from((own_host(vertex), at(1).port())),
        };
        Self { client: at(0), peer: at(1), peer_listen, admin: at(2) }
    }

    /// Refuses ports that somebody listens on, by name.
    pub fn check_free(self, label: &str) -> anyhow::Result<()> {
        for (address, purpose) in
            [(self.client, "clients"), (self.peer_listen, "peers"), (self.admin, "administration")]
        {
            match TcpListener::bind(address) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
                    "port {} is taken, where peer {label} would listen for {purpose}; \
                     stop what uses it, or choose another --base-port",
                    address.port()
                ),
                Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
            }
        }
        Ok(())
    }
}

/// The loopback address that is a vertex's own: 127.0.1.1 and up.
fn own_host(vertex: Vertex) -> Ipv4Addr {
    let [high, low] = (vertex.0 + 1).to_be_bytes();
    Ipv4Addr::new(127, 0, high + 1, low)
}

/// The vertex whose own address this is.
pub fn vertex_of(host: std::net::IpAddr) -> Option<Vertex> {
    let std::net::IpAddr::V4(host) = host else { return None };
    let [127, 0, high, low] = host.octets() else { return None };
    u16::from_be_bytes([high.checked_sub(1)?, low]).checked_sub(1).map(Vertex)
}

/// The first base port from 8000 on at which this many peers find their ports free.
pub fn find_free(peers: u16) -> anyhow::Result<u16> {
    let is_free = |base: u16, vertex: u16| {
        let ports = Ports::new(base, Vertex(vertex), Network::Direct);
        ports.check_free("").is_ok()
    };
    let free = |base: &u16| (0..peers).all(|vertex| is_free(*base, vertex));
    SEARCH.step_by(usize::from(3 * STRIDE)).find(free).context("no free ports were found for the peers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_never_share_a_port() {
        let mut all: Vec<_> = (0..64)
            .map(|vertex| Ports::new(8000, Vertex(vertex), Network::Direct))
            .flat_map(|ports| [ports.client, ports.peer, ports.admin])
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 3 * 64);
        assert_eq!(Ports::new(8000, Vertex(5), Network::Direct).client.port(), 8005);
    }

    #[test]
    fn a_peer_behind_a_proxy_is_known_by_its_address() {
        for vertex in [0, 1, 63, 254, 255, 256].map(Vertex) {
            let ports = Ports::new(8000, vertex, Network::Proxied);
            assert_ne!(ports.peer_listen, ports.peer);
            assert_eq!(vertex_of(ports.peer_listen.ip()), Some(vertex));
            assert_eq!(vertex_of(ports.peer.ip()), None);
        }
    }

    #[test]
    fn a_taken_port_is_named_with_its_peer() {
        let base = find_free(2).unwrap();
        let ports = Ports::new(base, Vertex(1), Network::Direct);
        let _held = TcpListener::bind(ports.peer).unwrap();
        let error = ports.check_free("1").unwrap_err().to_string();
        assert!(error.contains(&format!("port {}", base + 101)), "{error}");
        assert!(error.contains("peer 1 would listen for peers"), "{error}");
        assert_ne!(find_free(2).unwrap(), base);
    }
}

//! Which ports the peers of a local hypercube use, and whether they are free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use hcube_core::ids::Vertex;

/// Distance between the ports of two kinds; more than the peers that a local hypercube has.
const STRIDE: u16 = 100;
/// Where a search for free ports starts and ends.
const SEARCH: std::ops::Range<u16> = 8000..32_000;

/// The three addresses of one peer, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// For clients: base + vertex.
    pub client: SocketAddr,
    /// For other peers: base + 100 + vertex.
    pub peer: SocketAddr,
    /// For administration: base + 200 + vertex.
    pub admin: SocketAddr,
}

impl Ports {
    /// Those of a vertex.
    pub fn new(base: u16, vertex: Vertex) -> Self {
        let at = |kind: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, base + kind * STRIDE + vertex.0));
        Self { client: at(0), peer: at(1), admin: at(2) }
    }

    /// Refuses ports that somebody listens on, by name.
    pub fn check_free(self, label: &str) -> anyhow::Result<()> {
        for (address, purpose) in
            [(self.client, "clients"), (self.peer, "peers"), (self.admin, "administration")]
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

/// The first base port from 8000 on at which this many peers find their ports free.
pub fn find_free(peers: u16) -> anyhow::Result<u16> {
    let free = |base: &u16| (0..peers).all(|vertex| Ports::new(*base, Vertex(vertex)).check_free("").is_ok());
    SEARCH.step_by(usize::from(3 * STRIDE)).find(free).context("no free ports were found for the peers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_never_share_a_port() {
        let mut all: Vec<_> = (0..64)
            .map(|vertex| Ports::new(8000, Vertex(vertex)))
            .flat_map(|ports| [ports.client, ports.peer, ports.admin])
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 3 * 64);
        assert_eq!(Ports::new(8000, Vertex(5)).client.port(), 8005);
    }

    #[test]
    fn a_taken_port_is_named_with_its_peer() {
        let base = find_free(2).unwrap();
        let ports = Ports::new(base, Vertex(1));
        let _held = TcpListener::bind(ports.peer).unwrap();
        let error = ports.check_free("1").unwrap_err().to_string();
        assert!(error.contains(&format!("port {}", base + 101)), "{error}");
        assert!(error.contains("peer 1 would listen for peers"), "{error}");
        assert_ne!(find_free(2).unwrap(), base);
    }
}

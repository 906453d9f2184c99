//! How the peers of a local hypercube become one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hcube_api::admin::{Bootstrap, Founder, Identity};
use hcube_core::ids::Vertex;

use super::Fleet;
use crate::local::admin::Admin;

/// How long a peer may take until it answers at all; opening 10 GiB takes under 10 s.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

impl Fleet {
    /// Waits until every peer tells who it is, and founds the hypercube.
    pub(super) async fn found(&mut self) -> anyhow::Result<()> {
        let admin = Admin::new(&self.home.token_file())?;
        let mut founders = Vec::new();
        for vertex in self.cube().vertices() {
            let (ports, identity) = (self.ports(vertex), self.identify(&admin, vertex).await?);
            founders.push(Founder {
                incarnation: identity.incarnation,
                vertex,
                peer_address: ports.peer.to_string(),
                client_address: ports.client.to_string(),
                zone: String::new(),
            });
        }
        let bootstrap = Bootstrap {
            cluster_id: self.state.cluster_id,
            slots: self.state.slots,
            replication: self.state.replication,
            founders,
        };
        let first = self.ports(Vertex(0)).admin;
        admin.bootstrap(first, &bootstrap).await.context("the hypercube cannot be founded")?;
        self.state.founded = true;
        self.home.store(&self.state)
    }

    /// Waits until a peer tells who it is, and refuses one whose disk is another hypercube's.
    pub(super) async fn identify(&self, admin: &Admin, vertex: Vertex) -> anyhow::Result<Identity> {
        let begun = Instant::now();
        loop {
            match admin.identity(self.ports(vertex).admin).await {
                Ok(Identity { cluster_id: Some(other), .. }) if other != self.state.cluster_id => bail!(
                    "{} belongs to another hypercube ({other}) than {} ({}); move it away, and the peer is \
                     filled from the others",
                    self.data_dir(vertex).display(),
                    self.dir().display(),
                    self.state.cluster_id
                ),
                Ok(identity) => return Ok(identity),
                Err(error) if begun.elapsed() >= ANSWER_PATIENCE => {
                    return Err(error.context(self.failure(vertex, "does not answer")));
                }
                Err(_) => self.pause(vertex).await?,
            }
        }
    }
}

//! Bodies of the administration port.

mod members;
mod recovery;

use hcube_core::ids::{ClusterId, Incarnation, NodeId, Vertex};
use hcube_core::limits;
use hcube_core::meta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::json::UuidSchema;

pub use recovery::{Recovered, UnsafeRecover};

pub use members::{
    AddMember, LostMember, MemberStatus, Members, OfCluster, PatchCluster, ReadReplicas, Removed,
    SetReadReplicas, cluster_query,
};

/// Body of `POST /v1/bootstrap`, sent to exactly one peer. Repeating it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Names the hypercube for ever; minted by whoever founds it.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// S, a power of two up to 4,096; 64 where left out.
    #[serde(default = "slots_default")]
    #[schemars(extend("minimum" = 1, "maximum" = 4096))]
    pub slots: u16,
    /// R: 1, 3, 5 or 7; 3 where left out.
    #[serde(default = "replication_default")]
    #[schemars(extend("enum" = [1, 3, 5, 7]))]
    pub replication: u8,
    /// The first peers; their vertices fill 0..N.
    pub founders: Vec<Founder>,
}

/// A peer that takes part in the founding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Founder {
    /// What its identity endpoint tells.
    #[schemars(with = "UuidSchema")]
    pub incarnation: Incarnation,
    /// Its position.
    #[schemars(with = "u16")]
    pub vertex: Vertex,
    /// Where other peers reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// Its failure domain; empty when unknown.
    #[serde(default)]
    pub zone: String,
}

fn slots_default() -> u16 {
    limits::SLOTS_DEFAULT
}

fn replication_default() -> u8 {
    limits::REPLICATION_DEFAULT
}

impl Bootstrap {
    /// Checks what can be known before anybody is asked.
    ///
    /// # Errors
    /// `invalid-argument`.
    pub fn check(&self) -> Result<(), Problem> {
        let refuse = |detail: String| Err(Problem::invalid(detail));
        if !self.slots.is_power_of_two() || self.slots > limits::SLOTS_MAX {
            return refuse(format!(
                "slots is a power of two up to {}, not {}",
                limits::SLOTS_MAX,
                self.slots
            ));
        }
        check_replication(self.replication)?;
        if self.founders.is_empty() || self.founders.len() > usize::from(limits::PEERS_MAX) {
            return refuse(format!(
                "there are 1 to {} founders, not {}",
                limits::PEERS_MAX,
                self.founders.len()
            ));
        }
        let mut vertices: Vec<usize> = self.founders.iter().map(|founder| founder.vertex.0.into()).collect();
        vertices.sort_unstable();
        if !vertices.iter().copied().eq(0..self.founders.len()) {
            return refuse("the founders' vertices fill 0..N without gap or repeat".into());
        }
        let mut disks: Vec<Incarnation> = self.founders.iter().map(|founder| founder.incarnation).collect();
        disks.sort_unstable();
        if disks.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("two founders have the same incarnation".into());
        }
        self.founders.iter().try_for_each(Founder::check)
    }
}

impl Founder {
    fn check(&self) -> Result<(), Problem> {
        check_place(self.vertex, &self.peer_address, &self.client_address, &self.zone)
    }
}

/// Checks where a peer is said to be.
fn check_place(vertex: Vertex, peer_address: &str, client_address: &str, zone: &str) -> Result<(), Problem> {
    for (field, address) in [("peer_address", peer_address), ("client_address", client_address)] {
        let parts = address.rsplit_once(':');
        let port = parts.and_then(|(_, port)| crate::headers::decimal::<u16>(port));
        let named = parts.is_some_and(|(host, _)| !host.is_empty());
        if !named || address.len() > limits::ADDRESS_BYTES_MAX || port.is_none_or(|port| port == 0) {
            return Err(Problem::invalid(format!("{field} of vertex {vertex} is not host:port")));
        }
    }
    if zone.len() > limits::ADDRESS_BYTES_MAX {
        return Err(Problem::invalid(format!("the zone of vertex {vertex} is too long")));
    }
    Ok(())
}

/// Checks R.
pub(crate) fn check_replication(replication: u8) -> Result<(), Problem> {
    if [1, 3, 5, 7].contains(&replication) {
        Ok(())
    } else {
        Err(Problem::invalid(format!("replication is 1, 3, 5 or 7, not {replication}")))
    }
}

impl From<Founder> for meta::Founder {
    fn from(founder: Founder) -> Self {
        let Founder { incarnation, vertex, peer_address, client_address, zone } = founder;
        Self { incarnation, vertex, zone, peer_address, client_address }
    }
}

/// Answer to a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bootstrapped {
    /// The hypercube.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// The node ids of the founders, by vertex.
    #[schemars(with = "Vec<u64>")]
    pub node_ids: Vec<NodeId>,
    /// Whether this request founded it, rather than an earlier one.
    pub created: bool,
}

/// Answer to `GET /v1/identity`: who this peer is. A peer that belongs to no hypercube has an incarnation only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// Written once to its disk.
    #[schemars(with = "UuidSchema")]
    pub incarnation: Incarnation,
    /// Its hypercube.
    #[serde(default)]
    #[schemars(with = "Option<UuidSchema>")]
    pub cluster_id: Option<ClusterId>,
    /// Its node id.
    #[serde(default)]
    #[schemars(with = "Option<u64>")]
    pub node_id: Option<NodeId>,
    /// Its vertex.
    #[serde(default)]
    #[schemars(with = "Option<u16>")]
    pub vertex: Option<Vertex>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(vertices: &[u16]) -> Bootstrap {
        let founder = |&vertex: &u16| Founder {
            incarnation: Incarnation(u128::from(vertex) + 1),
            vertex: Vertex(vertex),
            peer_address: "127.0.0.1:9000".into(),
            client_address: "[::1]:8000".into(),
            zone: String::new(),
        };
        let founders = vertices.iter().map(founder).collect();
        Bootstrap { cluster_id: ClusterId(1), slots: 64, replication: 3, founders }
    }

    #[test]
    fn defaults_are_those_of_the_limits() {
        let text = format!(r#"{{"cluster_id":"{}","founders":[]}}"#, ClusterId(1));
        let read: Bootstrap = serde_json::from_str(&text).unwrap();
        assert_eq!((read.slots, read.replication), (64, 3));
    }

    #[test]
    fn impossible_foundings_are_refused() {
        assert_eq!(bootstrap(&[2, 0, 1]).check(), Ok(()));
        assert!(bootstrap(&[]).check().is_err());
        assert!(bootstrap(&[0, 2]).check().is_err());
        assert!(bootstrap(&[0, 0]).check().is_err());
        assert!(Bootstrap { slots: 48, ..bootstrap(&[0]) }.check().is_err());
        assert!(Bootstrap { slots: 8192, ..bootstrap(&[0]) }.check().is_err());
        assert!(Bootstrap { replication: 2, ..bootstrap(&[0]) }.check().is_err());
        for address in ["", "host", ":80", "host:0", "host:+1", "host:99999"] {
            let mut wrong = bootstrap(&[0]);
            wrong.founders[0].peer_address = address.into();
            assert!(wrong.check().is_err(), "{address}");
        }
        let mut twins = bootstrap(&[0, 1]);
        twins.founders[1].incarnation = twins.founders[0].incarnation;
        assert!(twins.check().is_err());
    }
}

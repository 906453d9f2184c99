//! Bodies about members and what the hypercube as a whole is meant to be.

use hcube_core::ids::{ClusterId, Incarnation, NodeId, Vertex};
use hcube_core::limits;
use hcube_core::meta::change::NewMember;
use hcube_core::topic::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{check_place, check_replication};
use crate::cluster::MemberState;
use crate::error::Problem;
use crate::json::{NameSchema, UuidSchema};
use crate::label::Label;
use crate::query::pairs;

/// Answer to `GET /v1/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Members {
    /// The hypercube.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// Rises with every change of members or placement.
    pub epoch: u64,
    /// Whether slots stay where they are, whatever is wished.
    pub paused: bool,
    /// The members by vertex.
    pub members: Vec<MemberStatus>,
    /// Nodes that were replaced at their vertices, as long as a slot still counts on them.
    pub lost: Vec<LostMember>,
}

/// How a member stands, as the peer that answers sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberStatus {
    /// Its vertex as a number.
    #[schemars(with = "u16")]
    pub vertex: Vertex,
    /// Its vertex as a label.
    pub label: Label,
    /// Its node id, never reused.
    #[schemars(with = "u64")]
    pub node_id: NodeId,
    /// The disk that the node id is bound to.
    #[schemars(with = "UuidSchema")]
    pub incarnation: Incarnation,
    /// Its failure domain; empty when unknown.
    pub zone: String,
    /// Where other peers reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// Whether it answers, joins or leaves.
    pub state: MemberState,
    /// Slots that it is meant to hold.
    pub replicas: u32,
    /// Slots that it leads, as far as the answering peer knows.
    pub leads: u32,
    /// Slots that it is meant to hold and that are not reported to be in place yet.
    pub arriving: u32,
    /// What keeps it from being removed: replicas of slots that are or may be there still, and one more for the
    /// metadata while that counts on its vote. 0 means that a drained member can be removed.
    pub held: u32,
    /// Why its drain cannot go on at the moment, in words; null while it can, and where there is none.
    #[serde(default)]
    pub obstacle: Option<String>,
}

/// A node that was replaced because its disk is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostMember {
    /// The vertex at which it stood, where its replacement stands now.
    #[schemars(with = "u16")]
    pub vertex: Vertex,
    /// The same as a label.
    pub label: Label,
    /// Its node id.
    #[schemars(with = "u64")]
    pub node_id: NodeId,
    /// Its disk, which may never take part again.
    #[schemars(with = "UuidSchema")]
    pub incarnation: Incarnation,
    /// Slots whose replicas on it still have to be replaced.
    pub replicas: u32,
}

/// Body of `POST /v1/members`: a peer that has started, with an empty disk and in no hypercube, becomes a member.
/// Repeating it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// The hypercube.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// The next vertex, N; or that of the node that it replaces.
    #[schemars(with = "u16")]
    pub vertex: Vertex,
    /// What its identity endpoint tells.
    #[schemars(with = "UuidSchema")]
    pub incarnation: Incarnation,
    /// Where other peers reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// Its failure domain; empty when unknown.
    #[serde(default)]
    pub zone: String,
    /// The node at that vertex whose disk is lost for good, and whose replicas are to be filled from the others.
    #[serde(default)]
    #[schemars(with = "Option<u64>")]
    pub replaces: Option<NodeId>,
}

impl AddMember {
    /// Checks what can be known before anybody is asked.
    ///
    /// # Errors
    /// `invalid-argument`.
    pub fn check(&self) -> Result<(), Problem> {
        check_place(self.vertex, &self.peer_address, &self.client_address, &self.zone)
    }
}

impl From<AddMember> for NewMember {
    fn from(add: AddMember) -> Self {
        let AddMember { cluster_id: _, vertex, incarnation, peer_address, client_address, zone, replaces } =
            add;
        Self { incarnation, vertex, zone, peer_address, client_address, replaces }
    }
}

/// Body of a request that needs nothing but the hypercube that it is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfCluster {
    /// The hypercube.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
}

/// Answer to `DELETE /v1/members/{node_id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Whether the node is not a member any more: true.
    pub removed: bool,
    /// The node.
    #[schemars(with = "u64")]
    pub node_id: NodeId,
}

/// Body of `PATCH /v1/cluster`: what is left out stays. At least one of the two is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchCluster {
    /// The hypercube.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// R from now on: 1, 3, 5 or 7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [1, 3, 5, 7, null]))]
    pub replication: Option<u8>,
    /// Whether slots stay where they are, whatever is wished. Those under way arrive nevertheless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

impl PatchCluster {
    /// Checks what can be known before anybody is asked.
    ///
    /// # Errors
    /// `invalid-argument`.
    pub fn check(&self) -> Result<(), Problem> {
        if (self.replication, self.paused) == (None, None) {
            return Err(Problem::invalid("give replication, paused or both"));
        }
        self.replication.map_or(Ok(()), check_replication)
    }
}

/// Body of `PUT /v1/topics/{topic}/read-replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetReadReplicas {
    /// The hypercube.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// Replicas that only read, beside those that vote; as many as there are peers for.
    #[schemars(extend("maximum" = 16))]
    pub count: u8,
}

impl SetReadReplicas {
    /// Checks what can be known before anybody is asked.
    ///
    /// # Errors
    /// `invalid-argument`.
    pub fn check(&self) -> Result<(), Problem> {
        if self.count <= limits::READ_REPLICAS_MAX {
            return Ok(());
        }
        let most = limits::READ_REPLICAS_MAX;
        Err(Problem::invalid(format!("a topic has 0 to {most} read replicas, not {}", self.count)))
    }
}

/// Answer to `PUT /v1/topics/{topic}/read-replicas`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadReplicas {
    /// The topic.
    #[schemars(with = "NameSchema")]
    pub topic: Name,
    /// The replicas that only read that each of its slots is meant to have.
    pub count: u8,
}

/// The query of a request that has no body: the parameter `cluster_id`, which must be given.
///
/// # Errors
/// `invalid-argument`.
pub fn cluster_query(query: Option<&str>) -> Result<ClusterId, Problem> {
    let mut cluster = None;
    for (name, value) in pairs(query.unwrap_or_default())? {
        if name != "cluster_id" {
            return Err(Problem::invalid(format!("there is no parameter {name:?} here")));
        }
        let id = value.parse().map_err(|error| Problem::invalid(format!("cluster_id: {error}")))?;
        cluster = Some(id);
    }
    cluster.ok_or_else(|| Problem::invalid("the parameter cluster_id is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn add() -> AddMember {
        AddMember {
            cluster_id: ClusterId(1),
            vertex: Vertex(3),
            incarnation: Incarnation(9),
            peer_address: "peer-3:9000".into(),
            client_address: "peer-3:8000".into(),
            zone: String::new(),
            replaces: None,
        }
    }

    #[test]
    fn a_peer_joins_with_the_least_that_is_needed() {
        let text = format!(
            r#"{{"cluster_id":"{}","vertex":3,"incarnation":"{}","peer_address":"peer-3:9000","client_address":"peer-3:8000"}}"#,
            ClusterId(1),
            Incarnation(9)
        );
        let read: AddMember = json::from_slice(text.as_bytes()).unwrap();
        assert_eq!((read.check(), &read), (Ok(()), &add()));
        assert!(AddMember { peer_address: "peer-3".into(), ..add() }.check().is_err());
        assert!(AddMember { zone: "z".repeat(301), ..add() }.check().is_err());
    }

    #[test]
    fn a_patch_says_something_that_can_be() {
        let patch = PatchCluster { cluster_id: ClusterId(1), replication: None, paused: None };
        assert!(patch.check().is_err());
        assert_eq!(PatchCluster { paused: Some(false), ..patch }.check(), Ok(()));
        assert_eq!(PatchCluster { replication: Some(5), ..patch }.check(), Ok(()));
        assert!(PatchCluster { replication: Some(2), ..patch }.check().is_err());
    }

    #[test]
    fn read_replicas_have_a_bound() {
        let set = |count| SetReadReplicas { cluster_id: ClusterId(1), count }.check().is_ok();
        assert_eq!([set(0), set(16), set(17)], [true, true, false]);
    }

    #[test]
    fn a_request_without_body_names_its_hypercube_in_the_query() {
        let query = format!("cluster_id={}", ClusterId(7));
        assert_eq!(cluster_query(Some(&query)), Ok(ClusterId(7)));
        for wrong in [None, Some(""), Some("cluster_id="), Some("cluster_id=7"), Some("cluster=1")] {
            assert!(cluster_query(wrong).is_err(), "{wrong:?}");
        }
    }
}

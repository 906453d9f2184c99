//! Bodies of the answers about the hypercube as a whole.

use hcube_core::ids::{ClusterId, NodeId, Slot, Vertex};
use hcube_core::topic::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::{NameSchema, UuidSchema};
use crate::label::Label;

mod plan;

pub use plan::{Plan, PlanQuery, PlannedMove};

/// Answer to `GET /v1/cluster`: the hypercube as the peer that answers sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cluster {
    /// Names the hypercube for ever.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// The peer that answers.
    pub answered_by: Label,
    /// Its version.
    pub version: String,
    /// N, the number of vertices.
    pub peers: u16,
    /// D, the digits of a label.
    pub dimension: u8,
    /// R, replicas of each slot as wished for.
    pub replication: u8,
    /// Rises with every change of placement.
    pub epoch: u64,
    /// Which formats all its peers know. It rises by itself once all of them run an hcube that knows a newer one; an
    /// hcube that does not know it cannot take part any more.
    #[serde(default)]
    pub feature_level: u32,
    /// The peers by vertex.
    pub members: Vec<Member>,
    /// Pairs of neighbours that differ in one digit, the lower vertex first.
    pub edges: Vec<[Label; 2]>,
    /// The group that holds members, placement and topics.
    pub metadata: Group,
    /// The slots in order, S of them.
    pub slots: Vec<SlotPlacement>,
    /// How far the hypercube is from where it should be.
    #[serde(default)]
    pub rebalance: Rebalance,
    /// What was given up for good.
    #[serde(default)]
    pub losses: Vec<Loss>,
}

/// How far the hypercube is from where it should be. It is there when nothing is moving, waiting or under-replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rebalance {
    /// The epoch that this is about: after a change, an answer of an earlier epoch tells nothing.
    #[serde(default)]
    pub epoch: u64,
    /// Whether slots stay where they are, whatever is wished.
    pub paused: bool,
    /// Slots whose replicas are under way.
    pub moving: u32,
    /// Slots that still have to move.
    pub waiting: u32,
    /// Slots with fewer replicas than they should have, those on lost disks not counted.
    pub under_replicated: u32,
    /// Slots that lost the disks of most of their voters: nothing can be published there until somebody decides with
    /// `POST /v1/unsafe-recover` that they go on with what is left.
    #[serde(default)]
    pub without_majority: u32,
}

/// Something that was given up for good, by somebody's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Loss {
    /// The slot whose majority was lost; null where it was that of the metadata.
    #[serde(default)]
    #[schemars(with = "Option<u16>")]
    pub slot: Option<Slot>,
    /// The epoch in which it was given up.
    pub epoch: u64,
    /// The node whose replica went on alone; null where nothing was left and the slot began anew, empty.
    #[serde(default)]
    #[schemars(with = "Option<u64>")]
    pub survivor: Option<NodeId>,
}

/// What the answering peer knows of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// It answers.
    Up,
    /// It does not answer.
    Down,
    /// The answering peer keeps no link to it, so it cannot tell.
    Unknown,
    /// It takes over its first replicas, none of which is in place yet.
    Joining,
    /// It is being drained: it gives its replicas away.
    Leaving,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Its vertex as a label.
    pub label: Label,
    /// Its vertex as a number.
    #[schemars(with = "u16")]
    pub vertex: Vertex,
    /// Its node id, never reused.
    #[schemars(with = "u64")]
    pub node_id: NodeId,
    /// Whether it answers.
    pub state: MemberState,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// Its failure domain; empty when unknown.
    pub zone: String,
}

/// One Raft group and where it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Where its leader is; null while none is known.
    pub leader: Option<Label>,
    /// Where its replicas are.
    pub replicas: Vec<Label>,
}

/// Whether a slot's replicas are where they are meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlotState {
    /// They are.
    #[default]
    Settled,
    /// Some are on their way.
    Moving,
}

/// One slot and where it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotPlacement {
    /// The slot.
    #[schemars(with = "u16")]
    pub slot: Slot,
    /// Where its leader is; null while none is known.
    pub leader: Option<Label>,
    /// Where its replicas are meant to be, those that only read included.
    pub replicas: Vec<Label>,
    /// Whether its replicas are where they are meant to be.
    #[serde(default)]
    pub state: SlotState,
    /// Those of `replicas` that do not count yet, as far as the answering peer knows, which has to hold the slot.
    #[serde(default)]
    pub arriving: Vec<Label>,
    /// Where replicas are that are to go.
    #[serde(default)]
    pub leaving: Vec<Label>,
    /// Those of `replicas` that only read.
    #[serde(default)]
    pub readers: Vec<Label>,
    /// Whether it lost the disks of most of its voters, and waits for somebody to decide how it goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub majority_lost: bool,
}

/// Answer to `GET /v1/cluster/route/{topic}`: the way of a publish from the peer that answers to the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The topic.
    #[schemars(with = "NameSchema")]
    pub topic: Name,
    /// The partition asked about.
    pub partition: u16,
    /// Its slot.
    #[schemars(with = "u16")]
    pub slot: Slot,
    /// The vertex that the linear hash gives: a client's first guess.
    pub home: Label,
    /// Where the leader is; null while none is known.
    pub leader: Option<Label>,
    /// Where the replicas are.
    pub replicas: Vec<Label>,
    /// The vertices passed, both ends included; empty while no leader is known.
    pub path: Vec<Label>,
}

/// Answer to `/healthz` and, with 200, to `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
}

impl Health {
    /// The answer of a peer that is well.
    #[must_use]
    pub fn ok() -> Self {
        Self { status: "ok".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_looks_as_documented() {
        let text =
            r#"{"topic":"t","partition":0,"slot":9,"home":"001","leader":null,"replicas":["001"],"path":[]}"#;
        let route: Route = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&route).unwrap(), text);
    }

    #[test]
    fn a_slot_looks_as_documented() {
        let text = r#"{"slot":9,"leader":"01","replicas":["01","10","11"],"state":"moving","arriving":["11"],"leaving":["00"],"readers":["10"]}"#;
        let slot: SlotPlacement = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&slot).unwrap(), text);
        let settled: SlotPlacement =
            serde_json::from_str(r#"{"slot":9,"leader":null,"replicas":["01"]}"#).unwrap();
        assert_eq!((settled.state, settled.arriving.len()), (SlotState::Settled, 0));
        assert!(!settled.majority_lost);
    }

    #[test]
    fn answers_of_newer_peers_are_read() {
        // Only requests refuse members that they do not know.
        assert!(serde_json::from_str::<Health>(r#"{"status":"ok","since_ms":5}"#).is_ok());
    }
}

//! What the operator has found, and what it has to remember.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Amount;
use crate::topic::TopicDeletionPolicy;

/// How a hypercube stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HypercubeStatus {
    /// The generation of the resource that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The operator that looks after it: its namespace and its Lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Peers that belong to it.
    #[serde(default)]
    pub replicas: i32,
    /// Labels of its pods, for `kubectl scale` and autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Names the hypercube for ever. It is written before the hypercube is founded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// With how many peers it is, or was, founded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub founders: Option<u16>,
    /// Whether it was founded; from then on, empty volumes are replaced and never founded anew.
    #[serde(default)]
    pub founded: bool,
    /// Digits of a vertex label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u8>,
    /// How many replicas each slot should have, as the hypercube itself has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u8>,
    /// The feature level that the hypercube has; spec.featureLevel cannot be less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_level: Option<u32>,
    /// Its peers by vertex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// Its slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<SlotsStatus>,
    /// The largest size that a volume has or was asked to have; storage.size cannot be less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::storage::found_schema")]
    pub storage_size: Option<Amount>,
    /// How far the rotation of its secrets is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_rotation: Option<Rotation>,
    /// Topics that HypercubeTopic resources with another deletionPolicy than Retain stand for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_topics: Vec<ManagedTopic>,
    /// Topics whose resource was deleted while the operator was away. Create a HypercubeTopic of that name to adopt
    /// one, or drop it with the annotation `hcube.dev/drop-orphans: ID,ID` on the Hypercube.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphaned_topics: Vec<OrphanedTopic>,
    /// Ready, Reconciling, Stalled, Draining, Rebalancing and Degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its vertex as a label.
    pub label: String,
    /// Its vertex as a number, which is its pod's ordinal.
    pub vertex: u16,
    /// Its node id, never reused.
    pub node_id: u64,
    /// Its pod.
    pub pod: String,
    /// Its failure domain.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// How it stands.
    pub state: MemberState,
    /// Slots that it should hold.
    pub replicas: u32,
}

/// How a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberState {
    /// It is ready.
    Up,
    /// It is not.
    Down,
    /// It takes over its first replicas.
    Joining,
    /// It gives its replicas away.
    Leaving,
}

/// The slots of a hypercube.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotsStatus {
    /// All of them.
    pub total: u32,
    /// Those with fewer replicas than they should have.
    pub under_replicated: u32,
    /// Those whose replicas are on their way, or have to be.
    pub moving: u32,
}

/// How far a rotation of secrets is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rotation {
    /// The last rotation that was begun.
    pub number: u32,
    /// Settled, or the step that is being rolled out: Introduced, Switched.
    pub step: String,
}

/// A topic that a HypercubeTopic stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedTopic {
    /// The topic.
    pub name: String,
    /// Names this life of the topic.
    pub id: String,
    /// The resource, `namespace/name`.
    pub resource: String,
    /// What should become of the topic with its resource.
    pub deletion_policy: TopicDeletionPolicy,
}

/// A topic that lost its HypercubeTopic unseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrphanedTopic {
    /// The topic.
    pub name: String,
    /// Names this life of the topic.
    pub id: String,
    /// The resource that stood for it, `namespace/name`.
    pub resource: String,
}

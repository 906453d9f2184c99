//! The resource `HypercubeTopic`: one topic, declared.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Amount;

/// What a topic should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "hcube.dev",
    version = "v1alpha1",
    kind = "HypercubeTopic",
    plural = "hypercubetopics",
    singular = "hypercubetopic",
    shortname = "hctopic",
    category = "hcube",
    namespaced,
    status = "HypercubeTopicStatus",
    derive = "PartialEq",
    doc = "A topic of a Hypercube, created and kept as it is declared here.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the topic is as declared"
    ),
    printcolumn(
        name = "Hypercube",
        type_ = "string",
        json_path = ".spec.hypercube.name",
        description = "Where the topic is"
    ),
    printcolumn(
        name = "Topic",
        type_ = "string",
        json_path = ".status.topic",
        description = "Its name there"
    ),
    printcolumn(
        name = "Partitions",
        type_ = "integer",
        json_path = ".spec.partitions",
        description = "Its partitions"
    ),
    printcolumn(
        name = "Messages",
        type_ = "integer",
        json_path = ".status.messages",
        description = "Messages kept when it was last looked at"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready or not",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Since when the resource is there"
    ),
    validation = Rule::new("has(self.spec.topic) || self.metadata.name.size() <= 255")
        .message("give spec.topic: the resource's own name is too long for a topic")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.partitions == oldSelf.partitions")
        .message("partitions is fixed when the topic is created"),
    validation = Rule::new("self.hypercube == oldSelf.hypercube").message("a topic stays in its hypercube"),
    validation = Rule::new("has(self.topic) == has(oldSelf.topic) && (!has(self.topic) || self.topic == oldSelf.topic)")
        .message("topic is fixed when the resource is created")
)]
pub struct HypercubeTopicSpec {
    /// Where the topic is.
    pub hypercube: HypercubeRef,
    /// Its name there; the resource's own where it is left out. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("pattern" = r"^([A-Za-z0-9_-]|\.\.?[A-Za-z0-9_-]|\.{3})[A-Za-z0-9._-]*$"))]
    pub topic: Option<String>,
    /// Its partitions. Fixed.
    #[serde(default = "partitions_default")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: u16,
    /// How long messages are kept; for ever where nothing is said.
    #[serde(default)]
    pub retention: Retention,
    /// Replicas that only read, beside those that vote.
    #[serde(default)]
    #[schemars(range(min = 0, max = 16))]
    pub read_replicas: u8,
    /// What becomes of the topic when this resource is deleted: Retain keeps it, Delete deletes it with its
    /// messages, DeleteIfEmpty deletes it if it holds none.
    #[serde(default)]
    pub deletion_policy: TopicDeletionPolicy,
}

fn partitions_default() -> u16 {
    1
}

/// A Hypercube.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HypercubeRef {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Its namespace; the topic's own where it is left out. The Hypercube's `allowedNamespaces` has to admit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// How long messages are kept. A bound that is left out does not bind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Messages older than this may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000_000_u64))]
    pub age_seconds: Option<u64>,
    /// The oldest messages go while a partition holds more than this, such as `10Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Amount>,
}

/// What becomes of a topic when its resource is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TopicDeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted with its messages.
    Delete,
    /// It is deleted if it holds no message.
    DeleteIfEmpty,
}

/// How a topic stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HypercubeTopicStatus {
    /// The generation of the resource that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Its name in the hypercube.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Names this life of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Messages kept in all partitions when it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// Where its partitions are, the first 64 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<PartitionPlacement>,
    /// Ready, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a partition is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionPlacement {
    /// The partition, from 0.
    pub partition: u16,
    /// The slot whose log holds it.
    pub slot: u16,
    /// The vertex that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The vertices that hold it.
    pub replicas: Vec<String>,
    /// Those that hold everything committed.
    pub in_sync: Vec<String>,
}

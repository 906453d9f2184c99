//! Bodies of the requests about topics.

use hcube_core::ids::{NodeId, Slot, TopicId};
use hcube_core::limits;
use hcube_core::topic::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::json::{NameSchema, UuidSchema, object};
use crate::label::Label;

/// How many partitions a topic has: 1 to 1,024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u16", into = "u16")]
#[schemars(with = "u16", extend("minimum" = 1, "maximum" = 1024))]
pub struct Partitions(u16);

/// A number of partitions that no topic can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a topic has 1 to {max} partitions, not {0}", max = limits::PARTITIONS_MAX)]
pub struct PartitionsError(u16);

impl Partitions {
    /// The number, 1 to 1,024.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for Partitions {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u16> for Partitions {
    type Error = PartitionsError;

    fn try_from(count: u16) -> Result<Self, PartitionsError> {
        if (1..=limits::PARTITIONS_MAX).contains(&count) {
            Ok(Self(count))
        } else {
            Err(PartitionsError(count))
        }
    }
}

impl From<Partitions> for u16 {
    fn from(partitions: Partitions) -> Self {
        partitions.0
    }
}

/// How long a topic keeps its messages; what is left out, or null, keeps without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Messages older than this many milliseconds (by the leader's stamp) may go. At least 1.
    #[serde(default, deserialize_with = "positive")]
    #[schemars(extend("minimum" = 1))]
    pub age_ms: Option<u64>,
    /// The oldest messages go while a partition holds more than this many bytes. At least 1.
    #[serde(default, deserialize_with = "positive")]
    #[schemars(extend("minimum" = 1))]
    pub bytes: Option<u64>,
}

impl From<Retention> for hcube_core::topic::Retention {
    fn from(retention: Retention) -> Self {
        Self { age_ms: retention.age_ms, bytes: retention.bytes }
    }
}

impl From<hcube_core::topic::Retention> for Retention {
    fn from(retention: hcube_core::topic::Retention) -> Self {
        Self { age_ms: retention.age_ms, bytes: retention.bytes }
    }
}

/// Zero would delete everything at once, which is what deleting the topic is for.
fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::deserialize(deserializer)? {
        Some(0) => Err(serde::de::Error::custom("retention is at least 1, or null for no bound")),
        other => Ok(other),
    }
}

/// Body of `PUT /v1/topics/{topic}`; an empty body stands for `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTopic {
    /// Partitions, fixed from now on; 1 where left out.
    #[serde(default)]
    pub partitions: Partitions,
    /// How long messages are kept; for ever where left out.
    #[serde(default, deserialize_with = "object")]
    pub retention: Retention,
}

/// Body of `PATCH /v1/topics/{topic}`, by the rules of a JSON merge patch (RFC 7396): what is left out
/// stays, null removes a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchTopic {
    /// The changes.
    #[serde(deserialize_with = "object")]
    pub retention: PatchRetention,
}

/// Changes to a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchRetention {
    /// Null removes the bound; what is left out stays.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>", extend("minimum" = 1))]
    pub age_ms: Option<Option<u64>>,
    /// Null removes the bound; what is left out stays.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>", extend("minimum" = 1))]
    pub bytes: Option<Option<u64>>,
}

impl PatchRetention {
    /// The retention after the change.
    #[must_use]
    pub fn apply(self, before: Retention) -> Retention {
        Retention { age_ms: self.age_ms.unwrap_or(before.age_ms), bytes: self.bytes.unwrap_or(before.bytes) }
    }
}

/// Tells a null from a field that is left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    positive(deserializer).map(Some)
}

/// Answer to create, describe and alter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Topic {
    /// The topic's name.
    #[schemars(with = "NameSchema")]
    pub name: Name,
    /// Names this life of the topic; a re-created name has another.
    #[schemars(with = "UuidSchema")]
    pub id: TopicId,
    /// How long messages are kept.
    pub retention: Retention,
    /// Replicas that only read which each of its slots is meant to have, where there are peers for them.
    #[serde(default)]
    pub read_replicas: u8,
    /// The partitions in order.
    pub partitions: Vec<Partition>,
}

/// One partition of a topic and where it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Partition {
    /// The partition, from 0.
    pub partition: u16,
    /// The slot whose replicated log holds it.
    #[schemars(with = "u16")]
    pub slot: Slot,
    /// Where the slot's leader is, null while none is known.
    pub leader: Option<Label>,
    /// The slot's replicas.
    pub replicas: Vec<Replica>,
    /// Offset of the earliest message kept; null where no replica could be asked.
    #[serde(default)]
    pub start_offset: Option<u64>,
    /// Offset after the last committed message; null where no replica could be asked.
    #[serde(default)]
    pub high_watermark: Option<u64>,
}

/// One replica of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replica {
    /// The vertex that holds it.
    pub label: Label,
    /// The node at that vertex.
    #[schemars(with = "u64")]
    pub node_id: NodeId,
    /// Whether it holds everything committed, as far as the leader knows; null while nobody knows.
    #[serde(default)]
    pub in_sync: Option<bool>,
    /// Whether it votes. One that does not only reads, or is still arriving.
    #[serde(default = "yes")]
    pub votes: bool,
}

/// Replicas of versions that had no others.
fn yes() -> bool {
    true
}

/// Answer to `GET /v1/topics`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TopicList {
    /// The topics by name.
    pub topics: Vec<TopicSummary>,
}

/// One topic of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopicSummary {
    /// The topic's name.
    #[schemars(with = "NameSchema")]
    pub name: Name,
    /// Names this life of the topic.
    #[schemars(with = "UuidSchema")]
    pub id: TopicId,
    /// Number of partitions.
    pub partitions: u16,
    /// How long messages are kept.
    pub retention: Retention,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_needs_nothing_said() {
        let created: CreateTopic = serde_json::from_str("{}").unwrap();
        assert_eq!((created.partitions.get(), created.retention), (1, Retention::default()));
    }

    #[test]
    fn impossible_topics_are_refused() {
        for text in [
            r#"{"partitions":0}"#,
            r#"{"partitions":1025}"#,
            r#"{"partitions":70000}"#,
            r#"{"retention":{"age_ms":0}}"#,
            r#"{"retention":{"age":1}}"#,
            r#"{"extra":1}"#,
        ] {
            assert!(serde_json::from_str::<CreateTopic>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_patch_tells_null_from_left_out() {
        let before = Retention { age_ms: Some(5), bytes: Some(6) };
        let patch = |text: &str| serde_json::from_str::<PatchTopic>(text).unwrap().retention;
        assert_eq!(patch(r#"{"retention":{}}"#).apply(before), before);
        let patched = patch(r#"{"retention":{"age_ms":null,"bytes":9}}"#);
        assert_eq!(patched.apply(before), Retention { age_ms: None, bytes: Some(9) });
        let text = serde_json::to_string(&PatchTopic { retention: patched }).unwrap();
        assert_eq!(patch(&text), patched);
        assert!(serde_json::from_str::<PatchTopic>("{}").is_err());
        assert!(serde_json::from_str::<PatchTopic>(r#"{"retention":{"bytes":0}}"#).is_err());
    }
}

//! The stable problem codes: one row each with status, title, retry advice and meaning.

use std::fmt;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whether repeating a refused request may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request will be refused again.
    Never,
    /// Nothing was done; the same request may succeed later, here or at another peer.
    Later,
    /// The request may have been carried out. Repeat it only where that is harmless: reads, and publishes
    /// with the same producer and sequence.
    Idempotently,
}

macro_rules! codes {
    ($($name:ident = $text:literal, $status:ident, $retry:ident, $title:literal, $doc:literal;)*) => {
        /// What a problem is, as a stable kebab-case text that programs may rely on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $doc] $name,)*
            /// A code that this version does not know, sent by a newer peer; never sent by this one.
            Unrecognized,
        }

        impl Code {
            /// Every code that a peer may send.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as it stands in a problem document.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Unrecognized => "unrecognized" }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                    Self::Unrecognized => StatusCode::INTERNAL_SERVER_ERROR,
                }
            }

            /// The default title of its problem documents: a few words for people.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* Self::Unrecognized => "Unrecognized problem" }
            }

            /// Whether repeating the request may help.
            #[must_use]
            pub fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* Self::Unrecognized => Retry::Never }
            }

            /// What it means and what to do about it, in a sentence or two.
            #[must_use]
            pub fn doc(self) -> &'static str {
                match self { $(Self::$name => $doc,)* Self::Unrecognized => "A code of a newer version." }
            }
        }
    };
}

codes! {
    NotFound = "not-found", NOT_FOUND, Never, "No such path",
        "Nothing is served at this path; see /openapi.json.";
    UnknownTopic = "unknown-topic", NOT_FOUND, Never, "Unknown topic",
        "There is no topic of this name, or it has been deleted.";
    UnknownPartition = "unknown-partition", NOT_FOUND, Never, "Unknown partition",
        "The topic has fewer partitions than the request names.";
    TopicExists = "topic-exists", CONFLICT, Never, "Topic exists",
        "A topic of this name exists with other partitions or another retention.";
    InvalidName = "invalid-name", BAD_REQUEST, Never, "Invalid name",
        "A name is 1 to 255 of the characters A-Z a-z 0-9 . _ - and neither . nor ..";
    InvalidArgument = "invalid-argument", BAD_REQUEST, Never, "Invalid argument",
        "A parameter, header or field has a value that it cannot have, or is not known.";
    InvalidJson = "invalid-json", BAD_REQUEST, Never, "Malformed JSON",
        "The body is not JSON; for a batch of lines, `line` tells which line, from 1. Nothing of the batch was published.";
    InvalidBatch = "invalid-batch", BAD_REQUEST, Never, "Malformed record batch",
        "The binary record batch does not decode or its checksum does not match. Nothing of it was published.";
    InvalidCursor = "invalid-cursor", BAD_REQUEST, Never, "Invalid cursor",
        "The cursor is damaged, of an unknown version, or belongs to another topic, such as an earlier one of this name.";
    MessageTooLarge = "message-too-large", PAYLOAD_TOO_LARGE, Never, "Message too large",
        "Key, headers and value of one message exceed the limit together.";
    BatchTooLarge = "batch-too-large", PAYLOAD_TOO_LARGE, Never, "Batch too large",
        "The batch has more bytes or messages than one request may carry; split it.";
    OffsetOutOfRange = "offset-out-of-range", RANGE_NOT_SATISFIABLE, Never, "Offset out of range",
        "The offset lies before the partition's start (retention removed it) or beyond its end.";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, Never, "Method not allowed",
        "The path exists, but not with this method; the header Allow names those that it has.";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, Never, "Unsupported media type",
        "The body's content type is not one that this endpoint reads.";
    NotAcceptable = "not-acceptable", NOT_ACCEPTABLE, Never, "Not acceptable",
        "None of the media types in Accept can be produced here.";
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, Later, "Too many requests",
        "This connection or client has too many requests in flight; wait for Retry-After.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, Later, "Overloaded",
        "The peer carries all the requests it can; wait for Retry-After or ask another peer. Nothing was done.";
    DiskFull = "disk-full", INSUFFICIENT_STORAGE, Later, "Disk full",
        "A disk has no room for further messages. Nothing was published; reads, retention and deletes go on.";
    SequenceGap = "sequence-gap", CONFLICT, Never, "Sequence gap",
        "The sequence does not follow the producer's last one in this partition: something before it is missing.";
    Fenced = "fenced", CONFLICT, Never, "Fenced",
        "The publisher was registered again since; this epoch may not publish any more.";
    UnknownProducer = "unknown-producer", NOT_FOUND, Never, "Unknown producer",
        "The partition no longer remembers this producer, so it cannot tell a repetition; register again.";
    UnknownSubscriber = "unknown-subscriber", NOT_FOUND, Never, "Unknown subscriber",
        "No subscriber is registered under this name.";
    NoLeader = "no-leader", SERVICE_UNAVAILABLE, Later, "No leader",
        "The slot has no leader at the moment, or none that can be reached; wait for Retry-After. Nothing was done.";
    NotReady = "not-ready", SERVICE_UNAVAILABLE, Later, "Not ready",
        "The peer is starting, waiting for its hypercube, or shutting down; ask another peer.";
    PublishUnknown = "publish-unknown", GATEWAY_TIMEOUT, Idempotently, "Outcome unknown",
        "The publish may or may not have been stored. Repeat it with the same producer and sequence to learn its offset.";
    Timeout = "timeout", GATEWAY_TIMEOUT, Idempotently, "Timed out",
        "No answer came in time; a change may or may not have been made.";
    Unauthorized = "unauthorized", UNAUTHORIZED, Never, "Unauthorized",
        "Administration needs the bearer token of this peer.";
    WrongCluster = "wrong-cluster", CONFLICT, Never, "Another hypercube",
        "This peer, or its data directory, belongs to another hypercube.";
    AlreadyBootstrapped = "already-bootstrapped", CONFLICT, Never, "Already bootstrapped",
        "The hypercube exists, with other founders or other settings than asked for.";
    VertexTaken = "vertex-taken", CONFLICT, Never, "Vertex taken",
        "A member stands at this vertex. Join at the next one; a member whose disk is lost is replaced by naming it.";
    NotNext = "not-next", CONFLICT, Never, "Not the next vertex",
        "Hypercubes grow by the next vertex only, which `next` tells.";
    TooManyPeers = "too-many-peers", CONFLICT, Never, "Too many peers",
        "The hypercube has as many peers as it may have.";
    IncarnationUsed = "incarnation-used", CONFLICT, Never, "Disk in use or used up",
        "The disk belongs to a member, or to one that has left for ever. Start the peer with an empty data directory.";
    NotReplaced = "not-replaced", CONFLICT, Never, "Another node stands there",
        "The node to be replaced does not stand at this vertex; `node_id` tells who does.";
    StillAlive = "still-alive", CONFLICT, Never, "Still alive",
        "The node to be replaced answers. Only a node whose disk is lost is replaced; another is drained.";
    UnknownNode = "unknown-node", NOT_FOUND, Never, "Unknown node",
        "No member has this node id.";
    NodeRetired = "node-retired", GONE, Never, "Node retired",
        "The node has left the hypercube for ever. Its peer can join again as a new node, with an empty data directory.";
    NotHighest = "not-highest", CONFLICT, Never, "Not the highest vertex",
        "Peers leave from the highest vertex down; `highest` tells which can.";
    TooFewPeers = "too-few-peers", CONFLICT, Never, "Too few peers",
        "Fewer peers than replicas would be left. Lower the replication first.";
    DrainLimit = "drain-limit", CONFLICT, Never, "Too many drains",
        "As many peers are being drained as may be at the same time. Wait for one to be removed, or cancel one.";
    DrainInProgress = "drain-in-progress", CONFLICT, Never, "Drain in progress",
        "The hypercube does not grow while a peer is being drained. Wait for its removal, or cancel its drain.";
    NotDraining = "not-draining", CONFLICT, Never, "Not draining",
        "Only a member that has been drained can be removed. Drain it first.";
    NotEmpty = "not-empty", CONFLICT, Never, "Not empty",
        "The member still holds replicas, as many as `replicas` tells. Wait for its drain to end.";
    NotLost = "not-lost", CONFLICT, Never, "Not lost",
        "The node is a member still, so its disk may come back. Replace it at its vertex first, with an empty disk.";
    LossNotAccepted = "loss-not-accepted", BAD_REQUEST, Never, "Loss not accepted",
        "What was asked may lose acknowledged messages for good, and has to say that this is accepted.";
    MajorityLost = "majority-lost", SERVICE_UNAVAILABLE, Later, "Majority lost",
        "The slot lost the disks of most of its voters and waits for an administrator's unsafe-recover. Nothing was done.";
    MetadataNotLost = "metadata-not-lost", CONFLICT, Never, "Metadata not lost",
        "The metadata has a leader, or can elect one without the nodes that are said to be lost. Nothing was done.";
    FeatureLevel = "feature-level", CONFLICT, Never, "Older feature level",
        "Not every peer knows what was asked. The level rises by itself once all members run an hcube that does.";
    SurvivorSilent = "survivor-silent", SERVICE_UNAVAILABLE, Later, "A survivor is silent",
        "A peer that may have the best copy left does not answer. Start it, or replace it and name it as lost as well.";
    Stale = "stale", CONFLICT, Later, "Changed meanwhile",
        "What the request is about has changed since. Nothing was done; look again.";
    UnknownHost = "unknown-host", MISDIRECTED_REQUEST, Never, "Unknown host",
        "The header Host names none of this peer's addresses.";
    ReplicaNotHere = "replica-not-here", NOT_FOUND, Never, "No such replica",
        "The vertex that `replica` names holds no replica of this partition, or does not exist.";
    Damaged = "damaged", SERVICE_UNAVAILABLE, Later, "Replica damaged",
        "This replica's log is damaged and takes no part any more; other replicas still answer.";
    Internal = "internal", INTERNAL_SERVER_ERROR, Idempotently, "Internal error",
        "The peer failed to do what it should; its log tells more.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&str> for Code {
    fn from(text: &str) -> Self {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(Self::Unrecognized)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    /// Never fails on a text: a newer peer may send codes that this version does not know.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Ok(Self::from(text.as_ref()))
    }
}

impl JsonSchema for Code {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Self::ALL.iter().map(|code| code.as_str()).collect();
        let meaning: Vec<String> = Self::ALL
            .iter()
            .map(|code| format!("- `{code}` ({}): {}", code.status().as_u16(), code.doc()))
            .collect();
        json_schema!({ "type": "string", "enum": names, "description": meaning.join("\n") })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_kebab_case_and_lead_back() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for &code in Code::ALL {
            assert_eq!(Code::from(code.as_str()), code);
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(!code.doc().is_empty() && !code.title().is_empty());
        }
    }

    #[test]
    fn a_newer_peers_code_is_unrecognized_not_an_error() {
        let code: Code = serde_json::from_str("\"of-the-future\"").unwrap();
        assert_eq!(code, Code::Unrecognized);
    }
}

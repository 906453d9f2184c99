//! What a peer can be asked, by its own clients or by another peer on behalf of its, and what it answers.

use std::sync::Arc;

use bytes::Bytes;
use hcube_core::ids::{GroupId, NodeId, ProducerId, Slot, TopicId, Vertex};
use hcube_core::meta::{Change, ChangeRefusal, Changed, Meta, Topic};
use hcube_core::record::Batch;
use hcube_core::topic::{Name, Retention, slot_of, slot_of_client};
use hcube_log::SortedFileId;
use serde::{Deserialize, Serialize};

use crate::recovery::MetadataStatus;
use crate::slot::Publisher;

/// A topic as requests name it: the slot follows from the name, the life from the id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRef {
    /// Its name.
    pub name: Name,
    /// This life of it.
    pub id: TopicId,
}

/// Where a pull begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    /// At this offset.
    Offset(u64),
    /// At the first record that is left.
    Earliest,
    /// After the last record committed when the leader is asked.
    Latest,
    /// At the first record whose stamp is not older, in milliseconds since 1970.
    Stamp(u64),
}

/// What a pull wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The topic.
    pub topic: TopicRef,
    /// Its partition.
    pub partition: u16,
    /// Where to begin.
    pub from: From,
    /// Records at most.
    pub max_records: u32,
    /// Bytes of batches at most; one batch always fits.
    pub max_bytes: u32,
    /// How long to wait for a record when there is none, in milliseconds.
    pub wait_ms: u32,
    /// Only from this node's own replica, as far as that is.
    pub replica: Option<NodeId>,
    /// Whether the leader itself must answer, because another replica could not decide.
    pub leader: bool,
}

/// One thing asked of a hypercube.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Creates a topic. The id is drawn by the peer that was asked first.
    CreateTopic {
        /// Its name.
        name: Name,
        /// The id of its life.
        id: TopicId,
        /// Number of partitions, valid.
        partitions: u16,
        /// How long it keeps records.
        retention: Retention,
    },
    /// Changes a topic's retention.
    AlterTopic {
        /// Its name.
        name: Name,
        /// From now on.
        retention: Retention,
    },
    /// Deletes a topic.
    DeleteTopic {
        /// Its name.
        name: Name,
    },
    /// Finds a topic that the asked peer does not know (yet).
    FindTopic {
        /// Its name.
        name: Name,
    },
    /// Appends a record batch.
    Publish {
        /// The topic.
        topic: TopicRef,
        /// Its partition.
        partition: u16,
        /// The batch, every record of it checked: by the peer that its client asked, and again where a link brings it.
        batch: Batch,
    },
    /// Reads records.
    Pull(Pull),
    /// Asks the leader of a partition how it stands.
    Describe {
        /// The topic.
        topic: TopicRef,
        /// Its partition.
        partition: u16,
    },
    /// Registers a publisher, or registers it again with the next epoch.
    RegisterPublisher {
        /// Its name.
        name: Name,
        /// Its id, unless it has one.
        id: ProducerId,
    },
    /// Registers a subscriber.
    RegisterSubscriber {
        /// Its name.
        name: Name,
    },
    /// Asks whether a subscriber is registered.
    FindSubscriber {
        /// Its name.
        name: Name,
    },
    /// Sets a subscriber's cursor, or forgets it.
    CommitCursor {
        /// The topic.
        topic: TopicRef,
        /// Its partition.
        partition: u16,
        /// Whose.
        subscriber: Name,
        /// The next offset to read; none forgets the cursor.
        offset: Option<u64>,
    },
    /// Asks for a subscriber's cursor.
    FetchCursor {
        /// The topic.
        topic: TopicRef,
        /// Its partition.
        partition: u16,
        /// Whose.
        subscriber: Name,
    },
    /// Reads a part of a sorted file, for a snapshot.
    ReadFile {
        /// The node that has it.
        node: NodeId,
        /// The file.
        file: SortedFileId,
        /// From this byte.
        at: u64,
        /// So many bytes at most.
        length: u32,
    },
    /// Changes members or placement.
    Change(Change),
    /// Asks a node how its replicas of slots stand.
    NodeStatus {
        /// Whom.
        node: NodeId,
    },
    /// Asks a node how its replica of the metadata stands.
    MetadataStatus {
        /// Whom.
        node: NodeId,
    },
    /// Tells a node to go on alone with the metadata, see [`crate::recovery`].
    ForceMetadata {
        /// Whom.
        node: NodeId,
        /// The nodes whose disks are lost for good.
        lost: Vec<NodeId>,
        /// The last entry of its log, when it was found to be the farthest.
        last: (u64, u64),
    },
}

impl Request {
    /// The group whose replicas can serve the request; none where it names a node.
    #[must_use]
    pub fn group(&self, meta: &Meta) -> GroupId {
        match self {
            Self::CreateTopic { .. }
            | Self::AlterTopic { .. }
            | Self::DeleteTopic { .. }
            | Self::FindTopic { .. }
            | Self::Change(_)
            | Self::NodeStatus { .. }
            | Self::MetadataStatus { .. }
            | Self::ForceMetadata { .. } => GroupId::META,
            Self::Publish { topic, partition, .. }
            | Self::Pull(Pull { topic, partition, .. })
            | Self::Describe { topic, partition }
            | Self::CommitCursor { topic, partition, .. }
            | Self::FetchCursor { topic, partition, .. } => {
                slot_of(&topic.name, *partition, meta.slots).into()
            }
            Self::RegisterPublisher { name, .. }
            | Self::RegisterSubscriber { name }
            | Self::FindSubscriber { name } => slot_of_client(name, meta.slots).into(),
            Self::ReadFile { file, .. } => file.group,
        }
    }

    /// Whether repeating the request after it may have arrived could do something twice.
    #[must_use]
    pub fn repeats_harm(&self) -> bool {
        // A producer's batch is deduplicated, but the first answer may still come: only its publisher may
        // decide to send it again. Registering twice would take two epochs; a deletion that comes late would
        // hit the next topic of that name, a change the one that somebody else made since; a drain that comes
        // late would undo that it was cancelled.
        match self {
            Self::CreateTopic { .. } | Self::RegisterSubscriber { .. } => false,
            Self::Change(Change::Settled { .. } | Change::ReplaceReplica { .. }) => false,
            _ => self.changes(),
        }
    }

    /// Whether the request changes anything, so that an end that is not known must be called that.
    #[must_use]
    pub fn changes(&self) -> bool {
        match self {
            Self::CreateTopic { .. }
            | Self::AlterTopic { .. }
            | Self::DeleteTopic { .. }
            | Self::Publish { .. }
            | Self::RegisterPublisher { .. }
            | Self::RegisterSubscriber { .. }
            | Self::CommitCursor { .. }
            | Self::Change(_)
            | Self::ForceMetadata { .. } => true,
            Self::FindTopic { .. }
            | Self::Pull(_)
            | Self::Describe { .. }
            | Self::FindSubscriber { .. }
            | Self::FetchCursor { .. }
            | Self::ReadFile { .. }
            | Self::NodeStatus { .. }
            | Self::MetadataStatus { .. } => false,
        }
    }

    /// Whether the request may wait for what does not exist yet.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        matches!(self, Self::Pull(pull) if pull.wait_ms > 0)
    }

    /// Bytes that the request keeps in memory, near enough for a limit.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Publish { batch, .. } => 256 + batch.bytes().len(),
            _ => 256,
        }
    }
}

/// A batch as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBatch {
    /// Offset of its first record.
    pub base_offset: u64,
    /// Its stamp, in milliseconds since 1970.
    pub stamp_ms: u64,
    /// The batch as its publisher built it.
    pub batch: Bytes,
}

/// How a replica stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Its holder.
    pub node: NodeId,
    /// Whether it has everything that is committed and was heard of lately.
    pub in_sync: bool,
    /// Whether it votes, as the group's own configuration has it.
    pub votes: bool,
}

/// How a node's replica of a slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// The slot.
    pub slot: Slot,
    /// Bytes of its records.
    pub bytes: u64,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it has applied everything that it knows to be committed.
    pub in_sync: bool,
    /// Whether it takes part in its group's configuration, as far as it has applied that.
    pub takes_part: bool,
    /// Whether so many of the voters of that configuration are lost that it cannot agree on anything. Where this holds
    /// for every replica that is left, none of them can ever lead.
    pub stranded: bool,
    /// Term and index of the last entry in its log: the greatest is the farthest.
    pub last: (u64, u64),
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A topic: created, altered, deleted or found.
    Topic(TopicInfo),
    /// Records were published.
    Published {
        /// Offset of the first.
        base_offset: u64,
        /// How many.
        records: u32,
        /// Their stamp.
        stamp_ms: u64,
        /// Whether they had been published before.
        duplicate: bool,
        /// Replicas that the group has; a majority of them has the records on disk.
        replicas: u16,
    },
    /// Records were read.
    Pulled {
        /// The offset where reading began: records before it in the first batch are not wanted.
        from: u64,
        /// Batches in order; the first may begin before `from`.
        batches: Vec<StoredBatch>,
        /// Everything below it is committed, as far as the answering replica knows.
        high_watermark: u64,
        /// The first offset that is left.
        log_start: u64,
    },
    /// How a partition stands.
    Partition {
        /// The first offset that is left.
        log_start: u64,
        /// Everything below it is committed.
        high_watermark: u64,
        /// Bytes of its batches.
        bytes: u64,
        /// The leader that answers.
        leader: NodeId,
        /// Every replica.
        replicas: Vec<ReplicaStatus>,
    },
    /// A publisher's registration.
    Publisher(Publisher),
    /// Whether a subscriber is registered.
    Subscriber(bool),
    /// A subscriber's cursor; none when it has none.
    Cursor(Option<u64>),
    /// A part of a file.
    FilePart(Bytes),
    /// Members or placement are as wished.
    Changed(Changed),
    /// A node's replicas of slots, by slot.
    NodeStatus(Vec<SlotStatus>),
    /// A node's replica of the metadata.
    MetadataStatus(MetadataStatus),
}

impl Answer {
    /// Bytes of the records or of the file that it carries, near enough for a buffer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Pulled { batches, .. } => batches.iter().map(|stored| 32 + stored.batch.len()).sum(),
            Self::FilePart(part) => part.len(),
            _ => 0,
        }
    }
}

/// A topic as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// The id of its life.
    pub id: TopicId,
    /// Its name.
    pub name: Name,
    /// Number of partitions.
    pub partitions: u16,
    /// How long it keeps records.
    pub retention: Retention,
}

impl std::convert::From<&Arc<Topic>> for TopicInfo {
    fn from(topic: &Arc<Topic>) -> Self {
        let Topic { id, name, partitions, retention } = topic.as_ref().clone();
        Self { id, name, partitions, retention }
    }
}

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// No such topic, or no such partition of it.
    #[error("there is no such topic or partition")]
    UnknownTopic,
    /// The name is taken by a topic with other properties.
    #[error("the topic exists with other properties")]
    TopicExists(TopicInfo),
    /// As many topics as there may be.
    #[error("the hypercube has as many topics as it may have")]
    TooManyTopics,
    /// The offset is not there (any more, or yet).
    #[error("offset {wanted} is out of range: {log_start} to {high_watermark}")]
    OutOfRange {
        /// The offset asked for.
        wanted: u64,
        /// The first that is left.
        log_start: u64,
        /// The next that will be written.
        high_watermark: u64,
    },
    /// The slot or partition holds as many registrations or cursors as it may.
    #[error("there are as many registrations or cursors as there may be")]
    TooMany,
    /// The request makes no sense; the peer that took it should have said so.
    #[error("{0} is not valid")]
    Invalid(String),
    /// The batch does not decode. Peers of before say so; this one checks batches where they come in.
    #[error("the record batch is not valid: {0}")]
    InvalidBatch(String),
    /// Records are missing before the batch.
    #[error("sequence {expected} is due")]
    SequenceGap {
        /// The sequence that is due.
        expected: u64,
    },
    /// The batch repeats one that is no longer remembered.
    #[error("the sequence is older than what is remembered")]
    SequenceTooOld,
    /// A later registration has taken over.
    #[error("fenced by epoch {epoch}")]
    Fenced {
        /// The epoch in force.
        epoch: u32,
    },
    /// The producer was forgotten.
    #[error("the producer is not known (any more)")]
    UnknownProducer,
    /// Nobody leads the group, or nobody could be asked, in time. Nothing was done.
    #[error("no leader could be asked in time")]
    NoLeader,
    /// It may have been done, or may still be.
    #[error("the outcome is unknown")]
    Unknown,
    /// The asked node holds no such replica or file.
    #[error("the node holds no such replica or file")]
    NotHere,
    /// Too much is waiting already. Nothing was done.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The leader's disk is full. Nothing was done.
    #[error("the disk is full")]
    DiskFull,
    /// The records could not be read.
    #[error("reading failed: {0}")]
    Read(String),
    /// The node asked does not lead: it did nothing, and knows this node as the leader, if any.
    #[error("not the leader")]
    NotLeader(Option<NodeId>),
    /// Members or placement cannot be changed like this. Nothing was done.
    #[error(transparent)]
    Change(ChangeRefusal),
    /// The peer that was asked has left its hypercube. Nothing was done; only its own clients are told so.
    #[error("the peer has left its hypercube")]
    Left,
}

impl Error {
    /// Whether the same request may succeed later, with nothing else changed.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unknown
                | Self::NoLeader
                | Self::NotLeader(_)
                | Self::Overloaded
                | Self::DiskFull
                | Self::Left
        )
    }
}

/// An answer and the way it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What was answered.
    pub result: Result<Answer, Error>,
    /// The vertices that the request went through, from the asked peer to the one that served it.
    pub path: Vec<Vertex>,
}

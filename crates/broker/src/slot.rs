//! A slot's replicated state machine: partitions with their offsets, deduplication, cursors, registrations.
//!
//! [`Slot::apply`] sees committed commands in log order, the same on every replica. What each replica keeps
//! for itself beside it is where the records lie ([`partition::Chunk`]).

pub mod partition;
mod producers;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

use hcube_core::ids::{ProducerId, TopicId};
use hcube_core::limits;
use hcube_core::record::Batch;
use hcube_core::topic::Name;
use hcube_log::SortedFileId;
use serde::{Deserialize, Serialize};

use crate::command::{Command, PartitionId};

pub use partition::{Chunk, Partition, Place};
pub use producers::{Admission, BatchSeen, ProducerState};

/// A registered publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    /// Its producer id, for ever.
    pub id: ProducerId,
    /// How often it registered, less one.
    pub epoch: u32,
}

/// The state of one slot at some index of its log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slot {
    partitions: BTreeMap<PartitionId, Partition>,
    closed: BTreeSet<TopicId>,
    publishers: BTreeMap<Name, Publisher>,
    subscribers: BTreeSet<Name>,
    stamp_ms: u64,
    /// The version of the placement that the group's configuration was last changed for.
    placed: u64,
}

/// What applying a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Records were added.
    Published {
        /// Where.
        partition: PartitionId,
        /// Offset of the first.
        base_offset: u64,
        /// Their stamp.
        stamp_ms: u64,
        /// How many.
        records: u32,
    },
    /// The partition is not open here, or no longer.
    NotOpen,
    /// The publisher's registration.
    Publisher(Publisher),
    /// Anything else took effect.
    Done,
}

impl Slot {
    /// The version of the placement that the group's configuration was last changed for. A leader whose metadata
    /// is older than that must not change it.
    #[must_use]
    pub fn placed(&self) -> u64 {
        self.placed
    }

    /// Applies a change of the group's configuration that was made for a version of its placement.
    pub fn apply_conf(&mut self, version: u64) {
        self.placed = self.placed.max(version);
    }

    /// Applies the command at `index` of the slot's log.
    ///
    /// # Panics
    /// When the log breaks an invariant: a leader proposes dense offsets and rising stamps only.
    pub fn apply(&mut self, index: u64, command: &Command) -> Applied {
        match command {
            Command::Publish { partition, base_offset, stamp_ms, batch } => {
                self.publish(index, *partition, *base_offset, *stamp_ms, batch)
            }
            Command::Open(partition) => {
                if self.closed.contains(&partition.0) {
                    return Applied::NotOpen;
                }
                self.partitions.entry(*partition).or_default();
                Applied::Done
            }
            Command::Close(topic) => {
                self.closed.insert(*topic);
                self.partitions.retain(|(of, _), _| of != topic);
                Applied::Done
            }
            Command::LogStart { partition, offset } => match self.partitions.get_mut(partition) {
                Some(partition) => {
                    partition.drop_below(*offset);
                    Applied::Done
                }
                None => Applied::NotOpen,
            },
            Command::Cursor { partition, subscriber, offset } => match self.partitions.get_mut(partition) {
                Some(partition) => {
                    partition.set_cursor(subscriber, *offset);
                    Applied::Done
                }
                None => Applied::NotOpen,
            },
            Command::RegisterPublisher { name, id } => {
                let publisher = self
                    .publishers
                    .entry(name.clone())
                    .and_modify(|publisher| publisher.epoch += 1)
                    .or_insert(Publisher { id: *id, epoch: 0 });
                Applied::Publisher(*publisher)
            }
            Command::RegisterSubscriber { name } => {
                self.subscribers.insert(name.clone());
                Applied::Done
            }
        }
    }

    fn publish(
        &mut self,
        index: u64,
        at: PartitionId,
        base_offset: u64,
        stamp_ms: u64,
        batch: &bytes::Bytes,
    ) -> Applied {
        let Some(partition) = self.partitions.get_mut(&at) else { return Applied::NotOpen };
        let batch = Batch::parse(batch.clone()).expect("the leader checked the batch, and so did the disk");
        // The leader decided when it proposed, knowing the whole log before the batch; only a second copy of
        // what is remembered would show that it decided wrongly.
        let admission = partition.admit(&batch);
        assert!(!matches!(admission, Admission::Duplicate(_)), "a batch is in the log twice");
        assert_eq!(base_offset, partition.next_offset(), "offsets are dense");
        assert!(stamp_ms >= self.stamp_ms, "stamps never fall");
        self.stamp_ms = stamp_ms;
        partition.push(&batch, stamp_ms, index);
        Applied::Published { partition: at, base_offset, stamp_ms, records: batch.records_count() }
    }

    /// An open partition.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(&id)
    }

    /// Every open partition.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Partition)> {
        self.partitions.iter().map(|(id, partition)| (*id, partition))
    }

    /// Whether the topic has been closed here.
    #[must_use]
    pub fn is_closed(&self, topic: TopicId) -> bool {
        self.closed.contains(&topic)
    }

    /// A registered publisher.
    #[must_use]
    pub fn publisher(&self, name: &Name) -> Option<Publisher> {
        self.publishers.get(name).copied()
    }

    /// Whether a subscriber of this name is registered.
    #[must_use]
    pub fn has_subscriber(&self, name: &Name) -> bool {
        self.subscribers.contains(name)
    }

    /// Whether a publisher of this name is registered or may still be.
    #[must_use]
    pub fn takes_publisher(&self, name: &Name) -> bool {
        self.publishers.len() < limits::REGISTRATIONS_MAX || self.publishers.contains_key(name)
    }

    /// Whether a subscriber of this name is registered or may still be.
    #[must_use]
    pub fn takes_subscriber(&self, name: &Name) -> bool {
        self.subscribers.len() < limits::REGISTRATIONS_MAX || self.subscribers.contains(name)
    }

    /// The highest stamp so far, in milliseconds since 1970.
    #[must_use]
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// The sorted files that hold records still in use.
    #[must_use]
    pub fn files(&self) -> BTreeSet<SortedFileId> {
        self.partitions.values().flat_map(Partition::files).collect()
    }

    /// Notes that every record up to `index` of the log now lies in `file` (none when there were none).
    pub fn compacted(&mut self, index: u64, file: Option<SortedFileId>) {
        for partition in self.partitions.values_mut() {
            partition.compacted(index, file);
        }
    }
}

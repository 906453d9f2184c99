//! What a slot's leader has proposed beyond what is applied: the state that its next decision rests on.
//!
//! A new leader proposes nothing before the first entry of its own term is applied. From then on the applied
//! state and the proposals noted here are together the whole log, uncommitted entries included.

use std::collections::BTreeMap;

use hcube_core::ids::{ProducerId, TopicId};
use hcube_core::record::{Batch, Producer};

use crate::command::{Command, PartitionId};
use crate::slot::{Admission, BatchSeen, ProducerState, Slot};

/// The proposals of one leader in one term that are not applied yet.
#[derive(Debug, Default)]
pub struct Proposals {
    opened: BTreeMap<PartitionId, u64>,
    closed: BTreeMap<TopicId, u64>,
    partitions: BTreeMap<PartitionId, Tail>,
    stamp_ms: u64,
}

/// What is proposed for one partition.
#[derive(Debug, Default)]
struct Tail {
    next_offset: u64,
    /// Producers that published in it, as they will be once everything is applied.
    producers: BTreeMap<ProducerId, ProducerState>,
    /// Base offset and log index of each batch.
    batches: BTreeMap<u64, u64>,
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Propose it with this base offset and stamp.
    Append {
        /// Offset of its first record.
        base_offset: u64,
        /// Its stamp, in milliseconds since 1970.
        stamp_ms: u64,
    },
    /// It is applied already.
    Done(BatchSeen),
    /// It is proposed already, at this index; its answer is due when that is committed.
    UnderWay(u64, BatchSeen),
    /// It may not be appended.
    Refused(Admission),
    /// The partition must be opened first.
    NotOpen,
    /// The topic is being closed.
    Closing,
}

impl Proposals {
    /// Decides on a batch at the leader's time `now_ms`.
    #[must_use]
    pub fn judge(&self, slot: &Slot, at: PartitionId, batch: &Batch, now_ms: u64) -> Verdict {
        if self.closed.contains_key(&at.0) || slot.is_closed(at.0) {
            return Verdict::Closing;
        }
        let applied = slot.partition(at);
        if applied.is_none() && !self.opened.contains_key(&at) {
            return Verdict::NotOpen;
        }
        let tail = self.partitions.get(&at);
        let producer = batch.producer();
        if producer.id != ProducerId::NONE {
            let state = tail
                .and_then(|tail| tail.producers.get(&producer.id))
                .or_else(|| applied.and_then(|partition| partition.producer(producer.id)));
            match ProducerState::admit(state, producer, batch.records_count()) {
                Admission::New => {}
                Admission::Duplicate(seen) => {
                    let index = tail.and_then(|tail| tail.batches.get(&seen.base_offset));
                    return index.map_or(Verdict::Done(seen), |index| Verdict::UnderWay(*index, seen));
                }
                refused => return Verdict::Refused(refused),
            }
        }
        let next = applied.map_or(0, crate::slot::Partition::next_offset);
        Verdict::Append {
            base_offset: tail.map_or(next, |tail| tail.next_offset),
            // A clock that went back, here or at the leader before, never makes stamps fall.
            stamp_ms: now_ms.max(slot.stamp_ms()).max(self.stamp_ms),
        }
    }

    /// Whether the partition takes publishes, or will once what is proposed is applied.
    #[must_use]
    pub fn is_open(&self, slot: &Slot, at: PartitionId) -> bool {
        let closed = self.closed.contains_key(&at.0) || slot.is_closed(at.0);
        !closed && (slot.partition(at).is_some() || self.opened.contains_key(&at))
    }

    /// Whether the topic is closed, or will be.
    #[must_use]
    pub fn is_closed(&self, slot: &Slot, topic: TopicId) -> bool {
        self.closed.contains_key(&topic) || slot.is_closed(topic)
    }

    /// Notes that a command entered the log at `index`.
    pub fn proposed(&mut self, slot: &Slot, index: u64, command: &Command, batch: Option<&Batch>) {
        match (command, batch) {
            (Command::Publish { partition, base_offset, stamp_ms, .. }, Some(batch)) => {
                self.stamp_ms = self.stamp_ms.max(*stamp_ms);
                self.published(slot, index, *partition, *base_offset, *stamp_ms, batch);
            }
            (Command::Open(partition), _) => {
                self.opened.insert(*partition, index);
            }
            (Command::Close(topic), _) => {
                self.closed.insert(*topic, index);
            }
            _ => {}
        }
    }

    fn published(
        &mut self,
        slot: &Slot,
        index: u64,
        at: PartitionId,
        base_offset: u64,
        stamp_ms: u64,
        batch: &Batch,
    ) {
        let (producer, records) = (batch.producer(), batch.records_count());
        let tail = self.partitions.entry(at).or_default();
        tail.next_offset = base_offset + u64::from(records);
        tail.batches.insert(base_offset, index);
        if producer.id == ProducerId::NONE {
            return;
        }
        let seen = BatchSeen { sequence: producer.sequence, records, base_offset, stamp_ms };
        remember(tail, slot, at, producer, seen);
    }

    /// Forgets what is applied now: the applied state says it.
    pub fn applied(&mut self, index: u64) {
        self.opened.retain(|_, at| *at > index);
        self.closed.retain(|_, at| *at > index);
    }

    /// Forgets a batch that is applied now.
    pub fn batch_applied(&mut self, at: PartitionId, base_offset: u64) {
        let Some(tail) = self.partitions.get_mut(&at) else { return };
        tail.batches.remove(&base_offset);
        if tail.batches.is_empty() {
            self.partitions.remove(&at);
        }
    }

    /// Whether a partition of the topic is about to be opened.
    #[must_use]
    pub fn opens(&self, topic: TopicId) -> bool {
        self.opened.keys().any(|(id, _)| *id == topic)
    }
}

fn remember(tail: &mut Tail, slot: &Slot, at: PartitionId, producer: Producer, seen: BatchSeen) {
    if let Some(state) = tail.producers.get_mut(&producer.id) {
        state.remember(producer, seen);
        return;
    }
    let applied = slot.partition(at).and_then(|partition| partition.producer(producer.id)).cloned();
    let state = match applied {
        Some(mut state) => {
            state.remember(producer, seen);
            state
        }
        None => ProducerState::first(producer, seen),
    };
    tail.producers.insert(producer.id, state);
}

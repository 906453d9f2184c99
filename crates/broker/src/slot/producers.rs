//! Deduplication: what each producer published last into a partition.

use std::collections::{BTreeMap, VecDeque};

use hcube_core::ids::ProducerId;
use hcube_core::limits;
use hcube_core::record::Producer;
use serde::{Deserialize, Serialize};

/// A batch that was published before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSeen {
    /// Sequence of its first record.
    pub sequence: u64,
    /// Records in it.
    pub records: u32,
    /// Offset of its first record.
    pub base_offset: u64,
    /// Its stamp.
    pub stamp_ms: u64,
}

/// What is remembered of one producer in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    epoch: u32,
    /// The last batches, oldest first; at most [`limits::DEDUPLICATION_BATCHES`].
    batches: VecDeque<BatchSeen>,
}

/// Whether a batch may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is the producer's next.
    New,
    /// It was published before; this is where.
    Duplicate(BatchSeen),
    /// Records are missing before it.
    Gap {
        /// The sequence that is due.
        expected: u64,
    },
    /// It is older than what is remembered.
    TooOld,
    /// A later registration of the same publisher has taken over.
    Fenced {
        /// The epoch in force.
        epoch: u32,
    },
    /// The producer is not known, or was forgotten, and does not begin at sequence 0.
    Unknown,
}

impl ProducerState {
    /// The state after its first batch.
    #[must_use]
    pub fn first(producer: Producer, seen: BatchSeen) -> Self {
        Self { epoch: producer.epoch, batches: VecDeque::from([seen]) }
    }

    /// Whether a batch of this producer may follow.
    #[must_use]
    pub fn admit(state: Option<&Self>, producer: Producer, records: u32) -> Admission {
        let fresh = if producer.sequence == 0 { Admission::New } else { Admission::Unknown };
        let Some(state) = state else { return fresh };
        if producer.epoch < state.epoch {
            return Admission::Fenced { epoch: state.epoch };
        }
        if producer.epoch > state.epoch {
            // A new registration begins anew.
            return if producer.sequence == 0 { Admission::New } else { Admission::Gap { expected: 0 } };
        }
        let same = |seen: &&BatchSeen| (seen.sequence, seen.records) == (producer.sequence, records);
        if let Some(seen) = state.batches.iter().find(same) {
            return Admission::Duplicate(*seen);
        }
        let expected = state.batches.back().map_or(0, |last| last.sequence + u64::from(last.records));
        match producer.sequence.cmp(&expected) {
            std::cmp::Ordering::Equal => Admission::New,
            std::cmp::Ordering::Greater => Admission::Gap { expected },
            std::cmp::Ordering::Less => Admission::TooOld,
        }
    }

    /// Remembers an admitted batch.
    pub fn remember(&mut self, producer: Producer, seen: BatchSeen) {
        if producer.epoch > self.epoch {
            self.epoch = producer.epoch;
            self.batches.clear();
        }
        self.batches.push_back(seen);
        if self.batches.len() > limits::DEDUPLICATION_BATCHES {
            self.batches.pop_front();
        }
    }

    fn last_stamp_ms(&self) -> u64 {
        self.batches.back().map_or(0, |last| last.stamp_ms)
    }
}

/// All producers of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Producers(BTreeMap<ProducerId, ProducerState>);

impl Producers {
    /// What is remembered of a producer.
    #[must_use]
    pub fn get(&self, id: ProducerId) -> Option<&ProducerState> {
        self.0.get(&id)
    }

    /// Remembers an admitted batch; forgets the producer that has been idle longest when there are too many.
    pub fn remember(&mut self, producer: Producer, seen: BatchSeen) {
        if producer.id == ProducerId::NONE {
            return;
        }
        if let Some(state) = self.0.get_mut(&producer.id) {
            state.remember(producer, seen);
            return;
        }
        if self.0.len() >= limits::PRODUCERS_MAX {
            // Replicated stamps decide, so that every replica forgets the same one.
            let idle =
                self.0.iter().min_by_key(|(id, state)| (state.last_stamp_ms(), **id)).map(|(id, _)| *id);
            if let Some(idle) = idle {
                self.0.remove(&idle);
            }
        }
        self.0.insert(producer.id, ProducerState::first(producer, seen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(epoch: u32, sequence: u64) -> Producer {
        Producer { id: ProducerId(1), epoch, sequence }
    }

    fn seen(sequence: u64, records: u32, base_offset: u64) -> BatchSeen {
        BatchSeen { sequence, records, base_offset, stamp_ms: base_offset }
    }

    fn after(batches: &[(u64, u32)]) -> Producers {
        let mut producers = Producers::default();
        for (sequence, records) in batches {
            producers.remember(producer(1, *sequence), seen(*sequence, *records, 100 + sequence));
        }
        producers
    }

    fn admit(producers: &Producers, producer: Producer, records: u32) -> Admission {
        ProducerState::admit(producers.get(producer.id), producer, records)
    }

    #[test]
    fn sequences_are_consecutive() {
        let producers = after(&[(0, 2), (2, 3)]);
        assert_eq!(admit(&producers, producer(1, 5), 1), Admission::New);
        assert_eq!(admit(&producers, producer(1, 6), 1), Admission::Gap { expected: 5 });
        assert_eq!(admit(&producers, producer(1, 2), 3), Admission::Duplicate(seen(2, 3, 102)));
        assert_eq!(admit(&producers, producer(1, 3), 2), Admission::TooOld);
    }

    #[test]
    fn epochs_fence_and_begin_anew() {
        let producers = after(&[(0, 2)]);
        assert_eq!(admit(&producers, producer(0, 2), 1), Admission::Fenced { epoch: 1 });
        assert_eq!(admit(&producers, producer(2, 2), 1), Admission::Gap { expected: 0 });
        assert_eq!(admit(&producers, producer(2, 0), 1), Admission::New);
    }

    #[test]
    fn an_unknown_producer_begins_at_zero() {
        let none = Producers::default();
        assert_eq!(admit(&none, producer(1, 0), 1), Admission::New);
        assert_eq!(admit(&none, producer(1, 4), 1), Admission::Unknown);
    }

    #[test]
    fn only_the_last_batches_are_remembered() {
        let producers = after(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        assert_eq!(admit(&producers, producer(1, 0), 1), Admission::TooOld);
        assert_eq!(admit(&producers, producer(1, 1), 1), Admission::Duplicate(seen(1, 1, 101)));
    }

    #[test]
    fn the_producer_idle_longest_is_forgotten() {
        let mut producers = Producers::default();
        for id in 0..=limits::PRODUCERS_MAX {
            let producer = Producer { id: ProducerId(1 + id as u128), epoch: 0, sequence: 0 };
            producers.remember(producer, seen(0, 1, id as u64));
        }
        assert_eq!(producers.get(ProducerId(1)), None);
        assert!(producers.get(ProducerId(2)).is_some());
    }
}

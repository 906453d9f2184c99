//! One partition: its offsets, who published what, cursors, and where its records lie on this replica.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hcube_core::ids::ProducerId;
use hcube_core::limits;
use hcube_core::record::Batch;
use hcube_core::topic::Name;
use hcube_log::SortedFileId;
use serde::{Deserialize, Serialize};

use super::producers::{Admission, BatchSeen, ProducerState, Producers};

/// Where a run of records lies on this replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One batch, in the slot's log at this index.
    Log(u64),
    /// Sorted, in this file.
    File(SortedFileId),
}

/// A run of records without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Offset of the first record.
    pub first: u64,
    /// Offset after the last.
    pub end: u64,
    /// Stamp of the newest record, in milliseconds since 1970.
    pub stamp_ms: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Where it lies.
    pub place: Place,
}

/// The state of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Partition {
    log_start: u64,
    next_offset: u64,
    stamp_ms: u64,
    producers: Producers,
    cursors: BTreeMap<Name, u64>,
    #[serde(with = "super::snapshot::chunks")]
    chunks: VecDeque<Chunk>,
}

impl Partition {
    /// The first offset that is left.
    #[must_use]
    pub fn log_start(&self) -> u64 {
        self.log_start
    }

    /// The offset that the next record gets: everything below it is committed.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Stamp of the newest record, in milliseconds since 1970; 0 before the first.
    #[must_use]
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// Where a registered subscriber goes on.
    #[must_use]
    pub fn cursor(&self, subscriber: &Name) -> Option<u64> {
        self.cursors.get(subscriber).copied()
    }

    /// Whether the subscriber has a cursor here or may still get one.
    #[must_use]
    pub fn takes_cursor(&self, subscriber: &Name) -> bool {
        self.cursors.len() < limits::CURSORS_MAX || self.cursors.contains_key(subscriber)
    }

    /// What the planted mistake [`hcube_core::planted::Bug::NoDeduplicationInSnapshots`] does.
    pub(super) fn forget_producers(&mut self) {
        self.producers = Producers::default();
    }

    /// What is remembered of a producer.
    #[must_use]
    pub fn producer(&self, id: ProducerId) -> Option<&ProducerState> {
        self.producers.get(id)
    }

    /// Bytes of the batches that are left.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    /// The runs of records that are left, oldest first.
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.chunks.iter()
    }

    /// The runs from the one that holds `offset` on.
    pub fn chunks_from(&self, offset: u64) -> impl Iterator<Item = &Chunk> {
        let at = self.chunks.partition_point(|chunk| chunk.end <= offset);
        self.chunks.range(at..)
    }

    /// The first run whose newest record is not older than `stamp_ms`.
    #[must_use]
    pub fn chunk_at_stamp(&self, stamp_ms: u64) -> Option<&Chunk> {
        self.chunks.get(self.chunks.partition_point(|chunk| chunk.stamp_ms < stamp_ms))
    }

    /// Whether the batch may be appended.
    #[must_use]
    pub fn admit(&self, batch: &Batch) -> Admission {
        let producer = batch.producer();
        if producer.id == ProducerId::NONE {
            return Admission::New;
        }
        ProducerState::admit(self.producers.get(producer.id), producer, batch.records_count())
    }

    /// Appends an admitted batch that lies at `index` of the slot's log.
    pub fn push(&mut self, batch: &Batch, stamp_ms: u64, index: u64) {
        let (producer, records) = (batch.producer(), batch.records_count());
        let base_offset = self.next_offset;
        let seen = BatchSeen { sequence: producer.sequence, records, base_offset, stamp_ms };
        self.producers.remember(producer, seen);
        self.next_offset += u64::from(records);
        self.stamp_ms = stamp_ms;
        self.chunks.push_back(Chunk {
            first: base_offset,
            end: self.next_offset,
            stamp_ms,
            bytes: batch.bytes().len() as u64,
            place: Place::Log(index),
        });
    }

    /// Moves the log start forward, never back and never beyond the end.
    pub fn drop_below(&mut self, offset: u64) {
        self.log_start = self.log_start.max(offset.min(self.next_offset));
        while self.chunks.front().is_some_and(|chunk| chunk.end <= self.log_start) {
            self.chunks.pop_front();
        }
    }

    /// Sets or forgets a cursor.
    pub fn set_cursor(&mut self, subscriber: &Name, offset: Option<u64>) {
        match offset {
            Some(offset) => {
                self.cursors.insert(subscriber.clone(), offset);
            }
            None => {
                self.cursors.remove(subscriber);
            }
        }
    }

    /// The files that hold records of this partition.
    pub fn files(&self) -> impl Iterator<Item = SortedFileId> {
        let ids: BTreeSet<_> = self
            .chunks
            .iter()
            .filter_map(|chunk| match chunk.place {
                Place::File(id) => Some(id),
                Place::Log(_) => None,
            })
            .collect();
        ids.into_iter()
    }

    /// Notes that every batch up to `index` of the slot's log now lies in `file`.
    ///
    /// # Panics
    /// When there were such batches but no file.
    pub fn compacted(&mut self, index: u64, file: Option<SortedFileId>) {
        let in_log = |chunk: &Chunk| matches!(chunk.place, Place::Log(at) if at <= index);
        let from = self.chunks.iter().take_while(|chunk| !in_log(chunk)).count();
        let moved: Vec<Chunk> = self.chunks.iter().skip(from).copied().take_while(|c| in_log(c)).collect();
        let (Some(first), Some(last)) = (moved.first(), moved.last()) else { return };
        let file = file.expect("records that leave the log go into a file");
        let chunk = Chunk {
            first: first.first,
            end: last.end,
            stamp_ms: last.stamp_ms,
            bytes: moved.iter().map(|chunk| chunk.bytes).sum(),
            place: Place::File(file),
        };
        self.chunks.drain(from..from + moved.len());
        self.chunks.insert(from, chunk);
    }
}

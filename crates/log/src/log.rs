//! The shared write-ahead log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use hcube_core::ids::{GroupId, ReplicaId};

use crate::disk::{Disk, File};
use crate::error::{SyncError, WriteError};
use crate::frame::Kind;
use crate::ops::{Op, Position};
use crate::reader::{Files, Reader};
use crate::recovery::Place;

mod group;
mod open;
mod plan;
mod prepare;
mod reclaim;
mod retired;

pub(crate) use group::Group;
pub use prepare::{Prepare, Prepared};
use retired::Retired;

/// How a log behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a new segment, a multiple of 512 from 4 KiB to 2 GiB. Segments that exist keep theirs.
    pub segment_bytes: u64,
    /// [`Log::pressure`] asks for compaction beyond this many sealed segments.
    pub sealed_segments_target: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, sealed_segments_target: 3 }
    }
}

/// What a log holds on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Segments, prepared ones included.
    pub segments: usize,
    /// Segments that are filled and not yet reclaimed.
    pub sealed_segments: usize,
    /// Segments at the old end that no group needs any more.
    pub reclaimable_segments: usize,
    /// Bytes of all segments, and of what is kept to become one.
    pub bytes: u64,
    /// Groups with a replica here.
    pub groups: usize,
    /// Whether no further segment can be made for lack of space, see [`Log::is_full`].
    pub full: bool,
}

/// One log for all groups of a node, votes and entries alike.
///
/// [`Log::write`] hands bytes to the disk, [`Log::sync`] makes everything written durable at once. The log is
/// the caller's alone; other threads read through a [`Reader`].
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    config: Config,
    salt: u64,
    /// Open segments: sealed ones, the active one, and those prepared behind it.
    files: Files<D>,
    /// Bytes of each of these segments.
    sizes: BTreeMap<u64, u64>,
    /// Those of them whose room was only reserved.
    reserved: BTreeSet<u64>,
    /// The next batch begins a new segment, see [`Log::set_fast`].
    leaves: bool,
    /// See [`Log::set_fast`].
    fast: bool,
    /// Files of segments that are not needed any more.
    retired: Vec<Retired<D>>,
    /// Where the next frame goes; its segment is the active one.
    head: Place,
    /// The CRC of the last frame.
    chain: u32,
    /// Everything before this place is durable.
    durable: Place,
    /// Segments written to since the last sync.
    dirty: BTreeSet<u64>,
    /// A frontier frame opened the batch that is not synced yet.
    batch_open: bool,
    /// The last frame is a frontier frame, or there is none at all.
    idle_marked: bool,
    groups: BTreeMap<GroupId, Group>,
    /// Destroyed replicas, and the segment with the latest frame that says so.
    tombstones: BTreeMap<(GroupId, ReplicaId), u64>,
    /// Damaged groups that are not replaced yet, and the segment of the damage.
    broken: BTreeMap<GroupId, u64>,
    /// The segment of damage that concerns every group, until it is settled.
    broken_all: Option<u64>,
    written_bytes: u64,
    full: bool,
    /// A [`Prepare`] is under way.
    preparing: bool,
    poisoned: bool,
    /// Kept between batches, so that its memory is.
    buffer: Vec<u8>,
}

impl<D: Disk> Log<D> {
    /// Writes a batch of changes, all or none. They are readable at once and durable after [`Log::sync`].
    ///
    /// Returns a position for each appended entry, in order.
    pub fn write(&mut self, ops: &[Op]) -> Result<Vec<Position>, WriteError> {
        let mut plan = self.plan()?;
        for op in ops {
            plan.add(op)?;
        }
        let done = plan.finish();
        self.carry_out(&done)?;
        let positions = done.positions;
        self.commit(done.changes);
        self.prepare_when_half_full();
        Ok(positions)
    }

    /// Bytes written since the log was opened, without those that make segments.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Makes everything written so far durable.
    ///
    /// An error is fatal to the process: what was written may be lost and must not be acknowledged. A sync is
    /// never retried; after an error every call fails.
    pub fn sync(&mut self) -> Result<(), SyncError> {
        if self.poisoned {
            return Err(SyncError::Poisoned);
        }
        for segment in std::mem::take(&mut self.dirty) {
            if let Err(error) = self.file(segment).sync_data() {
                self.poisoned = true;
                return Err(SyncError::Io(error));
            }
        }
        self.durable = self.head;
        self.batch_open = false;
        Ok(())
    }

    /// Writes and syncs one frontier frame, unless one is the last frame already. Returns whether it did.
    ///
    /// Until then, damage to the last batch cannot be told from a tear. To be called when the log falls idle.
    pub fn mark_idle(&mut self) -> Result<bool, WriteError> {
        if self.poisoned {
            return Err(WriteError::Poisoned);
        }
        self.sync()?;
        if self.idle_marked {
            return Ok(false);
        }
        let done = self.plan()?.finish_with_frontier();
        self.carry_out(&done)?;
        self.sync()?;
        Ok(true)
    }

    /// The groups whose entries above their base pin the oldest sealed segments beyond the target.
    ///
    /// The caller compacts each of them: writes a sorted file and an [`Op::Base`], then calls [`Log::reclaim`].
    #[must_use]
    pub fn pressure(&self) -> Vec<GroupId> {
        let sealed: Vec<u64> = self.sizes.range(..self.head.segment).map(|(number, _)| *number).collect();
        let excess = sealed.len().saturating_sub(self.config.sealed_segments_target);
        let Some(last) = excess.checked_sub(1).map(|last| sealed[last]) else { return Vec::new() };
        let pins = |group: &Group| group.oldest_needed().is_some_and(|segment| segment <= last);
        self.intact_groups().filter(|(_, group)| pins(group)).map(|(id, _)| id).collect()
    }

    /// A reader for any thread.
    #[must_use]
    pub fn reader(&self) -> Reader<D> {
        Reader::new(Arc::clone(&self.files), self.salt)
    }

    /// What the log holds now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            segments: self.sizes.len(),
            sealed_segments: self.sizes.range(..self.head.segment).count(),
            reclaimable_segments: self.reclaimable().len(),
            bytes: self.sizes.values().sum::<u64>() + self.retired_bytes(),
            groups: self.groups.len(),
            full: self.full,
        }
    }

    /// Bytes that one entry's data, or one base with its state, may take at most.
    #[must_use]
    pub fn payload_bytes_max(&self) -> u64 {
        plan::payload_bytes_max(self.config.segment_bytes)
    }

    /// Declares that every replica of this node was replaced after damage that concerned all groups.
    ///
    /// Without it such damage is reported at each open, and its segments are never reclaimed. Fails with
    /// [`WriteError::Damaged`] while a damaged replica is still there.
    pub fn settle_damage(&mut self) -> Result<(), WriteError> {
        if let Some(group) = self.broken.keys().next() {
            return Err(WriteError::Damaged(*group));
        }
        let mut plan = self.plan()?;
        plan.add_mark(Kind::Settled, 0);
        // Were the oldest segments missing, then what is there now is all there has to be.
        let oldest = self.sizes.first_key_value().map_or(self.head.segment, |(number, _)| *number);
        plan.add_mark(Kind::Low, oldest);
        let done = plan.finish();
        self.carry_out(&done)?;
        self.sync()?;
        self.broken_all = None;
        Ok(())
    }

    fn file(&self, segment: u64) -> Arc<D::File> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(files.get(&segment).expect("a segment with a size is open"))
    }
}

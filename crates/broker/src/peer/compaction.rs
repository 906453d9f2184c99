//! Moving records out of the log into sorted files, so that the log's segments can go; and letting go of files
//! that hold nothing any more.

use std::collections::BTreeSet;

use hcube_consensus::SnapshotData;
use hcube_core::feature;
use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::{SortedFileId, SortedFileMeta};

use super::Peer;
use crate::slot::{Place, Slot};
use crate::{Action, Compaction, CompactionRow};

/// The compaction under way, and those that wait.
#[derive(Debug, Default)]
pub(super) struct Compacting {
    wanted: BTreeSet<GroupId>,
    /// The group whose turn was last: under steady load every group wants to be next again at once, and the
    /// oldest segment goes only when all of them had their turn.
    last: GroupId,
    under_way: Option<UnderWay>,
    /// Files to delete once the write that drops them is durable; none while that write is not numbered yet.
    doomed: Vec<(Option<u64>, Vec<SortedFileId>)>,
}

#[derive(Debug)]
struct UnderWay {
    group: GroupId,
    index: u64,
    life: u64,
    file: SortedFileId,
    /// The state at `index`, with its records in `file`.
    state: Slot,
}

impl Compacting {
    pub fn want(&mut self, groups: Vec<GroupId>) {
        // What is under way is not begun again behind itself: it would make a second, small file.
        let under_way = self.under_way.as_ref().map(|under_way| under_way.group);
        self.wanted.extend(groups.into_iter().filter(|group| Some(*group) != under_way));
    }

    /// The next group in turn.
    fn take_next(&mut self) -> Option<GroupId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let next = self.wanted.range((Excluded(self.last), Unbounded)).next();
        let next = *next.or_else(|| self.wanted.first())?;
        self.wanted.remove(&next);
        self.last = next;
        Some(next)
    }

    /// Files to delete as soon as the base that drops them is durable.
    pub fn doom(&mut self, files: Vec<SortedFileId>) {
        if !files.is_empty() {
            self.doomed.push((None, files));
        }
    }

    /// Whether files of a group are still to be deleted.
    pub fn has_doomed(&self, group: GroupId) -> bool {
        self.doomed.iter().flat_map(|(_, files)| files).any(|file| file.group == group)
    }

    /// The bases noted since the last write are in this one.
    pub fn carried_by(&mut self, write: u64) {
        for (number, _) in self.doomed.iter_mut().filter(|(number, _)| number.is_none()) {
            *number = Some(write);
        }
    }
}

impl Peer {
    /// Begins the next compaction, if one is wanted and none is under way.
    pub(super) fn compact_next(&mut self) {
        while self.compacting.under_way.is_none() {
            let Some(group) = self.compacting.take_next() else { return };
            if group == GroupId::META {
                self.compact_metadata();
            } else {
                self.compact_slot(group);
            }
        }
    }

    fn compact_metadata(&mut self) {
        let Some(indexes) = self.groups.indexes(GroupId::META) else { return };
        if indexes.applied > indexes.base {
            let data = SnapshotData { state: self.meta.encode(), files: Vec::new() };
            self.groups.compact(GroupId::META, indexes.applied, data);
        }
    }

    fn compact_slot(&mut self, group: GroupId) {
        let Some(indexes) = self.groups.indexes(group) else { return };
        let Some(replica) = self.slots.get(&group) else { return };
        let dead = replica.files.len() > replica.slot.files().len();
        if indexes.applied == indexes.base && !dead {
            return;
        }
        let rows = self.rows(group);
        let Some(replica) = self.slots.get(&group) else { return };
        let mut state = replica.slot.clone();
        if rows.is_empty() {
            state.compacted(indexes.applied, None);
            self.settle(group, indexes.applied, &state, None);
            return;
        }
        let file = SortedFileId { group, replica: replica.replica, generation: self.rng.next_u64() };
        state.compacted(indexes.applied, Some(file));
        if state.encode().len() > self.config.base_bytes_max {
            // The log could not hold the base; the group's entries stay where they are.
            return;
        }
        let life = replica.life;
        self.compacting.under_way = Some(UnderWay { group, index: indexes.applied, life, file, state });
        let may_keep_segments = self.meta.feature_level >= feature::KEPT_SEGMENTS;
        self.actions.push(Action::Compact(Compaction { group, file, rows, may_keep_segments }));
    }

    /// Every batch that lies in the group's log, by partition and offset.
    fn rows(&self, group: GroupId) -> Vec<CompactionRow> {
        let Some(replica) = self.slots.get(&group) else { return Vec::new() };
        let mut rows = Vec::new();
        for (partition, state) in replica.slot.partitions() {
            for chunk in state.chunks().filter(|chunk| matches!(chunk.place, Place::Log(_))) {
                let records = u32::try_from(chunk.end - chunk.first).expect("a batch's count is a u32");
                // Where it lies is what counts, and not what memory has of it.
                let piece = self.piece_in_log(group, chunk).or_else(|| self.piece(group, chunk));
                let piece = piece.expect("what is not compacted is in the log");
                rows.push(CompactionRow { partition, records, piece });
            }
        }
        rows
    }

    /// A compaction's file is written and durable, or could not be written.
    pub(super) fn compacted(&mut self, group: GroupId, result: Result<SortedFileMeta, String>) {
        let Some(done) = self.compacting.under_way.take_if(|under_way| under_way.group == group) else {
            return;
        };
        let current = self.slots.get(&group).is_some_and(|replica| replica.life == done.life);
        match result {
            Ok(file) if current => self.settle(group, done.index, &done.state, Some(file)),
            // A snapshot replaced the state meanwhile: the file is nobody's.
            Ok(file) => self.actions.push(Action::RemoveFiles(vec![file.id])),
            // Segments stay until it works: the disk event asks again.
            Err(_) => self.actions.push(Action::RemoveFiles(vec![done.file])),
        }
        self.compact_next();
    }

    /// Makes the compacted state the group's base.
    fn settle(&mut self, group: GroupId, index: u64, state: &Slot, file: Option<SortedFileMeta>) {
        let Some(replica) = self.slots.get_mut(&group) else { return };
        let id = file.as_ref().map(|file| file.id);
        replica.files.extend(file.map(|file| (file.id, file)));
        replica.slot.compacted(index, id);
        // Both the state that becomes the base and the state of now may refer to files.
        let mut used = state.files();
        used.extend(replica.slot.files());
        let dead: Vec<_> = replica.files.keys().filter(|id| !used.contains(id)).copied().collect();
        for id in &dead {
            replica.files.remove(id);
        }
        let named = state.files();
        let files = replica.files.values().filter(|file| named.contains(&file.id)).cloned().collect();
        self.groups.compact(group, index, SnapshotData { state: state.encode(), files });
        self.compacting.doom(dead);
    }

    /// A write is durable: files that it dropped can go.
    pub(super) fn written(&mut self, number: u64) {
        let doomed = &mut self.compacting.doomed;
        let due = doomed.extract_if(.., |(write, _)| write.is_some_and(|write| write <= number));
        let files: Vec<_> = due.flat_map(|(_, files)| files).collect();
        if !files.is_empty() {
            self.actions.push(Action::RemoveFiles(files));
        }
    }

    /// Retention or a deletion may have emptied files.
    pub(super) fn look_for_dead_files(&mut self, group: GroupId) {
        let Some(replica) = self.slots.get(&group) else { return };
        if replica.files.len() > replica.slot.files().len() {
            self.compacting.want(vec![group]);
        }
    }

    /// The replica of a group that a node holds.
    pub(super) fn replica_on(&self, group: GroupId, node: hcube_core::ids::NodeId) -> Option<ReplicaId> {
        self.meta.placement_of(group)?.replica_on(node)
    }
}

//! The checkpoint: what is latest in the oldest segments is written again at the head, then they are deleted.

use bytes::Bytes;
use hcube_core::ids::GroupId;

use super::{Group, Log};
use crate::disk::Disk;
use crate::error::WriteError;
use crate::frame::Kind;

impl<D: Disk> Log<D> {
    /// Retires the oldest segments that hold no entry above its group's base, after writing again at the head
    /// every hard state, base and tombstone that is latest in them. Returns how many segments it retired: their files are
    /// deleted, or become segments again.
    ///
    /// Syncs what was written before. A crash at any moment leaves either the old copies or the new ones.
    pub fn reclaim(&mut self) -> Result<usize, WriteError> {
        self.sync()?;
        let old = self.reclaimable();
        let Some(last) = old.last() else { return Ok(0) };
        self.copy_to_head(last + 1)?;
        self.sync()?;
        for number in &old {
            self.retire(*number)?;
        }
        if self.full {
            // The room is there or not; that no segment can be made for another reason will show when one must be.
            let _ = self.prepare_segment();
        }
        Ok(old.len())
    }

    /// The sealed segments at the old end that no entry pins and no unsettled damage.
    pub(super) fn reclaimable(&self) -> Vec<u64> {
        let entries = self.groups.values().filter_map(Group::oldest_needed);
        let damage = self.broken.values().copied().chain(self.broken_all);
        let end = entries.chain(damage).chain([self.head.segment]).min().unwrap_or(self.head.segment);
        self.sizes.range(..end).map(|(number, _)| *number).collect()
    }

    /// Writes everything that is latest below segment `end` again, and that the segments below may go.
    fn copy_to_head(&mut self, end: u64) -> Result<(), WriteError> {
        let bases = self.bases_below(end)?;
        let mut plan = self.plan()?;
        plan.add_mark(Kind::Low, end);
        for (id, payload) in &bases {
            plan.copy_base(*id, payload)?;
        }
        for (id, group) in self.intact_groups() {
            if let Some((hard_state, segment)) = group.hard_state
                && segment < end
            {
                plan.copy_hard_state(id, hard_state)?;
            }
        }
        for ((id, replica), _) in self.tombstones.iter().filter(|(_, segment)| **segment < end) {
            plan.copy_tombstone(*id, *replica);
        }
        let done = plan.finish();
        self.carry_out(&done)?;
        self.commit(done.changes);
        Ok(())
    }

    /// A damaged group is only waiting to be destroyed: the log does not carry it on.
    pub(super) fn intact_groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.iter().map(|(id, group)| (*id, group)).filter(|(id, _)| !self.broken.contains_key(id))
    }

    fn bases_below(&self, end: u64) -> Result<Vec<(GroupId, Bytes)>, WriteError> {
        let reader = self.reader();
        self.intact_groups()
            .filter(|(_, group)| group.base.segment < end)
            .map(|(id, group)| Ok((id, reader.read(group.base).map_err(WriteError::Io)?)))
            .collect()
    }
}

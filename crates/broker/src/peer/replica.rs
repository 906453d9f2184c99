//! A slot's replica on this peer: the replicated state, and what this replica alone knows.

use std::collections::BTreeMap;

use hcube_core::ids::ReplicaId;
use hcube_log::{SortedFileId, SortedFileMeta};

use super::slow::Disks;
use crate::proposals::Proposals;
use crate::slot::Slot;

/// Where a group stands when its replica here leads it.
#[derive(Debug, Default)]
pub(super) struct Leading {
    /// The term in which this replica leads, while it does.
    pub term: Option<u64>,
    /// Whether an entry of that term is applied: only then is everything before it known.
    pub ready: bool,
    /// The tick at which leadership began.
    pub since_tick: u64,
    /// How fast the disks of the group are.
    pub disks: Disks,
}

impl Leading {
    /// Begins or ends leadership; returns whether anything changed.
    pub fn set(&mut self, term: Option<u64>, tick: u64) -> bool {
        let changed = term != self.term;
        if changed {
            *self = Self { term, since_tick: tick, ..Self::default() };
        }
        changed
    }

    /// Notes that an entry of a term is applied; returns whether proposing may begin.
    pub fn applied(&mut self, term: u64) -> bool {
        let begins = self.term == Some(term) && !self.ready;
        self.ready |= begins;
        begins
    }
}

/// A slot's replica here.
pub(super) struct SlotReplica {
    pub replica: ReplicaId,
    pub slot: Slot,
    /// The files that the durable base names, and those of later ones.
    pub files: BTreeMap<SortedFileId, SortedFileMeta>,
    pub leading: Leading,
    pub proposals: Proposals,
    /// Another one whenever a snapshot replaces the state, or another replica takes this one's place: what was
    /// begun before is void then.
    pub life: u64,
    /// The tick at which the group's leader was heard of last.
    pub heard_tick: u64,
}

impl SlotReplica {
    pub fn new(replica: ReplicaId, slot: Slot, files: &[SortedFileMeta], life: u64) -> Self {
        Self {
            replica,
            slot,
            files: files.iter().map(|file| (file.id, *file)).collect(),
            leading: Leading::default(),
            proposals: Proposals::default(),
            life,
            heard_tick: 0,
        }
    }
}

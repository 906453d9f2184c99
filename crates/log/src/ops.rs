//! What a caller writes into the log.

use bytes::Bytes;
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, ReplicaId};

use crate::sorted::SortedFileMeta;

/// One entry of a group's Raft log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Raft index, dense from the group's base.
    pub index: u64,
    /// Raft term.
    pub term: u64,
    /// What the entry is, for the caller; the log only keeps it.
    pub kind: u8,
    /// Any bytes; empty is allowed.
    pub data: Bytes,
}

/// What Raft must remember of a group besides its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// Current term.
    pub term: u64,
    /// The replica voted for in this term, by its id; 0 for none.
    pub vote: u64,
    /// Highest index known committed.
    pub commit: u64,
}

/// Where an entry's `data` lies in the log. Stays valid until its segment is reclaimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Byte in the segment at which the data begins.
    pub offset: u32,
    /// Bytes of the data.
    pub length: u32,
}

/// From where a group's entries go on: everything up to `index` is in `state` and `files`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base {
    /// The last index that `state` includes; 0 at birth.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
    /// The group's configuration at `index`.
    pub conf: ConfState,
    /// The state machine at `index`, opaque to the log. Must fit one segment, see
    /// [`Log::payload_bytes_max`](crate::Log::payload_bytes_max).
    pub state: Bytes,
    /// The sorted files that hold the records at or below `index`.
    pub files: Vec<SortedFileMeta>,
    /// Keep the entries above `index` (a compaction), or drop all entries (a snapshot took their place).
    pub keep_tail: bool,
}

/// One change to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Appends dense entries, truncating first whatever the group has at or beyond the first index.
    Append {
        /// Whose log grows.
        group: GroupId,
        /// Dense, ascending; may be empty.
        entries: Vec<Entry>,
    },
    /// Replaces the group's hard state.
    HardState {
        /// Whose.
        group: GroupId,
        /// The new one.
        hard_state: HardState,
    },
    /// Creates the replica, or moves its base forward.
    Base {
        /// Whose.
        group: GroupId,
        /// The replica that this node holds; another one must be destroyed first.
        replica: ReplicaId,
        /// The new base; its index never falls.
        base: Base,
    },
    /// Forgets the replica and leaves a tombstone: that replica id may never be created again here.
    ///
    /// Destroying a replica that does not exist leaves the tombstone all the same.
    Destroy {
        /// Whose.
        group: GroupId,
        /// Which.
        replica: ReplicaId,
    },
}

impl Op {
    /// The group that the op changes.
    #[must_use]
    pub fn group(&self) -> GroupId {
        match self {
            Self::Append { group, .. }
            | Self::HardState { group, .. }
            | Self::Base { group, .. }
            | Self::Destroy { group, .. } => *group,
        }
    }
}

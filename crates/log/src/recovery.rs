//! What [`crate::Log::open`] found on the disk.

use std::collections::{BTreeMap, BTreeSet};

use hcube_core::ids::{GroupId, ReplicaId};

use crate::ops::{Base, HardState, Position};

/// The content of a log, as its owner needs it to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Every replica of this node. A damaged one is as it was before the damage, for inspection only.
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Replicas that were destroyed and may never be created again.
    pub tombstones: BTreeSet<(GroupId, ReplicaId)>,
    /// What had been durable and cannot be read any more.
    pub damage: Option<Damage>,
    /// Bytes of a last batch that was never durable, now cut.
    pub torn_bytes: u64,
    /// Bytes read from segments.
    pub scanned_bytes: u64,
    /// The disk held no log: this one was made now.
    pub fresh: bool,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// Its id.
    pub replica: ReplicaId,
    /// Its latest hard state.
    pub hard_state: HardState,
    /// Its latest base, with `keep_tail` set.
    pub base: Base,
    /// Its entries, dense from `base.index + 1`.
    pub entries: Vec<RecoveredEntry>,
}

/// One entry; its data stays on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveredEntry {
    /// Raft index.
    pub index: u64,
    /// Raft term.
    pub term: u64,
    /// The caller's kind.
    pub kind: u8,
    /// Where the data lies.
    pub position: Position,
}

/// What had been durable and cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Whom it concerns.
    pub scope: DamageScope,
    /// Where it is, in the log's order.
    pub places: Vec<Place>,
}

/// Whom damage concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DamageScope {
    /// These groups. Empty when only the log's own bookkeeping is hit, which costs no group anything.
    Groups(BTreeSet<GroupId>),
    /// Every group of the node, those included that the log does not know any more.
    All,
}

/// Where something is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the segment.
    pub segment: u64,
    /// Byte in the segment.
    pub offset: u32,
}

impl Damage {
    /// Whether the group must stop voting and be replaced.
    #[must_use]
    pub fn concerns(&self, group: GroupId) -> bool {
        match &self.scope {
            DamageScope::Groups(groups) => groups.contains(&group),
            DamageScope::All => true,
        }
    }
}

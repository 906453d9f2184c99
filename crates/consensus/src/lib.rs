//! All Raft groups of one node: events in, actions out.
//!
//! [`Groups`] owns a Raft state machine for each replica that the node holds. Its owner calls it with what
//! happened (a tick, a message, a finished write) and drains what is to be done with [`Groups::ready`].
//! Nothing here waits: a vote or an acknowledgement that must be durable first is held back until the write
//! it depends on is reported by [`Groups::persisted`].
//!
//! This is the only crate that knows the crate `raft`.

mod conf;
mod entry;
mod group;
mod groups;
mod restore;
mod rng;
mod storage;
pub mod wire;

use bytes::Bytes;
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use hcube_log::{Op, Position};

pub use conf::ConfStep;
pub use entry::EntryKind;
pub use groups::{Groups, Indexes};
pub use restore::{Replayed, RestoreError};
pub use rng::Rng;
pub use storage::{Located, SnapshotData};
pub use wire::Envelope;

/// How the groups behave. Times are in ticks, whose length the owner decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader before a replica stands for election; each draws from this to twice this.
    pub election_ticks: usize,
    /// Bytes of entries in one message.
    pub message_bytes: u64,
    /// Messages under way to one follower.
    pub inflight_messages: usize,
    /// Bytes a leader holds that are not committed; beyond it proposals are refused.
    pub uncommitted_bytes: u64,
    /// Bytes of committed entries handed out in one go.
    pub committed_bytes: u64,
    /// Bytes of applied entries that each group keeps in memory for its followers.
    pub cache_bytes: usize,
    /// Ticks after which a snapshot without progress counts as failed.
    pub snapshot_ticks: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_ticks: 2,
            election_ticks: 10,
            message_bytes: 1 << 20,
            inflight_messages: 256,
            uncommitted_bytes: 32 << 20,
            committed_bytes: 8 << 20,
            cache_bytes: 512 << 10,
            snapshot_ticks: 50,
        }
    }
}

/// Where a proposal stands in its group's log, if nothing overtakes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposed {
    /// The leader's term.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

/// Why a proposal did not enter the log. It certainly did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node holds no replica of the group.
    #[error("no replica of the group here")]
    NoReplica,
    /// The replica here does not lead.
    #[error("not the leader")]
    NotLeader,
    /// Leadership is being handed over, too much is uncommitted, or another change of configuration is under
    /// way: try again soon.
    #[error("the leader takes no proposals at the moment")]
    Dropped,
    /// The step does not fit the group's configuration.
    #[error("the configuration does not allow this step")]
    Invalid,
}

/// Entries that became committed and must now be applied, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Their group.
    pub group: GroupId,
    /// Each with its place and content.
    pub entries: Vec<CommittedEntry>,
}

/// One committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Its place in the group's log.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
    /// What it is. A change of configuration is in effect already.
    pub kind: EntryKind,
    /// What was proposed; empty for a new leader's first entry.
    pub data: Bytes,
}

/// The state of a group was replaced by a snapshot; it takes effect before any later committed entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The group.
    pub group: GroupId,
    /// The last index that the snapshot covers.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
    /// The state and its files.
    pub data: SnapshotData,
}

/// Whom a replica follows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// The group.
    pub group: GroupId,
    /// Its term.
    pub term: u64,
    /// The node that leads it as far as this replica knows.
    pub leader: Option<NodeId>,
    /// Whether this node leads it.
    pub leads: bool,
}

/// A read that was confirmed: every entry up to `index` was committed before the read was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadIndex {
    /// The group.
    pub group: GroupId,
    /// What [`Groups::read_index`] was given.
    pub token: u64,
    /// Serve the read once this index is applied.
    pub index: u64,
}

/// Entries that a follower far behind needs and that only the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The group.
    pub group: GroupId,
    /// Names the fetch in [`Groups::fetched`].
    pub token: u64,
    /// Where the entries lie, in order.
    pub positions: Vec<Position>,
}

/// A message to another node's replica.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The receiver.
    pub to: NodeId,
    /// What it gets.
    pub envelope: Envelope,
}

/// What must reach the log, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Rises by one with every write; named in [`Groups::persisted`].
    pub number: u64,
    /// What to write.
    pub ops: Vec<Op>,
    /// Whether it must be durable before it is reported; otherwise being written is enough.
    pub sync: bool,
}

/// Everything that the groups want done, in the order of the fields.
#[derive(Debug, Default)]
pub struct Ready {
    /// Messages that depend on no write.
    pub messages: Vec<Outgoing>,
    /// At most one write for all groups together.
    pub write: Option<Write>,
    /// Snapshots that replace a group's state.
    pub restored: Vec<Restored>,
    /// Entries to apply.
    pub committed: Vec<Committed>,
    /// Changes of leader.
    pub roles: Vec<Role>,
    /// Confirmed reads.
    pub reads: Vec<ReadIndex>,
    /// Entries to read from the log.
    pub fetches: Vec<Fetch>,
}

/// How far a follower is, as its leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// The replica.
    pub replica: ReplicaId,
    /// Whether it votes, in either half of a joint configuration.
    pub voter: bool,
    /// The last index known durable there.
    pub matched: u64,
    /// Whether it was heard of lately.
    pub active: bool,
}

impl Ready {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.write.is_none()
            && self.restored.is_empty()
            && self.committed.is_empty()
            && self.roles.is_empty()
            && self.reads.is_empty()
            && self.fetches.is_empty()
    }
}

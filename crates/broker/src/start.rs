//! How a peer begins: what its log holds at the founding, and taking up what a log was found to hold.

mod invitation;

use std::collections::BTreeSet;

use bytes::Bytes;
use hcube_consensus::{EntryKind, Replayed};
use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::Meta;
use hcube_log::{Base, DamageScope, HardState, Op, Position, RecoveredGroup, Recovery};

pub use invitation::Invitation;

use crate::slot::Slot;

/// The first index of every group: its founding state. The log proper begins after it.
pub const GENESIS_INDEX: u64 = 1;
/// The term of the founding state.
pub const GENESIS_TERM: u64 = 1;

/// What the log of a founder must hold before it takes part.
#[must_use]
pub fn genesis_ops(meta: &Meta, node: NodeId) -> Vec<Op> {
    let mut ops = Vec::new();
    for (group, placement) in meta.groups() {
        let Some(replica) = placement.replica_on(node) else { continue };
        let state = if group == GroupId::META { meta.encode() } else { Slot::default().encode() };
        let (index, term, conf) = (GENESIS_INDEX, GENESIS_TERM, placement.conf());
        let base = Base { index, term, conf, state, files: Vec::new(), keep_tail: false };
        ops.push(Op::Base { group, replica, base });
        ops.push(Op::HardState { group, hard_state: HardState { term, vote: 0, commit: index } });
    }
    ops
}

/// Why a log cannot be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The metadata's part of the log is damaged, or all of it. The peer must not vote with what is left of it.
    #[error(
        "the log is damaged beyond what this peer can mend alone: {0}; \
         empty its data directory, start it, and have it replaced at its vertex"
    )]
    Damaged(String),
    /// The log does not hold the metadata group, which every peer follows.
    #[error("the log holds no metadata")]
    NoMetadata,
    /// An older hcube was started where a newer one was.
    #[error(
        "the hypercube is at feature level {level} for good, and this hcube knows levels up to {known}: start one that \
         is at least as new as that which ran here before"
    )]
    FeatureLevel {
        /// The hypercube's.
        level: u32,
        /// The newest that this peer knows.
        known: u32,
    },
    /// A state in the log does not decode.
    #[error("the state of group {group} does not decode: {source}")]
    State {
        /// Whose.
        group: GroupId,
        /// Why.
        source: hcube_core::codec::DecodeError,
    },
    /// An entry in the log does not decode.
    #[error("entry {index} of group {group} does not decode: {source}")]
    Entry {
        /// Whose.
        group: GroupId,
        /// Which.
        index: u64,
        /// Why.
        source: hcube_core::codec::DecodeError,
    },
    /// An entry could not be read.
    #[error("entry {index} of group {group} cannot be read: {reason}")]
    Read {
        /// Whose.
        group: GroupId,
        /// Which.
        index: u64,
        /// Why.
        reason: String,
    },
    /// A replica that belongs on this node is not in its log.
    #[error("replica {replica} of group {group} belongs here, the log has {found:?}")]
    Replica {
        /// Whose.
        group: GroupId,
        /// Which.
        replica: hcube_core::ids::ReplicaId,
        /// What the log has instead.
        found: Option<hcube_core::ids::ReplicaId>,
    },
    /// The metadata does not name this node.
    #[error(
        "this node has left its hypercube, or was replaced, for ever; \
         empty its data directory to use it as a new peer"
    )]
    NotMember,
}

/// A group's entries, split into those to apply again and those that may not be committed.
pub(crate) struct Replay {
    /// Index, kind and data of entries known to be committed.
    committed: Vec<(u64, EntryKind, Bytes)>,
    /// Data of the rest.
    tail: Vec<Bytes>,
}

impl Replay {
    /// Index and data of the committed commands of the group's own state machine.
    pub fn commands(&self) -> impl Iterator<Item = (u64, Bytes)> {
        let own = |entry: &&(u64, EntryKind, Bytes)| entry.1 == EntryKind::Normal && !entry.2.is_empty();
        self.committed.iter().filter(own).map(|(index, _, data)| (*index, data.clone()))
    }

    /// The versions that came with committed changes of the configuration.
    pub fn conf_versions(&self) -> impl Iterator<Item = u64> {
        self.committed.iter().filter_map(|(_, kind, _)| match kind {
            EntryKind::Conf { version } => Some(*version),
            EntryKind::Normal => None,
        })
    }

    /// What the group's Raft state machine needs of it.
    pub fn replayed(self, base: u64) -> Replayed {
        let applied = base + self.committed.len() as u64;
        let changes = |(index, kind, data)| matches!(kind, EntryKind::Conf { .. }).then_some((index, data));
        let confs = self.committed.into_iter().filter_map(changes).collect();
        Replayed { applied, confs, tail: self.tail }
    }
}

/// Reads a group's entries back from the log.
pub(crate) fn replay(
    group: GroupId,
    recovered: &RecoveredGroup,
    read: &impl Fn(Position) -> std::io::Result<Bytes>,
) -> Result<Replay, StartError> {
    let mut replay = Replay { committed: Vec::new(), tail: Vec::new() };
    for entry in &recovered.entries {
        let index = entry.index;
        let data = read(entry.position).map_err(|error| StartError::Read {
            group,
            index,
            reason: error.to_string(),
        })?;
        if index <= recovered.hard_state.commit {
            let kind = EntryKind::of(entry.kind, &data).map_err(|source| StartError::Entry {
                group,
                index,
                source,
            })?;
            replay.committed.push((index, kind, data));
        } else {
            replay.tail.push(data);
        }
    }
    Ok(replay)
}

/// The slots' groups whose part of the log is damaged. Damage that hit bookkeeping alone costs no group anything.
///
/// # Errors
/// When the metadata's part is, or everything: then the whole peer is to be replaced.
pub(crate) fn damaged_slots(recovery: &Recovery) -> Result<BTreeSet<GroupId>, StartError> {
    match &recovery.damage {
        None => Ok(BTreeSet::new()),
        Some(hcube_log::Damage { scope: DamageScope::Groups(groups), .. })
            if !groups.contains(&GroupId::META) =>
        {
            Ok(groups.clone())
        }
        Some(damage) => Err(StartError::Damaged(format!("{damage:?}"))),
    }
}

//! How a peer begins: what its log holds at the founding, and taking up what a log was found to hold.

use bytes::Bytes;
use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::Meta;
use hcube_log::{Base, HardState, Op, Position, RecoveredGroup, Recovery};

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
    /// Part of the log is damaged. The peer must not vote with what is left of it.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The log does not hold the metadata group, which every peer follows.
    #[error("the log holds no metadata")]
    NoMetadata,
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
    #[error("the metadata does not name this node")]
    NotMember,
}

/// A group's entries, split into those to apply again and those that may not be committed.
pub(crate) struct Replay {
    /// Index, term and data of entries known to be committed.
    pub committed: Vec<(u64, u64, Bytes)>,
    /// Data of the rest.
    pub tail: Vec<Bytes>,
}

/// Reads a group's entries back from the log.
pub(crate) fn replay(
    group: GroupId,
    recovered: &RecoveredGroup,
    read: &impl Fn(Position) -> std::io::Result<Bytes>,
) -> Result<Replay, StartError> {
    let mut replay = Replay { committed: Vec::new(), tail: Vec::new() };
    for entry in &recovered.entries {
        let data = read(entry.position).map_err(|error| StartError::Read {
            group,
            index: entry.index,
            reason: error.to_string(),
        })?;
        if entry.index <= recovered.hard_state.commit {
            replay.committed.push((entry.index, entry.term, data));
        } else {
            replay.tail.push(data);
        }
    }
    Ok(replay)
}

/// Refuses a log with damage.
pub(crate) fn check_damage(recovery: &Recovery) -> Result<(), StartError> {
    match &recovery.damage {
        // Damage that hit bookkeeping alone costs no group anything.
        Some(hcube_log::Damage { scope: hcube_log::DamageScope::Groups(groups), .. })
            if groups.is_empty() =>
        {
            Ok(())
        }
        Some(damage) => Err(StartError::Damaged(format!("{damage:?}"))),
        None => Ok(()),
    }
}

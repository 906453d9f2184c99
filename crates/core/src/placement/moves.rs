//! What has to change to get from one placement to another.

use super::Assignment;
use crate::ids::{NodeId, Slot};

/// The change of one slot's placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The slot.
    pub slot: Slot,
    /// Nodes that get a replica, sorted.
    pub add: Vec<NodeId>,
    /// Nodes that lose theirs, sorted.
    pub remove: Vec<NodeId>,
    /// The preferred leader, where it changes.
    pub leader: Option<NodeId>,
}

/// The changes from `current` (one assignment a slot, or none at birth) to `target`, by slot; slots that stay as
/// they are have none.
#[must_use]
pub fn diff(current: &[Assignment], target: &[Assignment]) -> Vec<Move> {
    let moves = (0..).zip(target).map(|(slot, to)| {
        let from = current.get(usize::from(slot));
        let held = from.map_or(&[][..], |from| &from.replicas);
        Move {
            slot: Slot(slot),
            add: only_in(&to.replicas, held),
            remove: only_in(held, &to.replicas),
            leader: Some(to.leader).filter(|leader| from.is_none_or(|from| from.leader != *leader)),
        }
    });
    moves.filter(|step| !step.add.is_empty() || !step.remove.is_empty() || step.leader.is_some()).collect()
}

/// The nodes of `these` that are not among `those`, sorted.
fn only_in(these: &[NodeId], those: &[NodeId]) -> Vec<NodeId> {
    let mut only: Vec<NodeId> = these.iter().copied().filter(|node| !those.contains(node)).collect();
    only.sort_unstable();
    only
}

//! A slot's state is the same on every replica that has applied the same entries.

use std::collections::BTreeMap;

use hcube_broker::{PartitionId, Peer, Status};
use hcube_core::ids::GroupId;

use super::hold;

/// What is compared of a slot: all but where each replica keeps its records.
#[derive(Debug, PartialEq, Eq)]
struct Digest {
    placed: u64,
    stamp_ms: u64,
    partitions: Vec<(PartitionId, u64, u64)>,
}

/// States of slots by index.
#[derive(Default)]
pub(crate) struct States {
    seen: BTreeMap<(GroupId, u64), Digest>,
}

impl States {
    pub fn look(&mut self, peer: &Peer, status: &Status) {
        for (group, state) in &status.groups {
            let Some(slot) = peer.slot(*group) else { continue };
            let index = state.indexes.applied;
            let partitions =
                slot.partitions().map(|(id, state)| (id, state.log_start(), state.next_offset()));
            let (placed, stamp_ms) = (slot.placed(), slot.stamp_ms());
            let digest = Digest { placed, stamp_ms, partitions: partitions.collect() };
            match self.seen.get(&(*group, index)) {
                Some(first) => hold!(
                    "one state of a slot",
                    *first == digest,
                    "group {group} at entry {index} is {digest:?} on node {} and was {first:?}",
                    status.node
                ),
                None => _ = self.seen.insert((*group, index), digest),
            }
        }
    }
}

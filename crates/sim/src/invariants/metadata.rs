//! The metadata is the same on every peer that has applied the same entries.

use std::collections::BTreeMap;

use hcube_broker::{Peer, Status};
use hcube_core::ids::GroupId;

use super::committed::hash;
use super::hold;

/// The metadata at every index at which it was seen.
#[derive(Default)]
pub(crate) struct Metadata {
    seen: BTreeMap<u64, u64>,
    /// What each machine was last looked at with.
    looked: BTreeMap<usize, u64>,
}

impl Metadata {
    pub fn look(&mut self, at: usize, peer: &Peer, status: &Status) {
        let Some(state) = status.groups.get(&GroupId::META) else { return };
        let index = state.indexes.applied;
        if self.looked.insert(at, index) == Some(index) {
            return;
        }
        let state = hash(&peer.meta().encode());
        let first = *self.seen.entry(index).or_insert(state);
        hold!("one metadata", first == state, "machine {at} has other metadata than others at entry {index}");
    }
}

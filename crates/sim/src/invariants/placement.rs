//! Replicas come to be as committed placement says, and go as it says: none by a stray message, none by absence.

use std::collections::BTreeMap;

use hcube_broker::Peer;
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use hcube_core::meta::Meta;
use hcube_log::Op;

use super::hold;
use crate::machine::Machine;

const NAME: &str = "replicas are as committed placement says";

/// Every placement that was ever committed.
#[derive(Default)]
pub(crate) struct Placed {
    homes: BTreeMap<ReplicaId, (GroupId, NodeId)>,
    /// The epoch at which each machine was last looked at, and in which life.
    looked: BTreeMap<usize, (u64, u64)>,
    /// Who was to vote, by version, since the group's configuration was last reported to be as wished.
    wishes: BTreeMap<(GroupId, u64), Vec<ReplicaId>>,
    /// The newest metadata.
    newest: Option<Meta>,
    /// Placements that changed: moves of slots.
    pub moves: u64,
}

impl Placed {
    /// Whether a machine's metadata has changed since the last look.
    pub fn news(&mut self, at: usize, life: u64, meta: &Meta) -> bool {
        self.looked.insert(at, (life, meta.epoch)) != Some((life, meta.epoch))
    }

    pub fn saw(&mut self, meta: &Meta) {
        for (group, placement) in meta.groups() {
            let voters = placement.voters.iter().map(|voter| voter.id).collect();
            self.wishes.insert((group, placement.version), voters);
            if placement.settled {
                self.wishes.retain(|(of, version), _| *of != group || *version >= placement.version);
            }
        }
        if self.newest.as_ref().is_some_and(|newest| newest.epoch >= meta.epoch) {
            return;
        }
        for (group, placement) in meta.groups() {
            let before = self.newest.as_ref().and_then(|newest| newest.placement_of(group));
            self.moves += u64::from(before.is_some_and(|before| before.version != placement.version));
            for replica in placement.all() {
                let home = *self.homes.entry(replica.id).or_insert((group, replica.node));
                let here = (group, replica.node);
                hold!(NAME, home == here, "replica {} is placed at {home:?} and {here:?}", replica.id);
            }
        }
        self.newest = Some(meta.clone());
    }

    /// The newest metadata that any peer has applied.
    pub fn newest(&self) -> &Meta {
        self.newest.as_ref().expect("there was a founding")
    }

    /// Every set of voters that a change of the group's configuration may be bringing about.
    pub fn wishes(&self, group: GroupId) -> impl Iterator<Item = &Vec<ReplicaId>> {
        self.wishes.range((group, 0)..=(group, u64::MAX)).map(|(_, voters)| voters)
    }

    /// Where a replica is meant to be, or was.
    pub fn home(&self, replica: ReplicaId) -> Option<NodeId> {
        self.homes.get(&replica).map(|(_, node)| *node)
    }

    pub fn writes(&mut self, machine: &Machine, peer: &Peer, op: &Op) {
        match op {
            Op::Base { group, replica, .. } => {
                let here = machine.node.map(|node| (*group, node));
                let home = self.homes.get(replica).copied();
                hold!(NAME, home == here, "replica {replica} is made at {here:?}, placed at {home:?}");
            }
            Op::Destroy { group, replica } => {
                let meta = peer.meta();
                let newer = meta.placement_of(*group).and_then(|placement| {
                    let node = machine.node?;
                    placement.all().filter(|other| other.node == node).map(|other| other.id).max()
                });
                let replaced = newer.is_some_and(|newer| newer > *replica);
                let damaged = machine.damaged.contains(replica);
                hold!(
                    NAME,
                    meta.is_retired(*group, *replica) || replaced || damaged,
                    "replica {replica} of group {group} is destroyed on node {:?}, which nobody decided",
                    machine.node
                );
            }
            Op::Append { .. } | Op::HardState { .. } => {}
        }
    }

    /// What is retired is gone.
    pub fn look(&self, machine: &Machine, peer: &Peer) {
        for (group, _) in peer.meta().groups().filter(|(group, _)| *group != GroupId::META) {
            let Some(replica) = peer.replica(group) else { continue };
            let retired = peer.meta().is_retired(group, replica);
            let node = machine.node;
            hold!(NAME, !retired, "replica {replica} of group {group} is retired and stays on {node:?}");
        }
    }
}

//! A replica id lives on one disk only, and never returns after it was destroyed.

use std::collections::{BTreeMap, BTreeSet};

use hcube_consensus::Envelope;
use hcube_core::ids::ReplicaId;
use hcube_log::{Op, Recovery};

use super::hold;
use crate::machine::Machine;

const NAME: &str = "a replica id lives on one disk, once";

/// Where every replica is, or was.
#[derive(Default)]
pub(crate) struct Replicas {
    homes: BTreeMap<ReplicaId, usize>,
    /// Those whose destruction is durable.
    destroyed: BTreeSet<ReplicaId>,
}

impl Replicas {
    pub fn started(&mut self, at: usize, recovery: &Recovery) {
        self.destroyed.extend(recovery.tombstones.iter().map(|(_, replica)| *replica));
        // A damaged one is listed for inspection only, also after it was destroyed.
        let whole = |group| recovery.damage.as_ref().is_none_or(|damage| !damage.concerns(group));
        for found in recovery.groups.iter().filter(|(group, _)| whole(**group)).map(|(_, found)| found) {
            self.lives(at, found.replica, "found at a start");
        }
    }

    pub fn writes(&mut self, at: usize, op: &Op) {
        match op {
            Op::Base { replica, .. } => self.lives(at, *replica, "written"),
            Op::Destroy { .. } | Op::Append { .. } | Op::HardState { .. } => {}
        }
    }

    pub fn synced(&mut self, buried: Vec<ReplicaId>) {
        self.destroyed.extend(buried);
    }

    pub fn sends(&mut self, machine: &Machine, envelope: &Envelope) {
        let gone = self.destroyed.contains(&envelope.from);
        hold!(NAME, !gone, "replica {} was destroyed and speaks on {}", envelope.from, machine.incarnation);
    }

    fn lives(&mut self, at: usize, replica: ReplicaId, how: &str) {
        let home = *self.homes.entry(replica).or_insert(at);
        hold!(NAME, home == at, "replica {replica} lives on machines {home} and {at}");
        hold!(NAME, !self.destroyed.contains(&replica), "replica {replica} was destroyed, and is {how}");
    }
}

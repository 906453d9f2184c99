//! The history of a group's configuration is the same on every replica: after the same entries, the same
//! configuration.

use std::collections::BTreeMap;

use hcube_broker::{Peer, Status};
use hcube_core::conf::ConfState;
use hcube_core::ids::GroupId;

use super::committed::Committed;
use super::hold;
use crate::machine::Machine;

/// Every configuration that was seen.
#[derive(Default)]
pub(crate) struct Configurations {
    seen: BTreeMap<(GroupId, u64), ConfState>,
    /// What was committed when each configuration was first seen: it may have been so under the one before.
    before: BTreeMap<(GroupId, u64), u64>,
    pub changes: u64,
    pub joint: u64,
}

impl Configurations {
    pub fn look(&mut self, committed: &Committed, machine: &Machine, peer: &Peer, status: &Status) {
        for (group, state) in &status.groups {
            let Some(conf) = peer.conf(*group) else { continue };
            // A replica that waits for its first snapshot has no configuration yet.
            if conf.voters.is_empty() {
                continue;
            }
            let index = committed.conf_index(*group, state.indexes.applied);
            match self.seen.get(&(*group, index)) {
                Some(first) => hold!(
                    "one history of configurations",
                    same(first, conf),
                    "group {group} is {first:?} and {conf:?} on machine {} after entry {index}",
                    machine.incarnation
                ),
                None => {
                    self.changes += u64::from(index > 0);
                    self.joint += u64::from(!conf.voters_outgoing.is_empty());
                    self.seen.insert((*group, index), conf.clone());
                    self.before.insert((*group, index), committed.last(*group));
                }
            }
        }
    }

    /// Whether an entry was surely committed under the configuration that another entry made. A configuration takes
    /// effect when it is applied, and entries behind it may have been committed together with it.
    pub fn committed_under(&self, group: GroupId, made_by: u64, index: u64) -> bool {
        self.before.get(&(group, made_by)).is_some_and(|before| index > *before)
    }

    /// The newest configuration of a group that any replica has applied.
    pub fn newest(&self, group: GroupId) -> Option<&ConfState> {
        self.seen.range((group, 0)..=(group, u64::MAX)).next_back().map(|(_, conf)| conf)
    }
}

/// Learners are not compared here but when everything has healed: a snapshot tells its receiver that it is a learner,
/// which it is by an entry further on, and whoever gets that one's snapshot later is told so too.
fn same(one: &ConfState, other: &ConfState) -> bool {
    let votes = |conf: &ConfState| {
        let ConfState { voters, voters_outgoing, learners_next, .. } = conf.clone();
        (voters, voters_outgoing, learners_next)
    };
    votes(one) == votes(other)
}

//! The steps in which a leader changes its group's configuration, and which of them fit.

use std::collections::BTreeSet;

use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;
use raft::eraftpb::ConfChangeType;

use super::change::{ConfChange, Shape};

/// One change of a group's configuration (Raft dissertation, chapter 4). Voters change by joint consensus only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfStep {
    /// A new replica begins to follow, without a vote.
    AddLearner(ReplicaId),
    /// A learner is no longer part of the group.
    RemoveLearner(ReplicaId),
    /// The joint configuration: from its entry on, both halves must agree.
    EnterJoint {
        /// The incoming half. Each votes already, or is a learner.
        voters: Vec<ReplicaId>,
        /// Voters of the outgoing half that go on as learners; the rest of those that are not incoming goes.
        demote: Vec<ReplicaId>,
    },
    /// The incoming half is the configuration.
    LeaveJoint,
}

impl ConfStep {
    /// The entry's content, if the step fits the configuration.
    pub(crate) fn change(&self, conf: &ConfState, version: u64) -> Option<ConfChange> {
        let joint = !conf.voters_outgoing.is_empty();
        if joint != (*self == Self::LeaveJoint) {
            return None;
        }
        let shape = match self {
            Self::AddLearner(replica) => {
                let new = *replica != ReplicaId(0) && !conf.contains(*replica);
                new.then_some(Shape::Simple((ConfChangeType::AddLearnerNode, *replica)))?
            }
            Self::RemoveLearner(replica) => {
                let follows = conf.learners.contains(replica);
                follows.then_some(Shape::Simple((ConfChangeType::RemoveNode, *replica)))?
            }
            Self::EnterJoint { voters, demote } => joint_shape(conf, voters, demote)?,
            Self::LeaveJoint => Shape::Leave,
        };
        Some(ConfChange { shape, version })
    }
}

fn joint_shape(conf: &ConfState, voters: &[ReplicaId], demote: &[ReplicaId]) -> Option<Shape> {
    let incoming: BTreeSet<_> = voters.iter().copied().collect();
    let outgoing: BTreeSet<_> = conf.voters.iter().copied().collect();
    let demoted: BTreeSet<_> = demote.iter().copied().collect();
    let goes: BTreeSet<_> = outgoing.difference(&incoming).copied().collect();
    let repeats = incoming.len() != voters.len() || demoted.len() != demote.len();
    // A replica that has never followed could hold up every commit.
    let strange = incoming.iter().any(|replica| !conf.contains(*replica));
    if incoming.is_empty() || incoming == outgoing || repeats || strange || !demoted.is_subset(&goes) {
        return None;
    }
    let joins = incoming.difference(&outgoing).map(|replica| (ConfChangeType::AddNode, *replica));
    let leaves = goes.iter().map(|replica| match demoted.contains(replica) {
        true => (ConfChangeType::AddLearnerNode, *replica),
        false => (ConfChangeType::RemoveNode, *replica),
    });
    Some(Shape::Joint(joins.chain(leaves).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    fn fits(step: &ConfStep, conf: &ConfState) -> bool {
        step.change(conf, 1).is_some()
    }

    fn enter(voters: &[u64], demote: &[u64]) -> ConfStep {
        ConfStep::EnterJoint { voters: ids(voters), demote: ids(demote) }
    }

    #[test]
    fn steps_that_do_not_fit_are_refused() {
        let plain = ConfState::simple(ids(&[1, 2, 3]), ids(&[4]));
        assert!(fits(&ConfStep::AddLearner(ReplicaId(5)), &plain));
        for replica in [0, 1, 4] {
            assert!(!fits(&ConfStep::AddLearner(ReplicaId(replica)), &plain), "{replica}");
        }
        assert!(fits(&ConfStep::RemoveLearner(ReplicaId(4)), &plain));
        for replica in [1, 5] {
            assert!(!fits(&ConfStep::RemoveLearner(ReplicaId(replica)), &plain), "{replica}");
        }
        assert!(!fits(&ConfStep::LeaveJoint, &plain));
        assert!(fits(&enter(&[1, 2, 4], &[3]), &plain));
        assert!(fits(&enter(&[1], &[]), &plain));
        // Nobody, nothing new, a repeat, a stranger, a demoted incoming voter, a demoted learner.
        let bad = [
            enter(&[], &[]),
            enter(&[3, 2, 1], &[]),
            enter(&[1, 1], &[]),
            enter(&[1, 5], &[]),
            enter(&[1, 2], &[2]),
            enter(&[1, 2], &[4]),
        ];
        for step in bad {
            assert!(!fits(&step, &plain), "{step:?}");
        }
    }

    #[test]
    fn a_joint_configuration_can_only_be_left() {
        let voters_outgoing = ids(&[1, 2]);
        let joint = ConfState { voters_outgoing, ..ConfState::simple(ids(&[2, 3]), ids(&[4])) };
        assert!(fits(&ConfStep::LeaveJoint, &joint));
        let others =
            [ConfStep::AddLearner(ReplicaId(5)), ConfStep::RemoveLearner(ReplicaId(4)), enter(&[2], &[])];
        for step in others {
            assert!(!fits(&step, &joint), "{step:?}");
        }
    }
}

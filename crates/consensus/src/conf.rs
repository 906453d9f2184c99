//! Configurations of a group: in `raft`'s words and in ours, and which one held at which index.

mod change;
mod step;

use std::collections::{BTreeSet, VecDeque};

use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;
use raft::eraftpb;

pub(crate) use change::{ConfChange, Shape};
pub use step::ConfStep;

/// The configurations that a replica has applied, from its base on.
#[derive(Debug)]
pub(crate) struct History {
    base: ConfState,
    /// Index of the entry that made it, and the configuration from there on.
    above: VecDeque<(u64, ConfState)>,
}

impl History {
    pub fn new(base: ConfState) -> Self {
        Self { base, above: VecDeque::new() }
    }

    /// The configuration as applied last.
    pub fn latest(&self) -> &ConfState {
        self.above.back().map_or(&self.base, |(_, conf)| conf)
    }

    /// The configuration with everything up to `index` applied, which is at or above the base.
    pub fn at(&self, index: u64) -> &ConfState {
        let made = self.above.iter().rev().find(|(made, _)| *made <= index);
        made.map_or(&self.base, |(_, conf)| conf)
    }

    pub fn push(&mut self, index: u64, conf: ConfState) {
        self.above.push_back((index, conf));
    }

    /// Moves the base forward.
    pub fn compact(&mut self, index: u64) {
        while let Some((_, conf)) = self.above.pop_front_if(|(made, _)| *made <= index) {
            self.base = conf;
        }
    }
}

/// Whether `raft` can take up a configuration.
pub(crate) fn is_valid(conf: &ConfState) -> bool {
    let sorted = |ids: &[ReplicaId]| ids.is_sorted_by(|a, b| a < b) && !ids.contains(&ReplicaId(0));
    let lists = [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next];
    let voters: BTreeSet<_> = conf.voters.iter().chain(&conf.voters_outgoing).collect();
    !conf.auto_leave
        && !conf.voters.is_empty()
        && lists.into_iter().all(|ids| sorted(ids))
        && !conf.learners.iter().any(|id| voters.contains(id))
        && conf.learners_next.iter().all(|id| conf.voters_outgoing.contains(id) && !conf.voters.contains(id))
}

/// Our configuration in `raft`'s words.
pub(crate) fn to_raft(conf: &ConfState) -> eraftpb::ConfState {
    let ids = |replicas: &[ReplicaId]| replicas.iter().map(|replica| replica.0).collect();
    eraftpb::ConfState {
        voters: ids(&conf.voters),
        learners: ids(&conf.learners),
        voters_outgoing: ids(&conf.voters_outgoing),
        learners_next: ids(&conf.learners_next),
        auto_leave: conf.auto_leave,
        ..Default::default()
    }
}

/// `raft`'s configuration in ours.
pub(crate) fn from_raft(conf: &eraftpb::ConfState) -> ConfState {
    let ids = |replicas: &[u64]| {
        let mut ids: Vec<_> = replicas.iter().copied().map(ReplicaId).collect();
        ids.sort_unstable();
        ids
    };
    ConfState {
        voters: ids(&conf.voters),
        learners: ids(&conf.learners),
        voters_outgoing: ids(&conf.voters_outgoing),
        learners_next: ids(&conf.learners_next),
        auto_leave: conf.auto_leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(voters: &[u64]) -> ConfState {
        ConfState::simple(voters.iter().copied().map(ReplicaId).collect(), Vec::new())
    }

    #[test]
    fn a_history_knows_the_configuration_of_every_index_above_its_base() {
        let mut history = History::new(conf(&[1]));
        history.push(5, conf(&[1, 2]));
        history.push(8, conf(&[1, 2, 3]));
        assert_eq!([4, 5, 7, 8, 9].map(|index| history.at(index).voters.len()), [1, 2, 2, 3, 3]);
        history.compact(7);
        assert_eq!([7, 8].map(|index| history.at(index).voters.len()), [2, 3]);
        history.compact(8);
        assert_eq!((history.at(8), history.latest()), (&conf(&[1, 2, 3]), &conf(&[1, 2, 3])));
    }

    #[test]
    fn configurations_that_raft_would_die_of_are_told_apart() {
        let joint = ConfState {
            voters: vec![ReplicaId(1), ReplicaId(4)],
            voters_outgoing: vec![ReplicaId(1), ReplicaId(2)],
            learners_next: vec![ReplicaId(2)],
            learners: vec![ReplicaId(7)],
            auto_leave: false,
        };
        assert!(is_valid(&joint) && is_valid(&conf(&[3])));
        let spoilt: [fn(&mut ConfState); 7] = [
            |conf| conf.voters.clear(),
            |conf| conf.voters.reverse(),
            |conf| conf.voters[0] = ReplicaId(0),
            |conf| conf.learners[0] = ReplicaId(2),
            |conf| conf.learners_next[0] = ReplicaId(1),
            |conf| conf.voters_outgoing.clear(),
            |conf| conf.auto_leave = true,
        ];
        for spoil in spoilt {
            let mut conf = joint.clone();
            spoil(&mut conf);
            assert!(!is_valid(&conf), "{conf:?}");
        }
    }
}

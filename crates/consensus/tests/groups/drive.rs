//! Bringing a group to a wished configuration, one step at a time, as a leader does it.

use std::collections::BTreeSet;

use hcube_consensus::{ConfStep, ProposeError};
use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;

use super::world::{GROUP, World, ids};

/// Ticks in which anything possible must have come to pass.
const LONG: usize = 600;

impl World {
    /// Waits for a leader that knows the whole log.
    pub fn elect(&mut self) -> u64 {
        for _ in 0..LONG {
            if let Some(leader) = self.leader()
                && !self.groups(leader).conf_pending(GROUP)
            {
                return leader;
            }
            self.tick();
        }
        panic!("nobody leads");
    }

    /// Waits until every replica of the configuration that is up has applied what the leader has.
    pub fn level(&mut self) -> u64 {
        for _ in 0..LONG {
            let leader = self.elect();
            let (conf, applied) = (self.conf(leader), self.applied(leader));
            let members: Vec<_> = self.homes.iter().filter(|(id, _)| conf.contains(**id)).collect();
            let up = members.iter().map(|(_, node)| node.0).filter(|node| self.is_up(*node));
            if up.map(|node| (self.applied(node), self.conf(node))).all(|at| at == (applied, conf.clone())) {
                return leader;
            }
            self.tick();
        }
        panic!("somebody stays behind");
    }

    /// The next step towards these voters, with these voters' predecessors kept as learners or not.
    fn next(&mut self, leader: u64, voters: &[ReplicaId]) -> Option<ConfStep> {
        let conf = self.conf(leader);
        if !conf.voters_outgoing.is_empty() {
            return Some(ConfStep::LeaveJoint);
        }
        if let Some(new) = voters.iter().find(|replica| !conf.contains(**replica)) {
            return Some(ConfStep::AddLearner(*new));
        }
        if conf.voters != voters {
            return Some(ConfStep::EnterJoint { voters: voters.to_vec(), demote: Vec::new() });
        }
        conf.learners.first().map(|replica| ConfStep::RemoveLearner(*replica))
    }

    /// Does one thing towards the wish, where it can be done now; returns whether the wish is reached.
    pub fn reconcile(&mut self, wish: &[ReplicaId]) -> bool {
        let Some(leader) = self.leader() else { return false };
        if self.groups(leader).conf_pending(GROUP) || self.groups(leader).transferring(GROUP) {
            return false;
        }
        let conf = self.conf(leader);
        let Some(step) = self.next(leader, wish) else { return true };
        let own = self.nodes[&leader].disk.held.as_ref().unwrap().replica;
        if step == ConfStep::LeaveJoint && !conf.voters.contains(&own) {
            let followers = self.groups(leader).followers(GROUP);
            let active = |id: &&ReplicaId| followers.iter().any(|one| one.replica == **id && one.active);
            if let Some(to) = conf.voters.iter().find(active) {
                self.groups(leader).transfer(GROUP, *to);
            }
            return false;
        }
        if matches!(step, ConfStep::EnterJoint { .. }) {
            let commit = self.groups(leader).indexes(GROUP).unwrap().commit;
            let followers = self.groups(leader).followers(GROUP);
            let learners: BTreeSet<_> = conf.learners.iter().filter(|id| wish.contains(id)).collect();
            let behind = followers.iter().any(|one| learners.contains(&one.replica) && one.matched < commit);
            if behind {
                return false;
            }
        }
        match self.groups(leader).propose_conf(GROUP, &step, 1) {
            Ok(_) | Err(ProposeError::Dropped) => false,
            Err(error) => panic!("{step:?} in {conf:?}: {error}"),
        }
    }

    /// Brings the group to exactly these voters.
    pub fn bring_to(&mut self, voters: &[u64]) {
        let wish = ids(voters);
        for _ in 0..LONG {
            if self.reconcile(&wish) {
                let leader = self.level();
                assert_eq!(self.conf(leader), ConfState::simple(wish, Vec::new()));
                return;
            }
            self.tick();
        }
        panic!("{voters:?} are not reached");
    }

    /// Takes one step on the leader and waits until it is applied everywhere.
    pub fn step(&mut self, step: &ConfStep) {
        let leader = self.elect();
        self.groups(leader).propose_conf(GROUP, step, 1).unwrap();
        self.level();
    }

    /// Commits an entry and returns its index.
    pub fn publish(&mut self, data: &'static [u8]) -> u64 {
        let leader = self.elect();
        let index = self.propose(leader, data).unwrap().index;
        self.settle();
        assert!(self.applied(leader) >= index, "a group with its majority commits");
        index
    }
}

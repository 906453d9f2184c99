//! How a group's configuration comes to be as its placement wishes: one idempotent step at a time.
//!
//! A pure function of what the group's leader sees. Whoever leads next, after whatever crash, finds the
//! configuration as far as it was committed and takes the next step from there.

use hcube_consensus::{ConfStep, Follower};
use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;
use hcube_core::meta::Placement;

/// Entries that a replica may be behind when it is given a vote or the lead.
pub(super) const LAG_MAX: u64 = 64;

/// What the leader sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The wish, as far as this peer's metadata goes.
    pub placement: &'a Placement,
    /// The version that the configuration was last changed for.
    pub placed: u64,
    /// The configuration, applied.
    pub conf: &'a ConfState,
    /// The leader's own replica.
    pub own: ReplicaId,
    /// Every replica of the configuration, the leader included.
    pub followers: &'a [Follower],
    /// The last index of the leader's log.
    pub last: u64,
    /// Whether a replica without a vote is to have the whole log before it is let go: how a peer that leaves the
    /// hypercube learns of it.
    pub farewell: bool,
}

/// What the leader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The configuration is as wished.
    Done,
    /// Nothing now: replicas catch up, or the metadata here is behind.
    Wait,
    /// Propose this.
    Propose(ConfStep),
    /// Hand the lead to this replica, which stays.
    Lead(ReplicaId),
}

/// The next step.
pub(super) fn next(view: &View<'_>) -> Step {
    // This peer has not heard yet of what was wished, and partly done, meanwhile.
    if view.placed > view.placement.version {
        return Step::Wait;
    }
    if !view.conf.voters_outgoing.is_empty() {
        return view.leave_joint();
    }
    let wish = view.placement.conf();
    let wanted = wish.voters.iter().chain(&wish.learners);
    if let Some(missing) = wanted.copied().find(|replica| !view.conf.contains(*replica)) {
        return Step::Propose(ConfStep::AddLearner(missing));
    }
    if view.conf.voters != wish.voters {
        return view.enter_joint(&wish);
    }
    let extra = view.conf.learners.iter().copied().find(|learner| !wish.learners.contains(learner));
    match extra {
        Some(learner) if view.farewell && !view.may_go(learner) => Step::Wait,
        Some(learner) => Step::Propose(ConfStep::RemoveLearner(learner)),
        None => Step::Done,
    }
}

impl View<'_> {
    /// A change of votes is under way: its end needs a leader that stays.
    fn leave_joint(&self) -> Step {
        if self.conf.voters.contains(&self.own) {
            return Step::Propose(ConfStep::LeaveJoint);
        }
        let able = self.conf.voters.iter().copied().filter(|voter| self.is_able(*voter));
        match able.max_by_key(|voter| self.matched(*voter)) {
            Some(voter) => Step::Lead(voter),
            None => Step::Wait,
        }
    }

    /// Every replica wanted is there; votes change once those that get one have caught up, and a majority that
    /// goes on is well.
    fn enter_joint(&self, wish: &ConfState) -> Step {
        let new = wish.voters.iter().filter(|voter| !self.conf.voters.contains(voter));
        let caught_up = new.clone().all(|voter| self.is_able(*voter));
        let able = wish.voters.iter().filter(|voter| self.is_able(**voter)).count();
        if !caught_up || able * 2 <= wish.voters.len() {
            return Step::Wait;
        }
        let demote = self.conf.voters.iter().copied().filter(|voter| wish.learners.contains(voter)).collect();
        Step::Propose(ConfStep::EnterJoint { voters: wish.voters.clone(), demote })
    }

    fn follower(&self, replica: ReplicaId) -> Option<&Follower> {
        self.followers.iter().find(|follower| follower.replica == replica)
    }

    fn matched(&self, replica: ReplicaId) -> u64 {
        self.follower(replica).map_or(0, |follower| follower.matched)
    }

    /// Whether a replica was heard of lately and has the log, but for the newest entries. However short the log is:
    /// one that has nothing may not even exist yet.
    fn is_able(&self, replica: ReplicaId) -> bool {
        let able = |f: &Follower| f.active && f.matched > 0 && f.matched + LAG_MAX >= self.last;
        replica == self.own || self.follower(replica).is_some_and(able)
    }

    /// Whether a replica has the whole log, or is not there to get it.
    fn may_go(&self, replica: ReplicaId) -> bool {
        self.follower(replica).is_none_or(|f| !f.active || f.matched >= self.last)
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::NodeId;
    use hcube_core::meta::Replica;

    use super::*;

    fn replicas(ids: &[u64]) -> Vec<Replica> {
        ids.iter().map(|id| Replica { id: ReplicaId(*id), node: NodeId(*id) }).collect()
    }

    fn placement(voters: &[u64], learners: &[u64]) -> Placement {
        Placement {
            voters: replicas(voters),
            learners: replicas(learners),
            version: 5,
            ..Placement::default()
        }
    }

    fn conf(voters: &[u64], learners: &[u64], outgoing: &[u64]) -> ConfState {
        let ids = |ids: &[u64]| ids.iter().map(|id| ReplicaId(*id)).collect();
        ConfState { voters_outgoing: ids(outgoing), ..ConfState::simple(ids(voters), ids(learners)) }
    }

    /// All replicas but those in `behind` have everything.
    fn step(placement: &Placement, conf: &ConfState, own: u64, behind: &[u64]) -> Step {
        let all = conf.voters.iter().chain(&conf.learners).chain(&conf.voters_outgoing);
        let followers: Vec<Follower> = all
            .map(|replica| Follower {
                replica: *replica,
                matched: if behind.contains(&replica.0) { 1 } else { 1000 },
                active: true,
                voter: conf.is_voter(*replica),
            })
            .collect();
        let (own, followers) = (ReplicaId(own), &followers[..]);
        next(&View { placement, placed: 5, conf, own, followers, last: 1000, farewell: true })
    }

    fn voters(ids: &[u64]) -> Vec<ReplicaId> {
        ids.iter().map(|id| ReplicaId(*id)).collect()
    }

    #[test]
    fn a_move_goes_by_learner_joint_and_removal() {
        let wish = placement(&[1, 2, 4], &[]);
        let add = Step::Propose(ConfStep::AddLearner(ReplicaId(4)));
        assert_eq!(step(&wish, &conf(&[1, 2, 3], &[], &[]), 1, &[]), add);
        assert_eq!(step(&wish, &conf(&[1, 2, 3], &[4], &[]), 1, &[4]), Step::Wait);
        let enter = ConfStep::EnterJoint { voters: voters(&[1, 2, 4]), demote: vec![] };
        assert_eq!(step(&wish, &conf(&[1, 2, 3], &[4], &[]), 1, &[]), Step::Propose(enter));
        let joint = conf(&[1, 2, 4], &[], &[1, 2, 3]);
        assert_eq!(step(&wish, &joint, 1, &[]), Step::Propose(ConfStep::LeaveJoint));
        assert_eq!(step(&wish, &joint, 3, &[1, 2]), Step::Lead(ReplicaId(4)));
        assert_eq!(step(&wish, &conf(&[1, 2, 4], &[], &[]), 1, &[]), Step::Done);
    }

    #[test]
    fn a_leader_with_older_metadata_changes_nothing() {
        let wish = Placement { version: 4, ..placement(&[1, 2, 4], &[]) };
        assert_eq!(step(&wish, &conf(&[1, 2, 3], &[], &[]), 1, &[]), Step::Wait);
    }

    #[test]
    fn a_majority_that_goes_on_must_be_well() {
        let wish = placement(&[1, 2, 4], &[]);
        assert_eq!(step(&wish, &conf(&[1, 2, 3], &[4], &[]), 3, &[1, 2]), Step::Wait);
    }

    #[test]
    fn votes_that_become_readers_are_demoted_and_readers_go_last() {
        let wish = placement(&[1], &[2]);
        let enter = ConfStep::EnterJoint { voters: voters(&[1]), demote: voters(&[2]) };
        assert_eq!(step(&wish, &conf(&[1, 2, 3], &[], &[]), 1, &[]), Step::Propose(enter));
        let wish = placement(&[1], &[]);
        let remove = Step::Propose(ConfStep::RemoveLearner(ReplicaId(2)));
        assert_eq!(step(&wish, &conf(&[1], &[2], &[]), 1, &[]), remove);
        assert_eq!(step(&wish, &conf(&[1], &[2], &[]), 1, &[2]), Step::Wait, "it has not heard of it yet");
    }

    #[test]
    fn a_change_of_mind_goes_back_the_same_way() {
        // In the middle of 3 giving way to 4, 3 is wished back.
        let back = placement(&[1, 2, 3], &[]);
        let joint = conf(&[1, 2, 4], &[], &[1, 2, 3]);
        assert_eq!(step(&back, &joint, 2, &[]), Step::Propose(ConfStep::LeaveJoint));
        let add = Step::Propose(ConfStep::AddLearner(ReplicaId(3)));
        assert_eq!(step(&back, &conf(&[1, 2, 4], &[], &[]), 2, &[]), add);
    }
}

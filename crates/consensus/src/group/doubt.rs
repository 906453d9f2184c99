//! A leader whose node cannot be reached: its followers need not wait for the whole election timeout.

use hcube_core::ids::{NodeId, ReplicaId};
use raft::{INVALID_ID, StateRole};

use super::Group;

/// Ticks before the first of the followers stands, so that the others doubt the leader by then and vote.
const FIRST_TICKS: usize = 1;
/// Ticks between the first and the next: enough for an election, so that two never split the votes.
const APART_TICKS: usize = 2;

impl Group {
    /// The link to `node` broke. If the leader is there and was silent for `silent` ticks, its followers give up
    /// its lease, so that they grant votes at once, and stand one after the other in an order all agree on.
    ///
    /// Safe whether or not the leader lives: an election needs a majority that doubts it as well and whose logs are
    /// no longer than the candidate's, and nothing is read under a lease here. A message of the leader ends the doubt.
    pub fn doubt_leader(&mut self, node: NodeId, silent: usize) {
        let leader = ReplicaId(self.raw.raft.leader_id);
        let raft = &self.raw.raft;
        let follows = raft.state == StateRole::Follower && self.nodes.get(&leader) == Some(&node);
        if !follows || raft.election_elapsed < silent {
            return;
        }
        let turn = self.turn_after(leader);
        let raft = &mut self.raw.raft;
        raft.leader_id = INVALID_ID;
        if let Some(turn) = turn {
            let wait = FIRST_TICKS + APART_TICKS * turn;
            let stands_at = raft.randomized_election_timeout().saturating_sub(wait);
            raft.election_elapsed = raft.election_elapsed.max(stands_at);
        }
    }

    /// How many voters come before this one, counted round from the leader; none where this is not a voter.
    fn turn_after(&self, leader: ReplicaId) -> Option<usize> {
        let conf = self.confs.latest();
        let mut voters: Vec<_> = conf.voters.iter().chain(&conf.voters_outgoing).collect();
        voters.sort_unstable();
        voters.dedup();
        voters.retain(|voter| **voter != leader);
        let first = voters.partition_point(|voter| **voter < leader);
        let own = voters.iter().position(|voter| **voter == self.replica)?;
        Some((own + voters.len() - first) % voters.len())
    }
}

//! The configuration of one Raft group.

use serde::{Deserialize, Serialize};

use crate::ids::ReplicaId;

/// Voters and learners of a group, as the Raft group itself has committed them. Sorted, without repeats.
///
/// While a change of several replicas is under way (joint consensus, Raft dissertation 4.3), `voters` is
/// the incoming half and `voters_outgoing` the outgoing one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfState {
    /// Replicas that count for a majority.
    pub voters: Vec<ReplicaId>,
    /// Replicas that follow without a vote.
    pub learners: Vec<ReplicaId>,
    /// The voters before the change, while a change is under way; otherwise empty.
    pub voters_outgoing: Vec<ReplicaId>,
    /// Voters of the outgoing half that will be learners when the change ends.
    pub learners_next: Vec<ReplicaId>,
    /// Whether the leader leaves the joint configuration by itself.
    pub auto_leave: bool,
}

impl ConfState {
    /// A plain configuration of these voters and learners.
    #[must_use]
    pub fn simple(mut voters: Vec<ReplicaId>, mut learners: Vec<ReplicaId>) -> Self {
        voters.sort_unstable();
        learners.sort_unstable();
        Self { voters, learners, ..Self::default() }
    }

    /// Whether the replica votes in either half.
    #[must_use]
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica) || self.voters_outgoing.contains(&replica)
    }

    /// Whether the replica takes part in any role.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.is_voter(replica) || self.learners.contains(&replica) || self.learners_next.contains(&replica)
    }
}

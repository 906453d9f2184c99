//! Where one group's replicas are meant to be, and how a wish becomes another.

use std::collections::BTreeMap;

use crate::conf::ConfState;
use crate::ids::{NodeId, ReplicaId};

/// One replica of a group and the node that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    /// The Raft id inside the group.
    pub id: ReplicaId,
    /// Its holder.
    pub node: NodeId,
}

/// Where one group's replicas are meant to be. The group's own configuration is the truth for its quorums; its
/// leader brings it to this wish step by step, and reports when it is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// Replicas that shall vote, sorted by node.
    pub voters: Vec<Replica>,
    /// Replicas that shall only follow, sorted by node.
    pub learners: Vec<Replica>,
    /// Replicas that are to go, sorted by node. They exist until the group is reported to do without them.
    pub leaving: Vec<Replica>,
    /// Until the group is reported to be as wished: the voters with which it was that last, sorted by node.
    pub before: Vec<Replica>,
    /// The voter that should lead when it can.
    pub leader: NodeId,
    /// The epoch in which voters, learners or leaving replicas changed last.
    pub version: u64,
    /// Whether the group's own configuration was reported to be this wish.
    pub settled: bool,
    /// The version with which a configuration was forced on the last survivor, 0 where that never happened:
    /// changes of the configuration that were asked for before it count for nothing.
    pub forced: u64,
}

impl Placement {
    /// A placement at birth, when the group begins with it.
    #[must_use]
    pub(super) fn founding(voters: Vec<Replica>, learners: Vec<Replica>, leader: NodeId) -> Self {
        Self { voters, learners, leader, version: 1, settled: true, ..Self::default() }
    }

    /// The Raft configuration that this placement wishes for.
    #[must_use]
    pub fn conf(&self) -> ConfState {
        let ids = |replicas: &[Replica]| replicas.iter().map(|replica| replica.id).collect();
        ConfState::simple(ids(&self.voters), ids(&self.learners))
    }

    /// Every replica that is to stay, voters first.
    pub fn replicas(&self) -> impl Iterator<Item = Replica> {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// Every replica that may exist, those that are to go last.
    pub fn all(&self) -> impl Iterator<Item = Replica> {
        self.replicas().chain(self.leaving.iter().copied())
    }

    /// The replica that a node holds, also one that is to go.
    #[must_use]
    pub fn replica_on(&self, node: NodeId) -> Option<ReplicaId> {
        let stays = self.replicas().find(|replica| replica.node == node);
        // Of several that are to go, all but the newest were damaged and destroyed before.
        let goes = || self.leaving.iter().filter(|replica| replica.node == node).max_by_key(|r| r.id);
        stays.or_else(|| goes().copied()).map(|replica| replica.id)
    }

    /// Whether the node shall vote.
    #[must_use]
    pub fn votes(&self, node: NodeId) -> bool {
        self.voters.iter().any(|voter| voter.node == node)
    }

    /// The nodes that shall vote, sorted.
    pub fn voting_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().map(|voter| voter.node)
    }

    /// Where each replica that may exist is.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<ReplicaId, NodeId> {
        self.all().map(|replica| (replica.id, replica.node)).collect()
    }

    /// The replicas are about to be others than those of which it was reported that they are in place.
    pub(super) fn unsettle(&mut self) {
        if self.settled {
            self.before.clone_from(&self.voters);
            self.settled = false;
        }
    }

    /// Makes these nodes the wish. A node keeps the replica that it has; another gets the id that `fresh` gives.
    /// Returns whether the sets of replicas changed.
    pub(super) fn wish(
        &mut self,
        voters: &[NodeId],
        learners: &[NodeId],
        mut fresh: impl FnMut() -> ReplicaId,
    ) -> bool {
        let before: Vec<Replica> = self.all().collect();
        let mut of = |node: &NodeId| {
            let id = self.replica_on(*node).unwrap_or_else(&mut fresh);
            Replica { id, node: *node }
        };
        let mut voters: Vec<Replica> = voters.iter().map(&mut of).collect();
        let mut learners: Vec<Replica> = learners.iter().map(&mut of).collect();
        for replicas in [&mut voters, &mut learners] {
            replicas.sort_unstable_by_key(|replica| replica.node);
        }
        if (&voters, &learners) == (&self.voters, &self.learners) {
            return false;
        }
        let stays = |replica: &Replica| voters.contains(replica) || learners.contains(replica);
        self.leaving = before.into_iter().filter(|replica| !stays(replica)).collect();
        self.leaving.sort_unstable_by_key(|replica| (replica.node, replica.id));
        self.unsettle();
        (self.voters, self.learners) = (voters, learners);
        true
    }
}

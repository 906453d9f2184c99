//! Where replicas are meant to be: wishes, and reports that they have come true.

use super::{ChangeRefusal, Changed};
use crate::ids::{GroupId, NodeId, ReplicaId};
use crate::meta::{Loss, Meta, Placement, Replica};
use crate::placement::Standing;
use crate::planted::{self, Bug};

impl Meta {
    pub(super) fn place(
        &mut self,
        group: GroupId,
        version: u64,
        voters: &[NodeId],
        learners: &[NodeId],
        leader: NodeId,
    ) -> Result<Changed, ChangeRefusal> {
        let placement = self.at_version(group, version)?;
        let mut all: Vec<NodeId> = voters.iter().chain(learners).copied().collect();
        all.sort_unstable();
        let repeats = all.windows(2).any(|pair| pair[0] == pair[1]);
        // Whoever is lost may keep what it has, as far as the wish goes, but gets nothing new.
        let may = |node: &NodeId| {
            let keeps = || placement.replicas().any(|replica| replica.node == *node);
            if self.is_lost(*node) { keeps() } else { self.members.contains_key(node) }
        };
        if voters.is_empty() || repeats || !voters.contains(&leader) || !all.iter().all(may) {
            return Err(ChangeRefusal::Placement(group));
        }
        self.wish(group, voters, learners, leader);
        Ok(Changed::Done)
    }

    /// Makes these nodes a group's wish, in a new epoch where they are not already.
    pub(super) fn wish(&mut self, group: GroupId, voters: &[NodeId], learners: &[NodeId], leader: NodeId) {
        // Every member follows the metadata.
        let followers: Vec<NodeId> = self.present().map(|m| m.node).filter(|n| !voters.contains(n)).collect();
        let learners = if group == GroupId::META { &followers } else { learners };
        let (epoch, mut next) = (self.epoch + 1, self.next_replica);
        let Some(placement) = self.placement_of_mut(group) else { return };
        let changed = placement.wish(voters, learners, || {
            next += 1;
            ReplicaId(next - 1)
        });
        if !changed && placement.leader == leader {
            return;
        }
        placement.leader = leader;
        if changed {
            placement.version = epoch;
        }
        self.epoch = epoch;
        self.next_replica = if planted::is(Bug::ReusedReplicaId) { self.next_replica } else { next };
    }

    pub(super) fn lead(
        &mut self,
        group: GroupId,
        version: u64,
        leader: NodeId,
    ) -> Result<Changed, ChangeRefusal> {
        let placement = self.at_version(group, version)?;
        if !placement.votes(leader) {
            return Err(ChangeRefusal::Placement(group));
        }
        self.epoch += u64::from(placement.leader != leader);
        if let Some(placement) = self.placement_of_mut(group) {
            placement.leader = leader;
        }
        Ok(Changed::Done)
    }

    pub(super) fn settled(&mut self, group: GroupId, version: u64) -> Changed {
        let epoch = self.epoch + 1;
        // A report about an earlier wish says nothing about this one.
        let placement = self.placement_of_mut(group).filter(|p| p.version == version && !p.settled);
        if let Some(placement) = placement {
            placement.settled = true;
            placement.leaving.clear();
            placement.before.clear();
            self.epoch = epoch;
            self.forget_lost();
        }
        Changed::Done
    }

    /// Whoever was lost and is named by no placement any more is forgotten.
    fn forget_lost(&mut self) {
        let mut lost = std::mem::take(&mut self.lost);
        lost.retain(|node, _| {
            self.groups().any(|(_, placement)| placement.all().any(|replica| replica.node == *node))
        });
        self.lost = lost;
    }

    pub(super) fn replace_replica(&mut self, group: GroupId, damaged: ReplicaId) -> Changed {
        let (epoch, next) = (self.epoch + 1, ReplicaId(self.next_replica));
        let Some(placement) = self.placement_of_mut(group) else { return Changed::Done };
        if placement.replicas().any(|replica| replica.id == damaged) {
            placement.unsettle();
        }
        let Placement { voters, learners, leaving, .. } = placement;
        // One that is not listed any more was replaced before, or has gone.
        if let Some(replica) = voters.iter_mut().chain(learners).find(|replica| replica.id == damaged) {
            leaving.push(std::mem::replace(replica, Replica { id: next, node: replica.node }));
            leaving.sort_unstable_by_key(|replica| (replica.node, replica.id));
            placement.version = epoch;
            self.epoch = epoch;
            self.next_replica = next.0 + 1;
        }
        Changed::Done
    }

    pub(super) fn recover(
        &mut self,
        group: GroupId,
        version: u64,
        survivor: Option<NodeId>,
    ) -> Result<Changed, ChangeRefusal> {
        let placement = self.at_version(group, version)?;
        // The disk of one that was lost is not there to go on with.
        let survivor_replica = |node: &NodeId| {
            let there = self.members.contains_key(node) && !self.is_lost(*node);
            placement.all().filter(|replica| there && replica.node == *node).max_by_key(|r| r.id)
        };
        let replica = survivor.as_ref().and_then(survivor_replica);
        if (survivor.is_some() && replica.is_none()) || group == GroupId::META {
            return Err(ChangeRefusal::Placement(group));
        }
        // Where nothing is left, any peer will do; the mover brings the others.
        let anew = || self.members.values().find(|m| m.standing == Standing::Active).map(|m| m.node);
        let node = survivor.or_else(anew).ok_or(ChangeRefusal::Placement(group))?;
        self.epoch += 1;
        let (epoch, next) = (self.epoch, ReplicaId(self.next_replica));
        let sole = replica.unwrap_or(Replica { id: next, node });
        self.next_replica += u64::from(replica.is_none());
        self.losses.push(Loss { group, epoch, survivor });
        let Some(placement) = self.placement_of_mut(group) else { return Ok(Changed::Done) };
        let mut leaving: Vec<Replica> = placement.all().filter(|replica| replica.id != sole.id).collect();
        leaving.sort_unstable_by_key(|replica| (replica.node, replica.id));
        *placement = Placement {
            voters: vec![sole],
            learners: Vec::new(),
            leaving,
            before: Vec::new(),
            leader: sole.node,
            version: epoch,
            settled: false,
            forced: epoch,
        };
        Ok(Changed::Done)
    }

    /// The metadata group goes on alone with the survivor's replica. The nodes that are lost keep their vertices until
    /// others stand there in their place, and nothing else.
    pub(super) fn recover_metadata(
        &mut self,
        survivor: NodeId,
        lost: &[NodeId],
    ) -> Result<Changed, ChangeRefusal> {
        let present = self.members.contains_key(&survivor) && !self.is_lost(survivor);
        let replica = self.metadata.replica_on(survivor).filter(|_| present && !lost.contains(&survivor));
        let Some(id) = replica else { return Err(ChangeRefusal::Placement(GroupId::META)) };
        lost.iter().for_each(|node| self.give_up(*node));
        self.epoch += 1;
        let (epoch, group) = (self.epoch, GroupId::META);
        self.losses.push(Loss { group, epoch, survivor: Some(survivor) });
        // Nobody else is in the group's configuration any more: those that are left come back to it as learners.
        let left: Vec<NodeId> = self.present().map(|m| m.node).filter(|node| *node != survivor).collect();
        let mut next = self.next_replica;
        let mut learner = |node: NodeId| {
            let held = self.metadata.replica_on(node);
            next += u64::from(held.is_none());
            Replica { id: held.unwrap_or(ReplicaId(next - 1)), node }
        };
        self.metadata = Placement {
            learners: left.into_iter().map(&mut learner).collect(),
            voters: vec![Replica { id, node: survivor }],
            leader: survivor,
            version: epoch,
            forced: epoch,
            ..Placement::default()
        };
        self.next_replica = next;
        self.forget_lost();
        Ok(Changed::GivenUp { epoch })
    }

    fn at_version(&self, group: GroupId, version: u64) -> Result<&Placement, ChangeRefusal> {
        match self.placement_of(group) {
            Some(placement) if placement.version == version => Ok(placement),
            Some(placement) => Err(ChangeRefusal::Stale { group, version: placement.version }),
            None => Err(ChangeRefusal::Placement(group)),
        }
    }
}

//! What nobody inside the hypercube can know: the newest metadata, whose disks are whole, what may still be lost.

use hcube_broker::Peer;
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, NodeId, ReplicaId, Vertex};
use hcube_core::meta::Meta;

use super::World;
use crate::invariants::{Promise, hold};
use crate::machine::Wanted;

impl World {
    /// The newest metadata that any peer has applied.
    pub fn newest(&self) -> &Meta {
        self.invariants.placement.newest()
    }

    /// The machine whose disk a node id is bound to.
    pub fn machine_at(&self, node: NodeId) -> Option<usize> {
        let disk = self.invariants.members.disk(node)?;
        self.machines.iter().position(|machine| machine.incarnation == disk)
    }

    /// The machines of all members that run a peer, by node.
    pub fn current(&self) -> Vec<usize> {
        let machines = self.newest().members.keys().filter_map(|node| self.machine_at(*node));
        machines.filter(|at| self.machines[*at].peer().is_some()).collect()
    }

    /// Whether a machine's disk is bound to a member.
    pub fn is_member(&self, at: usize) -> bool {
        let machine = &self.machines[at];
        let bound = |member: &hcube_core::meta::Member| member.incarnation == machine.incarnation;
        self.newest().members.values().any(bound)
    }

    /// The machines that ever stood at a vertex.
    pub fn stood_at(&self, vertex: Vertex) -> Vec<usize> {
        let disks = self.invariants.members.at(vertex);
        (0..self.machines.len()).filter(|at| disks.contains(&self.machines[*at].incarnation)).collect()
    }

    /// Requests under way at all members.
    pub fn calls(&self) -> usize {
        let peers = self.current().into_iter().filter_map(|at| self.machines[at].peer());
        peers.map(|peer| peer.status().calls).sum()
    }

    /// Polls that were answered by others, at the processes that run now.
    pub fn polls_shared(&self) -> u64 {
        let peers = self.current().into_iter().filter_map(|at| self.machines[at].peer());
        peers.map(|peer| peer.status().polls_shared).sum()
    }

    /// Whether a replica may still be counted on.
    fn is_intact(&self, replica: ReplicaId) -> bool {
        let home = self.invariants.placement.home(replica).and_then(|node| self.machine_at(node));
        home.is_some_and(|at| !self.machines[at].lost && !self.machines[at].damaged.contains(&replica))
    }

    fn is_on(&self, replica: ReplicaId, at: usize) -> bool {
        self.invariants.placement.home(replica) == self.machines[at].node
    }

    /// Whether every majority of a group survives the loss of its replica on a machine: of every configuration that
    /// is in force somewhere, and of every one that may be under way.
    pub fn may_lose_replica(&self, group: GroupId, at: usize) -> bool {
        if self.time_us < self.no_losses_before_us {
            return false;
        }
        let mut halves: Vec<Vec<ReplicaId>> = Vec::new();
        let confs = self.machines.iter().filter_map(|machine| machine.peer()?.conf(group));
        let known = self.invariants.configurations.newest(group);
        for conf in confs.chain(known) {
            halves.extend([conf.voters.clone(), conf.voters_outgoing.clone()]);
        }
        halves.extend(self.invariants.placement.wishes(group).cloned());
        halves.sort_unstable();
        halves.dedup();
        halves.iter().filter(|half| half.iter().any(|replica| self.is_on(*replica, at))).all(|half| {
            let left = half.iter().filter(|replica| self.is_intact(**replica) && !self.is_on(**replica, at));
            left.count() * 2 > half.len()
        })
    }

    /// Whether a disk or replica is lost that the metadata still counts on.
    pub fn mourns(&self) -> bool {
        let damaged = |replica: &hcube_core::meta::Replica| !self.is_intact(replica.id);
        let listed = self.newest().groups().any(|(_, placement)| placement.replicas().any(|r| damaged(&r)));
        listed || (0..self.machines.len()).any(|at| self.machines[at].lost && self.is_member(at))
    }

    /// Whether all that was acknowledged survives the loss of a machine's disk.
    pub fn may_lose(&self, at: usize) -> bool {
        self.newest().groups().all(|(group, _)| self.may_lose_replica(group, at))
    }

    /// Looks at the disks themselves: a batch that was just acknowledged survives on a majority, whatever happens.
    pub fn check_durable(&self, promise: &Promise<'_>) {
        let committed = &self.invariants.committed;
        let Some((conf, applied)) = self.newest_conf(promise.group) else { return };
        let joint_since = committed.conf_index(promise.group, applied);
        // Whoever knows the configuration of now may be down at the moment.
        if conf.voters.is_empty() || joint_since != committed.conf_index(promise.group, u64::MAX) {
            return;
        }
        let index = committed.index_of(promise.group, promise.batch).unwrap_or_default();
        // An entry before a change of votes was committed by the votes before it.
        let under = self.invariants.configurations.committed_under(promise.group, joint_since, index);
        let incoming = conf.voters_outgoing.is_empty() || under;
        let halves = [(&conf.voters, incoming), (&conf.voters_outgoing, !conf.voters_outgoing.is_empty())];
        for (half, _) in halves.into_iter().filter(|(_, counts)| *counts) {
            let copies = half.iter().filter(|replica| self.holds(**replica, promise)).count();
            hold!(
                "acknowledged is durable on a majority",
                copies * 2 > half.len(),
                "offset {} of {:?} of group {} has {copies} durable copies of {}: {}",
                promise.base_offset,
                promise.partition,
                promise.group,
                half.len(),
                self.describe(promise.group)
            );
        }
    }

    /// Whether a replica holds the batch for good, or held it and was lost since, which was made sure to be harmless.
    fn holds(&self, replica: ReplicaId, promise: &Promise<'_>) -> bool {
        let Some(at) = self.invariants.placement.home(replica).and_then(|node| self.machine_at(node)) else {
            return false;
        };
        let Promise { group, partition, base_offset, batch, .. } = *promise;
        let wanted = Wanted { group, partition, base_offset, batch };
        !self.is_intact(replica) || self.machines[at].holds_durably(&self.log_config, replica, &wanted)
    }

    /// The configuration of the peer that has applied most of a group's log.
    fn newest_conf(&self, group: GroupId) -> Option<(ConfState, u64)> {
        let peers = self.machines.iter().filter_map(|machine| machine.peer());
        let applied = |peer: &&Peer| peer.status().groups.get(&group).map(|state| state.indexes.applied);
        let peer = peers.max_by_key(applied)?;
        Some((peer.conf(group)?.clone(), applied(&peer)?))
    }

    /// How each replica of a group stands, for the message of a failure.
    pub fn describe(&self, group: GroupId) -> String {
        let states = self.machines.iter().filter_map(|machine| {
            let peer = machine.peer()?;
            let status = peer.status();
            let state = status.groups.get(&group)?;
            let (conf, links) = (peer.conf(group), &status.links);
            let node = status.node;
            Some(format!(
                "node {node}: {state:?}, {conf:?}, links {links:?}, restoring {:?}",
                status.restoring
            ))
        });
        states.collect::<Vec<_>>().join("; ")
    }
}

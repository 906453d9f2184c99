//! What others may know about a peer: a snapshot for observers, made on demand.

use std::collections::BTreeMap;
use std::sync::Arc;

use hcube_consensus::Indexes;
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, NodeId, ReplicaId, Vertex};
use hcube_core::meta::{Meta, Placement};

use super::Peer;
use super::replica::SlotReplica;
use crate::request::{ReplicaStatus, SlotStatus};

/// How a peer stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// The node.
    pub node: NodeId,
    /// Its position.
    pub vertex: Vertex,
    /// Members, placement and topics as far as this peer has applied them.
    pub meta: Arc<Meta>,
    /// The replicas here.
    pub groups: BTreeMap<GroupId, GroupStatus>,
    /// Who leads the other groups, as far as answers have shown.
    pub hints: BTreeMap<GroupId, NodeId>,
    /// Peers to which frames can be sent.
    pub links: Vec<NodeId>,
    /// Requests under way.
    pub calls: usize,
    /// Polls since the start that were answered by what another poll had brought here.
    pub polls_shared: u64,
    /// Whether the disk has no room for records.
    pub disk_full: bool,
    /// Whether the wall clock went on as the monotonic one did.
    pub clock_is_sane: bool,
    /// Groups whose snapshots are being fetched.
    pub restoring: Vec<GroupId>,
    /// Of the groups with a replica here whose placement has not come true yet: the nodes that do not have in the
    /// group's own configuration what the placement wishes for them.
    pub arriving: BTreeMap<GroupId, Vec<NodeId>>,
    /// Whether the metadata says that this node has left the hypercube for ever.
    pub removed: bool,
    /// Groups that this peer leads.
    pub leads: usize,
}

/// How a replica stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupStatus {
    /// Its term.
    pub term: u64,
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// Its log.
    pub indexes: Indexes,
    /// Replicas that are not in sync, if this peer leads.
    pub lagging: usize,
}

impl Peer {
    /// How this peer stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        let groups: BTreeMap<GroupId, GroupStatus> = self
            .groups
            .ids()
            .filter_map(|group| {
                let role = self.groups.role(group)?;
                let lagging = if role.leads {
                    self.replica_states(group).iter().filter(|replica| !replica.in_sync).count()
                } else {
                    0
                };
                let indexes = self.groups.indexes(group)?;
                Some((group, GroupStatus { term: role.term, leader: role.leader, indexes, lagging }))
            })
            .collect();
        Status {
            node: self.node,
            vertex: self.vertex,
            meta: self.meta.clone(),
            groups,
            hints: self.hints.clone(),
            links: self.links.keys().copied().collect(),
            calls: self.calls.len(),
            polls_shared: self.fanout.shared,
            disk_full: self.disk_full,
            clock_is_sane: self.clock_is_sane(),
            restoring: self.staging.keys().copied().collect(),
            arriving: self.arriving(),
            removed: self.is_removed(),
            leads: self.groups.ids().filter(|group| self.leads(*group)).count(),
        }
    }

    fn arriving(&self) -> BTreeMap<GroupId, Vec<NodeId>> {
        let moving = self.meta.groups().filter(|(_, placement)| !placement.settled);
        let of_group = |(group, placement): (GroupId, &Placement)| {
            let conf = self.groups.conf(group)?;
            let votes = placement.voters.iter().filter(|voter| !conf.voters.contains(&voter.id));
            let reads = placement.learners.iter().filter(|learner| !conf.learners.contains(&learner.id));
            Some((group, votes.chain(reads).map(|replica| replica.node).collect()))
        };
        moving.filter_map(of_group).collect()
    }

    /// How the replicas of slots here stand, by slot.
    pub(super) fn slot_statuses(&self) -> Vec<SlotStatus> {
        let status = |(group, replica): (&GroupId, &SlotReplica)| {
            let indexes = self.groups.indexes(*group)?;
            let conf = self.groups.conf(*group)?;
            let in_sync = indexes.applied > 0 && indexes.applied >= indexes.commit;
            Some(SlotStatus {
                slot: group.slot()?,
                bytes: replica.slot.partitions().map(|(_, state)| state.bytes()).sum(),
                leads: self.leads(*group),
                in_sync,
                takes_part: conf.contains(self.groups.replica(*group)?),
                // What it has not applied may tell otherwise.
                stranded: in_sync && self.is_stranded(*group, conf),
                last: (self.groups.last_term(*group)?, indexes.last),
            })
        };
        self.slots.iter().filter_map(status).collect()
    }

    /// Whether a configuration counts on so many voters whose disks are lost that these cannot be outvoted.
    fn is_stranded(&self, group: GroupId, conf: &ConfState) -> bool {
        let nodes = self.meta.placement_of(group).map(Placement::nodes).unwrap_or_default();
        let lost = |voter: &&ReplicaId| nodes.get(voter).is_some_and(|n| self.meta.is_lost(*n));
        [&conf.voters, &conf.voters_outgoing]
            .into_iter()
            .any(|half| !half.is_empty() && half.iter().filter(lost).count() * 2 >= half.len())
    }

    /// A group's configuration as its replica here has applied it, for tests and inspection.
    #[must_use]
    pub fn conf(&self, group: GroupId) -> Option<&ConfState> {
        self.groups.conf(group)
    }

    /// What each replica here knows to be committed.
    pub fn commits(&self) -> impl Iterator<Item = (GroupId, u64)> {
        self.groups.ids().filter_map(|group| Some((group, self.groups.indexes(group)?.commit)))
    }

    /// The replica of a group that is here, for tests and inspection.
    #[must_use]
    pub fn replica(&self, group: GroupId) -> Option<ReplicaId> {
        self.groups.replica(group)
    }

    /// Members, placement and topics as far as this peer has applied them.
    #[must_use]
    pub fn meta(&self) -> &Arc<Meta> {
        &self.meta
    }

    /// A slot's state here, for tests and inspection.
    #[must_use]
    pub fn slot(&self, group: GroupId) -> Option<&crate::slot::Slot> {
        self.slots.get(&group).map(|replica| &replica.slot)
    }

    /// Whom the replicas here follow, for tests and inspection.
    #[must_use]
    pub fn role(&self, group: GroupId) -> Option<hcube_consensus::Role> {
        self.groups.role(group)
    }

    /// Every replica of a group that this peer leads, as it knows them.
    pub(super) fn replica_states(&self, group: GroupId) -> Vec<ReplicaStatus> {
        let Some(placement) = self.meta.placement_of(group) else { return Vec::new() };
        let commit = self.groups.indexes(group).map_or(0, |indexes| indexes.commit);
        let followers = self.groups.followers(group);
        let conf = self.groups.conf(group);
        placement
            .replicas()
            .map(|replica| {
                let follower = followers.iter().find(|follower| follower.replica == replica.id);
                let in_sync = follower.is_some_and(|follower| follower.active && follower.matched >= commit);
                let votes = conf.is_some_and(|conf| conf.is_voter(replica.id));
                ReplicaStatus { node: replica.node, in_sync, votes }
            })
            .collect()
    }
}

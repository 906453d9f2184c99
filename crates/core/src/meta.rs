//! The metadata state machine: members, placement and topics of one hypercube.
//!
//! Every peer holds a copy, made by applying the metadata group's log in order from the [`genesis`] that all
//! founders share.

pub mod change;
pub mod command;
pub mod mover;
mod placement;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cube::Cube;
use crate::feature;
use crate::ids::{ClusterId, GroupId, Incarnation, NodeId, ReplicaId, Slot, TopicId, Vertex};
use crate::limits;
use crate::placement::{Candidate, PlanError, Standing, metadata_voters, plan};
use crate::topic::{Name, Retention};

pub use change::{Change, ChangeRefusal, Changed, NewMember};
pub use command::Command;
pub use placement::{Placement, Replica};

/// A peer of the hypercube.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its node id, never reused.
    pub node: NodeId,
    /// The disk that the node id is bound to.
    pub incarnation: Incarnation,
    /// Its position.
    pub vertex: Vertex,
    /// Failure domain; empty when unknown.
    pub zone: String,
    /// Where other peers reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// What it may be used for.
    pub standing: Standing,
}

impl Member {
    /// The member as the planner sees it.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        let Self { node, vertex, standing, .. } = *self;
        Candidate { node, vertex, zone: self.zone.clone(), standing }
    }
}

/// Something that was lost for good, and how the hypercube went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The group whose majority was lost.
    pub group: GroupId,
    /// The epoch in which it was given up.
    pub epoch: u64,
    /// Whose replica went on alone; none where nothing was left and the group began anew.
    pub survivor: Option<NodeId>,
}

/// One life of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Names this life of the topic.
    pub id: TopicId,
    /// What users call it.
    pub name: Name,
    /// Number of partitions, fixed for this life.
    pub partitions: u16,
    /// How long its partitions keep records.
    pub retention: Retention,
}

/// A sorted map that copies in constant time: observers hold the metadata of a moment while it goes on, with tens
/// of thousands of topics.
type TopicMap<K> = rpds::RedBlackTreeMapSync<K, Arc<Topic>>;

/// What every peer knows of the hypercube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The hypercube's name.
    pub cluster: ClusterId,
    /// S, a power of two, fixed at creation.
    pub slots: u16,
    /// R as wished.
    pub replication: u8,
    /// Gates new formats, see [`feature`]: a peer that does not know the level takes no part.
    pub feature_level: u32,
    /// Rises with every change of placement.
    pub epoch: u64,
    /// The next node id to hand out.
    pub next_node: u64,
    /// The next replica id to hand out.
    pub next_replica: u64,
    /// Peers by node id.
    pub members: BTreeMap<NodeId, Member>,
    /// Peers that were replaced at their vertices, as long as a placement still names them.
    pub lost: BTreeMap<NodeId, Member>,
    /// Disks that took part once and never will again.
    pub retired: BTreeMap<Incarnation, NodeId>,
    /// Whether slots stay where they are, whatever is wished.
    pub paused: bool,
    /// What was given up for good.
    pub losses: Vec<Loss>,
    /// Replicas that only read, by topic, where there are any.
    pub read_replicas: BTreeMap<TopicId, u8>,
    /// The metadata group's own replicas.
    pub metadata: Placement,
    /// Each slot's replicas, S of them.
    pub placement: Vec<Placement>,
    topics: TopicMap<Name>,
    by_id: TopicMap<TopicId>,
    deleted: TopicMap<TopicId>,
}

/// A peer that takes part in the founding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founder {
    /// The disk.
    pub incarnation: Incarnation,
    /// Its position; founders fill `0..N`.
    pub vertex: Vertex,
    /// Failure domain; empty when unknown.
    pub zone: String,
    /// Where other peers reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
}

/// Why a hypercube cannot be founded like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// No founders or too many.
    #[error("a hypercube has 1 to {max} peers, not {0}", max = limits::PEERS_MAX)]
    Peers(usize),
    /// The founders' vertices are not `0..N`, or repeat.
    #[error("the vertices of {0} founders count up from 0, each once")]
    Vertices(usize),
    /// Two founders with one disk.
    #[error("two founders have the incarnation {0}")]
    Incarnation(Incarnation),
    /// Not a power of two, or too many.
    #[error("slots must be a power of two up to {max}, not {0}", max = limits::SLOTS_MAX)]
    Slots(u16),
    /// Not 1, 3, 5 or 7.
    #[error("the replication factor is 1, 3, 5 or 7, not {0}")]
    Replication(u8),
    /// The planner found no placement.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The first state of a hypercube: a pure function, so that repeating the call changes nothing.
///
/// # Errors
/// When the founders or the figures cannot make a hypercube.
pub fn genesis(
    cluster: ClusterId,
    mut founders: Vec<Founder>,
    slots: u16,
    replication: u8,
) -> Result<Meta, GenesisError> {
    founders.sort_by_key(|founder| founder.vertex);
    check_founders(&founders, slots, replication)?;
    let members: BTreeMap<NodeId, Member> = (1..)
        .zip(founders)
        .map(|(id, f)| {
            let node = NodeId(id);
            let member = Member {
                node,
                incarnation: f.incarnation,
                vertex: f.vertex,
                zone: f.zone,
                peer_address: f.peer_address,
                client_address: f.client_address,
                standing: Standing::Active,
            };
            (node, member)
        })
        .collect();
    let candidates: Vec<Candidate> = members.values().map(Member::candidate).collect();
    let assignments = plan(&candidates, slots, replication, &[])?;
    let mut next_replica = 1..;
    let mut replica = |node| Replica { id: ReplicaId(next_replica.next().expect("endless")), node };
    let placement = assignments
        .into_iter()
        .map(|assignment| {
            let voters = assignment.replicas.into_iter().map(&mut replica).collect();
            Placement::founding(voters, Vec::new(), assignment.leader)
        })
        .collect();
    let mut voting = metadata_voters(&candidates, &[]);
    voting.sort_unstable();
    let voters = voting.iter().copied().map(&mut replica).collect();
    let learners = members.keys().copied().filter(|node| !voting.contains(node)).map(&mut replica).collect();
    let metadata = Placement::founding(voters, learners, voting[0]);
    let next_replica = replica(NodeId(0)).id.0;
    Ok(Meta {
        cluster,
        slots,
        replication,
        feature_level: feature::NEWEST,
        epoch: 1,
        next_node: members.len() as u64 + 1,
        next_replica,
        members,
        lost: BTreeMap::new(),
        retired: BTreeMap::new(),
        paused: false,
        losses: Vec::new(),
        read_replicas: BTreeMap::new(),
        metadata,
        placement,
        topics: TopicMap::new_sync(),
        by_id: TopicMap::new_sync(),
        deleted: TopicMap::new_sync(),
    })
}

fn check_founders(founders: &[Founder], slots: u16, replication: u8) -> Result<(), GenesisError> {
    let count = founders.len();
    if count == 0 || count > usize::from(limits::PEERS_MAX) {
        return Err(GenesisError::Peers(count));
    }
    if founders.iter().zip(0..).any(|(founder, vertex)| founder.vertex != Vertex(vertex)) {
        return Err(GenesisError::Vertices(count));
    }
    let mut incarnations: Vec<_> = founders.iter().map(|founder| founder.incarnation).collect();
    incarnations.sort_unstable();
    if let Some(twice) = incarnations.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(GenesisError::Incarnation(twice[0]));
    }
    if !slots.is_power_of_two() || slots > limits::SLOTS_MAX {
        return Err(GenesisError::Slots(slots));
    }
    if ![1, 3, 5, 7].contains(&replication) {
        return Err(GenesisError::Replication(replication));
    }
    Ok(())
}

impl Meta {
    /// The shape of the hypercube.
    #[must_use]
    pub fn cube(&self) -> Cube {
        let peers = u16::try_from(self.members.len()).expect("members are limited far below that");
        Cube::new(peers).expect("a hypercube has at least one peer")
    }

    /// The peer at a vertex.
    #[must_use]
    pub fn member_at(&self, vertex: Vertex) -> Option<&Member> {
        self.members.values().find(|member| member.vertex == vertex)
    }

    /// The peers as the planner sees them, those that were lost included.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        self.members.values().chain(self.lost.values()).map(Member::candidate).collect()
    }

    /// Whether a node's disk is lost for good: it was replaced, or is to be. It never takes part again.
    #[must_use]
    pub fn is_lost(&self, node: NodeId) -> bool {
        let given_up = |member: &Member| member.standing == Standing::Dead;
        self.lost.contains_key(&node) || self.members.get(&node).is_some_and(given_up)
    }

    /// Whether a node will never take part again: it has left, or its disk is lost.
    #[must_use]
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.is_lost(node) || self.has_retired(node)
    }

    /// Whether a node's disk took part once and never will again.
    fn has_retired(&self, node: NodeId) -> bool {
        self.retired.values().any(|retired| *retired == node)
    }

    /// The members whose disks are not lost.
    pub fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.standing != Standing::Dead)
    }

    /// Whether this metadata is too old to say anything of a node: its id has not been handed out yet.
    #[must_use]
    pub fn is_unheard(&self, node: NodeId) -> bool {
        node.0 >= self.next_node
    }

    /// Whether a replica existed, or was meant to, and never shall again. A replica that is merely not heard of
    /// (yet) is not retired.
    #[must_use]
    pub fn is_retired(&self, group: GroupId, replica: ReplicaId) -> bool {
        let listed = |placement: &Placement| placement.all().any(|other| other.id == replica);
        replica.0 < self.next_replica && !self.placement_of(group).is_some_and(listed)
    }

    /// Where a group's replicas are meant to be; none for a slot that the hypercube does not have.
    #[must_use]
    pub fn placement_of(&self, group: GroupId) -> Option<&Placement> {
        match group.slot() {
            None => Some(&self.metadata),
            Some(Slot(slot)) => self.placement.get(usize::from(slot)),
        }
    }

    /// Every group, the metadata group first.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Placement)> {
        let slots = self.placement.iter().zip(0..).map(|(placement, slot)| (Slot(slot).into(), placement));
        std::iter::once((GroupId::META, &self.metadata)).chain(slots)
    }

    /// A living topic by its name.
    #[must_use]
    pub fn topic(&self, name: &Name) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// A living topic by its id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The living topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// Number of living topics.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.size()
    }

    /// Whether this life of a topic has ended; no slot may open it again.
    #[must_use]
    pub fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted.contains_key(&id)
    }

    fn placement_of_mut(&mut self, group: GroupId) -> Option<&mut Placement> {
        match group.slot() {
            None => Some(&mut self.metadata),
            Some(Slot(slot)) => self.placement.get_mut(usize::from(slot)),
        }
    }

    /// How many replicas that only read a topic has beside those that vote.
    #[must_use]
    pub fn read_replicas_of(&self, topic: TopicId) -> u8 {
        self.read_replicas.get(&topic).copied().unwrap_or_default()
    }

    fn insert_topic(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        self.by_id.insert_mut(topic.id, topic.clone());
        self.topics.insert_mut(topic.name.clone(), topic);
    }

    fn remove_topic(&mut self, name: &Name) -> Option<Arc<Topic>> {
        let topic = self.topics.get(name)?.clone();
        self.topics.remove_mut(name);
        self.by_id.remove_mut(&topic.id);
        Some(topic)
    }
}

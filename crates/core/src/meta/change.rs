//! Changes of members and placement, as the metadata log holds them: each is checked against the state that it
//! meets, takes effect whole or not at all, and answers a repetition as it answered the first time.

mod codec;
mod members;
mod places;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::{Member, Meta};
use crate::ids::{GroupId, Incarnation, NodeId, ReplicaId, Vertex};
use crate::limits;
use crate::topic::Name;

/// One change of members or placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Tag 1: a peer joins at the next vertex, or replaces the one that is lost at its vertex.
    AddMember(NewMember),
    /// Tag 2: the peer is to leave. Only the highest vertex that stays may be drained.
    Drain {
        /// Whom.
        node: NodeId,
    },
    /// Tag 3: the peer, and every draining one below it, stays after all.
    CancelDrain {
        /// Whom.
        node: NodeId,
    },
    /// Tag 4: a drained peer leaves for ever.
    RemoveMember {
        /// Whom.
        node: NodeId,
    },
    /// Tag 5: R is another number from now on.
    SetReplication {
        /// 1, 3, 5 or 7.
        replication: u8,
    },
    /// Tag 6: slots stay where they are, or move on.
    SetPaused {
        /// Whether they stay.
        paused: bool,
    },
    /// Tag 7: a topic gets replicas that only read.
    SetReadReplicas {
        /// Which.
        topic: Name,
        /// How many beside those that vote.
        count: u8,
    },
    /// Tag 8: where a group's replicas shall be. The metadata group's learners follow from its voters.
    Place {
        /// Whose.
        group: GroupId,
        /// The version that this replaces.
        version: u64,
        /// Who shall vote.
        voters: Vec<NodeId>,
        /// Who shall only follow.
        learners: Vec<NodeId>,
        /// Who should lead.
        leader: NodeId,
    },
    /// Tag 9: who should lead a group, with its replicas where they are.
    Lead {
        /// Whose.
        group: GroupId,
        /// The version that this is about.
        version: u64,
        /// Who should.
        leader: NodeId,
    },
    /// Tag 10: a group's configuration is as this version of its placement wishes.
    Settled {
        /// Whose.
        group: GroupId,
        /// Which version.
        version: u64,
    },
    /// Tag 11: a replica was damaged and destroyed; its node gets another one in its place.
    ReplaceReplica {
        /// Whose.
        group: GroupId,
        /// Which.
        replica: ReplicaId,
    },
    /// Tag 12: a group that lost its majority goes on with what is left, whatever that lacks.
    Recover {
        /// Whose.
        group: GroupId,
        /// The version that this replaces.
        version: u64,
        /// Whose replica goes on alone; none begins the group anew, with nothing, on the peers that are there.
        survivor: Option<NodeId>,
    },
    /// Tag 13: the metadata group lost its majority and goes on with what one peer has of it. Nobody can agree on that:
    /// it stands right behind the entry that makes the survivor's replica the sole voter, and comes true with it.
    RecoverMetadata {
        /// Whose replica goes on alone.
        survivor: NodeId,
        /// The nodes whose disks are lost for good, and with which the majority went.
        lost: Vec<NodeId>,
    },
    /// Tag 14: all members know a newer feature level, which holds from now on.
    RaiseLevel {
        /// The level.
        level: u32,
    },
}

/// A peer that is to become a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMember {
    /// Its disk.
    pub incarnation: Incarnation,
    /// Its position: the next one, or that of the node that it replaces.
    pub vertex: Vertex,
    /// Its failure domain; empty when unknown.
    pub zone: String,
    /// Where other peers reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// The node at that vertex whose disk is lost.
    pub replaces: Option<NodeId>,
}

/// What a [`Change`] led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changed {
    /// How the member stands now.
    Member(Member),
    /// The node is not a member any more.
    Removed(NodeId),
    /// It is as asked for.
    Done,
    /// The metadata went on without those that were lost.
    GivenUp {
        /// The epoch in which it did.
        epoch: u64,
    },
}

/// Why a [`Change`] was not made. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ChangeRefusal {
    /// Somebody stands there already.
    #[error("vertex {vertex} is taken by node {node}")]
    VertexTaken {
        /// Where.
        vertex: Vertex,
        /// By whom.
        node: NodeId,
    },
    /// Hypercubes grow by the next vertex only.
    #[error("the next vertex is {next}")]
    NotNext {
        /// The next vertex.
        next: Vertex,
    },
    /// As many peers as there may be.
    #[error("a hypercube has at most {max} peers", max = limits::PEERS_MAX)]
    TooManyPeers,
    /// A text that no member has.
    #[error("{0} is too long or empty")]
    Text(String),
    /// The disk is bound to a node id already, or was.
    #[error("the incarnation is or was node {node}'s")]
    IncarnationUsed {
        /// Whose.
        node: NodeId,
    },
    /// The node to replace does not stand at that vertex.
    #[error("node {node} stands at vertex {vertex}")]
    NotReplaced {
        /// Where.
        vertex: Vertex,
        /// Who does.
        node: NodeId,
    },
    /// The node to replace is well: its links are up.
    #[error("node {0} answers; what is alive is not replaced")]
    Alive(NodeId),
    /// No member has this id.
    #[error("no member has the node id {0}")]
    UnknownNode(NodeId),
    /// The node was a member once.
    #[error("node {0} has left the hypercube for ever")]
    Retired(NodeId),
    /// Peers leave from the highest vertex down.
    #[error("only the highest vertex can leave, which is {highest}")]
    NotHighest {
        /// The vertex that can.
        highest: Vertex,
    },
    /// Too few peers would be left for R.
    #[error("{left} peers would be left for {replication} replicas: lower the replication first")]
    TooFewPeers {
        /// Peers that would be left.
        left: u16,
        /// R.
        replication: u8,
    },
    /// As many drains as there may be.
    #[error("{max} peers are being drained, and no more may be at the same time", max = limits::DRAINS_MAX)]
    DrainLimit,
    /// Growing has to wait for the drains that are under way, or for their being cancelled.
    #[error("node {0} is being drained: cancel that or wait for it")]
    Draining(NodeId),
    /// Only drained peers can be removed.
    #[error("node {0} is not being drained")]
    NotDraining(NodeId),
    /// It still holds replicas.
    #[error("node {node} still holds {replicas} replicas")]
    NotEmpty {
        /// Who.
        node: NodeId,
        /// How many.
        replicas: u32,
    },
    /// R is 1, 3, 5 or 7.
    #[error("the replication factor is 1, 3, 5 or 7, not {0}")]
    Replication(u8),
    /// No topic of this name.
    #[error("there is no such topic")]
    UnknownTopic,
    /// More replicas that only read than a topic may have.
    #[error("a topic has at most {max} read replicas", max = limits::READ_REPLICAS_MAX)]
    TooManyReadReplicas,
    /// The placement has changed since.
    #[error("group {group} is at version {version} by now")]
    Stale {
        /// Whose.
        group: GroupId,
        /// Its version.
        version: u64,
    },
    /// The placement makes no sense.
    #[error("the placement of group {0} is invalid")]
    Placement(GroupId),
}

impl Meta {
    /// Makes a change, or says why it cannot be made.
    pub(super) fn change(&mut self, change: Change) -> Result<Changed, ChangeRefusal> {
        match change {
            Change::AddMember(new) => self.add_member(new),
            Change::Drain { node } => self.drain(node),
            Change::CancelDrain { node } => self.cancel_drain(node),
            Change::RemoveMember { node } => self.remove_member(node),
            Change::SetReplication { replication } => self.set_replication(replication),
            Change::SetPaused { paused } => {
                self.epoch += u64::from(self.paused != paused);
                self.paused = paused;
                Ok(Changed::Done)
            }
            Change::SetReadReplicas { topic, count } => self.set_read_replicas(&topic, count),
            Change::Place { group, version, voters, learners, leader } => {
                self.place(group, version, &voters, &learners, leader)
            }
            Change::Lead { group, version, leader } => self.lead(group, version, leader),
            Change::Settled { group, version } => Ok(self.settled(group, version)),
            Change::ReplaceReplica { group, replica } => Ok(self.replace_replica(group, replica)),
            Change::Recover { group, version, survivor } => self.recover(group, version, survivor),
            Change::RecoverMetadata { survivor, lost } => self.recover_metadata(survivor, &lost),
            Change::RaiseLevel { level } => {
                self.epoch += u64::from(self.feature_level < level);
                self.feature_level = self.feature_level.max(level);
                Ok(Changed::Done)
            }
        }
    }

    fn set_replication(&mut self, replication: u8) -> Result<Changed, ChangeRefusal> {
        if ![1, 3, 5, 7].contains(&replication) {
            return Err(ChangeRefusal::Replication(replication));
        }
        let staying = self.staying().count();
        if replication > self.replication && staying < self.members.len() {
            self.check_replication(staying, replication)?;
        }
        self.epoch += u64::from(self.replication != replication);
        self.replication = replication;
        Ok(Changed::Done)
    }

    fn set_read_replicas(&mut self, topic: &Name, count: u8) -> Result<Changed, ChangeRefusal> {
        if count > limits::READ_REPLICAS_MAX {
            return Err(ChangeRefusal::TooManyReadReplicas);
        }
        let topic = self.topic(topic).ok_or(ChangeRefusal::UnknownTopic)?.id;
        let before = match count {
            0 => self.read_replicas.remove(&topic).unwrap_or_default(),
            count => self.read_replicas.insert(topic, count).unwrap_or_default(),
        };
        self.epoch += u64::from(before != count);
        Ok(Changed::Done)
    }
}

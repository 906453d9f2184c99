//! Who belongs to the hypercube: joining, replacing, draining and leaving.

use super::{ChangeRefusal, Changed, NewMember};
use crate::ids::{GroupId, NodeId, Vertex};
use crate::limits;
use crate::meta::{Member, Meta, Placement};
use crate::placement::Standing;

impl Meta {
    pub(super) fn add_member(&mut self, new: NewMember) -> Result<Changed, ChangeRefusal> {
        let same_disk = |member: &&Member| member.incarnation == new.incarnation;
        if let Some(member) = self.members.values().find(same_disk) {
            // A request that arrives twice finds its member.
            let repeated = member.vertex == new.vertex;
            let used = ChangeRefusal::IncarnationUsed { node: member.node };
            return if repeated { Ok(Changed::Member(member.clone())) } else { Err(used) };
        }
        if let Some(node) = self.retired.get(&new.incarnation) {
            return Err(ChangeRefusal::IncarnationUsed { node: *node });
        }
        check_texts(&new)?;
        match new.replaces {
            None => self.check_next(new.vertex)?,
            Some(node) => self.check_replaced(node, new.vertex)?,
        }
        let node = NodeId(self.next_node);
        self.next_node += 1;
        let NewMember { incarnation, vertex, zone, peer_address, client_address, replaces } = new;
        let mut member = Member {
            node,
            incarnation,
            vertex,
            zone,
            peer_address,
            client_address,
            standing: Standing::Active,
        };
        let before = replaces.and_then(|old| self.lose(old));
        // One that was given up before says nothing of the vertex.
        member.standing = before.filter(|old| *old != Standing::Dead).unwrap_or(Standing::Active);
        self.members.insert(node, member.clone());
        self.follow_metadata(node, replaces);
        Ok(Changed::Member(member))
    }

    fn check_next(&self, vertex: Vertex) -> Result<(), ChangeRefusal> {
        if let Some(member) = self.member_at(vertex) {
            return Err(ChangeRefusal::VertexTaken { vertex, node: member.node });
        }
        let next = Vertex(self.cube().peers());
        if next.0 >= limits::PEERS_MAX {
            return Err(ChangeRefusal::TooManyPeers);
        }
        if vertex != next {
            return Err(ChangeRefusal::NotNext { next });
        }
        // Above a vertex that is to leave there can be no other, or it never could.
        match self.members.values().find(|member| member.standing == Standing::Draining) {
            Some(member) => Err(ChangeRefusal::Draining(member.node)),
            None => Ok(()),
        }
    }

    fn check_replaced(&self, node: NodeId, vertex: Vertex) -> Result<(), ChangeRefusal> {
        match self.member_at(vertex) {
            Some(member) if member.node == node => Ok(()),
            Some(member) => Err(ChangeRefusal::NotReplaced { vertex, node: member.node }),
            None => match self.members.get(&node) {
                Some(Member { vertex, .. }) => Err(ChangeRefusal::NotReplaced { vertex: *vertex, node }),
                None => Err(self.unknown(node)),
            },
        }
    }

    /// A member's disk is lost: it never takes part again, and what it held is to be placed elsewhere. Returns how
    /// it stood.
    fn lose(&mut self, node: NodeId) -> Option<Standing> {
        let mut member = self.members.remove(&node)?;
        let before = std::mem::replace(&mut member.standing, Standing::Dead);
        self.retired.insert(member.incarnation, node);
        self.lost.insert(node, member);
        Some(before)
    }

    /// A member's disk is lost, and nobody stands there in its place yet.
    pub(super) fn give_up(&mut self, node: NodeId) {
        if let Some(member) = self.members.get_mut(&node) {
            member.standing = Standing::Dead;
            self.retired.insert(member.incarnation, node);
        }
    }

    /// A new member follows the metadata, with the part in it of the one that it replaces.
    fn follow_metadata(&mut self, node: NodeId, replaces: Option<NodeId>) {
        let mut voters: Vec<NodeId> = self.metadata.voting_nodes().collect();
        for voter in voters.iter_mut().filter(|voter| Some(**voter) == replaces) {
            *voter = node;
        }
        // A new member has nothing yet, so that another leads where there is one.
        let other = || voters.iter().copied().find(|voter| *voter != node).unwrap_or(node);
        let leader = self.metadata.leader;
        let leader = if Some(leader) == replaces { other() } else { leader };
        self.wish(GroupId::META, &voters, &[], leader);
    }

    pub(super) fn drain(&mut self, node: NodeId) -> Result<Changed, ChangeRefusal> {
        let member = self.members.get(&node).ok_or_else(|| self.unknown(node))?;
        if member.standing == Standing::Draining {
            return Ok(Changed::Member(member.clone()));
        }
        if member.standing == Standing::Dead {
            return Err(ChangeRefusal::Retired(node));
        }
        // A vertex that waits for another peer stays as well.
        let stays = |member: &&Member| member.standing != Standing::Draining;
        let highest = self.members.values().filter(stays).map(|member| member.vertex).max();
        let highest = highest.unwrap_or_default();
        if member.vertex != highest {
            return Err(ChangeRefusal::NotHighest { highest });
        }
        let staying = self.staying().count();
        self.check_replication(staying - 1, self.replication)?;
        if self.members.len() - staying >= limits::DRAINS_MAX {
            return Err(ChangeRefusal::DrainLimit);
        }
        self.epoch += 1;
        self.stand(node, Standing::Draining)
    }

    pub(super) fn cancel_drain(&mut self, node: NodeId) -> Result<Changed, ChangeRefusal> {
        let member = self.members.get(&node).ok_or_else(|| self.unknown(node))?;
        if member.standing == Standing::Dead {
            return Err(ChangeRefusal::Retired(node));
        }
        let vertex = member.vertex;
        // A vertex that leaves below one that stays never could.
        let stay: Vec<NodeId> = self
            .members
            .values()
            .filter(|member| member.standing == Standing::Draining && member.vertex <= vertex)
            .map(|member| member.node)
            .collect();
        self.epoch += u64::from(!stay.is_empty());
        for node in stay {
            self.stand(node, Standing::Active)?;
        }
        self.stand(node, Standing::Active)
    }

    /// The members that are not to leave.
    pub(super) fn staying(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.standing == Standing::Active)
    }

    /// Refuses drains that leave fewer peers than replicas: a peer that leaves could not be emptied.
    pub(super) fn check_replication(&self, left: usize, replication: u8) -> Result<(), ChangeRefusal> {
        let left = u16::try_from(left).expect("members are limited far below that");
        if left < u16::from(replication) {
            return Err(ChangeRefusal::TooFewPeers { left, replication });
        }
        Ok(())
    }

    fn stand(&mut self, node: NodeId, standing: Standing) -> Result<Changed, ChangeRefusal> {
        let member = self.members.get_mut(&node).ok_or(ChangeRefusal::UnknownNode(node))?;
        member.standing = standing;
        Ok(Changed::Member(member.clone()))
    }

    pub(super) fn remove_member(&mut self, node: NodeId) -> Result<Changed, ChangeRefusal> {
        let Some(member) = self.members.get(&node).cloned() else {
            // A request that arrives twice finds what it asked for.
            return if self.has_retired(node) {
                Ok(Changed::Removed(node))
            } else {
                Err(ChangeRefusal::UnknownNode(node))
            };
        };
        if member.standing != Standing::Draining {
            return Err(ChangeRefusal::NotDraining(node));
        }
        let highest = Vertex(self.cube().peers() - 1);
        if member.vertex != highest {
            return Err(ChangeRefusal::NotHighest { highest });
        }
        let replicas = self.replicas_held(node);
        if replicas > 0 {
            return Err(ChangeRefusal::NotEmpty { node, replicas });
        }
        self.members.remove(&node);
        self.retired.insert(member.incarnation, node);
        let voters: Vec<NodeId> = self.metadata.voting_nodes().collect();
        self.wish(GroupId::META, &voters, &[], self.metadata.leader);
        Ok(Changed::Removed(node))
    }

    /// Replicas that bind a node: those of slots, and its vote on the metadata.
    #[must_use]
    pub fn replicas_held(&self, node: NodeId) -> u32 {
        let holds = |placement: &&Placement| placement.all().any(|replica| replica.node == node);
        let slots = self.placement.iter().filter(holds).count();
        // Until the metadata group has reported that it does without the vote, it may count on it.
        let votes = self.metadata.votes(node) || !self.metadata.settled;
        u32::try_from(slots).unwrap_or(u32::MAX) + u32::from(votes)
    }

    fn unknown(&self, node: NodeId) -> ChangeRefusal {
        if self.has_retired(node) { ChangeRefusal::Retired(node) } else { ChangeRefusal::UnknownNode(node) }
    }
}

fn check_texts(new: &NewMember) -> Result<(), ChangeRefusal> {
    let texts = [("the peer address", &new.peer_address), ("the client address", &new.client_address)];
    for (what, text) in texts {
        if text.is_empty() || text.len() > limits::ADDRESS_BYTES_MAX {
            return Err(ChangeRefusal::Text(what.to_owned()));
        }
    }
    if new.zone.len() > limits::ADDRESS_BYTES_MAX {
        return Err(ChangeRefusal::Text("the zone".to_owned()));
    }
    Ok(())
}

//! The metadata group goes on with this peer alone, as somebody has decided.

use hcube_consensus::ProposeError;
use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::{self, Change, ChangeRefusal, Changed, Meta};

use super::Peer;
use super::call::CallId;
use crate::recovery::MetadataStatus;
use crate::request::{Answer, Error};

impl Peer {
    /// How the replica of the metadata here stands.
    pub(super) fn metadata_status(&self) -> Option<MetadataStatus> {
        let group = GroupId::META;
        let replica = self.groups.replica(group)?;
        let conf = self.groups.conf(group)?;
        let links: Vec<NodeId> = self.linked().collect();
        Some(MetadataStatus {
            replica,
            epoch: self.meta.epoch,
            leader: self.groups.role(group).and_then(|role| role.leader),
            takes_part: conf.contains(replica),
            voters: [conf.voters.clone(), conf.voters_outgoing.clone()],
            last: (self.groups.last_term(group)?, self.groups.indexes(group)?.last),
            members: self.meta.present().map(|member| member.node).collect(),
            unheard: links.iter().copied().filter(|node| self.meta.is_unheard(*node)).collect(),
            links,
        })
    }

    /// Makes the replica here the sole voter of the metadata, and records in the same write who was lost for that.
    ///
    /// Whoever decided has asked everybody that is left. What has changed here meanwhile makes that void.
    pub(super) fn force_metadata(&mut self, id: CallId, lost: &[NodeId], last: (u64, u64)) {
        if let Some(epoch) = given_up(&self.meta, lost) {
            return self.finish(id, Ok(Answer::Changed(Changed::GivenUp { epoch })));
        }
        let (group, version) = (GroupId::META, self.meta.epoch);
        let linked = self.linked().find(|node| lost.contains(node));
        let status = self.metadata_status();
        let as_told = status.is_some_and(|status| status.leader.is_none() && status.last == last);
        let refusal = match linked {
            Some(node) => ChangeRefusal::Alive(node),
            None if !as_told => ChangeRefusal::Stale { group, version },
            None if self.meta.is_lost(self.node) || lost.contains(&self.node) => {
                ChangeRefusal::Placement(group)
            }
            None => {
                let change = Change::RecoverMetadata { survivor: self.node, lost: lost.to_vec() };
                let command = meta::Command::Change(change).encode();
                match self.groups.force_sole_with(group, version + 1, command) {
                    Ok(proposed) => return self.await_commit(id, group, proposed, None),
                    Err(ProposeError::Dropped) => ChangeRefusal::Stale { group, version },
                    Err(_) => ChangeRefusal::Placement(group),
                }
            }
        };
        self.finish(id, Err(Error::Change(refusal)));
    }
}

/// The epoch in which the metadata went on without these nodes, if that is what happened to all of them.
#[must_use]
pub fn given_up(meta: &Meta, lost: &[NodeId]) -> Option<u64> {
    let loss = meta.losses.iter().rev().find(|loss| loss.group == GroupId::META)?;
    lost.iter().all(|node| meta.is_gone(*node)).then_some(loss.epoch)
}

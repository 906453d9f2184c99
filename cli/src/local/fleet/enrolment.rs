//! How a peer that runs comes to take part: by the disk that it had, or with an empty one in the place of that.

use std::time::{Duration, Instant};

use anyhow::bail;
use hcube_api::Code;
use hcube_api::admin::{AddMember, Identity, Members};
use hcube_client::Error;
use hcube_core::ids::{Incarnation, NodeId, Vertex};

use super::Fleet;
use crate::admin::members;
use crate::local::admin::Admin;
use crate::local::home::Change;

/// How long a peer may take until it is ready while all others run; opening 10 GiB takes under 10 s.
const PATIENCE: Duration = Duration::from_secs(90);
/// The same while some peers do not run, so that it may wait for them.
const PATIENCE_FEW: Duration = Duration::from_secs(20);
/// The same while most peers do not run, so that it surely does.
const PATIENCE_ALONE: Duration = Duration::from_secs(3);
/// How often a peer that is not ready is looked after by the others.
const LOOK: Duration = Duration::from_millis(500);

/// What came of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It is ready.
    Ready,
    /// It is ready, and its disk is new: it is filled from the others.
    Replaced(Vertex),
    /// It runs, and waits for others, of which so many do.
    Waits {
        /// Peers that run.
        running: usize,
    },
}

/// How a disk stands to the hypercube.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolment {
    /// It is the one of a member.
    Member,
    /// It has just become a new member's.
    Added,
    /// It has just taken the place of another.
    Replaced,
}

/// Why a disk does not belong to a member.
#[derive(Debug)]
pub enum Refusal {
    /// Later, perhaps: what was said.
    NotNow(anyhow::Error),
    /// Never.
    Final(anyhow::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        // Whom it replaces is taken for alive until the links to it have been down for a moment.
        if error.is_retriable() || error.code() == Some(Code::StillAlive) {
            Self::NotNow(error.into())
        } else {
            Self::Final(error.into())
        }
    }
}

/// What is to be done about the disk at a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Add,
    Replace(NodeId),
}

fn due(members: &Members, vertex: Vertex, incarnation: Incarnation) -> Due {
    match members.members.iter().find(|member| member.vertex == vertex) {
        Some(member) if member.incarnation == incarnation => Due::Nothing,
        Some(member) => Due::Replace(member.node_id),
        None => Due::Add,
    }
}

/// How long to wait for a peer to be ready while so many peers run.
fn patience(running: usize, peers: usize) -> Duration {
    match running {
        _ if running >= peers => PATIENCE,
        _ if 2 * running > peers => PATIENCE_FEW,
        _ => PATIENCE_ALONE,
    }
}

impl Fleet {
    /// Waits until all of these are ready.
    pub(super) async fn all_take_part(&self, vertices: &[Vertex]) -> anyhow::Result<Vec<Started>> {
        let mut started = Vec::new();
        let admin = Admin::new(&self.home.token_file())?;
        for &vertex in vertices {
            // All of them before any is waited for, so that a disk in the wrong place is told at once.
            self.identify(&admin, vertex).await?;
        }
        for &vertex in vertices {
            match self.take_part(vertex).await? {
                Started::Waits { .. } => bail!(self.failure(vertex, "is not ready")),
                other => started.push(other),
            }
        }
        Ok(started)
    }

    /// Waits until a peer that runs is ready. One with an empty disk becomes a member first: in the place of the
    /// one that stood there.
    pub(super) async fn take_part(&self, vertex: Vertex) -> anyhow::Result<Started> {
        if matches!(self.state.change, Some(Change::Shrink { .. })) && vertex.0 + 1 == self.cube().peers() {
            bail!("peer {} is being removed; `hcube local remove` goes on with that", self.label(vertex));
        }
        let admin = Admin::new(&self.home.token_file())?;
        let identity = self.identify(&admin, vertex).await?;
        let begun = Instant::now();
        let mut looked: Option<Instant> = None;
        let mut started = Started::Ready;
        let mut reason = None;
        loop {
            if self.is_ready(vertex).await {
                return Ok(started);
            }
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                match self.enrol(vertex, &identity).await {
                    Ok(Enrolment::Replaced) => started = Started::Replaced(vertex),
                    Ok(Enrolment::Member | Enrolment::Added) => {}
                    Err(Refusal::NotNow(why)) => reason = Some(why),
                    Err(Refusal::Final(why)) => return Err(why),
                }
            }
            let running = self.cube().vertices().filter(|vertex| self.running(*vertex).is_some()).count();
            let peers = usize::from(self.cube().peers());
            if begun.elapsed() >= patience(running, peers) {
                if running < peers {
                    return Ok(Started::Waits { running });
                }
                let failure = self.failure(vertex, "is not ready");
                return Err(reason.map_or_else(
                    || anyhow::anyhow!("{failure}"),
                    |why| anyhow::anyhow!("{failure}\nthe others say: {why:#}"),
                ));
            }
            self.pause(vertex).await?;
        }
    }

    /// Looks after a peer that runs, once: whether it is ready. One with an empty disk becomes a member.
    pub async fn tend(&self, vertex: Vertex) -> anyhow::Result<bool> {
        if self.running(vertex).is_none() {
            bail!(self.failure(vertex, "has ended"));
        }
        if self.is_ready(vertex).await {
            return Ok(true);
        }
        let admin = Admin::new(&self.home.token_file())?;
        if let Ok(identity) = admin.identity(self.ports(vertex).admin).await
            && identity.cluster_id.is_none()
            && let Err(Refusal::Final(why)) = self.enrol(vertex, &identity).await
        {
            return Err(why);
        }
        Ok(false)
    }

    /// Makes a peer with an empty disk a member, where it is none; asks the others once.
    pub(super) async fn enrol(&self, vertex: Vertex, identity: &Identity) -> Result<Enrolment, Refusal> {
        let admins = self.admins(Some(vertex)).map_err(Refusal::NotNow)?;
        let cluster = self.state.cluster_id;
        let members = admins.ask(async |admin| members(admin, cluster).await).await?;
        let replaces = match due(&members, vertex, identity.incarnation) {
            Due::Nothing => return Ok(Enrolment::Member),
            // Founders are told by the others, and a member's disk knows itself; so this one was a member's.
            Due::Add | Due::Replace(_) if identity.cluster_id.is_some() => {
                return Err(Refusal::Final(anyhow::anyhow!(
                    "{} is not the disk that peer {} has now: it was replaced or removed, and may never take \
                     part again; remove it, and the peer is filled from the others",
                    self.data_dir(vertex).display(),
                    self.label(vertex)
                )));
            }
            Due::Add => None,
            Due::Replace(node) => Some(node),
        };
        let ports = self.ports(vertex);
        let new = AddMember {
            cluster_id: cluster,
            vertex,
            incarnation: identity.incarnation,
            peer_address: ports.peer.to_string(),
            client_address: ports.client.to_string(),
            zone: String::new(),
            replaces,
        };
        let added = admins.ask(async |admin| admin.add(&new).await).await?;
        Ok(match replaces {
            // Whoever was asked first is behind.
            _ if !added.is_new => Enrolment::Member,
            Some(_) => Enrolment::Replaced,
            None => Enrolment::Added,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_amid_a_dead_majority_does_not_wait_long() {
        assert_eq!(patience(8, 8), PATIENCE);
        assert_eq!(patience(7, 8), PATIENCE_FEW);
        assert_eq!(patience(4, 8), PATIENCE_ALONE);
        assert_eq!(patience(1, 3), PATIENCE_ALONE);
        assert_eq!(patience(1, 1), PATIENCE);
    }

    #[test]
    fn a_disk_that_is_not_the_members_replaces_it() {
        let text = r#"{"cluster_id":"00000000000000000000000000000001","epoch":1,"paused":false,"lost":[],
            "members":[{"vertex":0,"label":"0","node_id":7,"incarnation":"00000000000000000000000000000009",
            "zone":"","peer_address":"a:1","client_address":"a:2","state":"up","replicas":0,"leads":0,
            "arriving":0,"held":0}]}"#;
        let members: Members = serde_json::from_str(text).unwrap();
        assert_eq!(due(&members, Vertex(0), Incarnation(9)), Due::Nothing);
        assert_eq!(due(&members, Vertex(0), Incarnation(5)), Due::Replace(NodeId(7)));
        assert_eq!(due(&members, Vertex(1), Incarnation(5)), Due::Add);
    }
}

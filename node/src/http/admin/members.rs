//! Members come and go, and the whole is told what to be: each change is one command of the metadata's log.

use hcube_api::admin::{
    AddMember, Members, OfCluster, PatchCluster, ReadReplicas, Removed, SetReadReplicas, cluster_query,
};
use hcube_api::{Code, Problem, json};
use hcube_broker::{Answer, Request};
use hcube_core::ids::{ClusterId, NodeId};
use hcube_core::meta::{Change, Changed, Member};
use hcube_core::topic::Name;
use http::StatusCode;

use crate::http::answer::{self, Response};
use crate::http::error::unknown_topic;
use crate::http::outlook::Planner;
use crate::http::peer::{Peer, unexpected};
use crate::http::survey::Survey;

/// Where a peer takes what administrators want; it need not lead the metadata.
#[derive(Debug)]
pub(super) struct Desk<'s> {
    pub planner: &'s Planner,
    pub peer: Peer,
}

impl Desk<'_> {
    /// `GET /v1/members`
    pub async fn list(&self) -> Result<Response, Problem> {
        let view = self.peer.view();
        let (survey, outlook) = (Survey::new(&view), self.planner.outlook(&view.meta).await?);
        let status = |member| survey.status(member, &outlook);
        let body = Members {
            cluster_id: view.meta.cluster,
            epoch: view.meta.epoch,
            paused: view.meta.paused,
            members: survey.members().into_iter().map(status).collect(),
            lost: survey.lost(),
        };
        Ok(answer::json(StatusCode::OK, &body))
    }

    /// `POST /v1/members`
    pub async fn add(&self, body: &[u8]) -> Result<Response, Problem> {
        let add: AddMember = json::from_slice(body)?;
        add.check()?;
        self.check_cluster(add.cluster_id)?;
        let before = self.peer.handle.meta();
        let member = self.change_member(Change::AddMember(add.into())).await?;
        self.peer
            .heard(|meta| {
                meta.members.contains_key(&member.node) || meta.retired.contains_key(&member.incarnation)
            })
            .await;
        let created = !before.members.contains_key(&member.node);
        self.member(if created { StatusCode::CREATED } else { StatusCode::OK }, &member).await
    }

    /// `POST /v1/members/{node_id}/drain`
    pub async fn drain(&self, node: NodeId, body: &[u8]) -> Result<Response, Problem> {
        let OfCluster { cluster_id } = json::from_slice(body)?;
        self.check_cluster(cluster_id)?;
        let member = self.change_standing(Change::Drain { node }).await?;
        self.member(StatusCode::ACCEPTED, &member).await
    }

    /// `POST /v1/members/{node_id}/cancel-drain`
    pub async fn cancel_drain(&self, node: NodeId, body: &[u8]) -> Result<Response, Problem> {
        let OfCluster { cluster_id } = json::from_slice(body)?;
        self.check_cluster(cluster_id)?;
        let member = self.change_standing(Change::CancelDrain { node }).await?;
        self.member(StatusCode::OK, &member).await
    }

    /// `DELETE /v1/members/{node_id}`
    pub async fn remove(&self, node: NodeId, query: Option<&str>) -> Result<Response, Problem> {
        self.check_cluster(cluster_query(query)?)?;
        match self.change(Change::RemoveMember { node }).await? {
            Changed::Removed(node_id) => {
                self.peer.heard(|meta| !meta.members.contains_key(&node)).await;
                Ok(answer::json(StatusCode::OK, &Removed { removed: true, node_id }))
            }
            other => Err(unexpected(&Answer::Changed(other))),
        }
    }

    /// `PATCH /v1/cluster`
    pub async fn alter(&self, body: &[u8]) -> Result<Response, Problem> {
        let patch: PatchCluster = json::from_slice(body)?;
        patch.check()?;
        self.check_cluster(patch.cluster_id)?;
        // A pause comes first and its end last, so that nothing moves before everything is as it should be.
        if patch.paused == Some(true) {
            self.set_paused(true).await?;
        }
        if let Some(replication) = patch.replication {
            self.change(Change::SetReplication { replication }).await?;
            self.peer.heard(|meta| meta.replication == replication).await;
        }
        if patch.paused == Some(false) {
            self.set_paused(false).await?;
        }
        let outlook = self.planner.outlook(&self.peer.handle.meta()).await?;
        Ok(answer::json(StatusCode::OK, &outlook.rebalance()))
    }

    async fn set_paused(&self, paused: bool) -> Result<(), Problem> {
        self.change(Change::SetPaused { paused }).await?;
        self.peer.heard(|meta| meta.paused == paused).await;
        Ok(())
    }

    /// `PUT /v1/topics/{topic}/read-replicas`
    pub async fn set_read_replicas(&self, topic: &Name, body: &[u8]) -> Result<Response, Problem> {
        let set: SetReadReplicas = json::from_slice(body)?;
        set.check()?;
        self.check_cluster(set.cluster_id)?;
        let count = set.count;
        let changed = self.change(Change::SetReadReplicas { topic: topic.clone(), count }).await;
        changed.map_err(|problem| match problem.code {
            Code::UnknownTopic => unknown_topic(topic),
            _ => problem,
        })?;
        self.peer
            .heard(|meta| meta.topic(topic).is_some_and(|topic| meta.read_replicas_of(topic.id) == count))
            .await;
        Ok(answer::json(StatusCode::OK, &ReadReplicas { topic: topic.clone(), count }))
    }

    /// A change that was meant for another hypercube must not be made here.
    pub(super) fn check_cluster(&self, meant: ClusterId) -> Result<(), Problem> {
        let own = self.peer.handle.cluster();
        if own == meant {
            return Ok(());
        }
        let detail = format!("this peer belongs to the hypercube {own}, not to {meant}: ask one of that");
        Err(Problem::new(Code::WrongCluster, detail))
    }

    pub(super) async fn change(&self, change: Change) -> Result<Changed, Problem> {
        match self.peer.ask(Request::Change(change)).await?.answer {
            Answer::Changed(changed) => Ok(changed),
            other => Err(unexpected(&other)),
        }
    }

    async fn change_member(&self, change: Change) -> Result<Member, Problem> {
        match self.change(change).await? {
            Changed::Member(member) => Ok(member),
            other => Err(unexpected(&Answer::Changed(other))),
        }
    }

    /// A change of whether a member stays; returns once this peer knows of it.
    async fn change_standing(&self, change: Change) -> Result<Member, Problem> {
        let member = self.change_member(change).await?;
        self.peer
            .heard(|meta| meta.members.get(&member.node).is_none_or(|m| m.standing == member.standing))
            .await;
        Ok(member)
    }

    async fn member(&self, status: StatusCode, member: &Member) -> Result<Response, Problem> {
        let view = self.peer.view();
        let (survey, outlook) = (Survey::new(&view), self.planner.outlook(&view.meta).await?);
        Ok(answer::json(status, &survey.status(member, &outlook)))
    }
}

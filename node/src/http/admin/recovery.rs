//! The last resort: slots that lost most of their voters go on with the copy that is farthest, as somebody has
//! decided. What only the lost disks held is gone for good.

mod metadata;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use hcube_api::admin::{Recovered, UnsafeRecover};
use hcube_api::{Code, Problem, json};
use hcube_broker::request::SlotStatus;
use hcube_broker::{Answer, Request};
use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::mover::lacks_majority;
use hcube_core::meta::{Change, Meta, Placement};
use http::StatusCode;

use super::members::Desk;
use crate::http::answer::{self, Response};
use crate::http::cluster::told_loss;
use crate::http::error::Asked;
use crate::http::peer::{Answered, View};

/// How long a survivor may take to say how its copies stand, in milliseconds.
const SURVIVOR_MS: u32 = 2_000;
/// Survivors asked, and slots recovered, at the same time.
const AT_ONCE: usize = 16;

/// How every survivor stands that was asked; none where it did not answer.
type Told = BTreeMap<NodeId, Option<Vec<SlotStatus>>>;

impl Desk<'_> {
    /// `POST /v1/unsafe-recover`
    pub async fn recover(&self, body: &[u8]) -> Result<Response, Problem> {
        let asked: UnsafeRecover = json::from_slice(body)?;
        asked.check()?;
        self.check_cluster(asked.cluster_id)?;
        if asked.metadata {
            return self.recover_metadata(asked).await;
        }
        let view = self.peer.view();
        let lost = asked.lost.iter().copied().collect();
        check_lost(&view, &lost)?;
        let stuck = concerned(&view.meta, &lost);
        let told = self.survivors(&view.meta, &stuck).await;
        let mut changes = Vec::new();
        for (group, placement) in stuck {
            changes.extend(decide(&view.meta, group, placement, &told)?);
        }
        let groups: BTreeSet<GroupId> = changes.iter().map(|(group, _)| *group).collect();
        let recover = |(group, change): (GroupId, Change)| async move {
            tracing::warn!(%group, ?change, "goes on without its majority, as an administrator has decided");
            self.change(change).await.map_err(metadata_too)
        };
        let mut done = futures_util::stream::iter(changes.into_iter().map(recover)).buffer_unordered(AT_ONCE);
        let mut refusal = None;
        while let Some(changed) = done.next().await {
            refusal = changed.err().or(refusal);
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let since = view.meta.epoch;
        let new = |meta: &Meta| meta.losses.iter().filter(|loss| loss.epoch > since).count();
        self.peer.heard(|meta| new(meta) >= groups.len()).await;
        let meta = self.peer.handle.meta();
        let losses = meta.losses.iter().filter(|loss| loss.epoch > since && groups.contains(&loss.group));
        let body = Recovered {
            cluster_id: meta.cluster,
            losses: losses.map(told_loss).collect(),
            without_majority: self.planner.outlook(&meta).await?.rebalance().without_majority,
        };
        Ok(answer::json(StatusCode::OK, &body))
    }

    /// Asks everybody who may have a copy of these groups how it stands.
    async fn survivors(&self, meta: &Meta, stuck: &[(GroupId, &Placement)]) -> Told {
        let holders: BTreeSet<NodeId> =
            stuck.iter().flat_map(|(_, placement)| survivors(meta, placement)).collect();
        let held = |answer| if let Answer::NodeStatus(held) = answer { Some(held) } else { None };
        self.ask_each(holders, |node| Request::NodeStatus { node }, held).await
    }

    /// Asks every node the same; none for one that does not answer it.
    async fn ask_each<T>(
        &self,
        nodes: BTreeSet<NodeId>,
        request: impl Fn(NodeId) -> Request,
        told: impl Fn(Answer) -> Option<T>,
    ) -> BTreeMap<NodeId, Option<T>> {
        let ask = async |node: NodeId| {
            let answered = self.peer.ask_as(request(node), Asked::Other, SURVIVOR_MS).await;
            (node, answered.ok().and_then(|Answered { answer, .. }| told(answer)))
        };
        futures_util::stream::iter(nodes.into_iter().map(ask)).buffer_unordered(AT_ONCE).collect().await
    }
}

/// Only a node that was replaced is lost: its disk can never take part again. The copy of one that merely does not
/// answer might come back, and be elected by others like it.
fn check_lost(view: &View, lost: &BTreeSet<NodeId>) -> Result<(), Problem> {
    for node in lost {
        let problem = |code, detail: &str| {
            Err(Problem::new(code, format!("node {node} {detail}")).with("node_id", node.0))
        };
        let meta = &view.meta;
        if meta.is_gone(*node) {
            continue;
        }
        if !meta.members.contains_key(node) {
            return problem(Code::UnknownNode, "never was a member: the list of members tells who is lost");
        }
        if *node == view.status.node || view.status.links.contains(node) {
            return problem(Code::StillAlive, "answers: it is not lost");
        }
        return problem(
            Code::NotLost,
            "is a member still, so its disk may come back: start it again; or, where its disk is gone for good, start \
             a peer with an empty one at its vertex that replaces it, and repeat this",
        );
    }
    Ok(())
}

/// The groups that may be stuck with these nodes, and with no others.
fn concerned<'m>(meta: &'m Meta, lost: &BTreeSet<NodeId>) -> Vec<(GroupId, &'m Placement)> {
    let named = |placement: &Placement| {
        let nodes = placement.all().map(|replica| replica.node);
        let gone: BTreeSet<NodeId> = nodes.filter(|node| meta.is_lost(*node)).collect();
        !gone.is_empty() && gone.is_subset(lost)
    };
    // One that is to go on alone does so first, unless it was lost meanwhile.
    let alone = |p: &Placement| {
        let there = p.voting_nodes().any(|node| !meta.is_lost(node));
        !p.settled && p.forced == p.version && there
    };
    meta.groups()
        .filter(|(group, _)| *group != GroupId::META)
        .filter(|(_, p)| named(p) && !alone(p) && (lacks_majority(meta, p) || !p.settled))
        .collect()
}

fn survivors(meta: &Meta, placement: &Placement) -> BTreeSet<NodeId> {
    let there = |node: &NodeId| meta.members.contains_key(node) && !meta.is_lost(*node);
    placement.all().map(|replica| replica.node).filter(there).collect()
}

/// How a group goes on; nothing where it is not stuck.
fn decide(
    meta: &Meta,
    group: GroupId,
    placement: &Placement,
    told: &Told,
) -> Result<Option<(GroupId, Change)>, Problem> {
    let (mut copies, mut silent) = (Vec::new(), Vec::new());
    for node in survivors(meta, placement) {
        match told.get(&node).and_then(Option::as_ref) {
            Some(held) => {
                let copy = held.iter().find(|status| Some(status.slot) == group.slot() && status.takes_part);
                copies.extend(copy.map(|copy| (node, copy)));
            }
            None => silent.push(node),
        }
    }
    // Whoever does not count on lost disks may lead yet.
    if copies.iter().any(|(_, copy)| copy.leads || !copy.stranded) {
        return Ok(None);
    }
    if let Some(node) = silent.first() {
        let detail = format!(
            "node {node} may have the best copy of {group} that is left, and does not answer: start it; or, where its \
             disk is lost too, replace it and name it as well"
        );
        return Err(Problem::new(Code::SurvivorSilent, detail).with("node_id", node.0));
    }
    let survivor = copies.iter().max_by_key(|(_, copy)| copy.last).map(|(node, _)| *node);
    Ok(Some((group, Change::Recover { group, version: placement.version, survivor })))
}

/// Without the metadata nothing can be decided; that may be for the same reason.
fn metadata_too(mut problem: Problem) -> Problem {
    if problem.code == Code::NoLeader {
        problem.detail = format!(
            "{}; it is the metadata that decides this. Where that has lost most of its own voters' disks, it is \
             recovered first: `hcube cluster unsafe-recover --metadata`",
            problem.detail
        )
        .into();
    }
    problem
}

//! The metadata itself lost most of its voters' disks: it goes on with the peer that has the most of it, as somebody
//! has decided. That needs no leader, and every peer that is left.

use std::collections::BTreeSet;

use hcube_api::admin::{Recovered, UnsafeRecover};
use hcube_api::cluster::Loss;
use hcube_api::{Code, Problem};
use hcube_broker::recovery::{MetadataStatus, Refusal, Told, survivor};
use hcube_broker::{Answer, Request, given_up};
use hcube_core::feature;
use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::{Changed, Meta};
use http::StatusCode;

use crate::http::admin::members::Desk;
use crate::http::answer::{self, Response};
use crate::http::peer::unexpected;

impl Desk<'_> {
    /// `POST /v1/unsafe-recover` with `metadata`.
    pub(super) async fn recover_metadata(&self, asked: UnsafeRecover) -> Result<Response, Problem> {
        let lost: BTreeSet<NodeId> = asked.lost.iter().copied().collect();
        let meta = self.peer.handle.meta();
        check_level(&meta)?;
        check_known(&meta, &lost)?;
        if self.was_done(&asked.lost) {
            return self.recovered(None).await;
        }
        let told = self.ask_all(&meta, &lost).await;
        let best = match survivor(&lost, &told) {
            Ok(best) => best,
            Err(refusal) => {
                // What this is a repetition of may be done, and not be heard of here yet.
                let done = |meta: &Meta| given_up(meta, &asked.lost).is_some();
                self.peer.heard(done).await;
                let goes_on = matches!(refusal, Refusal::Led { .. } | Refusal::Electable(_));
                if goes_on && done(&self.peer.handle.meta()) {
                    return self.recovered(None).await;
                }
                return Err(problem(refusal));
            }
        };
        let status = told.get(&best).and_then(Option::as_ref);
        let Some(MetadataStatus { last, .. }) = status.cloned() else {
            return Err(problem(Refusal::Silent(best)));
        };
        tracing::warn!(
            survivor = %best, ?last, lost = ?asked.lost,
            "the metadata goes on without its majority, as an administrator has decided"
        );
        let request = Request::ForceMetadata { node: best, lost: asked.lost, last };
        match self.peer.ask(request).await?.answer {
            Answer::Changed(Changed::GivenUp { epoch }) => {
                self.peer.heard(|meta| meta.epoch >= epoch).await;
                self.recovered(Some(Loss { slot: None, epoch, survivor: Some(best) })).await
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the metadata has gone on without these nodes, and goes on.
    fn was_done(&self, lost: &[NodeId]) -> bool {
        let view = self.peer.view();
        given_up(&view.meta, lost).is_some() && view.leader(GroupId::META).is_some()
    }

    /// Asks every peer that may be left how its metadata stands.
    async fn ask_all(&self, meta: &Meta, lost: &BTreeSet<NodeId>) -> Told {
        let left = meta.present().map(|member| member.node).filter(|node| !lost.contains(node));
        let status = |answer| if let Answer::MetadataStatus(status) = answer { Some(status) } else { None };
        self.ask_each(left.collect(), |node| Request::MetadataStatus { node }, status).await
    }

    async fn recovered(&self, loss: Option<Loss>) -> Result<Response, Problem> {
        let meta = self.peer.handle.meta();
        let body = Recovered {
            cluster_id: meta.cluster,
            losses: loss.into_iter().collect(),
            without_majority: self.planner.outlook(&meta).await?.rebalance().without_majority,
        };
        Ok(answer::json(StatusCode::OK, &body))
    }
}

fn check_known(meta: &Meta, lost: &BTreeSet<NodeId>) -> Result<(), Problem> {
    let stranger = lost.iter().find(|node| !meta.members.contains_key(node) && !meta.is_gone(**node));
    match stranger.filter(|node| !meta.is_unheard(**node)) {
        None => Ok(()),
        Some(node) => {
            let detail = format!("node {node} never was a member: the list of members tells who is lost");
            Err(Problem::new(Code::UnknownNode, detail).with("node_id", node.0))
        }
    }
}

/// Peers of an older level would not understand what they are asked, nor the record of it.
fn check_level(meta: &Meta) -> Result<(), Problem> {
    if meta.feature_level >= feature::METADATA_RECOVERY {
        return Ok(());
    }
    let detail = format!(
        "the hypercube is at feature level {}, and this needs {}: it has to be raised while the metadata is led, by running \
         newer peers",
        meta.feature_level,
        feature::METADATA_RECOVERY
    );
    Err(Problem::new(Code::FeatureLevel, detail))
}

/// Why not, and what to do next.
fn problem(refusal: Refusal) -> Problem {
    let (code, node, advice) = match refusal {
        Refusal::Alive { node, .. } => (Code::StillAlive, Some(node), "only who is gone for good is named"),
        Refusal::Led { leader, .. } => (
            Code::MetadataNotLost,
            Some(leader),
            "replace whose disks are lost as long as it is led; one that fell silent a moment ago is heard for a \
             few seconds more",
        ),
        Refusal::Electable(node) => {
            (Code::MetadataNotLost, Some(node), "wait until it leads, and replace whose disks are lost")
        }
        Refusal::Silent(node) => (
            Code::SurvivorSilent,
            Some(node),
            "start it; or, where its disk is gone for good as well, name it too. A peer that joined a moment ago may \
             be known to those only that have a link to it: ask one of them",
        ),
        Refusal::Outside(node) => {
            (Code::SurvivorSilent, Some(node), "then have it join again, with an empty disk")
        }
        Refusal::Nobody => (Code::SurvivorSilent, None, "there is nothing to go on with"),
    };
    let problem = Problem::new(code, format!("{refusal}: {advice}"));
    match node {
        Some(node) => problem.with("node_id", node.0),
        None => problem,
    }
}

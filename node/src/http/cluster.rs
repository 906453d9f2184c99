//! The hypercube as a whole, and the way that a request takes through it.

mod plan;

use hcube_api::cluster::{Cluster, Group, Loss, Member, Route, SlotPlacement, SlotState};
use hcube_api::messages::partition_query;
use hcube_api::{Code, Problem};
use hcube_broker::{Answer, Request};
use hcube_core::ids::GroupId;
use hcube_core::meta::Placement;
use hcube_core::meta::mover::lacks_majority;
use hcube_core::topic::{Name, slot_of};
use http::StatusCode;

use super::answer::{self, Response};
use super::error::Asked;
use super::outlook::Planner;
use super::peer::{Answered, Peer, View, topic_ref};
use super::survey::Survey;

pub(super) use plan::plan;

/// How long the way waits for the leader to say that it leads, in milliseconds.
const ROUTE_MS: u32 = 2_000;

/// `GET /v1/cluster`
pub(super) async fn describe(planner: &Planner, peer: &Peer) -> Result<Response, Problem> {
    let view = peer.view();
    let outlook = planner.outlook(&view.meta).await?;
    let (meta, cube, survey) = (&view.meta, view.meta.cube(), Survey::new(&view));
    let member = |member: &hcube_core::meta::Member| Member {
        label: view.label(member.vertex),
        vertex: member.vertex,
        node_id: member.node,
        state: survey.state(member),
        client_address: member.client_address.clone(),
        zone: member.zone.clone(),
    };
    let body = Cluster {
        cluster_id: meta.cluster,
        answered_by: view.label(view.status.vertex),
        version: env!("CARGO_PKG_VERSION").into(),
        peers: cube.peers(),
        dimension: view.dimension,
        replication: meta.replication,
        epoch: meta.epoch,
        feature_level: meta.feature_level,
        members: survey.members().into_iter().map(member).collect(),
        edges: cube.edges().map(|(high, low)| [view.label(low), view.label(high)]).collect(),
        metadata: group(&view, GroupId::META, &meta.metadata),
        slots: view.slots().filter_map(|(id, placement)| slot(&view, id, placement)).collect(),
        rebalance: outlook.rebalance(),
        losses: meta.losses.iter().map(told_loss).collect(),
    };
    let mut response = answer::json(StatusCode::OK, &body);
    answer::set_path(&mut response, &[view.status.vertex], view.dimension);
    Ok(response)
}

fn group(view: &View, id: GroupId, placement: &Placement) -> Group {
    let leader = view.leader(id).and_then(|node| view.label_of(node));
    Group { leader, replicas: view.replicas(placement) }
}

fn slot(view: &View, id: GroupId, placement: &Placement) -> Option<SlotPlacement> {
    let Group { leader, replicas } = group(view, id, placement);
    let arriving = view.status.arriving.get(&id).into_iter().flatten().copied();
    Some(SlotPlacement {
        slot: id.slot()?,
        leader,
        replicas,
        state: if placement.settled { SlotState::Settled } else { SlotState::Moving },
        // What the status is about may be older than the placement.
        arriving: view.labels(arriving.filter(|node| placement.replicas().any(|r| r.node == *node))),
        leaving: view.labels(placement.leaving.iter().map(|replica| replica.node)),
        majority_lost: lacks_majority(&view.meta, placement),
        readers: view.labels(placement.learners.iter().map(|replica| replica.node)),
    })
}

/// A loss as clients and administrators see it.
pub(super) fn told_loss(loss: &hcube_core::meta::Loss) -> Loss {
    let hcube_core::meta::Loss { group, epoch, survivor } = *loss;
    Loss { slot: group.slot(), epoch, survivor }
}

/// `GET /v1/cluster/route/{topic}`
pub(super) async fn route(peer: &Peer, name: &Name, query: Option<&str>) -> Result<Response, Problem> {
    let partition = partition_query(query)?.unwrap_or_default();
    let topic = peer.topic(name).await?;
    if partition >= topic.partitions {
        let detail = format!("there is no partition {partition}, the topic has {}", topic.partitions);
        return Err(Problem::new(Code::UnknownPartition, detail));
    }
    // The leader is asked as a publish would ask it, so the way is the one that a publish takes now.
    let request = Request::Describe { topic: topic_ref(&topic), partition };
    let asked = peer.ask_as(request, Asked::Other, ROUTE_MS).await;
    let view = peer.view();
    let slot = slot_of(name, partition, view.meta.slots);
    let (leader, path) = match asked {
        Ok(Answered { answer: Answer::Partition { leader, .. }, path }) => (Some(leader), path),
        _ => (None, Vec::new()),
    };
    let placement = view.meta.placement_of(slot.into());
    let body = Route {
        topic: name.clone(),
        partition,
        slot,
        home: view.label(view.meta.cube().home(slot.0.into())),
        leader: leader.and_then(|node| view.label_of(node)),
        replicas: placement.map(|placement| view.replicas(placement)).unwrap_or_default(),
        path: path.iter().map(|vertex| view.label(*vertex)).collect(),
    };
    let mut response = answer::json(StatusCode::OK, &body);
    let way = if path.is_empty() { vec![view.status.vertex] } else { path };
    answer::set_path(&mut response, &way, view.dimension);
    Ok(response)
}

//! What would move with other peers or replicas: the plan that would be carried out, and what it would copy.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use hcube_api::cluster::{Plan, PlanQuery, PlannedMove};
use hcube_api::label::Label;
use hcube_api::{Code, Problem};
use hcube_broker::{Answer, Request};
use hcube_core::cube::Cube;
use hcube_core::ids::{NodeId, Slot, Vertex};
use hcube_core::meta::mover::{Preview, moved_slots};
use hcube_core::placement::Move;
use http::StatusCode;

use crate::http::answer::{self, Response};
use crate::http::error::Asked;
use crate::http::outlook::Planner;
use crate::http::peer::{Answered, Peer, View};

/// How long a peer has to say what its slots hold, in milliseconds: what is not known then is null.
const SIZE_MS: u32 = 2_000;
/// Peers asked at a time.
const AT_ONCE: usize = 32;

/// `GET /v1/cluster/plan`
pub(in crate::http) async fn plan(
    planner: &Planner,
    peer: &Peer,
    query: Option<&str>,
) -> Result<Response, Problem> {
    let query = PlanQuery::parse(query.unwrap_or_default())?;
    let turn = planner.turn(peer.patience_ms).await?;
    let view = peer.view();
    let then = size(&view, query)?;
    let preview = planner.preview(&view.meta, query, &turn).await?;
    let bytes = slot_bytes(peer, &view, &moved_slots(&preview.moves)).await;
    drop(turn);
    let body = body(&view, then, query, &preview, &bytes);
    let mut response = answer::json(StatusCode::OK, &body);
    answer::set_path(&mut response, &[view.status.vertex], view.dimension);
    Ok(response)
}

/// The hypercube that there would be.
///
/// # Errors
/// `too-few-peers` where drains would be refused for that.
fn size(view: &View, query: PlanQuery) -> Result<Cube, Problem> {
    let now = view.meta.cube();
    let peers = query.peers.unwrap_or(now.peers());
    let replication = query.replication.unwrap_or(view.meta.replication);
    if peers < now.peers() && peers < u16::from(replication) {
        let detail =
            format!("{peers} peers cannot hold {replication} replicas: plan for a lower replication too");
        return Err(Problem::new(Code::TooFewPeers, detail).with("replication", replication));
    }
    Cube::new(peers).map_err(|error| Problem::invalid(error.to_string()))
}

/// Bytes of slots, as the peers say that hold them.
async fn slot_bytes(peer: &Peer, view: &View, slots: &[Slot]) -> BTreeMap<Slot, u64> {
    let placements = slots.iter().filter_map(|slot| view.meta.placement_of((*slot).into()));
    let holders = placements.flat_map(|placement| placement.voting_nodes());
    let holders: BTreeSet<NodeId> = holders.filter(|node| view.meta.members.contains_key(node)).collect();
    let ask = |node: NodeId| {
        let peer = peer.clone();
        async move { peer.ask_as(Request::NodeStatus { node }, Asked::Other, SIZE_MS).await }
    };
    let mut asked = futures_util::stream::iter(holders.into_iter().map(ask)).buffer_unordered(AT_ONCE);
    let mut bytes = BTreeMap::<Slot, u64>::new();
    while let Some(told) = asked.next().await {
        let Ok(Answered { answer: Answer::NodeStatus(held), .. }) = told else { continue };
        for status in held {
            // A replica that is behind holds less.
            let most = bytes.entry(status.slot).or_default();
            *most = status.bytes.max(*most);
        }
    }
    bytes
}

fn body(view: &View, then: Cube, query: PlanQuery, preview: &Preview, bytes: &BTreeMap<Slot, u64>) -> Plan {
    let now = view.meta.cube();
    let digits = |dimension: u32| u8::try_from(dimension).unwrap_or(u8::MAX);
    let (dimension, wide) = (digits(then.dimension()), digits(then.dimension().max(now.dimension())));
    let label = |vertex: Vertex| Label::new(vertex, wide);
    let standing = preview.members.iter().chain(view.meta.lost.values());
    let vertices: BTreeMap<NodeId, Vertex> = standing.map(|member| (member.node, member.vertex)).collect();
    let label_of = |node: &NodeId| vertices.get(node).map(|vertex| label(*vertex));
    let moves: Vec<PlannedMove> = preview
        .moves
        .iter()
        .map(|Move { slot, add, remove, leader }| PlannedMove {
            slot: *slot,
            add: add.iter().filter_map(label_of).collect(),
            remove: remove.iter().filter_map(label_of).collect(),
            leader: leader.as_ref().and_then(label_of),
            bytes: copied(add.len(), bytes.get(slot).copied()),
        })
        .collect();
    let edge = |(high, low): &(Vertex, Vertex)| [label(*low), label(*high)];
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (now.edges().collect(), then.edges().collect());
    Plan {
        epoch: view.meta.epoch,
        peers: then.peers(),
        replication: query.replication.unwrap_or(view.meta.replication),
        dimension,
        labels: then.vertices().map(|vertex| Label::new(vertex, dimension)).collect(),
        edges_added: after.difference(&before).map(edge).collect(),
        edges_removed: before.difference(&after).map(edge).collect(),
        bytes_total: moves.iter().filter_map(|step| step.bytes).sum(),
        moves,
        metadata_voters: preview.target.metadata.iter().filter_map(label_of).collect(),
    }
}

/// What a slot's move copies. Where nothing is added, nobody needs to be asked.
fn copied(added: usize, bytes: Option<u64>) -> Option<u64> {
    let copies = u64::try_from(added).unwrap_or(u64::MAX);
    if added == 0 { Some(0) } else { bytes.map(|bytes| bytes.saturating_mul(copies)) }
}

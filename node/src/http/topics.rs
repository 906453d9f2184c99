//! Topics: create, describe, alter, delete, list.

use std::sync::Arc;

use futures_util::StreamExt as _;
use hcube_api::topics::{
    CreateTopic, Partition, PatchTopic, Replica, Retention, Topic as TopicBody, TopicList, TopicSummary,
};
use hcube_api::{Code, Problem, json};
use hcube_broker::request::TopicInfo;
use hcube_broker::{Answer, Request};
use hcube_core::ids::TopicId;
use hcube_core::meta::Topic;
use hcube_core::topic::{Name, slot_of};
use http::StatusCode;

use super::answer::{self, Response};
use super::error::{Asked, unknown_topic};
use super::peer::{Answered, Peer, View, topic_ref, unexpected};

/// How long a description waits for each partition's leader, in milliseconds: what is not known then is null.
const DESCRIBE_MS: u32 = 2_000;
/// Partitions asked at a time.
const AT_ONCE: usize = 32;

/// `GET /v1/topics`
pub(super) fn list(peer: &Peer) -> Response {
    let meta = peer.handle.meta();
    let summary = |topic: &Arc<Topic>| TopicSummary {
        name: topic.name.clone(),
        id: topic.id,
        partitions: topic.partitions,
        retention: topic.retention.into(),
    };
    let mut response =
        answer::json(StatusCode::OK, &TopicList { topics: meta.topics().map(summary).collect() });
    let view = peer.view();
    answer::set_path(&mut response, &[view.status.vertex], view.dimension);
    response
}

/// `PUT /v1/topics/{topic}`
pub(super) async fn create(peer: &Peer, name: &Name, body: &[u8]) -> Result<Response, Problem> {
    let CreateTopic { partitions, retention } = json::from_slice_or_default(body)?;
    let id = TopicId(rand::random());
    let request = Request::CreateTopic {
        name: name.clone(),
        id,
        partitions: partitions.get(),
        retention: retention.into(),
    };
    let (topic, path) = changed(peer.ask(request).await?)?;
    peer.heard(|meta| meta.topic(&topic.name).is_some() || meta.is_deleted(topic.id)).await;
    let view = peer.view();
    let created = topic.id == id;
    let (status, body) = if created {
        (StatusCode::CREATED, brand_new(&view, &topic))
    } else {
        (StatusCode::OK, described(peer, &topic).await?)
    };
    let mut response = answer::json(status, &body);
    answer::set_path(&mut response, &path, view.dimension);
    Ok(response)
}

/// `GET /v1/topics/{topic}`
pub(super) async fn describe(peer: &Peer, name: &Name) -> Result<Response, Problem> {
    let topic = peer.topic(name).await?;
    let body = match described(peer, &topic).await {
        Err(problem) if problem.code == Code::UnknownTopic => {
            described(peer, &*peer.find_again(&topic).await?).await?
        }
        body => body?,
    };
    let view = peer.view();
    let mut response = answer::json(StatusCode::OK, &body);
    answer::set_path(&mut response, &[view.status.vertex], view.dimension);
    Ok(response)
}

/// `PATCH /v1/topics/{topic}`
pub(super) async fn alter(peer: &Peer, name: &Name, body: &[u8]) -> Result<Response, Problem> {
    let patch: PatchTopic = json::from_slice(body)?;
    // What is left out stays as the leader knows it, which may be newer than what this peer does.
    let before = peer.find(name).await?;
    let retention = patch.retention.apply(before.retention.into());
    let request = Request::AlterTopic { name: name.clone(), retention: retention.into() };
    let (topic, path) = changed(peer.ask(request).await.map_err(|problem| about(problem, name))?)?;
    peer.heard(|meta| {
        meta.topic(&topic.name).is_none_or(|known| known.id != topic.id || known.retention == topic.retention)
    })
    .await;
    let mut response = answer::json(StatusCode::OK, &described(peer, &topic).await?);
    answer::set_path(&mut response, &path, peer.view().dimension);
    Ok(response)
}

/// `DELETE /v1/topics/{topic}`
pub(super) async fn delete(peer: &Peer, name: &Name) -> Result<Response, Problem> {
    let request = Request::DeleteTopic { name: name.clone() };
    let (topic, path) = changed(peer.ask(request).await.map_err(|problem| about(problem, name))?)?;
    peer.heard(|meta| meta.is_deleted(topic.id)).await;
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    answer::set_path(&mut response, &path, peer.view().dimension);
    Ok(response)
}

fn about(problem: Problem, name: &Name) -> Problem {
    if problem.code == Code::UnknownTopic { unknown_topic(name) } else { problem }
}

fn changed(answered: Answered) -> Result<(Topic, Vec<hcube_core::ids::Vertex>), Problem> {
    match answered.answer {
        Answer::Topic(TopicInfo { id, name, partitions, retention }) => {
            Ok((Topic { id, name, partitions, retention }, answered.path))
        }
        other => Err(unexpected(&other)),
    }
}

/// A topic that was created this moment: nothing in it, and its replicas are where the plan says.
fn brand_new(view: &View, topic: &Topic) -> TopicBody {
    let partitions = (0..topic.partitions).map(|partition| Partition {
        start_offset: Some(0),
        high_watermark: Some(0),
        ..placed(view, topic, partition)
    });
    body(view, topic, partitions.collect())
}

/// A topic with how each partition stands, as its leader says.
///
/// # Errors
/// `unknown-topic` when a slot says that this life of it has ended.
async fn described(peer: &Peer, topic: &Topic) -> Result<TopicBody, Problem> {
    let view = peer.view();
    let ask = |partition| {
        let (peer, request) = (peer.clone(), Request::Describe { topic: topic_ref(topic), partition });
        async move { (partition, peer.ask_as(request, Asked::Other, DESCRIBE_MS).await) }
    };
    let asked: Vec<_> =
        futures_util::stream::iter((0..topic.partitions).map(ask)).buffered(AT_ONCE).collect().await;
    let mut partitions = Vec::with_capacity(asked.len());
    for (partition, answered) in asked {
        let placed = placed(&view, topic, partition);
        partitions.push(match answered {
            Ok(Answered { answer, .. }) => standing(&view, placed, &answer),
            Err(problem) if problem.code == Code::UnknownTopic => return Err(problem),
            Err(_) => placed,
        });
    }
    Ok(body(&view, topic, partitions))
}

fn body(view: &View, topic: &Topic, partitions: Vec<Partition>) -> TopicBody {
    let retention: Retention = topic.retention.into();
    let read_replicas = view.meta.read_replicas_of(topic.id);
    TopicBody { name: topic.name.clone(), id: topic.id, retention, read_replicas, partitions }
}

/// A partition as far as this peer knows without asking.
fn placed(view: &View, topic: &Topic, partition: u16) -> Partition {
    let slot = slot_of(&topic.name, partition, view.meta.slots);
    let placement = view.meta.placement_of(slot.into());
    let replica =
        |node, votes| Some(Replica { label: view.label_of(node)?, node_id: node, in_sync: None, votes });
    let replicas = placement.into_iter().flat_map(|placement| {
        placement.replicas().filter_map(|held| replica(held.node, placement.votes(held.node)))
    });
    Partition {
        partition,
        slot,
        leader: view.leader(slot.into()).and_then(|node| view.label_of(node)),
        replicas: replicas.collect(),
        start_offset: None,
        high_watermark: None,
    }
}

/// The same with what its leader said.
fn standing(view: &View, placed: Partition, answer: &Answer) -> Partition {
    let Answer::Partition { log_start, high_watermark, leader, replicas, .. } = answer else { return placed };
    let told = |replica: Replica| {
        let status = replicas.iter().find(|status| status.node == replica.node_id);
        let votes = status.map_or(replica.votes, |status| status.votes);
        Replica { in_sync: status.map(|status| status.in_sync), votes, ..replica }
    };
    let replicas = placed.replicas.into_iter().map(told).collect();
    Partition {
        leader: view.label_of(*leader),
        replicas,
        start_offset: Some(*log_start),
        high_watermark: Some(*high_watermark),
        ..placed
    }
}

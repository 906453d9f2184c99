//! What a peer answers: control requests and publishes.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::response::Response;
use hcube_client::api::clients::{
    CursorAnswer, Position, Publisher, RegisterPublisher, RegisterSubscriber, SetCursor, Subscriber,
};
use hcube_client::api::cluster::{
    Cluster, Group, Health, Member, MemberState, Plan, PlanQuery, Rebalance, Route,
};
use hcube_client::api::cursor::Cursor;
use hcube_client::api::messages::{PublishLimits, PublishRequest};
use hcube_client::api::topics::{
    CreateTopic, Partition, PatchTopic, Retention, Topic, TopicList, TopicSummary,
};
use hcube_client::api::{Code, Problem, json, media, paths};
use hcube_core::ids::{ClusterId, NodeId, Slot, Vertex};
use hcube_core::record::{Batch, Record};
use serde::Serialize;

use super::{Fault, Shared, TOPIC_ID, cut, label, not_found, reads, streams, topic};

pub async fn answer(
    vertex: u16,
    shared: &Arc<Shared>,
    head: &Parts,
    body: Bytes,
) -> Result<Response, Problem> {
    let path = head.uri.path();
    if let Some(name) = paths::fit(paths::MESSAGES, path) {
        known(name[0])?;
        return match head.method.as_str() {
            "POST" => publish(vertex, shared, head, body).await,
            "GET" => reads::read(vertex, shared, head).await,
            _ => Err(not_found()),
        };
    }
    if let Some(name) = paths::fit(paths::TOPIC, path) {
        return on_topic(shared, head, name[0], &body);
    }
    if let Some(names) = paths::fit(paths::CURSOR, path) {
        return on_cursor(shared, head, names[0], &body);
    }
    if paths::fit(paths::ROUTE, path).is_some() {
        let both = vec![label(vertex.into()), label(0)];
        return Ok(ok(&Route {
            topic: topic(),
            partition: 0,
            slot: Slot(3),
            home: label(1),
            leader: Some(label(0)),
            replicas: both.clone(),
            path: both,
        }));
    }
    match (head.method.as_str(), path) {
        ("GET", paths::PUBLISH) => streams::begin(vertex, shared, head),
        ("GET", paths::CLUSTER) => Ok(ok(&cluster(vertex, shared))),
        ("GET", paths::PLAN) => Ok(ok(&plan(PlanQuery::parse(head.uri.query().unwrap_or_default())?))),
        ("GET", paths::HEALTH | paths::READY) => Ok(ok(&Health::ok())),
        ("GET", paths::METRICS) => Ok(Response::new(Body::from("hcube_up 1\n"))),
        ("GET", paths::OPENAPI) => Ok(ok(&serde_json::json!({ "openapi": "3.1.0" }))),
        ("GET", paths::TOPICS) => Ok(ok(&list(shared))),
        ("POST", paths::PUBLISHERS) => {
            let RegisterPublisher { name } = json::from_slice_or_default(&body)?;
            let text = name.as_ref().map(ToString::to_string);
            let (producer_id, epoch) = shared.log.lock().unwrap().register(text.as_deref());
            Ok(ok(&Publisher { producer_id, epoch, name }))
        }
        ("POST", paths::SUBSCRIBERS) => {
            let RegisterSubscriber { name } = json::from_slice(&body)?;
            Ok(ok(&Subscriber { name, created: true }))
        }
        _ => Err(not_found()),
    }
}

async fn publish(vertex: u16, shared: &Arc<Shared>, head: &Parts, body: Bytes) -> Result<Response, Problem> {
    let request = PublishRequest::parse(&head.headers, head.uri.query())?;
    let limits = PublishLimits::default();
    let (partition, batch) = if head.headers.get("content-type").is_some_and(|value| value == media::BATCH) {
        (request.partition.unwrap(), PublishRequest::batch(body, limits)?)
    } else {
        let records: Vec<Record> =
            request.messages(body, limits)?.into_iter().map(|message| message.record).collect();
        (request.partition.unwrap_or(0), Batch::build(request.producer, &records).unwrap())
    };
    shared.log.lock().unwrap().begin(partition);
    let fault = shared.publish_faults.lock().unwrap().pop_front();
    let stored = store(shared, partition, batch, fault.as_ref()).await;
    shared.log.lock().unwrap().finish(partition);
    let ack = stored?;
    let leader = label(usize::from(partition) % shared.addresses.lock().unwrap().len());
    let me = label(vertex.into());
    let path = if me == leader { me.to_string() } else { format!("{me}>{leader}") };
    let whole = Bytes::from(json::to_vec(&ack));
    let body = match fault {
        Some(Fault::DoThenCut(after)) => cut(whole, after),
        _ => Body::from(whole),
    };
    let response = Response::builder().header("hcube-path", path);
    Ok(response.header("hcube-ack", "quorum; replicas=3; fsync").body(body).unwrap())
}

pub async fn store(
    shared: &Arc<Shared>,
    partition: u16,
    batch: Batch,
    fault: Option<&Fault>,
) -> Result<hcube_client::api::messages::PublishAck, Problem> {
    match fault {
        Some(Fault::Refuse(problem)) => return Err(problem.clone()),
        Some(Fault::Slow(delay)) => tokio::time::sleep(*delay).await,
        // Gives batches that should not be under way at once a chance to meet.
        _ => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
    }
    let ack = shared.log.lock().unwrap().publish(partition, batch)?;
    shared.changed.send_modify(|version| *version += 1);
    match fault {
        Some(Fault::DoThenRefuse(problem)) => Err(problem.clone()),
        _ => Ok(ack),
    }
}

fn on_topic(shared: &Shared, head: &Parts, name: &str, body: &[u8]) -> Result<Response, Problem> {
    let count = shared.log.lock().unwrap().partitions();
    let described = |retention| {
        let partition = |partition| Partition {
            partition,
            slot: Slot(partition),
            leader: None,
            replicas: Vec::new(),
            start_offset: None,
            high_watermark: None,
        };
        let partitions = (0..count).map(partition).collect();
        Topic { name: topic(), id: TOPIC_ID, retention, read_replicas: 0, partitions }
    };
    match head.method.as_str() {
        "PUT" => {
            let CreateTopic { retention, .. } = json::from_slice_or_default(body)?;
            let response = Response::builder().status(201);
            Ok(response.body(Body::from(json::to_vec(&described(retention)))).unwrap())
        }
        "PATCH" => {
            media::expect_json(head.headers.get("content-type").and_then(|value| value.to_str().ok()))?;
            let PatchTopic { retention } = json::from_slice(body)?;
            Ok(ok(&described(retention.apply(Retention::default()))))
        }
        "DELETE" => Ok(Response::builder().status(204).body(Body::empty()).unwrap()),
        _ => known(name).map(|()| ok(&described(Retention::default()))),
    }
}

fn on_cursor(shared: &Shared, head: &Parts, name: &str, body: &[u8]) -> Result<Response, Problem> {
    let mut log = shared.log.lock().unwrap();
    if head.method == "PUT" {
        log.positions = match json::from_slice(body)? {
            SetCursor::Cursor(cursor) => {
                cursor.iter().map(|(partition, offset)| Position { partition, offset }).collect()
            }
            SetCursor::Partitions(positions) => positions,
            SetCursor::To(_) => return Err(not_found()),
        };
    }
    let mut cursor = Cursor::new(TOPIC_ID);
    log.positions.iter().for_each(|position| cursor.set(position.partition, position.offset));
    let partitions = log.positions.clone();
    Ok(ok(&CursorAnswer { subscriber: name.parse()?, topic: topic(), partitions, cursor }))
}

fn list(shared: &Shared) -> TopicList {
    let partitions = shared.log.lock().unwrap().partitions();
    let retention = Retention::default();
    TopicList { topics: vec![TopicSummary { name: topic(), id: TOPIC_ID, partitions, retention }] }
}

fn cluster(vertex: u16, shared: &Shared) -> Cluster {
    let addresses = shared.addresses.lock().unwrap();
    let member = |(at, address): (u16, &std::net::SocketAddr)| Member {
        label: label(at.into()),
        vertex: Vertex(at),
        node_id: NodeId(u64::from(at) + 1),
        state: MemberState::Up,
        client_address: address.to_string(),
        zone: String::new(),
    };
    Cluster {
        cluster_id: ClusterId(1),
        answered_by: label(vertex.into()),
        version: "0".into(),
        peers: u16::try_from(addresses.len()).unwrap(),
        dimension: 2,
        replication: 3,
        feature_level: 1,
        epoch: 1,
        members: (0..).zip(addresses.iter()).map(member).collect(),
        edges: Vec::new(),
        metadata: Group { leader: None, replicas: Vec::new() },
        slots: Vec::new(),
        rebalance: Rebalance::default(),
        losses: Vec::new(),
    }
}

fn plan(query: PlanQuery) -> Plan {
    let peers = query.peers.unwrap_or(2);
    Plan {
        epoch: 1,
        peers,
        replication: query.replication.unwrap_or(3),
        dimension: 2,
        labels: (0..peers).map(|vertex| label(vertex.into())).collect(),
        edges_added: Vec::new(),
        edges_removed: Vec::new(),
        moves: Vec::new(),
        bytes_total: 0,
        metadata_voters: Vec::new(),
    }
}

fn known(name: &str) -> Result<(), Problem> {
    if name == topic().as_str() { Ok(()) } else { Err(Problem::new(Code::UnknownTopic, "no such topic")) }
}

fn ok<T: Serialize>(body: &T) -> Response {
    Response::new(Body::from(json::to_vec(body)))
}

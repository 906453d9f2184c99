//! Publishers, subscribers and their durable cursors.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use hcube_api::clients::{
    CursorAnswer, Position, Publisher, RegisterPublisher, RegisterSubscriber, ResetTo, SetCursor, Subscriber,
};
use hcube_api::cursor::Cursor;
use hcube_api::{Code, Problem, json};
use hcube_broker::request::From;
use hcube_broker::{Answer, Request};
use hcube_core::ids::{ProducerId, Vertex};
use hcube_core::meta::Topic;
use hcube_core::topic::Name;
use http::StatusCode;

use super::answer::{self, Response};
use super::peer::{Answered, Peer, topic_ref, unexpected};
use super::reader::{Most, Reader};

/// Partitions asked at a time.
const AT_ONCE: usize = 32;

/// `POST /v1/publishers`
pub(super) async fn register_publisher(peer: &Peer, body: &[u8]) -> Result<Response, Problem> {
    let RegisterPublisher { name } = json::from_slice_or_default(body)?;
    let fresh = ProducerId(rand::random::<u128>().max(1));
    let view = peer.view();
    let (publisher, path) = match name {
        // Nobody needs to know an id that nobody else can draw.
        None => (Publisher { producer_id: fresh, epoch: 0, name: None }, vec![view.status.vertex]),
        Some(name) => {
            let request = Request::RegisterPublisher { name: name.clone(), id: fresh };
            let Answered { answer, path } = peer.ask(request).await?;
            let Answer::Publisher(registered) = answer else { return Err(unexpected(&answer)) };
            let publisher =
                Publisher { producer_id: registered.id, epoch: registered.epoch, name: Some(name) };
            (publisher, path)
        }
    };
    let mut response = answer::json(StatusCode::OK, &publisher);
    answer::set_path(&mut response, &path, view.dimension);
    Ok(response)
}

/// `POST /v1/subscribers`
pub(super) async fn register_subscriber(peer: &Peer, body: &[u8]) -> Result<Response, Problem> {
    let RegisterSubscriber { name } = json::from_slice(body)?;
    let (known, path) = is_registered(peer, &name).await?;
    let path =
        if known { path } else { peer.ask(Request::RegisterSubscriber { name: name.clone() }).await?.path };
    let mut response = answer::json(StatusCode::OK, &Subscriber { name, created: !known });
    answer::set_path(&mut response, &path, peer.view().dimension);
    Ok(response)
}

async fn is_registered(peer: &Peer, name: &Name) -> Result<(bool, Vec<Vertex>), Problem> {
    match peer.ask(Request::FindSubscriber { name: name.clone() }).await? {
        Answered { answer: Answer::Subscriber(known), path } => Ok((known, path)),
        Answered { answer, .. } => Err(unexpected(&answer)),
    }
}

/// Asserts that a subscriber is registered. Returns the way to the one who knows.
async fn registered(peer: &Peer, name: &Name) -> Result<Vec<Vertex>, Problem> {
    match is_registered(peer, name).await? {
        (true, path) => Ok(path),
        (false, _) => {
            Err(Problem::new(Code::UnknownSubscriber, format!("no subscriber {name} is registered")))
        }
    }
}

/// `GET /v1/subscribers/{subscriber}/cursors/{topic}`
pub(super) async fn fetch_cursor(peer: &Peer, subscriber: &Name, topic: &Name) -> Result<Response, Problem> {
    let path = registered(peer, subscriber).await?;
    let topic = peer.topic(topic).await?;
    match fetch(peer, subscriber, &topic, &path).await {
        Err(problem) if problem.code == Code::UnknownTopic => {
            let topic = peer.find_again(&topic).await?;
            fetch(peer, subscriber, &topic, &path).await
        }
        answered => answered,
    }
}

async fn fetch(peer: &Peer, subscriber: &Name, topic: &Topic, path: &[Vertex]) -> Result<Response, Problem> {
    let places = fetch_places(peer, subscriber, topic, 0..topic.partitions).await?;
    Ok(cursor_answer(peer, subscriber, topic, &places, path))
}

/// `PUT /v1/subscribers/{subscriber}/cursors/{topic}`
pub(super) async fn set_cursor(
    peer: &Peer,
    subscriber: &Name,
    topic: &Name,
    body: &[u8],
) -> Result<Response, Problem> {
    let wish: SetCursor = json::from_slice(body)?;
    let path = registered(peer, subscriber).await?;
    let topic = peer.topic(topic).await?;
    match set(peer, subscriber, &topic, &wish, &path).await {
        Err(problem) if problem.code == Code::UnknownTopic => {
            let topic = peer.find_again(&topic).await?;
            set(peer, subscriber, &topic, &wish, &path).await
        }
        // A cursor of the present life, while this peer still knows the one before.
        Err(problem) if problem.code == Code::InvalidCursor => match peer.find_again(&topic).await {
            Ok(topic) => set(peer, subscriber, &topic, &wish, &path).await,
            Err(_) => Err(problem),
        },
        answered => answered,
    }
}

async fn set(
    peer: &Peer,
    subscriber: &Name,
    topic: &Topic,
    wish: &SetCursor,
    path: &[Vertex],
) -> Result<Response, Problem> {
    wish.check(topic.partitions)?;
    let wanted = wanted(peer, topic, wish).await?;
    let commits: Vec<_> = wanted
        .iter()
        .map(|(&partition, &offset)| {
            let (topic, subscriber) = (topic_ref(topic), subscriber.clone());
            let request = Request::CommitCursor { topic, partition, subscriber, offset };
            async move { peer.ask(request).await }
        })
        .collect();
    let commits: Vec<_> = stream::iter(commits).buffer_unordered(AT_ONCE).collect().await;
    for commit in commits {
        commit?;
    }
    let others = (0..topic.partitions).filter(|partition| !wanted.contains_key(partition));
    let mut places = fetch_places(peer, subscriber, topic, others).await?;
    places.extend(wanted.iter().filter_map(|(partition, offset)| Some((*partition, (*offset)?))));
    Ok(cursor_answer(peer, subscriber, topic, &places, path))
}

/// The place in each partition that the wish names; none for the earliest message, whichever that is.
async fn wanted(peer: &Peer, topic: &Topic, wish: &SetCursor) -> Result<BTreeMap<u16, Option<u64>>, Problem> {
    match wish {
        SetCursor::Cursor(cursor) => {
            cursor.check(topic.id, topic.partitions)?;
            Ok(cursor.iter().map(|(partition, next)| (partition, Some(next))).collect())
        }
        SetCursor::Partitions(positions) => {
            Ok(positions.iter().map(|place| (place.partition, Some(place.offset))).collect())
        }
        SetCursor::To(ResetTo::Earliest) => {
            Ok((0..topic.partitions).map(|partition| (partition, None)).collect())
        }
        SetCursor::To(ResetTo::Latest) => resolve(peer, topic, From::Latest).await,
        SetCursor::To(ResetTo::TimestampMs(ms)) => resolve(peer, topic, From::Stamp(*ms)).await,
    }
}

/// Asks each partition where a read would begin.
async fn resolve(peer: &Peer, topic: &Topic, from: From) -> Result<BTreeMap<u16, Option<u64>>, Problem> {
    let topic = std::sync::Arc::new(topic.clone());
    let reader = Reader { peer: peer.clone(), topic, replica: None, leader: false };
    let most = Most { records: 1, bytes: 1, wait_ms: 0 };
    let reads: Vec<_> = (0..reader.topic.partitions)
        .map(|partition| {
            let reader = reader.clone();
            async move { reader.read(partition, from, most).await }
        })
        .collect();
    let chunks: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
    chunks.into_iter().map(|chunk| chunk.map(|chunk| (chunk.partition, Some(chunk.from)))).collect()
}

async fn fetch_places(
    peer: &Peer,
    subscriber: &Name,
    topic: &Topic,
    partitions: impl Iterator<Item = u16>,
) -> Result<BTreeMap<u16, u64>, Problem> {
    let fetches: Vec<_> = partitions
        .map(|partition| {
            let (topic, subscriber) = (topic_ref(topic), subscriber.clone());
            let request = Request::FetchCursor { topic, partition, subscriber };
            async move { (partition, peer.ask(request).await) }
        })
        .collect();
    let fetched: Vec<_> = stream::iter(fetches).buffer_unordered(AT_ONCE).collect().await;
    let mut places = BTreeMap::new();
    for (partition, answered) in fetched {
        match answered?.answer {
            Answer::Cursor(Some(offset)) => {
                places.insert(partition, offset);
            }
            Answer::Cursor(None) => {}
            other => return Err(unexpected(&other)),
        }
    }
    Ok(places)
}

fn cursor_answer(
    peer: &Peer,
    subscriber: &Name,
    topic: &Topic,
    places: &BTreeMap<u16, u64>,
    path: &[Vertex],
) -> Response {
    let mut cursor = Cursor::new(topic.id);
    for (partition, offset) in places {
        cursor.set(*partition, *offset);
    }
    let body = CursorAnswer {
        subscriber: subscriber.clone(),
        topic: topic.name.clone(),
        partitions: places.iter().map(|(&partition, &offset)| Position { partition, offset }).collect(),
        cursor,
    };
    let mut response = answer::json(StatusCode::OK, &body);
    answer::set_path(&mut response, path, peer.view().dimension);
    response
}

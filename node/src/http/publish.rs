//! Publishing: one message, lines of JSON, or a binary batch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};

use futures_util::StreamExt as _;
use hcube_api::headers::{self, Ack};
use hcube_api::media::PublishFormat;
use hcube_api::messages::{BatchAck, FailedPart, Incoming as Message, PublishAck, PublishRequest};
use hcube_api::stream::Stored;
use hcube_api::{Code, Problem};
use hcube_broker::{Answer, Request};
use hcube_core::ids::{ProducerId, Vertex};
use hcube_core::meta::Topic;
use hcube_core::record::Batch;
use hcube_core::topic::Name;
use http::{HeaderName, StatusCode};

use super::answer::{self, Response, Stop};
use super::body::{self, Incoming};
use super::client::Call;
use super::error::Asked;
use super::peer::{Answered, Peer, topic_ref, unexpected};

/// Partitions published to at a time.
const AT_ONCE: usize = 64;
/// Bytes of a body from which on it is read on a thread of its own, so that others need not wait.
pub(super) const LARGE_BYTES: usize = 256 << 10;

/// Spreads messages without key over partitions, one publish after the other.
#[derive(Debug, Default)]
pub(super) struct Spread(AtomicU16);

impl Spread {
    fn next(&self, partitions: u16) -> u16 {
        self.0.fetch_add(1, Ordering::Relaxed) % partitions.max(1)
    }
}

/// `POST /v1/topics/{topic}/messages`
///
/// # Errors
/// [`Stop`].
pub(super) async fn publish(call: &Call<'_>, incoming: Incoming) -> Result<Response, Stop> {
    let limits = call.shared.config.publish;
    let request = PublishRequest::parse(&call.parts.headers, call.parts.uri.query())?;
    let topic = call.peer.topic(call.name()).await?;
    let too_large = match request.format {
        PublishFormat::Single => Code::MessageTooLarge,
        PublishFormat::Ndjson | PublishFormat::Batch => Code::BatchTooLarge,
    };
    let most = limits.body_bytes(request.format);
    let room = call.shared.limits.room();
    let body = body::read(incoming, &call.parts.headers, most, too_large, room).await?;
    let bytes = body.bytes;
    let (request, content) = heavy(bytes.len(), move || {
        let content = match request.format {
            PublishFormat::Batch => Content::Batch(PublishRequest::batch(bytes, limits)?),
            PublishFormat::Single | PublishFormat::Ndjson => {
                Content::Messages(request.messages(bytes, limits)?)
            }
        };
        Ok::<_, Problem>((request, content))
    })
    .await?;
    let published = publish_to(call, &topic, &request, &content).await;
    let answered = match published {
        Err(problem) if problem.code == Code::UnknownTopic && BatchAck::from_problem(&problem).is_none() => {
            // The name may have been deleted and created again since this peer heard of it.
            let topic = call.peer.find_again(&topic).await?;
            publish_to(call, &topic, &request, &content).await
        }
        answered => answered,
    };
    drop(body.room);
    Ok(answered?)
}

/// Publishes a batch into a partition, as the stream has it.
///
/// # Errors
/// Those of [`publish`].
pub(super) async fn publish_batch(
    peer: &Peer,
    topic: &Name,
    partition: u16,
    batch: Batch,
) -> Result<Stored, Problem> {
    let part = Part { partition, batch };
    let topic = peer.topic(topic).await?;
    let done = match append_batch(peer, &topic, &part).await {
        Err(problem) if problem.code == Code::UnknownTopic => {
            let topic = peer.find_again(&topic).await?;
            append_batch(peer, &topic, &part).await?
        }
        appended => appended?,
    };
    let PublishAck { offset, count, timestamp_ms, duplicate, .. } = done.ack;
    let leader = done.path.last().copied().unwrap_or(peer.handle.status().vertex);
    Ok(Stored { offset, count, timestamp_ms, duplicate, replicas: done.replicas, leader })
}

/// What a body held.
enum Content {
    /// A batch that goes to the log as it is.
    Batch(Batch),
    Messages(Vec<Message>),
}

async fn publish_to(
    call: &Call<'_>,
    topic: &Topic,
    request: &PublishRequest,
    content: &Content,
) -> Result<Response, Problem> {
    let peer = &call.peer;
    match content {
        Content::Batch(batch) => {
            // The format demands a partition; 0 is never taken unsaid.
            let partition = request.partition.unwrap_or_default();
            let part = Part { partition, batch: batch.clone() };
            Ok(acknowledged(peer, &append_batch(peer, topic, &part).await?))
        }
        Content::Messages(messages) => {
            if let Some(partition) = request.partition {
                within(topic, partition)?;
            }
            let default = call.shared.spread.next(topic.partitions);
            let bytes = messages.iter().map(|message| message.record.encoded_bytes()).sum();
            let (request_, messages_, partitions) = (request.clone(), messages.clone(), topic.partitions);
            let has_default = messages.iter().any(|one| one.partition.is_none() && one.record.key.is_none());
            let parts = heavy(bytes, move || parts(&request_, messages_, partitions, default)).await?;
            let asked = asked(request.producer.id);
            if request.format == PublishFormat::Single {
                let [part] = &parts[..] else {
                    return Err(Problem::new(Code::Internal, "a message goes to one partition"));
                };
                return Ok(acknowledged(peer, &append(peer, topic, part, asked).await?));
            }
            all(peer, topic, &parts, asked, has_default.then_some(default)).await
        }
    }
}

fn within(topic: &Topic, partition: u16) -> Result<(), Problem> {
    if partition < topic.partitions {
        return Ok(());
    }
    let detail = format!("there is no partition {partition}, the topic has {}", topic.partitions);
    Err(Problem::new(Code::UnknownPartition, detail))
}

fn asked(producer: ProducerId) -> Asked {
    if producer == ProducerId::NONE { Asked::Publish } else { Asked::RepeatablePublish }
}

/// What goes to one partition.
struct Part {
    partition: u16,
    batch: Batch,
}

fn parts(
    request: &PublishRequest,
    messages: Vec<Message>,
    partitions: u16,
    default: u16,
) -> Result<Vec<Part>, Problem> {
    let by_partition: BTreeMap<u16, _> = request.distribute(messages, partitions, default)?;
    let build = |(partition, records)| {
        let batch = Batch::build(request.producer, &records)?;
        Ok(Part { partition, batch })
    };
    by_partition.into_iter().map(build).collect()
}

/// A part that is stored.
struct Done {
    ack: PublishAck,
    replicas: u8,
    path: Vec<Vertex>,
}

/// Appends a batch that a client built.
async fn append_batch(peer: &Peer, topic: &Topic, part: &Part) -> Result<Done, Problem> {
    within(topic, part.partition)?;
    append(peer, topic, part, asked(part.batch.producer().id)).await
}

async fn append(peer: &Peer, topic: &Topic, part: &Part, asked: Asked) -> Result<Done, Problem> {
    let (partition, batch) = (part.partition, part.batch.clone());
    let request = Request::Publish { topic: topic_ref(topic), partition, batch };
    let Answered { answer, path } = peer.ask_as(request, asked, peer.patience_ms).await?;
    let Answer::Published { base_offset, records, stamp_ms, duplicate, replicas } = answer else {
        return Err(unexpected(&answer));
    };
    let ack =
        PublishAck { partition, offset: base_offset, count: records, timestamp_ms: stamp_ms, duplicate };
    Ok(Done { ack, replicas: u8::try_from(replicas).unwrap_or(u8::MAX), path })
}

/// The answer to one message or one binary batch.
fn acknowledged(peer: &Peer, done: &Done) -> Response {
    let mut response = answer::json(StatusCode::OK, &done.ack);
    promise(peer, &mut response, done);
    let PublishAck { partition, offset, timestamp_ms, .. } = done.ack;
    answer::set(&mut response, HeaderName::from_static(headers::PARTITION), partition);
    answer::set(&mut response, HeaderName::from_static(headers::OFFSET), offset);
    answer::set(&mut response, HeaderName::from_static(headers::TIMESTAMP), timestamp_ms);
    response
}

fn promise(peer: &Peer, response: &mut Response, done: &Done) {
    answer::set(response, HeaderName::from_static(headers::ACK), Ack { replicas: done.replicas });
    answer::set_path(response, &done.path, peer.view().dimension);
}

/// Publishes every part, and tells how each fared.
async fn all(
    peer: &Peer,
    topic: &Topic,
    parts: &[Part],
    asked: Asked,
    default_partition: Option<u16>,
) -> Result<Response, Problem> {
    let appends = parts.iter().map(|part| append(peer, topic, part, asked));
    let results: Vec<_> =
        futures_util::stream::iter(appends.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
    let mut answer = BatchAck { default_partition, ..BatchAck::default() };
    let mut done = Vec::new();
    let mut problems = Vec::new();
    for (part, result) in parts.iter().zip(results) {
        match result {
            Ok(part) => {
                answer.acks.push(part.ack);
                done.push(part);
            }
            Err(problem) => {
                let (partition, count, code) = (part.partition, part.batch.records_count(), problem.code);
                let detail = problem.detail.to_string();
                answer.failed.push(FailedPart { partition, count, code, detail });
                problems.push(problem);
            }
        }
    }
    // What is unknown must not be hidden behind what certainly did not happen.
    let worst = problems.iter().position(|problem| problem.code == Code::PublishUnknown).unwrap_or(0);
    if worst < problems.len() {
        let first = problems.swap_remove(worst);
        // A topic that is gone for every part is not known at all: the caller looks for its next life.
        let whole = answer.acks.is_empty() && answer.failed.iter().all(|part| part.code == first.code);
        return Err(if whole { first } else { answer.into_problem(first) });
    }
    let mut response = answer::json(StatusCode::OK, &answer);
    if let Some(first) = done.first() {
        promise(peer, &mut response, first);
    }
    Ok(response)
}

/// Runs what takes long for large inputs where it keeps nobody waiting.
pub(super) async fn heavy<T, F>(bytes: usize, run: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Problem> + Send + 'static,
{
    if bytes < LARGE_BYTES {
        return run();
    }
    tokio::task::spawn_blocking(run).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request's computation ended early");
        Err(Problem::new(Code::Internal, "the request's computation ended early"))
    })
}

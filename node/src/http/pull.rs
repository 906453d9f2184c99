//! Pulling: one or several partitions, at once or as soon as there is something.

mod answers;
mod merge;
mod several;

pub(in crate::http) use several::read_now;

use std::sync::Arc;
use std::time::Duration;

use hcube_api::label::Label;
use hcube_api::media::PullFormat;
use hcube_api::messages::{PullQuery, Start};
use hcube_api::{Code, Problem, headers};
use hcube_broker::request::From;
use hcube_core::ids::NodeId;
use hcube_core::meta::Topic;
use http::HeaderName;
use http::header::ACCEPT;
use tokio::time::{Instant, sleep};

use super::answer::Response;
use super::client::Call;
use super::closed;
use super::peer::Peer;
use super::reader::{Chunk, Most, Reader};
use super::ready::not_ready;
use super::subscribe;

/// How often a replica is asked again whether it has committed an offset.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// `GET /v1/topics/{topic}/messages`
///
/// # Errors
/// Every problem that the contract names.
pub(super) async fn pull(call: &Call<'_>) -> Result<Response, Problem> {
    let accept: Vec<&str> =
        call.parts.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = PullFormat::negotiate(Some(&accept.join(",")))?;
    let query = PullQuery::parse(call.parts.uri.query().unwrap_or_default())?;
    let query = if format.is_subscription() {
        query.resume(call.header(&HeaderName::from_static(headers::LAST_EVENT_ID)))?
    } else {
        query
    };
    let topic = call.peer.topic(call.name()).await?;
    match serve(call, &topic, &query, format).await {
        Err(problem) if problem.code == Code::UnknownTopic => {
            let topic = call.peer.find_again(&topic).await?;
            serve(call, &topic, &query, format).await
        }
        // A cursor of the present life, while this peer still knows the one before.
        Err(problem) if problem.code == Code::InvalidCursor => match call.peer.find_again(&topic).await {
            Ok(topic) => serve(call, &topic, &query, format).await,
            Err(_) => Err(problem),
        },
        answered => answered,
    }
}

async fn serve(
    call: &Call<'_>,
    topic: &Arc<Topic>,
    query: &PullQuery,
    format: PullFormat,
) -> Result<Response, Problem> {
    let partitions = query.partitions(topic.partitions)?;
    let start = query.start(format);
    if let Start::Cursor(cursor) = &start {
        cursor.check(topic.id, topic.partitions)?;
    }
    let replica = query.replica.as_ref().map(|label| holder(&call.peer, label)).transpose()?;
    let reader = Reader {
        peer: call.peer.clone(),
        topic: Arc::clone(topic),
        replica,
        // The leader has committed whatever was acknowledged.
        leader: query.min_offset.is_some() && replica.is_none(),
    };
    if format.is_subscription() {
        return subscribe::subscribe(call, reader, partitions, &start, format).await;
    }
    let mut closing = call.shared.closing.clone();
    let chunks = async {
        if partitions.len() == 1 {
            Ok(vec![single(&reader, partitions.start, &start, query).await?])
        } else {
            several::read(&reader, partitions, &start, query).await
        }
    };
    let chunks = tokio::select! {
        chunks = chunks => chunks?,
        // Whoever waits for a record waits at another peer from now on.
        () = closed(&mut closing), if query.wait_ms > 0 => {
            return Err(not_ready("the peer is shutting down"));
        }
    };
    answers::answer(&call.peer, topic, &start, query, format, chunks).await
}

/// The node at a vertex.
fn holder(peer: &Peer, label: &Label) -> Result<NodeId, Problem> {
    let meta = peer.handle.meta();
    let vertex = meta.cube().parse_label(label.as_str());
    let member = vertex.ok().and_then(|vertex| meta.member_at(vertex)).map(|member| member.node);
    member.ok_or_else(|| Problem::new(Code::ReplicaNotHere, format!("there is no vertex {label}")))
}

/// Where reading starts in a partition.
pub(super) fn from(start: &Start, partition: u16) -> From {
    match start {
        Start::Earliest => From::Earliest,
        Start::Latest => From::Latest,
        Start::Timestamp(ms) => From::Stamp(*ms),
        Start::Offset(offset) => From::Offset(*offset),
        Start::Cursor(cursor) => cursor.get(partition).map_or(From::Earliest, From::Offset),
    }
}

/// Reads one partition; where an offset must have been committed, as soon as it has been.
async fn single(reader: &Reader, partition: u16, start: &Start, query: &PullQuery) -> Result<Chunk, Problem> {
    let most = Most { records: query.limit, bytes: query.max_bytes, wait_ms: query.wait_ms };
    let from = from(start, partition);
    let Some(min_offset) = query.min_offset else { return reader.read(partition, from, most).await };
    let deadline = Instant::now() + Duration::from_millis(query.wait_ms.into());
    loop {
        // A replica that has not got so far yet must not wait for its next record before it says so.
        let chunk = reader.read(partition, from, Most { wait_ms: 0, ..most }).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if chunk.high_watermark > min_offset {
            if left.is_zero() || !chunk.batches.is_empty() {
                return Ok(chunk);
            }
            let wait_ms = u32::try_from(left.as_millis()).unwrap_or(query.wait_ms);
            return reader.read(partition, From::Offset(chunk.from), Most { wait_ms, ..most }).await;
        }
        if left.is_zero() {
            let end = chunk.high_watermark;
            let detail = format!("offset {min_offset} was not committed in time, only what is before {end}");
            return Err(Problem::new(Code::Timeout, detail));
        }
        sleep(LOOK_AGAIN.min(left)).await;
    }
}

//! What a peer answers to those who read: pulls and subscriptions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::response::Response;
use futures_util::stream;
use hcube_client::api::cursor::Cursor;
use hcube_client::api::headers::HighWatermarks;
use hcube_client::api::media::PullFormat;
use hcube_client::api::messages::frames::{self, Frame};
use hcube_client::api::messages::{Message, PullAnswer, PullQuery, Start, sse};
use hcube_client::api::{Problem, json};
use hcube_core::record::{Batch, Producer};
use tokio::time::{Instant, timeout_at};

use super::{Fault, Shared, TOPIC_ID, cut, label};

/// Frames, where they start and where the next pull goes on.
struct Found {
    frames: Vec<Frame>,
    start: Cursor,
    next: Cursor,
    ends: HighWatermarks,
}

pub async fn read(vertex: u16, shared: &Arc<Shared>, head: &Parts) -> Result<Response, Problem> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let format = PullFormat::negotiate(text("accept"))?;
    let query = PullQuery::parse(head.uri.query().unwrap_or_default())?.resume(text("last-event-id"))?;
    if format == PullFormat::Json {
        return Ok(whole_json(&find(shared, &query)?, &query));
    }
    let fault = shared.pull_faults.lock().unwrap().pop_front();
    match &fault {
        Some(Fault::Refuse(problem) | Fault::DoThenRefuse(problem)) => return Err(problem.clone()),
        Some(Fault::Slow(delay)) => tokio::time::sleep(*delay).await,
        _ => {}
    }
    if format.is_subscription() {
        let subscription = Subscription::new(shared.clone(), query, format, fault)?;
        let body = Body::from_stream(stream::unfold(subscription, Subscription::step));
        return Ok(Response::builder().header("content-type", format.media_type()).body(body).unwrap());
    }
    let until = Instant::now() + Duration::from_millis(query.wait_ms.into());
    let mut changed = shared.changed.subscribe();
    let found = loop {
        let found = find(shared, &query)?;
        if !found.frames.is_empty() || timeout_at(until, changed.changed()).await.is_err() {
            break found;
        }
    };
    let pieces = found.frames.iter().flat_map(|frame| [frame.header(), frame.batch.bytes().to_vec()]);
    let whole = Bytes::from(pieces.flatten().collect::<Vec<u8>>());
    let response = Response::builder()
        .header("hcube-next", found.next.to_string())
        .header("hcube-high-watermark", found.ends.to_string())
        .header("hcube-path", label(vertex.into()).to_string());
    let body = match fault {
        Some(Fault::DoThenCut(after)) => cut(whole, after),
        _ => Body::from(whole),
    };
    Ok(response.body(body).unwrap())
}

/// At most two batches of each partition, so that a reader needs several pulls.
fn find(shared: &Shared, query: &PullQuery) -> Result<Found, Problem> {
    let log = shared.log.lock().unwrap();
    let (mut start, mut frames) = (Cursor::new(TOPIC_ID), Vec::new());
    let (mut next, mut ends) = (start.clone(), HighWatermarks::default());
    for partition in query.partitions(log.partitions())? {
        let end = log.end(partition);
        let from = match query.from.as_ref().unwrap_or(&Start::Earliest) {
            Start::Earliest => 0,
            Start::Latest => end,
            Start::Offset(offset) => *offset,
            Start::Cursor(cursor) => cursor.get(partition).unwrap_or(0),
            Start::Timestamp(ms) => ms.saturating_sub(1_000).min(end),
        };
        let found: Vec<Frame> = log.frames(partition, from).into_iter().take(2).collect();
        let after = found.last().map(|frame| frame.base_offset + u64::from(frame.batch.records_count()));
        start.set(partition, from);
        next.set(partition, after.unwrap_or(from));
        ends.0.insert(partition, end);
        frames.extend(found);
    }
    Ok(Found { frames, start, next, ends })
}

fn messages(found: &Found) -> Vec<Message> {
    let fitting = |frame: &Frame| frame.messages(found.start.get(frame.partition).unwrap()).unwrap();
    found.frames.iter().flat_map(fitting).collect()
}

fn whole_json(found: &Found, query: &PullQuery) -> Response {
    let mut messages = messages(found);
    messages.truncate(query.limit as usize);
    let mut next = found.start.clone();
    messages.iter().for_each(|message| next.set(message.partition, message.offset + 1));
    let answer = PullAnswer { messages, next, high_watermarks: (&found.ends).into() };
    Response::new(Body::from(json::to_vec(&answer)))
}

/// A subscription without end, or until it is cut.
struct Subscription {
    format: PullFormat,
    shared: Arc<Shared>,
    query: PullQuery,
    place: Cursor,
    ready: VecDeque<Message>,
    /// Messages until the connection breaks.
    left: Option<usize>,
    sent: usize,
}

impl Subscription {
    fn new(
        shared: Arc<Shared>,
        query: PullQuery,
        format: PullFormat,
        fault: Option<Fault>,
    ) -> Result<Self, Problem> {
        let mut query = query;
        query.from = Some(query.start(format));
        let place = find(&shared, &query)?.start;
        let left = match fault {
            Some(Fault::DoThenCut(messages)) => Some(messages),
            _ => None,
        };
        Ok(Self { format, shared, query, place, ready: VecDeque::new(), left, sent: 0 })
    }

    async fn step(mut self) -> Option<(Result<Vec<u8>, std::io::Error>, Self)> {
        if self.left.is_some_and(|left| self.sent >= left) {
            return Some((Err(std::io::Error::other("cut")), self));
        }
        let mut changed = self.shared.changed.subscribe();
        while self.ready.is_empty() {
            self.query.from = Some(Start::Cursor(self.place.clone()));
            self.ready = messages(&find(&self.shared, &self.query).unwrap()).into();
            if self.ready.is_empty() {
                changed.changed().await.unwrap();
            }
        }
        let message = self.ready.pop_front().unwrap();
        self.place.set(message.partition, message.offset + 1);
        self.sent += 1;
        // Every other message goes without an id, as the contract allows.
        let id = self.sent.is_multiple_of(2).then_some(&self.place);
        let mut out;
        if self.format == PullFormat::BatchStream {
            let batch = Batch::build(Producer::default(), [&message.record]).unwrap();
            let Message { partition, offset: base_offset, timestamp_ms, .. } = message;
            let frame = Frame { partition, base_offset, timestamp_ms, batch };
            out = [frames::KEEP_ALIVE, &frame.header(), frame.batch.bytes()].concat();
        } else {
            out = sse::KEEP_ALIVE.to_vec();
            sse::write_message(&mut out, &message, id);
        }
        Some((Ok(out), self))
    }
}

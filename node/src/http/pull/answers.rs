//! What was read, as the client wants it: JSON, lines of JSON, or binary frames.

use std::collections::VecDeque;

use bytes::Bytes;
use hcube_api::cursor::Cursor;
use hcube_api::headers::{self, HighWatermarks};
use hcube_api::media::PullFormat;
use hcube_api::messages::frames::Frame;
use hcube_api::messages::{Message, PullAnswer, PullQuery, Start};
use hcube_api::{Problem, json};
use hcube_core::meta::Topic;
use http::{HeaderName, StatusCode};

use super::super::answer::{self, Response};
use super::super::body::Body;
use super::super::peer::Peer;
use super::super::publish::heavy;
use super::super::reader::Chunk;
use super::merge::{Item, merge};

impl Item for Message {
    fn stamp_ms(&self) -> u64 {
        self.timestamp_ms
    }

    fn messages(&self) -> u64 {
        1
    }

    fn bytes(&self) -> u64 {
        self.record.payload_bytes() as u64
    }
}

/// A batch is sent whole, so an answer of frames may hold more messages than were asked for, and the reader
/// gets them sooner.
impl Item for Frame {
    fn stamp_ms(&self) -> u64 {
        self.timestamp_ms
    }

    fn messages(&self) -> u64 {
        self.batch.records_count().into()
    }

    fn bytes(&self) -> u64 {
        self.batch.bytes().len() as u64
    }
}

/// Builds the answer.
///
/// # Errors
/// `damaged` for stored batches that do not decode.
pub(super) async fn answer(
    peer: &Peer,
    topic: &Topic,
    start: &Start,
    query: &PullQuery,
    format: PullFormat,
    chunks: Vec<Chunk>,
) -> Result<Response, Problem> {
    let path = chunks.first().map(|chunk| chunk.path.clone()).unwrap_or_default();
    let marks = chunks.iter().map(|chunk| (chunk.partition, chunk.high_watermark)).collect();
    let marks = HighWatermarks(marks);
    let mut next = match start {
        Start::Cursor(cursor) => cursor.clone(),
        _ => Cursor::new(topic.id),
    };
    for chunk in &chunks {
        next.set(chunk.partition, chunk.from);
    }
    let bytes = chunks.iter().map(Chunk::bytes).sum();
    let (limit, max_bytes) = (query.limit.into(), query.max_bytes.into());
    let in_body = marks.clone();
    let (body, next) = heavy(bytes, move || {
        let body = match format {
            PullFormat::Batches => frames(&chunks, limit, max_bytes, &mut next)?,
            PullFormat::Ndjson => lines(&messages(&chunks, limit, max_bytes, &mut next)?).into(),
            PullFormat::Json | PullFormat::Events | PullFormat::BatchStream => {
                let messages = messages(&chunks, limit, max_bytes, &mut next)?;
                let high_watermarks = (&in_body).into();
                json::to_vec(&PullAnswer { messages, next: next.clone(), high_watermarks }).into()
            }
        };
        Ok::<(Body, Cursor), Problem>((body, next))
    })
    .await?;
    let mut response = answer::answer(StatusCode::OK, format.media_type(), body);
    answer::set(&mut response, HeaderName::from_static(headers::NEXT), next);
    answer::set(&mut response, HeaderName::from_static(headers::HIGH_WATERMARK), marks);
    answer::set_path(&mut response, &path, peer.view().dimension);
    Ok(response)
}

fn messages(
    chunks: &[Chunk],
    limit: u64,
    max_bytes: u64,
    next: &mut Cursor,
) -> Result<Vec<Message>, Problem> {
    let queues = chunks.iter().map(|chunk| chunk.messages().map(VecDeque::from));
    let taken = merge(queues.collect::<Result<_, _>>()?, limit, max_bytes);
    for message in &taken {
        next.set(message.partition, message.offset + 1);
    }
    Ok(taken)
}

fn lines(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        out.extend_from_slice(&json::to_vec(message));
        out.push(b'\n');
    }
    out
}

fn frames(chunks: &[Chunk], limit: u64, max_bytes: u64, next: &mut Cursor) -> Result<Body, Problem> {
    let queues = chunks.iter().map(|chunk| chunk.frames().map(VecDeque::from));
    let taken = merge(queues.collect::<Result<_, _>>()?, limit, max_bytes);
    let mut pieces: Vec<Bytes> = Vec::with_capacity(2 * taken.len());
    for frame in &taken {
        next.set(frame.partition, frame.base_offset + u64::from(frame.batch.records_count()));
        pieces.push(frame.header().into());
        pieces.push(frame.batch.bytes().clone());
    }
    Ok(Body::pieces(pieces))
}

//! Pulls: one answer each. To read on and on use a [`crate::Consumer`].

use std::time::Duration;

use hcube_api::cursor::Cursor;
use hcube_api::headers::{self, HighWatermarks, Path};
use hcube_api::messages::frames::Frame;
use hcube_api::messages::{Message, PullAnswer, PullQuery, Start};
use hcube_api::{media, paths};
use hcube_core::ids::Vertex;
use hcube_core::topic::Name;

use super::{Answer, Call, Client};
use crate::error::Error;

/// Answer to a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The messages; those of one partition in the order of their offsets.
    pub messages: Vec<Message>,
    /// Where the next pull goes on.
    pub next: Cursor,
    /// The end of each partition read.
    pub high_watermarks: HighWatermarks,
    /// The vertices that the request passed.
    pub path: Option<Path>,
}

impl Client {
    /// Pulls messages once: what there is, or the first to come within the query's wait.
    ///
    /// # Errors
    /// `unknown-topic`, `unknown-partition`, `offset-out-of-range`, `replica-not-here`; see [`Error`].
    pub async fn pull(&self, topic: &Name, query: &PullQuery) -> Result<Pulled, Error> {
        let answer = self.execute(&call(topic, query).accept(media::BATCH)).await?;
        decode(&answer, query, query.limit as usize)
    }

    /// Pulls, first from the peer at `prefer`, and leaves the answer as it came.
    pub(crate) async fn pull_near(
        &self,
        topic: &Name,
        query: PullQuery,
        prefer: Option<Vertex>,
    ) -> Result<Near, Error> {
        let answer = self.execute(&call(topic, &query).accept(media::BATCH).prefer(prefer)).await?;
        Ok(Near { answer, query })
    }

    /// Turns a start into the places it stands for now, so that nothing published from now on is missed.
    pub(crate) async fn place_of(
        &self,
        topic: &Name,
        partition: Option<u16>,
        start: Start,
    ) -> Result<Cursor, Error> {
        if let Start::Cursor(cursor) = start {
            return Ok(cursor);
        }
        let query =
            PullQuery { partition, from: Some(start), limit: 1, max_bytes: 1, ..PullQuery::default() };
        let answer: PullAnswer = self.execute(&call(topic, &query).accept(media::JSON)).await?.json()?;
        let mut place = answer.next;
        for message in answer.messages.iter().rev() {
            place.set(message.partition, message.offset);
        }
        Ok(place)
    }
}

/// An answer to a pull that is not taken apart yet.
pub(crate) struct Near {
    answer: Answer,
    query: PullQuery,
}

impl Near {
    /// Who served it.
    pub(crate) fn served_by(&self) -> Option<Vertex> {
        self.answer.served_by()
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.answer.body.is_empty()
    }

    /// Where the next pull goes on, as the peer says.
    pub(crate) fn next(&self) -> Option<Cursor> {
        self.answer.header(headers::NEXT).ok().flatten()
    }

    /// What it holds. Batches come whole, beyond the limit too.
    pub(crate) fn decode(&self) -> Result<Pulled, Error> {
        decode(&self.answer, &self.query, usize::MAX)
    }
}

fn call(topic: &Name, query: &PullQuery) -> Call {
    let (path, text) = (paths::messages(topic), query.to_query());
    let target = if text.is_empty() { path } else { format!("{path}?{text}") };
    let wait = Duration::from_millis(query.wait_ms.into());
    Call::get(target).wait(wait).pinned(query.replica.is_some())
}

/// Frames hold whole batches: what lies before the start or beyond the limit is left out here.
fn decode(answer: &Answer, query: &PullQuery, limit: usize) -> Result<Pulled, Error> {
    let required = |name: &str| answer.senseless(format!("it lacks the header {name}"));
    let mut next: Cursor = answer.header(headers::NEXT)?.ok_or_else(|| required(headers::NEXT))?;
    let high_watermarks = answer.header(headers::HIGH_WATERMARK)?;
    let high_watermarks = high_watermarks.ok_or_else(|| required(headers::HIGH_WATERMARK))?;
    let frames = Frame::all(answer.body.clone()).map_err(|error| answer.senseless(error.to_string()))?;
    let frames = frames.ok_or_else(|| answer.senseless("it ends inside a frame".into()))?;
    let mut messages =
        Vec::with_capacity(frames.iter().map(|frame| frame.batch.records_count() as usize).sum());
    for frame in &frames {
        let fitting =
            frame.messages(start_of(frame, query)).map_err(|error| answer.senseless(error.to_string()))?;
        let room = limit.saturating_sub(messages.len());
        if let Some(first_left_out) = fitting.get(room) {
            // Only the first one left out of a partition is where it goes on.
            if next.get(frame.partition).is_none_or(|at| at > first_left_out.offset) {
                next.set(frame.partition, first_left_out.offset);
            }
        }
        messages.extend(fitting.into_iter().take(room));
    }
    Ok(Pulled { messages, next, high_watermarks, path: answer.header(headers::PATH)? })
}

/// The first offset wanted of the frame's partition.
fn start_of(frame: &Frame, query: &PullQuery) -> u64 {
    match &query.from {
        Some(Start::Offset(offset)) => *offset,
        Some(Start::Cursor(cursor)) => cursor.get(frame.partition).unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::TopicId;
    use hcube_core::record::{Batch, Producer, Record};
    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;

    /// Frames of three records each, as (partition, base offset).
    fn answer(frames: &[(u16, u64)], cut: usize) -> Answer {
        let records = ["a", "b", "c"].map(|value| Record { value: value.into(), ..Record::default() });
        let batch = Batch::build(Producer::default(), &records).unwrap();
        let mut cursor = Cursor::new(TopicId(1));
        let mut body = Vec::new();
        for &(partition, base_offset) in frames {
            let frame = Frame { partition, base_offset, timestamp_ms: 5, batch: batch.clone() };
            body.extend([&frame.header()[..], &batch.bytes()[..]].concat());
            cursor.set(partition, base_offset + 3);
        }
        body.truncate(body.len() - cut);
        let mut headers = HeaderMap::new();
        headers.insert(headers::NEXT, HeaderValue::try_from(cursor.to_string()).unwrap());
        headers.insert(headers::HIGH_WATERMARK, HeaderValue::from_static("0=9"));
        Answer { endpoint: "http://a".into(), status: StatusCode::OK, headers, body: body.into() }
    }

    fn offsets(pulled: &Pulled) -> Vec<(u16, u64)> {
        pulled.messages.iter().map(|message| (message.partition, message.offset)).collect()
    }

    #[test]
    fn a_start_inside_a_batch_leaves_out_what_is_before() {
        let query = PullQuery { from: Some(Start::Offset(4)), ..PullQuery::default() };
        let pulled = decode(&answer(&[(0, 3), (0, 6)], 0), &query, 100).unwrap();
        assert_eq!(offsets(&pulled), [(0, 4), (0, 5), (0, 6), (0, 7), (0, 8)]);
        assert_eq!(pulled.next.get(0), Some(9));
    }

    #[test]
    fn a_limit_inside_a_batch_is_where_the_next_pull_goes_on() {
        let query = PullQuery::default();
        let pulled = decode(&answer(&[(0, 0), (1, 5), (1, 8)], 0), &query, 4).unwrap();
        assert_eq!(offsets(&pulled), [(0, 0), (0, 1), (0, 2), (1, 5)]);
        assert_eq!((pulled.next.get(0), pulled.next.get(1)), (Some(3), Some(6)));
    }

    #[test]
    fn an_answer_without_its_end_or_its_headers_is_refused() {
        let query = PullQuery::default();
        assert!(decode(&answer(&[(0, 0)], 1), &query, 100).is_err());
        let mut bare = answer(&[(0, 0)], 0);
        bare.headers.remove(headers::NEXT);
        assert!(decode(&bare, &query, 100).is_err());
    }
}

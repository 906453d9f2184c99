//! How a consumer is set up.

use std::collections::VecDeque;
use std::time::Duration;

use hcube_api::messages::{PullQuery, Start};
use hcube_core::topic::Name;
use tokio::sync::mpsc;

use super::place::Place;
use super::subscription::{self, Format};
use super::{Consumer, poll};
use crate::client::Client;
use crate::error::Error;

/// Chunks that are read ahead beside the one being read.
const CHUNKS_AHEAD: usize = 1;

/// How messages come from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Binary frames in one answer without end: the fastest. Of peers that know none, and to read no further than the
    /// topic's end, polls.
    #[default]
    Frames,
    /// Long polls answered with binary frames, for networks that cut off long answers.
    Polls,
    /// Server-sent events, as a browser gets them: one answer without end.
    Events,
}

/// Sets up a [`Consumer`]; see [`Client::consumer`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ConsumerBuilder {
    client: Client,
    topic: Name,
    partition: Option<u16>,
    start: Option<Start>,
    subscriber: Option<Name>,
    transport: Transport,
    follows: bool,
    query: PullQuery,
}

impl ConsumerBuilder {
    pub(super) fn new(client: Client, topic: Name) -> Self {
        Self {
            client,
            topic,
            partition: None,
            start: None,
            subscriber: None,
            transport: Transport::default(),
            follows: true,
            query: PullQuery { limit: 5_000, wait_ms: 20_000, ..PullQuery::default() },
        }
    }

    /// Reads this partition; all of them unless said.
    pub fn partition(mut self, partition: u16) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Where to start; at a subscriber's committed cursor, otherwise at the earliest message, unless said.
    pub fn from(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// Reads on behalf of a registered subscriber, so that [`Consumer::commit`] makes its place durable.
    pub fn subscriber(mut self, subscriber: &Name) -> Self {
        self.subscriber = Some(subscriber.clone());
        self
    }

    /// How messages come from the peer; by [`Transport::Frames`] unless said.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Whether to wait for messages that do not exist yet; yes unless said. Otherwise the consumer ends at the
    /// topic's end, and reads by polls.
    pub fn follows(mut self, follows: bool) -> Self {
        self.follows = follows;
        self
    }

    /// How long a poll waits at the peer for a message, up to 30 s; 20 s unless said.
    pub fn wait(mut self, wait: Duration) -> Self {
        let ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self.query.wait_ms = ms.clamp(1, PullQuery::WAIT_MS_MAX);
        self
    }

    /// About how many messages one poll asks for, 1 to 10,000; 5,000 unless said. Batches come whole.
    pub fn limit(mut self, messages: u32) -> Self {
        self.query.limit = messages.clamp(1, PullQuery::LIMIT_MAX);
        self
    }

    /// Most bytes of one poll, up to 8 MiB; 1 MiB unless said. A larger message comes by itself.
    pub fn max_bytes(mut self, bytes: u32) -> Self {
        self.query.max_bytes = bytes.clamp(1, PullQuery::MAX_BYTES_MAX);
        self
    }

    /// Finds the place to start at. Whatever is published after this returned is read, from `latest` too.
    ///
    /// # Errors
    /// `unknown-topic`, `unknown-partition`, `unknown-subscriber`, `invalid-cursor`, `offset-out-of-range`;
    /// see [`Error`].
    pub async fn build(self) -> Result<Consumer, Error> {
        let Self { client, topic, partition, start, subscriber, transport, follows, mut query } = self;
        let start = match (start, &subscriber) {
            (Some(start), _) => start,
            (None, Some(subscriber)) => Start::Cursor(client.fetch_cursor(subscriber, &topic).await?.cursor),
            (None, None) => Start::Earliest,
        };
        let cursor = client.place_of(&topic, partition, start).await?;
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let place = Place::new(cursor.clone());
        query.partition = partition;
        let (reader, wanted) = (client.clone(), topic.clone());
        let format = match transport {
            Transport::Frames => Some(Format::Frames),
            Transport::Events => Some(Format::Events),
            Transport::Polls => None,
        };
        let task = if let Some(format) = format.filter(|_| follows) {
            tokio::spawn(subscription::run(reader, wanted, query, place, format, sender))
        } else {
            query.wait_ms = if follows { query.wait_ms } else { 0 };
            tokio::spawn(poll::run(reader, wanted, query, place, sender))
        };
        Ok(Consumer {
            client,
            topic,
            subscriber,
            partition,
            chunks,
            task,
            messages: VecDeque::new(),
            arrived: cursor.clone(),
            cursor,
            error: None,
        })
    }
}

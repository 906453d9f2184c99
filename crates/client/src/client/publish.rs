//! One-off publishes. For a stream of messages use a [`crate::Producer`], which batches them and repeats what
//! failed without publishing it twice.

use std::time::Duration;

use bytes::Bytes;
use hcube_api::headers::{self, Ack, Path};
use hcube_api::media::{self, PublishFormat};
use hcube_api::messages::{BatchAck, PublishAck, PublishRequest};
use hcube_api::paths;
use hcube_core::ids::{ProducerId, Vertex};
use hcube_core::record::{Batch, Producer, Record};
use hcube_core::topic::Name;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::{Answer, Call, Client};
use crate::endpoints::Endpoint;
use crate::error::Error;
use crate::stream::{Due, Failed};

/// An acknowledged publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published<A = PublishAck> {
    /// Where the messages are.
    pub ack: A,
    /// What was promised.
    pub promise: Option<Ack>,
    /// The vertices that the request passed.
    pub path: Option<Path>,
}

impl Client {
    /// Publishes one message by itself. Without a `producer` it is not repeated once it may have been stored:
    /// such an error says [`Error::maybe_done`]. With one it is, and a repetition gets the first offset; the
    /// caller counts the sequence. The partition is the one named, else the key's, else the peer's choice.
    ///
    /// # Errors
    /// [`Error::Problem`] `invalid-argument` for message headers that HTTP cannot carry; see [`Error`].
    pub async fn publish(
        &self,
        topic: &Name,
        partition: Option<u16>,
        record: Record,
        producer: Option<Producer>,
    ) -> Result<Published, Error> {
        let Record { key, headers, value } = record;
        let producer = producer.unwrap_or_default();
        let request = PublishRequest { format: PublishFormat::Single, producer, partition, key, headers };
        let is_repeatable = producer.id != ProducerId::NONE;
        let call = call(topic, request.to_headers()?, value).repeatable(is_repeatable);
        published(&self.execute(&call).await?)
    }

    /// Publishes lines of JSON, one message each; keys and partitions within choose where they go. It is not
    /// repeated once it may have been stored.
    ///
    /// # Errors
    /// Where parts of the batch failed, [`BatchAck::from_problem`] tells which; see [`Error`].
    pub async fn publish_lines(
        &self,
        topic: &Name,
        partition: Option<u16>,
        lines: Bytes,
    ) -> Result<Published<BatchAck>, Error> {
        let headers = batch_headers(media::NDJSON, partition);
        published(&self.execute(&call(topic, headers, lines).repeatable(false)).await?)
    }

    /// Publishes a record batch into one partition. It is repeated after an unknown outcome only where the
    /// batch names a producer.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn publish_batch(
        &self,
        topic: &Name,
        partition: u16,
        batch: &Batch,
    ) -> Result<Published, Error> {
        let is_repeatable = batch.producer().id != ProducerId::NONE;
        published(&self.execute(&batch_call(topic, partition, batch).repeatable(is_repeatable)).await?)
    }
}

/// A batch, and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addressed<'b> {
    pub(crate) topic: &'b Name,
    pub(crate) partition: u16,
    pub(crate) batch: &'b Batch,
}

/// A batch that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivered {
    pub(crate) ack: PublishAck,
    /// Where its slot is led.
    pub(crate) leader: Option<Vertex>,
}

impl Client {
    /// Sends a batch to one peer and does not wait for its outcome; none where the peer knows no streams.
    pub(crate) fn send(&self, addressed: Addressed<'_>, endpoint: &Endpoint) -> Option<Due> {
        let Addressed { topic, partition, batch } = addressed;
        self.inner.streams.send(&self.inner, endpoint, topic, partition, batch.bytes().clone())
    }

    /// Waits for what became of a batch that was sent, as long as there is time left; none where it is to be published
    /// without a stream.
    pub(crate) async fn outcome(
        &self,
        due: Due,
        partition: u16,
        left: Duration,
    ) -> Option<Result<Delivered, Error>> {
        match due.outcome(self.inner.settings.request_timeout, left).await {
            Ok(stored) => Some(Ok(Delivered { ack: stored.ack(partition), leader: Some(stored.leader) })),
            Err(Failed::Error(error)) => Some(Err(error)),
            Err(Failed::Unsupported) => None,
        }
    }

    /// One attempt at one peer, over its stream where it knows any.
    pub(crate) async fn publish_at(
        &self,
        addressed: Addressed<'_>,
        endpoint: &Endpoint,
        prefer: Option<Vertex>,
        patience: Duration,
    ) -> Result<Delivered, Error> {
        if let Some(due) = self.send(addressed, endpoint)
            && let Some(outcome) = self.outcome(due, addressed.partition, patience).await
        {
            self.note(endpoint, prefer.is_none(), outcome.as_ref().err());
            return outcome;
        }
        let call = batch_call(addressed.topic, addressed.partition, addressed.batch).prefer(prefer);
        let answer = self.exchange(&call, endpoint, patience).await?;
        Ok(Delivered { ack: published(&answer)?.ack, leader: answer.served_by() })
    }
}

/// The request that publishes a record batch.
fn batch_call(topic: &Name, partition: u16, batch: &Batch) -> Call {
    call(topic, batch_headers(media::BATCH, Some(partition)), batch.bytes().clone())
}

/// The acknowledgement in an answer.
fn published<A: serde::de::DeserializeOwned>(answer: &Answer) -> Result<Published<A>, Error> {
    let promise = answer.header(headers::ACK)?;
    Ok(Published { ack: answer.json()?, promise, path: answer.header(headers::PATH)? })
}

fn call(topic: &Name, headers: HeaderMap, body: Bytes) -> Call {
    Call::new(Method::POST, paths::messages(topic)).headers(headers).body(body)
}

fn batch_headers(media_type: &'static str, partition: Option<u16>) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Some(partition) = partition {
        map.insert(headers::PARTITION, HeaderValue::from(partition));
    }
    map
}

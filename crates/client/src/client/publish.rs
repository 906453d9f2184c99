//! One-off publishes. For a stream of messages use a [`crate::Producer`], which batches them and repeats what
//! failed without publishing it twice.

use bytes::Bytes;
use hcube_api::headers::{self, Ack, Path};
use hcube_api::media::{self, PublishFormat};
use hcube_api::messages::{BatchAck, PublishAck, PublishRequest};
use hcube_api::paths;
use hcube_core::ids::ProducerId;
use hcube_core::record::{Batch, Producer, Record};
use hcube_core::topic::Name;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::{Answer, Call, Client};
use crate::error::Error;

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

/// The request that publishes a record batch.
pub(crate) fn batch_call(topic: &Name, partition: u16, batch: &Batch) -> Call {
    call(topic, batch_headers(media::BATCH, Some(partition)), batch.bytes().clone())
}

/// The acknowledgement in an answer.
pub(crate) fn published<A: serde::de::DeserializeOwned>(answer: &Answer) -> Result<Published<A>, Error> {
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

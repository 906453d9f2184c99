//! How a producer is set up.

use std::time::Duration;

use hcube_core::limits;
use hcube_core::record::{HEADER_BYTES, Producer as Identity};
use hcube_core::topic::Name;
use tokio::sync::Semaphore;

use super::lane::Seat;
use super::{Producer, Spread};
use crate::client::Client;
use crate::error::Error;

/// Sets up a [`Producer`]; see [`Client::producer`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ProducerBuilder {
    client: Client,
    topic: Name,
    name: Option<Name>,
    settings: Settings,
}

/// What a producer goes by.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) linger: Duration,
    pub(super) batch_bytes: usize,
    pub(super) batch_records: usize,
    pub(super) buffer_bytes: u32,
    pub(super) batches_in_flight: usize,
    pub(super) delivery_timeout: Duration,
    pub(super) message_bytes_max: usize,
}

impl ProducerBuilder {
    pub(super) fn new(client: Client, topic: Name) -> Self {
        let settings = Settings {
            linger: Duration::ZERO,
            batch_bytes: 1 << 20,
            batch_records: 4096,
            buffer_bytes: 32 << 20,
            batches_in_flight: 64,
            delivery_timeout: Duration::from_secs(60),
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
        };
        Self { client, topic, name: None, settings }
    }

    /// Publishes as the publisher of this name, which fences whoever did so before. Without a name the producer
    /// is nobody in particular.
    pub fn name(mut self, name: &Name) -> Self {
        self.name = Some(name.clone());
        self
    }

    /// How long a batch waits for further messages. Zero, which it is unless said, waits for nothing: what
    /// comes while one batch of a partition is under way forms the next.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// Bytes after which a batch is full, up to 4 MiB; 1 MiB unless said. A larger message goes by itself.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.batch_bytes = bytes.clamp(1, limits::BATCH_BYTES_MAX - HEADER_BYTES);
        self
    }

    /// Messages after which a batch is full, 1 to 65,536; 4,096 unless said.
    pub fn batch_records(mut self, records: u32) -> Self {
        self.settings.batch_records = records.clamp(1, limits::BATCH_RECORDS_MAX) as usize;
        self
    }

    /// Bytes of messages that are taken before the first of them is acknowledged; 32 MiB unless said.
    pub fn buffer_bytes(mut self, bytes: u32) -> Self {
        self.settings.buffer_bytes = bytes.max(1);
        self
    }

    /// Batches under way at once, of all partitions together; 64 unless said. Of one partition there are up to four.
    pub fn batches_in_flight(mut self, batches: u16) -> Self {
        self.settings.batches_in_flight = usize::from(batches.max(1));
        self
    }

    /// How long a batch is sent again and again before it fails; 60 s unless said.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.settings.delivery_timeout = timeout;
        self
    }

    /// Bytes of key, headers and value of one message, as the peers are configured; 1 MiB unless said.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.message_bytes_max = bytes;
        self
    }

    /// Asks for the topic's partitions and a producer id.
    ///
    /// # Errors
    /// `unknown-topic`; see [`Error`].
    pub async fn build(self) -> Result<Producer, Error> {
        let Self { client, topic, name, settings } = self;
        // Leaders are named by vertex; their addresses are wanted soon.
        client.learn_members();
        let described = client.describe_topic(&topic).await?;
        let Some(partitions) = u16::try_from(described.partitions.len()).ok().filter(|count| *count > 0)
        else {
            let reason = format!("the topic {topic} has {} partitions", described.partitions.len());
            return Err(Error::Answer { endpoint: "a peer".into(), reason });
        };
        let publisher = client.register_publisher(name.as_ref()).await?;
        let identity = Identity { id: publisher.producer_id, epoch: publisher.epoch, sequence: 0 };
        let spread = Spread::new(partitions, settings.batch_bytes, settings.batch_records);
        let in_flight = Semaphore::new(settings.batches_in_flight);
        let is_named = name.is_some();
        Ok(Producer::new(Seat { client, topic, identity, is_named, settings, spread, in_flight }, partitions))
    }
}

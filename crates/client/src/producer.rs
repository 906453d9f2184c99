//! A stream of messages into one topic, in order within each partition and each message once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use hcube_api::{Code, Problem};
use hcube_core::limits;
use hcube_core::record::{HEADER_BYTES, Record};
use hcube_core::topic::{Name, partition_of};
use tokio::sync::{Semaphore, oneshot};

use crate::client::Client;

mod builder;
mod delivery;
mod lane;
mod spread;
mod waiting;

pub use builder::ProducerBuilder;
pub use delivery::{Ack, Delivery, Failure, SendError, Unacknowledged};

use builder::Settings;
use delivery::Entry;
use lane::{Lane, Seat};
use spread::Spread;

/// Publishes messages into one topic; see [`Client::producer`]. Clones are the same producer.
///
/// Messages of a partition go out in batches, one batch at a time, each under the next sequence of the
/// producer: so a batch whose outcome is unknown is simply sent again, through another peer if need be, and is
/// stored once. Partitions go ahead of each other.
///
/// A batch that cannot be stored in time ends its partition: to send the messages behind it would change
/// their order. Its messages and later ones fail, and [`Producer::flush`] and [`Producer::close`] name them.
/// Begin anew with another producer.
///
/// A producer that is dropped without [`Producer::close`] still sends what it has taken, as long as the
/// runtime lives, but nobody learns of failures.
#[derive(Debug, Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What all partitions' tasks share.
    seat: Arc<Seat>,
    partitions: u16,
    /// Bytes of messages that may be under way.
    room: Arc<Semaphore>,
    lanes: Mutex<Lanes>,
}

#[derive(Debug)]
struct Lanes {
    by_partition: BTreeMap<u16, Lane>,
    is_closed: bool,
}

impl Client {
    /// Sets up a producer for a topic that exists.
    pub fn producer(&self, topic: &Name) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), topic.clone())
    }
}

impl Producer {
    fn new(seat: Seat, partitions: u16) -> Self {
        let room = Arc::new(Semaphore::new(seat.settings.buffer_bytes as usize));
        let lanes = Mutex::new(Lanes { by_partition: BTreeMap::new(), is_closed: false });
        Self { inner: Arc::new(Inner { seat: Arc::new(seat), partitions, room, lanes }) }
    }

    /// How many partitions the topic has.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.inner.partitions
    }

    /// Publishes a message and waits until it is stored and synced by a majority of the replicas. Call it from
    /// several tasks, or use [`Producer::enqueue`], to have messages share batches.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, record: Record) -> Result<Ack, SendError> {
        self.enqueue(record).await?.await
    }

    /// Takes a message over to publish it, which goes on whether or not the [`Delivery`] is awaited. Waits
    /// while the buffer is full. Messages of a partition are published in the order in which this returned.
    ///
    /// The key chooses the partition; messages without one fill a batch in one partition and then go to the
    /// next.
    ///
    /// # Errors
    /// [`SendError`], for all that can be told before the message is sent.
    pub async fn enqueue(&self, record: Record) -> Result<Delivery, SendError> {
        self.put(None, record).await
    }

    /// Does the same as [`Producer::enqueue`], for a partition of the caller's choice.
    ///
    /// # Errors
    /// [`SendError`]; `unknown-partition` for one that the topic does not have.
    pub async fn enqueue_to(&self, partition: u16, record: Record) -> Result<Delivery, SendError> {
        if partition >= self.inner.partitions {
            let detail =
                format!("there is no partition {partition}, the topic has {}", self.inner.partitions);
            return Err(SendError::Refused(Problem::new(Code::UnknownPartition, detail).into()));
        }
        self.put(Some(partition), record).await
    }

    /// Waits until everything taken so far is acknowledged or has failed.
    ///
    /// # Errors
    /// [`Unacknowledged`] names every partition that has failed since the producer was made.
    pub async fn flush(&self) -> Result<(), Unacknowledged> {
        let waiting: Vec<oneshot::Receiver<()>> =
            self.lanes().by_partition.values().map(Lane::flush).collect();
        for flushed in waiting {
            // A lane that has ended has nothing left to wait for.
            let _ = flushed.await;
        }
        self.outcome()
    }

    /// Takes no more messages, from clones neither, and waits like [`Producer::flush`].
    ///
    /// # Errors
    /// Those of [`Producer::flush`].
    pub async fn close(&self) -> Result<(), Unacknowledged> {
        // Wakes who waits for room.
        self.inner.room.close();
        self.lanes().is_closed = true;
        self.flush().await
    }

    async fn put(&self, partition: Option<u16>, record: Record) -> Result<Delivery, SendError> {
        let settings = &self.inner.seat.settings;
        let bytes = check(&record, settings)?;
        // One message larger than the buffer has it to itself.
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(settings.buffer_bytes);
        let room = self.inner.room.clone().acquire_many_owned(wanted).await;
        let room = room.map_err(|_| SendError::Closed)?;
        let mut lanes = self.lanes();
        if lanes.is_closed {
            return Err(SendError::Closed);
        }
        let partition = match (partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, self.inner.partitions),
            (None, None) => self.keyless(&lanes, bytes),
        };
        let seat = &self.inner.seat;
        let lane =
            lanes.by_partition.entry(partition).or_insert_with(|| Lane::start(seat.clone(), partition));
        if let Some(failure) = lane.failure() {
            lane.count_not_sent();
            return Err(SendError::NotSent(failure));
        }
        let (entry, delivery) = Entry::new(record, room);
        lane.push(entry);
        Ok(delivery)
    }

    /// The partition that is being filled, unless it has failed.
    fn keyless(&self, lanes: &Lanes, bytes: usize) -> u16 {
        let failed =
            |partition: u16| lanes.by_partition.get(&partition).is_some_and(|lane| lane.failure().is_some());
        self.inner.seat.spread.choose(bytes, failed)
    }

    fn outcome(&self) -> Result<(), Unacknowledged> {
        let lanes = self.lanes();
        let failed = lanes.by_partition.values().filter_map(|lane| Some((lane.failure()?, lane.not_sent())));
        Unacknowledged::from_failures(failed.collect())
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.inner.lanes.lock().expect("nobody panics while holding the lanes")
    }
}

/// Bytes that the message takes in a batch; refuses what no peer would take, before it can spoil a batch.
fn check(record: &Record, settings: &Settings) -> Result<usize, SendError> {
    let refuse = |code, detail: String| Err(SendError::Refused(Problem::new(code, detail).into()));
    let (payload, bytes) = (record.payload_bytes(), record.encoded_bytes());
    if payload > settings.message_bytes_max || bytes + HEADER_BYTES > limits::BATCH_BYTES_MAX {
        let detail = format!("a message has at most {} bytes, not {payload}", settings.message_bytes_max);
        return refuse(Code::MessageTooLarge, detail);
    }
    if record.headers.len() > limits::HEADERS_MAX {
        let detail = format!("a message has at most {} headers", limits::HEADERS_MAX);
        return refuse(Code::InvalidArgument, detail);
    }
    Ok(bytes)
}

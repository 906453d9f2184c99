//! One partition of a producer: a task that sends its batches one after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hcube_api::messages::PublishAck;
use hcube_api::{Code, Problem};
use hcube_core::ids::Vertex;
use hcube_core::record::{Batch, Producer as Identity};
use hcube_core::topic::Name;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::builder::Settings;
use super::delivery::{Ack, Entry, Failure, SendError};
use super::spread::Spread;
use super::waiting::{Order, Waiting};
use crate::client::{Answer, Call, Client, batch_call, published};
use crate::error::Error;

/// What the tasks of one producer share.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) client: Client,
    pub(super) topic: Name,
    pub(super) identity: Identity,
    /// A registered name has one identity; nobody in particular may take another.
    pub(super) is_named: bool,
    pub(super) settings: Settings,
    pub(super) spread: Spread,
    pub(super) in_flight: Semaphore,
}

/// A partition as the producer sees it. The task ends when the lane is dropped and everything taken is done.
#[derive(Debug)]
pub(super) struct Lane {
    orders: mpsc::UnboundedSender<Order>,
    end: Arc<End>,
}

/// How a partition ended.
#[derive(Debug, Default)]
struct End {
    failure: OnceLock<Arc<Failure>>,
    not_sent: AtomicU64,
}

impl Lane {
    pub(super) fn start(seat: Arc<Seat>, partition: u16) -> Self {
        // Unbounded, because the producer's buffer bounds what is in it.
        let (orders, receiver) = mpsc::unbounded_channel();
        let end = Arc::new(End::default());
        let identity = seat.identity;
        let worker = Worker {
            seat,
            partition,
            orders: receiver,
            waiting: Waiting::default(),
            identity,
            leader: None,
            acknowledged: 0,
            end: end.clone(),
        };
        tokio::spawn(worker.run());
        Self { orders, end }
    }

    pub(super) fn push(&self, entry: Entry) {
        // The task outlives the lane; where the runtime stopped it, the entry's delivery says closed.
        let _ = self.orders.send(Order::Send(entry));
    }

    pub(super) fn flush(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let _ = self.orders.send(Order::Flush(sender));
        receiver
    }

    pub(super) fn failure(&self) -> Option<Arc<Failure>> {
        self.end.failure.get().cloned()
    }

    pub(super) fn count_not_sent(&self) {
        self.end.not_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn not_sent(&self) -> u64 {
        self.end.not_sent.load(Ordering::Relaxed)
    }
}

struct Worker {
    seat: Arc<Seat>,
    partition: u16,
    orders: mpsc::UnboundedReceiver<Order>,
    waiting: Waiting,
    /// With the sequence of the next batch.
    identity: Identity,
    /// Where the last batch was served.
    leader: Option<Vertex>,
    acknowledged: u64,
    end: Arc<End>,
}

impl Worker {
    async fn run(mut self) {
        while self.fill().await {
            self.waiting.answer_flushes();
            let entries = self.waiting.take_batch(&self.seat.settings);
            if !entries.is_empty() {
                self.deliver(entries).await;
            }
        }
    }

    /// Waits for something to do and takes what there is, up to a batch. False when nothing will come.
    async fn fill(&mut self) -> bool {
        let Settings { linger, .. } = self.seat.settings;
        if self.waiting.is_empty() {
            let Some(order) = self.orders.recv().await else { return false };
            self.waiting.push(order);
        }
        let until = Instant::now() + linger;
        let lingers = !linger.is_zero() && self.end.failure.get().is_none();
        while !self.waiting.is_due(&self.seat.settings) {
            let next = match self.orders.try_recv() {
                Ok(order) => Some(order),
                Err(mpsc::error::TryRecvError::Empty) if lingers => {
                    timeout_at(until, self.orders.recv()).await.ok().flatten()
                }
                Err(_) => None,
            };
            let Some(order) = next else { break };
            self.waiting.push(order);
        }
        true
    }

    /// Publishes the messages of a batch and tells each its outcome.
    async fn deliver(&mut self, entries: Vec<Entry>) {
        if let Some(failure) = self.end.failure.get() {
            self.end.not_sent.fetch_add(entries.len() as u64, Ordering::Relaxed);
            entries.into_iter().for_each(|entry| entry.end(Err(SendError::NotSent(failure.clone()))));
            return;
        }
        self.seat.spread.leaves(self.partition);
        match self.publish(&entries).await {
            Ok(ack) => {
                self.acknowledged += entries.len() as u64;
                self.identity.sequence += entries.len() as u64;
                let PublishAck { partition, timestamp_ms, duplicate: is_duplicate, .. } = ack;
                for (offset, entry) in (ack.offset..).zip(entries) {
                    entry.end(Ok(Ack { partition, offset, timestamp_ms, is_duplicate }));
                }
            }
            Err((cause, maybe_stored)) => {
                let failure = Arc::new(Failure {
                    topic: self.seat.topic.clone(),
                    partition: self.partition,
                    acknowledged: self.acknowledged,
                    messages: entries.len(),
                    maybe_stored,
                    cause,
                });
                // Known before anybody hears of it, so that nobody who did can get a message in behind.
                let failure = self.end.failure.get_or_init(|| failure).clone();
                entries
                    .into_iter()
                    .for_each(|entry| entry.end(Err(SendError::Unacknowledged(failure.clone()))));
            }
        }
    }

    /// Sends a batch until it is acknowledged; otherwise tells why not, and whether it may be stored.
    async fn publish(&mut self, entries: &[Entry]) -> Result<PublishAck, (Error, bool)> {
        let seat = self.seat.clone();
        let client = &seat.client;
        let mut attempts = client.attempts(seat.settings.delivery_timeout);
        attempts.prefer = self.leader;
        let mut call = self.call(entries)?;
        loop {
            let endpoint = attempts.endpoint();
            let patience = client.inner.settings.request_timeout.min(attempts.time_left());
            let result = {
                let permit = seat.in_flight.acquire().await;
                let _permit = permit.expect("the semaphore of a producer is never closed");
                client.exchange(&call, &endpoint, patience).await
            };
            let error = match result.and_then(|answer| self.acknowledged_by(&answer, entries.len())) {
                Ok(ack) => return Ok(ack),
                Err(error) => error,
            };
            attempts.prefer = None;
            self.leader = None;
            if error.code() == Some(Code::UnknownProducer) && self.may_renew(attempts.maybe_done) {
                // Forgotten while idle, with everything before acknowledged: another identity does as well.
                match client.register_publisher(None).await {
                    Ok(publisher) => {
                        self.identity =
                            Identity { id: publisher.producer_id, epoch: publisher.epoch, sequence: 0 };
                        call = self.call(entries)?;
                        continue;
                    }
                    Err(error) => return Err((error, false)),
                }
            }
            if let Err(error) = attempts.failed(&endpoint, error).await {
                return Err((error, attempts.maybe_done));
            }
        }
    }

    fn call(&self, entries: &[Entry]) -> Result<Call, (Error, bool)> {
        let batch = Batch::build(self.identity, entries.iter().map(|entry| &entry.record))
            .map_err(|error| (Problem::from(error).into(), false))?;
        Ok(batch_call(&self.seat.topic, self.partition, &batch).prefer(self.leader))
    }

    /// Whether the identity may be exchanged: never for a batch that may be stored under the present one.
    fn may_renew(&self, maybe_stored: bool) -> bool {
        !self.seat.is_named && !maybe_stored && self.identity.sequence > 0
    }

    fn acknowledged_by(&mut self, answer: &Answer, messages: usize) -> Result<PublishAck, Error> {
        let ack: PublishAck = published(answer)?.ack;
        if ack.partition != self.partition || ack.count as usize != messages {
            let reason = format!(
                "it acknowledges {} messages of partition {} instead of {messages} of {}",
                ack.count, ack.partition, self.partition
            );
            return Err(answer.senseless(reason));
        }
        self.leader = answer.served_by();
        if self.leader.is_some_and(|vertex| !self.seat.client.inner.directory.knows(vertex)) {
            self.seat.client.learn_members();
        }
        Ok(ack)
    }
}

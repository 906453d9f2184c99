//! One partition of a producer: a task that sends its batches in order, several whole ones ahead of their outcomes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hcube_api::messages::PublishAck;
use hcube_api::{Code, Problem};
use hcube_core::ids::Vertex;
use hcube_core::limits;
use hcube_core::record::{Batch, Producer as Identity};
use hcube_core::topic::Name;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::builder::Settings;
use super::delivery::{Ack, Entry, Failure, SendError};
use super::spread::Spread;
use super::waiting::{Order, Waiting};
use crate::client::{Addressed, Client, Delivered};
use crate::endpoints::Endpoint;
use crate::error::Error;
use crate::stream::Due;

/// Batches of a partition under way at once, where whole ones wait. A peer remembers one more of each producer, so that
/// all of them can be sent again.
const AHEAD: usize = limits::DEDUPLICATION_BATCHES - 1;

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
    /// Messages of batches that had gone ahead and may be stored as well.
    also_maybe_stored: AtomicUsize,
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
        let failure = self.end.failure.get()?;
        match self.end.also_maybe_stored.load(Ordering::Relaxed) {
            0 => Some(failure.clone()),
            more => Some(Arc::new(failure.and_maybe_stored(failure.messages + more))),
        }
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
                self.deliver(entries, false, Instant::now()).await;
                self.send_ahead().await;
            }
        }
    }

    /// While whole batches wait, sends several before the first of them is acknowledged, to where the last one was
    /// stored. What fails that way is sent again, one batch after the other, before anything that comes later.
    async fn send_ahead(&mut self) {
        let seat = self.seat.clone();
        let mut ahead: VecDeque<Sent<'_>> = VecDeque::new();
        let mut fails = self.leader.is_none();
        loop {
            while let Ok(order) = self.orders.try_recv() {
                self.waiting.push(order);
            }
            while !fails && ahead.len() < AHEAD && self.waiting.has_whole_batch(&seat.settings) {
                match self.send(&seat, &ahead) {
                    Some(sent) => ahead.push_back(sent),
                    None => fails = true,
                }
            }
            let Some(Sent { entries, due, endpoint, began, permit }) = ahead.pop_front() else { return };
            let outcome = match due {
                Some(due) => {
                    let left = seat.settings.delivery_timeout.saturating_sub(began.elapsed());
                    seat.client.outcome(due, self.partition, left).await
                }
                None => None,
            };
            drop(permit);
            if let Some(outcome) = &outcome {
                seat.client.note(&endpoint, false, outcome.as_ref().err());
            }
            let acknowledged = outcome.map(|outcome| {
                outcome.and_then(|delivered| self.acknowledged(delivered, &endpoint, entries.len()))
            });
            match acknowledged {
                Some(Ok(ack)) => self.settle(ack, entries),
                unsettled => {
                    fails = true;
                    // Nothing of it counts as under way any more: each takes a place of its own when it is sent again.
                    ahead.iter_mut().for_each(|sent| sent.permit = None);
                    let error = unsettled.and_then(Result::err);
                    self.deliver(entries, error.is_some_and(|error| error.maybe_done()), began).await;
                }
            }
        }
    }

    /// Sends the next batch behind those that are under way; none where that is not possible.
    fn send<'s>(&mut self, seat: &'s Seat, ahead: &VecDeque<Sent<'_>>) -> Option<Sent<'s>> {
        let permit = seat.in_flight.try_acquire().ok()?;
        let endpoint =
            seat.client.inner.directory.candidates(self.leader, Instant::now()).into_iter().next()?;
        let entries = self.waiting.take_batch(&seat.settings);
        seat.spread.leaves(self.partition);
        let before = ahead.iter().map(|sent| sent.entries.len()).sum();
        // What cannot be built or sent is told when its turn comes.
        let batch = self.batch(before, &entries).ok();
        let due = batch.and_then(|batch| seat.client.send(self.addressed(&seat.topic, &batch), &endpoint));
        Some(Sent { entries, due, endpoint, began: Instant::now(), permit: Some(permit) })
    }

    fn addressed<'b>(&self, topic: &'b Name, batch: &'b Batch) -> Addressed<'b> {
        Addressed { topic, partition: self.partition, batch }
    }

    /// Waits for something to do and takes what there is, up to a batch. False when nothing will come.
    async fn fill(&mut self) -> bool {
        let Settings { linger, .. } = self.seat.settings;
        if self.waiting.is_empty() {
            let Some(order) = self.orders.recv().await else { return false };
            self.waiting.push(order);
        }
        if !self.waiting.is_due(&self.seat.settings) {
            // Callers who publish one message after the other have heard of their last batch together, and are about to
            // publish again: a step aside, and one batch takes all of them instead of the first.
            yield_now().await;
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

    /// Publishes the messages of a batch and tells each its outcome. `began` is when that was tried first; an attempt
    /// since then may have stored them.
    async fn deliver(&mut self, entries: Vec<Entry>, maybe_stored: bool, began: Instant) {
        if let Some(failure) = self.end.failure.get() {
            if maybe_stored {
                // It had gone ahead of the batch that failed.
                self.end.also_maybe_stored.fetch_add(entries.len(), Ordering::Relaxed);
                let own = Arc::new(failure.and_maybe_stored(entries.len()));
                entries.into_iter().for_each(|entry| entry.end(Err(SendError::Unacknowledged(own.clone()))));
                return;
            }
            self.end.not_sent.fetch_add(entries.len() as u64, Ordering::Relaxed);
            entries.into_iter().for_each(|entry| entry.end(Err(SendError::NotSent(failure.clone()))));
            return;
        }
        self.seat.spread.leaves(self.partition);
        match self.publish(&entries, maybe_stored, began).await {
            Ok(ack) => self.settle(ack, entries),
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

    /// Tells the messages of a batch that they are stored.
    fn settle(&mut self, ack: PublishAck, entries: Vec<Entry>) {
        self.acknowledged += entries.len() as u64;
        self.identity.sequence += entries.len() as u64;
        let PublishAck { partition, timestamp_ms, duplicate: is_duplicate, .. } = ack;
        for (offset, entry) in (ack.offset..).zip(entries) {
            entry.end(Ok(Ack { partition, offset, timestamp_ms, is_duplicate }));
        }
    }

    /// Sends a batch until it is acknowledged; otherwise tells why not, and whether it may be stored.
    async fn publish(
        &mut self,
        entries: &[Entry],
        maybe_stored: bool,
        began: Instant,
    ) -> Result<PublishAck, (Error, bool)> {
        let seat = self.seat.clone();
        let client = &seat.client;
        let mut attempts = client.attempts(seat.settings.delivery_timeout.saturating_sub(began.elapsed()));
        attempts.prefer = self.leader;
        attempts.maybe_done = maybe_stored;
        let mut batch = self.batch(0, entries)?;
        loop {
            let endpoint = attempts.endpoint();
            let patience = client.inner.settings.request_timeout.min(attempts.time_left());
            let result = {
                let permit = seat.in_flight.acquire().await;
                let _permit = permit.expect("the semaphore of a producer is never closed");
                client
                    .publish_at(self.addressed(&seat.topic, &batch), &endpoint, attempts.prefer, patience)
                    .await
            };
            let error =
                match result.and_then(|delivered| self.acknowledged(delivered, &endpoint, entries.len())) {
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
                        batch = self.batch(0, entries)?;
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

    /// The batch behind so many messages that are not acknowledged yet.
    fn batch(&self, before: usize, entries: &[Entry]) -> Result<Batch, (Error, bool)> {
        let identity = Identity { sequence: self.identity.sequence + before as u64, ..self.identity };
        Batch::build(identity, entries.iter().map(|entry| &entry.record))
            .map_err(|error| (Problem::from(error).into(), false))
    }

    /// Whether the identity may be exchanged: never for a batch that may be stored under the present one.
    fn may_renew(&self, maybe_stored: bool) -> bool {
        !self.seat.is_named && !maybe_stored && self.identity.sequence > 0
    }

    /// Takes an acknowledgement in; refuses one that is of something else.
    fn acknowledged(
        &mut self,
        delivered: Delivered,
        endpoint: &Endpoint,
        messages: usize,
    ) -> Result<PublishAck, Error> {
        let ack = delivered.ack;
        if ack.partition != self.partition || ack.count as usize != messages {
            let reason = format!(
                "it acknowledges {} messages of partition {} instead of {messages} of {}",
                ack.count, ack.partition, self.partition
            );
            return Err(Error::Answer { endpoint: endpoint.to_string(), reason });
        }
        self.leader = delivered.leader;
        if self.leader.is_some_and(|vertex| !self.seat.client.inner.directory.knows(vertex)) {
            self.seat.client.learn_members();
        }
        Ok(ack)
    }
}

/// A batch under way whose outcome is not waited for yet.
struct Sent<'s> {
    entries: Vec<Entry>,
    /// None where it could not be sent.
    due: Option<Due>,
    endpoint: Endpoint,
    began: Instant,
    /// Its place among the batches under way, while it is.
    permit: Option<SemaphorePermit<'s>>,
}

//! Producers that publish numbered records at an even pace, whatever happens, and remember what was acknowledged.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hcube_client::{Client, Producer, Record};
use hcube_core::topic::Name;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::history::{Acked, Id, Key};
use super::outage::Acks;

/// Pause between two handfuls of records.
const TICK: Duration = Duration::from_millis(20);
/// How long a batch is tried, which is longer than any fault is left.
const DELIVERY: Duration = Duration::from_secs(90);
/// Bytes of a value.
const VALUE_BYTES: usize = 100;
/// Failures that are remembered word by word.
const FAILURES_MAX: usize = 20;

/// What publishing came to.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// Records that were handed to a producer.
    pub sent: u64,
    /// What was acknowledged.
    pub acked: Vec<Acked>,
    /// When.
    pub acks: Acks,
    /// Records that were not acknowledged.
    pub unacknowledged: u64,
    /// Why the first of them were not.
    pub failures: Vec<String>,
    /// When the last producer was told to end, in milliseconds from the beginning.
    pub ended_ms: u64,
}

/// What the producers of a run share.
#[derive(Debug)]
struct Desk {
    begun: Instant,
    published: Mutex<Published>,
    producers: AtomicU32,
}

impl Desk {
    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The producers of a run. Dropping it ends them.
pub struct Load {
    desk: Arc<Desk>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// One producer's part.
pub struct Part {
    /// Through whom it publishes.
    pub client: Client,
    /// The number of its topic.
    pub topic: u16,
    /// The name of its topic.
    pub name: Name,
    /// Partitions of its topic.
    pub partitions: u16,
    /// Records a second.
    pub rate: f64,
}

impl Load {
    /// Begins to publish.
    pub fn start(parts: impl IntoIterator<Item = Part>, begun: Instant) -> Self {
        let desk = Arc::new(Desk { begun, published: Mutex::default(), producers: AtomicU32::new(0) });
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for part in parts {
            tasks.spawn(part.run(Arc::clone(&desk), stop.subscribe()));
        }
        Self { desk, stop, tasks }
    }

    /// How much was acknowledged so far, and of which partition how far.
    pub fn ends(&self) -> Vec<(Key, u64)> {
        let published = self.desk.published();
        let count = |key: &Key| published.acks.get(key).map_or(0, Vec::len) as u64;
        published.acks.keys().map(|key| (*key, count(key))).collect()
    }

    /// Ends it, and waits until every record has its outcome.
    pub async fn finish(mut self) -> Published {
        let ended_ms = self.desk.now_ms();
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        let mut published = std::mem::take(&mut *self.desk.published());
        published.ended_ms = ended_ms;
        published
    }
}

impl Part {
    async fn run(self, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
        let mut outcomes = JoinSet::new();
        while !*stop.borrow() {
            let producer = tokio::select! {
                built = self.producer() => built,
                _ = stop.changed() => break,
            };
            let Ok(producer) = producer.inspect_err(|why| desk.fail(why.clone(), 0)) else {
                tokio::time::sleep(TICK * 10).await;
                continue;
            };
            self.publish(&producer, &desk, &mut stop, &mut outcomes).await;
            // What it has taken is acknowledged or has failed by then; each record tells for itself.
            let _ = producer.close().await;
        }
        while outcomes.join_next().await.is_some() {}
    }

    async fn producer(&self) -> Result<Producer, String> {
        let builder = self.client.producer(&self.name).delivery_timeout(DELIVERY);
        builder.build().await.map_err(|error| error.to_string())
    }

    /// Publishes until it is told to stop, or a partition takes no more of this producer.
    async fn publish(
        &self,
        producer: &Producer,
        desk: &Arc<Desk>,
        stop: &mut watch::Receiver<bool>,
        outcomes: &mut JoinSet<()>,
    ) {
        let number_of = desk.producers.fetch_add(1, Ordering::Relaxed);
        let mut numbers = vec![0u64; usize::from(self.partitions)];
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut due, mut partition) = (0.0, 0u16);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.changed() => return,
            }
            while outcomes.try_join_next().is_some() {}
            due += self.rate * TICK.as_secs_f64();
            while due >= 1.0 {
                due -= 1.0;
                partition = (partition + 1) % self.partitions;
                let number = &mut numbers[usize::from(partition)];
                let id = Id { producer: number_of, number: *number };
                *number += 1;
                let record = Record { value: id.to_value(VALUE_BYTES).into(), ..Record::default() };
                let key = Key { topic: self.topic, partition };
                match producer.enqueue_to(partition, record).await {
                    Ok(delivery) => {
                        desk.published().sent += 1;
                        let desk = Arc::clone(desk);
                        outcomes.spawn(async move {
                            match delivery.await {
                                Ok(ack) => desk.acknowledge(Acked { id, key, offset: ack.offset }),
                                Err(error) => desk.fail(format!("{key}: {id}: {error}"), 1),
                            }
                        });
                    }
                    Err(error) => return desk.fail(format!("{key}: {id}: {error}"), 0),
                }
            }
        }
    }
}

impl Desk {
    fn acknowledge(&self, acked: Acked) {
        let mut published = self.published();
        // Under the lock, so that the times are in order.
        let now = self.now_ms();
        published.acked.push(acked);
        published.acks.entry(acked.key).or_default().push(now);
    }

    fn fail(&self, why: String, records: u64) {
        let mut published = self.published();
        published.unacknowledged += records;
        if published.failures.len() < FAILURES_MAX {
            published.failures.push(why);
        }
    }
}

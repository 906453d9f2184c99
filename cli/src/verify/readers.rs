//! Whoever reads while things happen: subscriptions that began before everything, and glimpses here and there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hcube_api::messages::{PullQuery, Start};
use hcube_client::{Client, Consumer, Error, Message, Transport};
use hcube_core::topic::Name;
use tokio::task::JoinHandle;

use super::history::{Id, Key, Seen, Stream};

/// Pause before a subscription that ended is made again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether everything has arrived.
const POLL: Duration = Duration::from_millis(50);
/// Records of one glimpse.
const GLIMPSE_RECORDS: u32 = 20;
/// Glimpses are no longer remembered beyond so many records.
const GLIMPSES_MAX: usize = 200_000;

/// A message as the checker sees it.
pub fn seen(message: &Message) -> Seen {
    Seen { offset: message.offset, id: Id::of_value(&message.record.value) }
}

/// A subscription that lasts. Dropping it ends it.
pub struct Subscription {
    /// What it reads, by number.
    pub topic: u16,
    stream: Arc<Mutex<Stream>>,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Subscribes; everything that is published from now on comes.
    pub async fn start(client: Client, topic: u16, name: Name, transport: Transport) -> Result<Self, Error> {
        let (from, kind) = match transport {
            Transport::Frames => (Start::Latest, "live reader"),
            Transport::Events => (Start::Latest, "live subscription"),
            Transport::Polls => (Start::Earliest, "reader"),
        };
        let consumer = client.consumer(&name).from(from).transport(transport).build().await?;
        let stream = Stream { name: format!("the {kind} of topic {topic}"), seen: BTreeMap::new() };
        let stream = Arc::new(Mutex::new(stream));
        let task = tokio::spawn(follow(client, name, transport, topic, consumer, Arc::clone(&stream)));
        Ok(Self { topic, stream, task })
    }

    /// Ends it when it has delivered so much of each partition, or the time is over.
    pub async fn finish(self, ends: &BTreeMap<Key, u64>, patience: Duration) -> Stream {
        let deadline = Instant::now() + patience;
        let lacks = || {
            let stream = locked(&self.stream);
            ends.iter().any(|(key, end)| (stream.seen.get(key).map_or(0, Vec::len) as u64) < *end)
        };
        while lacks() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        let mut stream = std::mem::take(&mut *locked(&self.stream));
        // A partition of which nothing came at all is to be compared too.
        for key in ends.keys() {
            stream.seen.entry(*key).or_default();
        }
        stream
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    client: Client,
    name: Name,
    transport: Transport,
    topic: u16,
    mut consumer: Consumer,
    stream: Arc<Mutex<Stream>>,
) {
    loop {
        match consumer.next_chunk().await {
            Ok(messages) => {
                let mut stream = locked(&stream);
                for message in &messages {
                    let key = Key { topic, partition: message.partition };
                    stream.seen.entry(key).or_default().push(seen(message));
                }
            }
            Err(_) => {
                // Nobody answered for as long as a client tries; where it stood, it goes on.
                tokio::time::sleep(PAUSE).await;
                let place = Start::Cursor(consumer.cursor().clone());
                if let Ok(again) = client.consumer(&name).from(place).transport(transport).build().await {
                    consumer = again;
                }
            }
        }
    }
}

/// Reads a few records somewhere, again and again. Dropping it ends it.
pub struct Glimpser {
    read: Arc<Mutex<Vec<(Key, Seen)>>>,
    task: JoinHandle<()>,
}

impl Glimpser {
    /// Begins; `ends` tells how far each partition is known to go, `clients` whom to ask.
    pub fn start(
        topics: Vec<Name>,
        clients: Vec<Client>,
        pause: Duration,
        ends: impl Fn() -> Vec<(Key, u64)> + Send + Sync + 'static,
    ) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&read);
        let task = tokio::spawn(async move {
            for turn in 0usize.. {
                tokio::time::sleep(pause).await;
                let ends = ends();
                let (Some((key, end)), Some(client)) =
                    (ends.get(turn % ends.len().max(1)), clients.get(turn % clients.len().max(1)))
                else {
                    continue;
                };
                let from = rand::random_range(0..(*end).max(1));
                let query = PullQuery {
                    partition: Some(key.partition),
                    from: Some(Start::Offset(from)),
                    limit: GLIMPSE_RECORDS,
                    ..PullQuery::default()
                };
                // Who cannot answer at the moment, or is behind, tells nothing.
                let Ok(pulled) = client.pull(&topics[usize::from(key.topic)], &query).await else { continue };
                let mut kept = locked(&kept);
                if kept.len() < GLIMPSES_MAX {
                    kept.extend(pulled.messages.iter().map(|message| (*key, seen(message))));
                }
            }
        });
        Self { read, task }
    }

    /// Ends it, and lets go of everything that it was given.
    pub async fn finish(mut self) -> Vec<(Key, Seen)> {
        self.task.abort();
        let _aborted = (&mut self.task).await;
        std::mem::take(&mut *locked(&self.read))
    }
}

impl Drop for Glimpser {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

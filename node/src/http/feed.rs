//! What many subscribers of one partition read together.
//!
//! Subscribers that have read everything wait for the same next record. One of them would do: so a partition has a
//! *feed*, a task that reads at the partition's end and hands what it read to everybody who waits there, with the events
//! encoded once. Who is elsewhere, or falls behind, reads by himself until he is there (again).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hcube_api::Problem;
use hcube_core::ids::{NodeId, TopicId};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::reader::Chunk;

/// Chunks that a feed keeps for subscribers that are slower than it; fewer where these have more bytes, but one.
const CHUNKS_KEPT: usize = 8;
const BYTES_KEPT: usize = 1 << 20;
/// A subscriber that takes nothing for so long is not waited for: the feed ends, and whoever still reads begins another.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// What a feed reads: a partition of one life of a topic, of any replica or of one.
pub(super) type Source = (TopicId, u16, Option<NodeId>);

/// A chunk, and how it looks encoded: as frames, and as the events of a subscription to its partition alone.
#[derive(Debug)]
pub(super) struct Shared {
    pub chunk: Chunk,
    /// The offset after its last record.
    pub end: u64,
    events: Encoded,
    frames: Encoded,
}

/// Encoded by whoever asks first.
type Encoded = OnceLock<Result<Bytes, Box<Problem>>>;

impl Shared {
    pub fn new(chunk: Chunk, end: u64) -> Self {
        Self { chunk, end, events: OnceLock::new(), frames: OnceLock::new() }
    }

    /// The events, encoded by whoever asks first.
    pub fn events(&self, encode: impl FnOnce() -> Result<Bytes, Problem>) -> Result<Bytes, Problem> {
        once(&self.events, encode)
    }

    /// The frames.
    pub fn frames(&self) -> Result<Bytes, Problem> {
        once(&self.frames, || self.chunk.encoded_frames())
    }
}

fn once(encoded: &Encoded, encode: impl FnOnce() -> Result<Bytes, Problem>) -> Result<Bytes, Problem> {
    encoded.get_or_init(|| encode().map_err(Box::new)).clone().map_err(|problem| *problem)
}

/// The feeds that somebody reads.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    by_source: Mutex<BTreeMap<Source, Weak<Feed>>>,
}

/// One partition's end, followed for everybody. Its task ends with it.
#[derive(Debug)]
pub(super) struct Feed {
    tail: Mutex<Tail>,
    task: OnceLock<AbortHandle>,
}

/// What a feed hands on, for as long as it keeps it; a problem is the last thing.
pub(super) type Handed = Result<Weak<Shared>, Arc<Problem>>;

#[derive(Debug)]
struct Tail {
    /// The offset that is read next.
    next: u64,
    ended: bool,
    /// None once the feed was given up for somebody who takes nothing.
    chunks: Option<broadcast::Sender<Handed>>,
    kept: VecDeque<Arc<Shared>>,
    /// Since when somebody has not taken a single one of the last chunks.
    stalled: Option<Instant>,
}

/// How a subscriber stands to a feed.
#[derive(Debug)]
pub(super) enum Joined {
    /// He gets what is read from his offset on, for as long as he holds the feed.
    Here(Arc<Feed>, broadcast::Receiver<Handed>),
    /// The feed has read beyond his offset, or has ended.
    Behind,
}

impl Feeds {
    /// Joins the feed of a partition at an offset. Where there is none, one begins there: `begin` starts its task.
    pub fn join(&self, source: Source, from: u64, begin: impl FnOnce(Weak<Feed>) -> AbortHandle) -> Joined {
        let mut feeds = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(&source).and_then(Weak::upgrade) {
            let tail = feed.tail();
            // In the place of one that was given up another begins.
            if let Some(chunks) = &tail.chunks {
                if tail.ended || tail.next > from {
                    return Joined::Behind;
                }
                let chunks = chunks.subscribe();
                drop(tail);
                return Joined::Here(feed, chunks);
            }
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let (chunks, receiver) = broadcast::channel(CHUNKS_KEPT);
        let kept = VecDeque::new();
        let tail = Tail { next: from, ended: false, chunks: Some(chunks), kept, stalled: None };
        let tail = Mutex::new(tail);
        let feed = Arc::new(Feed { tail, task: OnceLock::new() });
        feeds.insert(source, Arc::downgrade(&feed));
        let _first = feed.task.set(begin(Arc::downgrade(&feed)));
        Joined::Here(feed, receiver)
    }
}

impl Feed {
    /// The offset that the feed reads next.
    pub fn next(&self) -> u64 {
        self.tail().next
    }

    /// Hands on what was read there. Returns whether to go on.
    pub fn push(&self, shared: Shared) -> bool {
        let mut tail = self.tail();
        // The slowest decides how many are not taken.
        let is_full = tail.chunks.as_ref().is_some_and(|chunks| chunks.len() == CHUNKS_KEPT);
        tail.stalled = is_full.then(|| tail.stalled.unwrap_or_else(Instant::now));
        if tail.stalled.is_some_and(|since| since.elapsed() > STALLED_AFTER) {
            tail.kept.clear();
            // Everybody learns it by the end of the channel.
            tail.chunks = None;
            return false;
        }
        tail.next = shared.end;
        let shared = Arc::new(shared);
        tail.kept.push_back(Arc::clone(&shared));
        let bytes =
            |kept: &VecDeque<Arc<Shared>>| kept.iter().map(|shared| shared.chunk.bytes()).sum::<usize>();
        while tail.kept.len() > CHUNKS_KEPT || tail.kept.len() > 1 && bytes(&tail.kept) > BYTES_KEPT {
            tail.kept.pop_front();
        }
        // Whoever joined before this gets it, and nobody who joins after.
        tail.hand_on(Ok(Arc::downgrade(&shared)));
        true
    }

    /// Tells everybody why there will be nothing more.
    pub fn end(&self, problem: Problem) {
        let mut tail = self.tail();
        tail.ended = true;
        tail.hand_on(Err(Arc::new(problem)));
    }

    fn tail(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn hand_on(&self, handed: Handed) {
        if let Some(chunks) = &self.chunks {
            let _nobody = chunks.send(handed);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use hcube_broker::request::StoredBatch;

    use super::*;

    fn chunk(from: u64) -> Chunk {
        Chunk { partition: 0, from, batches: Vec::new(), high_watermark: 0, path: Vec::new() }
    }

    /// Joins, and says whether that began a feed.
    fn join(feeds: &Feeds, from: u64) -> Option<(Arc<Feed>, broadcast::Receiver<Handed>, bool)> {
        let mut begun = false;
        let begin = |_| {
            begun = true;
            tokio::spawn(std::future::pending::<()>()).abort_handle()
        };
        match feeds.join((TopicId(1), 0, None), from, begin) {
            Joined::Here(feed, chunks) => Some((feed, chunks, begun)),
            Joined::Behind => None,
        }
    }

    #[tokio::test]
    async fn everybody_at_the_end_gets_what_is_read_there_and_nothing_before() {
        let feeds = Feeds::default();
        let (feed, mut first, begun) = join(&feeds, 5).unwrap();
        assert!(begun);
        let (_, mut second, begun) = join(&feeds, 5).unwrap();
        assert!(!begun);
        assert!(feed.push(Shared::new(chunk(5), 8)));
        let got = [first.recv().await.unwrap().unwrap(), second.recv().await.unwrap().unwrap()];
        assert_eq!(got.map(|shared| shared.upgrade().unwrap().end), [8, 8]);
        assert!(join(&feeds, 5).is_none(), "he has to read those three by himself");
        let (_, mut third, _) = join(&feeds, 8).unwrap();
        assert!(feed.push(Shared::new(chunk(8), 9)));
        assert_eq!(third.recv().await.unwrap().unwrap().upgrade().unwrap().chunk.from, 8);
        feed.end(Problem::invalid("gone"));
        assert!(third.recv().await.unwrap().is_err());
        assert!(join(&feeds, 9).is_none(), "an ended feed gives nothing more");
    }

    #[tokio::test]
    async fn a_feed_lives_as_long_as_somebody_reads_it() {
        let feeds = Feeds::default();
        let first = join(&feeds, 5).unwrap();
        assert!(!join(&feeds, 7).unwrap().2, "who is ahead waits for the feed to come");
        drop(first);
        assert!(join(&feeds, 7).unwrap().2);
        assert_eq!(feeds.by_source.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_a_subscriber_that_takes_nothing() {
        let feeds = Feeds::default();
        let (feed, mut stalled, _) = join(&feeds, 0).unwrap();
        let mut live = join(&feeds, 0).unwrap().1;
        let mut end = 0;
        let mut push = |feed: &Feed| {
            end += 1;
            feed.push(Shared::new(chunk(end - 1), end))
        };
        for _ in 0..2 * CHUNKS_KEPT {
            assert!(push(&feed));
            assert!(live.recv().await.unwrap().unwrap().upgrade().is_some());
        }
        tokio::time::advance(STALLED_AFTER + Duration::from_millis(1)).await;
        assert!(!push(&feed), "it has waited long enough");
        assert!(live.recv().await.is_err(), "the end of the feed");
        let begun = join(&feeds, 2 * CHUNKS_KEPT as u64).unwrap().2;
        assert!(begun, "whoever still reads begins another");
        // What the stalled one finds at last is gone, and he reads by himself.
        assert!(stalled.recv().await.is_err(), "some were passed over");
        assert!(stalled.recv().await.unwrap().unwrap().upgrade().is_none());
    }

    #[tokio::test]
    async fn few_bytes_are_kept() {
        let feeds = Feeds::default();
        let (feed, mut chunks, _) = join(&feeds, 0).unwrap();
        let large = |from: u64| {
            let batch = Bytes::from(vec![0; BYTES_KEPT]);
            let stored = StoredBatch { base_offset: from, stamp_ms: 0, batch };
            Shared::new(Chunk { batches: vec![stored], ..chunk(from) }, from + 1)
        };
        assert!(feed.push(large(0)) && feed.push(large(1)));
        assert!(chunks.try_recv().unwrap().unwrap().upgrade().is_none());
        assert!(chunks.try_recv().unwrap().unwrap().upgrade().is_some());
    }

    #[test]
    fn events_are_encoded_once() {
        let shared = Shared::new(chunk(0), 1);
        assert_eq!(shared.events(|| Ok("x".into())).unwrap(), "x");
        assert_eq!(shared.events(|| unreachable!()).unwrap(), "x");
    }
}

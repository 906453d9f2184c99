//! Subscriptions: server-sent events, or frames of batches. At a partition's end all subscriptions share one long poll
//! ([`super::feed`]); each reads by itself what lies before.
//!
//! All of a subscription happens when its answer's body is asked for more, in the task of its connection. So nothing is read
//! for a client that does not read, and what a feed keeps for it goes after a while. A partition whose turn does not come
//! drops what it has read and reads it again when there is room.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hcube_api::cursor::Cursor;
use hcube_api::media::PullFormat;
use hcube_api::messages::{PullQuery, Start, frames, sse};
use hcube_api::{Code, Problem, headers};
use hcube_broker::request::From;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::answer::{self, Response};
use super::body::Body;
use super::client::Call;
use super::error::unknown_topic;
use super::feed::{Feed, Handed, Joined};
use super::pull::read_now;
use super::reader::{Chunk, Most, Reader};
use super::ready::not_ready;
use super::{Shared, closed, feed};

/// How long a partition is polled at a time, in milliseconds.
const WAIT_MS: u32 = 25_000;
/// Bytes read at a time of all partitions together; each gets a share.
const READ_BYTES: u32 = 1 << 20;
const SHARE_BYTES: (u32, u32) = (16 << 10, 256 << 10);
/// How often a comment is sent while there is nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Pauses before a partition is read again that could not be read.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Chunks of all partitions that wait for their turn, at least and at most, and pieces that wait for the client.
const CHUNKS_WAITING: (usize, usize) = (4, 64);
const PIECES_WAITING: usize = 2;
/// Bytes after which events are sent without waiting for the end of their chunk.
const PIECE_BYTES: usize = 64 << 10;
/// With more partitions the cursor grows long, and only the last event of a chunk carries it.
const CURSOR_PARTITIONS: usize = 16;

/// Begins a subscription; its first answer comes when every partition's start is known.
///
/// # Errors
/// Those of a pull, before the first event.
pub(super) async fn subscribe(
    call: &Call<'_>,
    reader: Reader,
    partitions: Range<u16>,
    start: &Start,
    format: PullFormat,
) -> Result<Response, Problem> {
    let permit = call.shared.limits.subscription(partitions.len())?;
    let counted = call.shared.metrics.subscription();
    // One record is enough to learn where each partition begins.
    let look = PullQuery { limit: 1, max_bytes: 1, ..PullQuery::default() };
    let places = read_now(&reader, partitions, start, &look).await?;
    let mut cursor = match start {
        Start::Cursor(cursor) => cursor.clone(),
        _ => Cursor::new(reader.topic.id),
    };
    for place in &places {
        cursor.set(place.partition, place.from);
    }
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let path = places.first().map(|place| place.path.clone()).unwrap_or_default();
    let dimension = call.peer.view().dimension;
    let begun: Vec<(u16, u64)> = places.iter().map(|place| (place.partition, place.from)).collect();
    let (shared, closing) = (Arc::clone(call.shared), call.shared.closing.clone());
    let subscription = Subscription { reader, format, cursor: cursor.clone(), sender, shared, closing };
    let mut response = Response::new(Body::stream(receiver, async move {
        subscription.run(begun).await;
        drop((permit, counted));
    }));
    answer::set_path(&mut response, &path, dimension);
    answer::set(&mut response, HeaderName::from_static(headers::NEXT), &cursor);
    let media_type = HeaderValue::from_static(format.media_type());
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The client is gone; there is nobody to tell.
struct Gone;

struct Subscription {
    reader: Reader,
    /// Events or frames.
    format: PullFormat,
    /// What the client has got; events tell it.
    cursor: Cursor,
    sender: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
    closing: watch::Receiver<bool>,
}

/// What a partition's poll brings.
enum Arrived {
    /// Read for this subscription.
    Own(Chunk),
    /// Read for everybody at the partition's end.
    Shared(Arc<feed::Shared>),
}

impl Subscription {
    async fn run(mut self, places: Vec<(u16, u64)>) {
        let share = READ_BYTES / u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
        let most =
            Most { records: 10_000, bytes: share.clamp(SHARE_BYTES.0, SHARE_BYTES.1), wait_ms: WAIT_MS };
        let (chunks, arriving) = mpsc::channel(places.len().clamp(CHUNKS_WAITING.0, CHUNKS_WAITING.1));
        let mut polls = FuturesUnordered::new();
        for (partition, from) in places {
            let (reader, shared, chunks) = (self.reader.clone(), Arc::clone(&self.shared), chunks.clone());
            polls.push(Poll { reader, shared, partition, from, most, chunks }.run());
        }
        drop(chunks);
        // Whoever subscribes learns at once that it works, and where it begins.
        let hello =
            if self.sends_frames() { self.keep_alive() } else { format!("id: {}\n\n", self.cursor).into() };
        if self.sender.send(hello).await.is_err() {
            return;
        }
        if let Ok(problem) = self.relay(arriving, &mut polls).await {
            let mut last = Vec::new();
            let write = if self.sends_frames() { frames::write_problem } else { sse::write_problem };
            write(&mut last, &problem);
            let _gone = self.sender.send(last.into()).await;
        }
    }

    fn sends_frames(&self) -> bool {
        self.format == PullFormat::BatchStream
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(if self.sends_frames() { frames::KEEP_ALIVE } else { sse::KEEP_ALIVE })
    }

    /// Sends what arrives until there is a reason to end.
    async fn relay(
        &mut self,
        mut arriving: mpsc::Receiver<Result<Arrived, Problem>>,
        polls: &mut FuturesUnordered<impl Future<Output = Result<(), Gone>>>,
    ) -> Result<Problem, Gone> {
        let mut keep_alive = interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let handle = self.reader.peer.handle.clone();
        let topic = Arc::clone(&self.reader.topic);
        let deleted = handle.meta_where(|meta| meta.is_deleted(topic.id));
        let mut deleted = std::pin::pin!(deleted);
        let mut closing = self.closing.clone();
        loop {
            tokio::select! {
                arrived = arriving.recv() => match arrived {
                    Some(Ok(arrived)) => {
                        let sent = match &arrived {
                            Arrived::Own(chunk) => self.send(chunk).await?,
                            Arrived::Shared(shared) => self.send_shared(shared).await?,
                        };
                        if let Err(problem) = sent {
                            return Ok(problem);
                        }
                        keep_alive.reset();
                    }
                    Some(Err(problem)) => return Ok(problem),
                    None => return Ok(not_ready("the peer is shutting down")),
                },
                Some(_ended) = polls.next() => {}
                _tick = keep_alive.tick() => {
                    self.sender.send(self.keep_alive()).await.map_err(|_| Gone)?;
                }
                seen = &mut deleted => return Ok(match seen {
                    Some(_) => unknown_topic(&topic.name),
                    None => not_ready("the peer is shutting down"),
                }),
                () = closed(&mut closing) => {
                    return Ok(not_ready("the peer is shutting down"));
                }
            }
        }
    }

    /// Sends what others get as well; encoded once for all, events only for those whose cursor has this partition alone.
    async fn send_shared(&mut self, shared: &feed::Shared) -> Result<Result<(), Problem>, Gone> {
        let chunk = &shared.chunk;
        if self.sends_frames() {
            return self.send_frames(shared.frames()).await;
        }
        if !self.cursor.iter().map(|(partition, _)| partition).eq([chunk.partition]) {
            return self.send(chunk).await;
        }
        let mut cursor = self.cursor.clone();
        let encode = || {
            let mut events = Vec::new();
            for message in chunk.messages()? {
                cursor.set(message.partition, message.offset + 1);
                sse::write_message(&mut events, &message, Some(&cursor));
            }
            Ok(events.into())
        };
        match shared.events(encode) {
            Ok(events) => self.sender.send(events).await.map_err(|_| Gone)?,
            Err(problem) => return Ok(Err(problem)),
        }
        self.cursor.set(chunk.partition, shared.end);
        Ok(Ok(()))
    }

    async fn send_frames(&mut self, frames: Result<Bytes, Problem>) -> Result<Result<(), Problem>, Gone> {
        match frames {
            Ok(frames) => Ok(Ok(self.sender.send(frames).await.map_err(|_| Gone)?)),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// Sends a chunk's messages in pieces. The inner error is one of the stored data.
    async fn send(&mut self, chunk: &Chunk) -> Result<Result<(), Problem>, Gone> {
        if self.sends_frames() {
            return self.send_frames(chunk.encoded_frames()).await;
        }
        let messages = match chunk.messages() {
            Ok(messages) => messages,
            Err(problem) => return Ok(Err(problem)),
        };
        let short = self.cursor.iter().count() <= CURSOR_PARTITIONS;
        let mut piece = Vec::new();
        let last = messages.len().saturating_sub(1);
        for (at, message) in messages.iter().enumerate() {
            self.cursor.set(message.partition, message.offset + 1);
            let id = (short || at == last).then_some(&self.cursor);
            sse::write_message(&mut piece, message, id);
            if piece.len() >= PIECE_BYTES {
                self.sender.send(std::mem::take(&mut piece).into()).await.map_err(|_| Gone)?;
            }
        }
        if !piece.is_empty() {
            self.sender.send(piece.into()).await.map_err(|_| Gone)?;
        }
        Ok(Ok(()))
    }
}

/// Reads one partition for a subscription.
struct Poll {
    reader: Reader,
    shared: Arc<Shared>,
    partition: u16,
    /// The next offset to read.
    from: u64,
    most: Most,
    chunks: mpsc::Sender<Result<Arrived, Problem>>,
}

impl Poll {
    /// Reads on and on. Ends with a problem that a repetition cannot mend, or with its listener.
    async fn run(mut self) -> Result<(), Gone> {
        // Until it is known that there is nothing left to read, a read does not wait.
        let mut wait_ms = 0;
        loop {
            let most = Most { wait_ms, ..self.most };
            match read(&self.reader, self.partition, self.from, most).await {
                Ok(chunk) if chunk.batches.is_empty() => {
                    wait_ms = match self.join() {
                        Joined::Here(feed, chunks) => {
                            self.follow(feed, chunks).await?;
                            0
                        }
                        // There is something already, or there will never be.
                        Joined::Behind => WAIT_MS,
                    };
                }
                Ok(chunk) => {
                    wait_ms = 0;
                    let end = end(&chunk).unwrap_or(self.from);
                    if !self.hand_on(Arrived::Own(chunk), end)? {
                        self.room().await?;
                    }
                }
                Err(problem) => return self.chunks.send(Err(problem)).await.map_err(|_| Gone),
            }
        }
    }

    /// Joins those that wait at the partition's end.
    fn join(&self) -> Joined {
        let source = (self.reader.topic.id, self.partition, self.reader.replica);
        self.shared.feeds.join(source, self.from, |feed| {
            let (reader, partition) = (self.reader.clone(), self.partition);
            tokio::spawn(feed_on(reader, partition, feed)).abort_handle()
        })
    }

    /// Takes what the feed brings, for as long as it goes on where this subscription is.
    async fn follow(&mut self, feed: Arc<Feed>, mut chunks: broadcast::Receiver<Handed>) -> Result<(), Gone> {
        loop {
            match chunks.recv().await {
                Ok(Ok(shared)) => match shared.upgrade() {
                    Some(shared) if shared.end <= self.from => {}
                    Some(shared) if shared.chunk.from == self.from => {
                        let end = shared.end;
                        if !self.hand_on(Arrived::Shared(shared), end)? {
                            drop((chunks, feed));
                            return self.room().await;
                        }
                    }
                    // It was too fast, or began elsewhere.
                    _ => return Ok(()),
                },
                Ok(Err(problem)) => {
                    self.chunks.send(Err(Problem::clone(&problem))).await.map_err(|_| Gone)?;
                    return Err(Gone);
                }
                // It was too fast, or was given up.
                Err(_) => return Ok(()),
            }
        }
    }

    /// Hands on what was read, if there is room for it; otherwise lets it go, to be read again.
    fn hand_on(&mut self, arrived: Arrived, end: u64) -> Result<bool, Gone> {
        match self.chunks.try_reserve() {
            Ok(permit) => {
                self.from = end;
                permit.send(Ok(arrived));
                Ok(true)
            }
            Err(mpsc::error::TrySendError::Full(())) => Ok(false),
            Err(mpsc::error::TrySendError::Closed(())) => Err(Gone),
        }
    }

    /// Waits until there is room.
    async fn room(&self) -> Result<(), Gone> {
        self.chunks.reserve().await.map(drop).map_err(|_| Gone)
    }
}

/// Reads a partition's end for everybody who waits there.
async fn feed_on(reader: Reader, partition: u16, feed: Weak<Feed>) {
    let most = Most { records: 10_000, bytes: SHARE_BYTES.1, wait_ms: WAIT_MS };
    loop {
        let Some(from) = feed.upgrade().map(|feed| feed.next()) else { return };
        let read = read(&reader, partition, from, most).await;
        let Some(feed) = feed.upgrade() else { return };
        match read {
            Ok(chunk) if chunk.batches.is_empty() => {}
            Ok(chunk) => {
                let Some(end) = end(&chunk) else {
                    let damage = || Problem::new(Code::Damaged, "a stored batch does not decode here");
                    return feed.end(chunk.messages().err().unwrap_or_else(damage));
                };
                if !feed.push(feed::Shared::new(chunk, end)) {
                    return;
                }
            }
            Err(problem) => return feed.end(problem),
        }
    }
}

/// Reads a partition. Elections and busy moments pass.
async fn read(reader: &Reader, partition: u16, from: u64, most: Most) -> Result<Chunk, Problem> {
    let mut pause = PAUSE.0;
    loop {
        match reader.read(partition, From::Offset(from), most).await {
            Err(problem) if is_passing(&problem) => {
                sleep(pause).await;
                pause = (2 * pause).min(PAUSE.1);
            }
            read => return read,
        }
    }
}

fn is_passing(problem: &Problem) -> bool {
    matches!(problem.code, Code::NoLeader | Code::Overloaded | Code::Timeout)
}

/// The offset after a chunk's last record; none when it has no record, or its last batch does not decode, which
/// the receiver tells the client.
fn end(chunk: &Chunk) -> Option<u64> {
    let last = chunk.batches.last()?;
    let batch = hcube_core::record::Batch::parse(last.batch.clone()).ok()?;
    Some(last.base_offset + u64::from(batch.records_count()))
}

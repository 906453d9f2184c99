//! Publish streams ([`hcube_api::stream`]): one connection to each peer, over which the batches of all producers of a
//! client go as they come, none of them waiting for another's outcome.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hcube_api::stream::{Frames, Outcome, PROTOCOL, Publish, Stored};
use hcube_api::{Code, paths};
use hcube_core::topic::Name;
use reqwest::header::{AUTHORIZATION, CONNECTION, HeaderValue, UPGRADE};
use reqwest::{StatusCode, Upgraded};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{Instant, timeout};

use crate::client::{Inner, refusal};
use crate::endpoints::Endpoint;
use crate::error::{Error, innermost};

/// A stream on which nothing happens for so long is closed; well before its peer would.
const IDLE_AFTER: Duration = Duration::from_secs(30);
/// How long a peer that knows no streams is not asked for one again.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// How long a stream that sends nothing more waits for the outcomes that are due.
const LAST_OUTCOMES: Duration = Duration::from_secs(30);
/// Batches from this size on are written from where they are; smaller ones are copied together.
const LARGE_BYTES: usize = 16 << 10;
/// Small batches are gathered into writes of about this.
const WRITE_BYTES: usize = 256 << 10;

/// The streams of a client, by peer.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_endpoint: Mutex<BTreeMap<Endpoint, Known>>,
}

#[derive(Debug)]
enum Known {
    /// Open, or about to be.
    Stream(Stream),
    /// The peer knew none at that time.
    Nothing(Instant),
}

/// A stream, as those see it who send over it.
#[derive(Debug, Clone)]
struct Stream {
    orders: mpsc::UnboundedSender<Order>,
    /// Outcomes that have come.
    heard: Arc<AtomicU64>,
    task: AbortHandle,
}

/// A batch to be sent.
#[derive(Debug)]
struct Order {
    topic: Name,
    partition: u16,
    batch: Bytes,
    reply: Reply,
}

/// Where an outcome goes.
type Reply = oneshot::Sender<Result<Stored, Failed>>;

/// Batches whose outcome has not come, by number.
type Waiting = Mutex<BTreeMap<u32, Reply>>;

/// Why a batch has no outcome.
#[derive(Debug, Clone)]
pub(crate) enum Failed {
    /// The peer, or something on the way to it, knows no streams.
    Unsupported,
    /// A refusal, or the end of the connection.
    Error(Error),
}

/// The outcome of a batch that was sent.
#[derive(Debug)]
pub(crate) struct Due {
    endpoint: Endpoint,
    outcome: oneshot::Receiver<Result<Stored, Failed>>,
    stream: Stream,
    /// Outcomes that had come before it was sent.
    heard_before: u64,
}

impl Due {
    /// Waits for it, for so long as one attempt may take and as there is time left.
    pub(crate) async fn outcome(self, attempt: Duration, left: Duration) -> Result<Stored, Failed> {
        let endpoint = || self.endpoint.to_string();
        match timeout(attempt.min(left), self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_ended)) => {
                let reason = "the stream ended".to_owned();
                Err(Failed::Error(Error::Broken { endpoint: endpoint(), reason }))
            }
            Err(_elapsed) => {
                // A batch that waits is no silent peer; one that says nothing at all is given up.
                if left >= attempt && self.stream.heard.load(Ordering::Relaxed) == self.heard_before {
                    self.stream.task.abort();
                }
                Err(Failed::Error(Error::Silent { endpoint: endpoint() }))
            }
        }
    }
}

impl Streams {
    /// Sends a batch over the stream to a peer; where there are none, says so. Batches are sent in the order of the calls.
    pub(crate) fn send(
        &self,
        inner: &Arc<Inner>,
        endpoint: &Endpoint,
        topic: &Name,
        partition: u16,
        batch: Bytes,
    ) -> Option<Due> {
        let (reply, outcome) = oneshot::channel();
        let mut order = Order { topic: topic.clone(), partition, batch, reply };
        loop {
            let stream = self.stream(inner, endpoint)?;
            let heard_before = stream.heard.load(Ordering::Relaxed);
            match stream.orders.send(order) {
                Ok(()) => return Some(Due { endpoint: endpoint.clone(), outcome, stream, heard_before }),
                // It ended between being found and being used; the next is a new one.
                Err(mpsc::error::SendError(back)) => order = back,
            }
        }
    }

    /// The stream to a peer; opens one where there is none.
    fn stream(&self, inner: &Arc<Inner>, endpoint: &Endpoint) -> Option<Stream> {
        let mut streams = self.lock();
        match streams.get(endpoint) {
            Some(Known::Stream(stream)) if !stream.orders.is_closed() => return Some(stream.clone()),
            Some(Known::Nothing(at)) if at.elapsed() < ASK_AGAIN => return None,
            _ => {}
        }
        // Unbounded, because producers bound what they have under way.
        let (orders, queue) = mpsc::unbounded_channel();
        let heard = Arc::<AtomicU64>::default();
        let connecting = Connecting {
            heard: Arc::clone(&heard),
            http: inner.http.clone(),
            authorization: inner.settings.authorization.clone(),
            endpoint: endpoint.clone(),
            client: Arc::downgrade(inner),
        };
        let task = tokio::spawn(connecting.run(queue)).abort_handle();
        let stream = Stream { orders, heard, task };
        streams.insert(endpoint.clone(), Known::Stream(stream.clone()));
        Some(stream)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Endpoint, Known>> {
        self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a stream's task begins with. It does not keep its client alive: without one it ends.
struct Connecting {
    heard: Arc<AtomicU64>,
    http: reqwest::Client,
    authorization: Option<HeaderValue>,
    endpoint: Endpoint,
    client: Weak<Inner>,
}

impl Connecting {
    async fn run(self, mut queue: mpsc::UnboundedReceiver<Order>) {
        let failed = match self.connect().await {
            Ok(upgraded) => {
                let ended = exchange(upgraded, &mut queue, &self.heard, &self.endpoint).await;
                let reason =
                    ended.map_or_else(|error| error.to_string(), |()| "the peer ended it".to_owned());
                // What was not sent was certainly not carried out.
                Failed::Error(Error::Unreachable { endpoint: self.endpoint.to_string(), reason })
            }
            Err(failed) => failed,
        };
        if let (Failed::Unsupported, Some(client)) = (&failed, self.client.upgrade()) {
            client.streams.lock().insert(self.endpoint.clone(), Known::Nothing(Instant::now()));
        }
        queue.close();
        while let Some(order) = queue.recv().await {
            // Whoever has stopped waiting needs no answer.
            let _ = order.reply.send(Err(failed.clone()));
        }
    }

    async fn connect(&self) -> Result<Upgraded, Failed> {
        let mut request = self
            .http
            .get(format!("{}{}", self.endpoint, paths::PUBLISH))
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, PROTOCOL);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        // However it fails: no batch was sent.
        let unreachable = |error: reqwest::Error| {
            let (endpoint, reason) = (self.endpoint.to_string(), innermost(&error));
            Failed::Error(Error::Unreachable { endpoint, reason })
        };
        let response = request.send().await.map_err(unreachable)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response.upgrade().await.map_err(unreachable);
        }
        if response.status().is_success() {
            return Err(Failed::Unsupported);
        }
        Err(match refusal(response, &self.endpoint).await {
            Ok(problem) if is_ignorance(problem.code) => Failed::Unsupported,
            Ok(problem) => Failed::Error(problem.into()),
            Err(error) => Failed::Error(error),
        })
    }
}

/// Whether the answer is that of a peer, or of a proxy before it, that knows no streams.
fn is_ignorance(code: Code) -> bool {
    matches!(code, Code::NotFound | Code::MethodNotAllowed | Code::InvalidArgument | Code::Unrecognized)
}

/// Sends what is queued and hands out the outcomes that come back, until either side ends.
async fn exchange(
    upgraded: Upgraded,
    queue: &mut mpsc::UnboundedReceiver<Order>,
    heard: &AtomicU64,
    endpoint: &Endpoint,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(upgraded);
    let waiting = Waiting::default();
    let sending = async {
        send(queue, &waiting, writer).await?;
        tokio::time::sleep(LAST_OUTCOMES).await;
        Ok(())
    };
    let ended: io::Result<()> = tokio::select! {
        ended = sending => ended,
        ended = receive(&waiting, heard, reader) => ended,
    };
    let reason =
        ended.as_ref().map_or_else(io::Error::to_string, |()| "the peer ended the stream".to_owned());
    let failed = Failed::Error(Error::Broken { endpoint: endpoint.to_string(), reason });
    for (_, reply) in std::mem::take(&mut *lock(&waiting)) {
        let _ = reply.send(Err(failed.clone()));
    }
    ended
}

/// Ends when the queue does, or when nothing has happened for a while.
async fn send(
    queue: &mut mpsc::UnboundedReceiver<Order>,
    waiting: &Waiting,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut number = 0_u32;
    loop {
        let mut next = match timeout(IDLE_AFTER, queue.recv()).await {
            Ok(Some(order)) => Some(order),
            Ok(None) => break,
            Err(_elapsed) => {
                if lock(waiting).is_empty() {
                    // What comes in until nobody can put in anything more is still sent.
                    queue.close();
                }
                continue;
            }
        };
        let mut is_first = true;
        while let Some(Order { topic, partition, batch, reply }) = next {
            number = number.wrapping_add(1);
            lock(waiting).insert(number, reply);
            let publish = Publish { number, topic, partition, batch };
            buffer.extend_from_slice(&publish.head());
            let is_large = publish.batch.len() >= LARGE_BYTES;
            if !is_large {
                buffer.extend_from_slice(&publish.batch);
            }
            if is_large || buffer.len() >= WRITE_BYTES {
                writer.write_all(&buffer).await?;
                buffer.clear();
            }
            if is_large {
                writer.write_all(&publish.batch).await?;
            }
            next = queue.try_recv().ok();
            if is_first && next.is_none() {
                // Outcomes come many at once, and the batches that follow them from as many tasks: they go together.
                yield_now().await;
                next = queue.try_recv().ok();
            }
            is_first = false;
        }
        writer.write_all(&buffer).await?;
        buffer.clear();
    }
    writer.shutdown().await
}

/// Ends when the peer does.
async fn receive(waiting: &Waiting, heard: &AtomicU64, mut reader: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut frames = Frames::default();
    while reader.read_buf(frames.room()).await? > 0 {
        while let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
            let Outcome { number, result } = Outcome::decode(frame).map_err(io::Error::other)?;
            heard.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = lock(waiting).remove(&number) {
                let _ = reply.send(result.map_err(|problem| Failed::Error(Error::Problem(problem))));
            }
        }
    }
    Ok(())
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, BTreeMap<u32, Reply>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The publish stream ([`hcube_api::stream`]): one connection, on which batches are taken up in the order in which
//! they come and answered as they are committed. It spares a request's head, and a connection for each batch under way.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hcube_api::stream::{Frames, Outcome, PROTOCOL, Publish, Stored};
use hcube_api::{Problem, messages::PublishRequest};
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::answer::{self, Response};
use super::peer::Peer;
use super::publish::publish_batch;
use super::{Shared, closed};

/// Batches of one connection under way at most; beyond them it is not read.
const UNDER_WAY_MAX: usize = 1024;
/// Bytes of batches of one connection under way, beyond which it is not read.
const UNDER_WAY_BYTES: usize = 16 << 20;
/// A client that takes longer for one frame holds memory for nothing.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an unfinished frame from which on they are counted as those of a request's body.
const COUNTED_BYTES: usize = 64 << 10;
/// How long a stream without a batch under way may stay silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection that becomes a stream when its request has been answered.
#[derive(Debug)]
pub(super) struct Stream {
    shared: Arc<Shared>,
    peer: Peer,
    upgrade: OnUpgrade,
}

/// Where a connection's task finds the stream that it becomes.
pub(super) type Slot = Arc<OnceLock<Stream>>;

/// Answers the request that asks for a stream.
///
/// # Errors
/// `invalid-argument` without the protocol's name, or where the connection can only carry requests.
pub(super) fn begin(
    shared: &Arc<Shared>,
    slot: &Slot,
    peer: Peer,
    parts: &Parts,
) -> Result<Response, Problem> {
    let named = parts.headers.get(UPGRADE).is_some_and(|named| named.as_bytes() == PROTOCOL.as_bytes());
    let upgrade = parts.extensions.get::<OnUpgrade>().cloned().filter(|_| named);
    let Some(upgrade) = upgrade else {
        let detail =
            format!("a stream begins with `Upgrade: {PROTOCOL}` over HTTP/1.1; a POST needs no stream");
        return Err(Problem::invalid(detail));
    };
    let stream = Stream { shared: Arc::clone(shared), peer, upgrade };
    slot.set(stream).map_err(|_| Problem::invalid("the connection is to be a stream already"))?;
    let mut response = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

impl Stream {
    /// Serves the stream until its client ends it, or the node ends.
    pub async fn run(self, closing: watch::Receiver<bool>) {
        let Self { shared, peer, upgrade } = self;
        let Ok(upgraded) = upgrade.await else { return };
        let peer = Peer { handle: peer.handle.gathering(), ..peer };
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        if let Err(error) = serve(&shared, &peer, reader, writer, closing).await {
            // Whatever a client does wrong is not this peer's trouble.
            tracing::debug!(%error, "a publish stream ended badly");
        }
    }
}

/// A batch's outcome, and the bytes that it took until then.
type Done = (Outcome, usize);

/// The next batch that is done. What came together is handed over together.
async fn next<F: Future<Output = Done>>(under_way: &mut FuturesUnordered<F>, peer: &Peer) -> Option<Done> {
    poll_fn(|context| {
        let polled = under_way.poll_next_unpin(context);
        peer.handle.hand_over();
        polled
    })
    .await
}

async fn serve(
    shared: &Shared,
    peer: &Peer,
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut under_way = FuturesUnordered::new();
    let mut bytes = 0;
    let mut reads = true;
    let mut out = Vec::new();
    let most = UNDER_WAY_MAX.min(shared.config.connection_requests_max);
    // Room for a frame that is coming in, and since when it has been.
    let mut room = shared.limits.room();
    let mut begun: Option<Instant> = None;
    while reads || !under_way.is_empty() {
        let has_room = under_way.len() < most && bytes < UNDER_WAY_BYTES;
        if !has_room {
            // It is this side that keeps it waiting.
            begun = begun.map(|_| Instant::now());
        }
        let patience = begun.map_or(IDLE_TIMEOUT, |since| FRAME_TIMEOUT.saturating_sub(since.elapsed()));
        tokio::select! {
            biased;
            () = closed(&mut closing), if reads => reads = false,
            Some(done) = next(&mut under_way, peer), if !under_way.is_empty() => {
                let mut more = Some(done);
                // What was committed together is answered together; the core tells one after the other.
                yield_now().await;
                while let Some((outcome, took)) = more {
                    outcome.write(&mut out);
                    bytes -= took;
                    more = next(&mut under_way, peer).now_or_never().flatten();
                }
                writer.write_all(&out).await?;
                out.clear();
            }
            read = timeout(patience, reader.read_buf(frames.room())), if reads && has_room => match read {
                Ok(Ok(0)) => reads = false,
                // Silence while something is under way is no idleness.
                Err(_elapsed) => reads = begun.is_none() && !under_way.is_empty(),
                Ok(read) => {
                    read?;
                    while let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
                        bytes += frame.len();
                        under_way.push(one(shared, peer, frame));
                        (room, begun) = (shared.limits.room(), None);
                    }
                    if frames.rest_bytes() > 0 {
                        begun = begun.or_else(|| Some(Instant::now()));
                    }
                    if frames.rest_bytes() > COUNTED_BYTES {
                        room.grow(frames.rest_bytes()).map_err(|full| io::Error::other(full.to_string()))?;
                    }
                }
            },
        }
    }
    writer.shutdown().await
}

/// Publishes what a frame holds. Its first steps are taken in the order of the frames, up to where the batch is handed
/// over: batches of one producer follow each other.
async fn one(shared: &Shared, peer: &Peer, frame: Bytes) -> Done {
    let (began, took) = (Instant::now(), frame.len());
    // A frame that cannot be read has a number all the same, or none that anybody waits for.
    let number = frame.first_chunk().map_or(0, |number| u32::from_le_bytes(*number));
    let result = publish(shared, peer, frame).await;
    let status = result.as_ref().map_or_else(|problem| problem.status, |_| StatusCode::OK.as_u16());
    shared.metrics.answered("publish-stream", status, began.elapsed());
    (Outcome { number, result: result.map_err(Box::new) }, took)
}

async fn publish(shared: &Shared, peer: &Peer, frame: Bytes) -> Result<Stored, Problem> {
    let _request = shared.limits.request()?;
    let mut room = shared.limits.room();
    room.grow(frame.len())?;
    let publish = Publish::decode(frame).map_err(|error| Problem::invalid(error.to_string()))?;
    let batch = PublishRequest::batch(publish.batch, shared.config.publish)?;
    super::ready::check_member(&peer.handle)?;
    publish_batch(peer, &publish.topic, publish.partition, batch).await
}

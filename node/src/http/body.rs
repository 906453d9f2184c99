//! Bodies: what an answer sends, and reading what a request brings within the limits.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hcube_api::{Code, Problem};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};

use super::answer::Stop;
use super::limits::{BodyRoom, OfConnection};

/// A client that takes longer for its body holds memory for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a body that is refused, so much is read and thrown away, so that the client gets to see the refusal: a
/// connection that is closed over unread bytes is reset.
const DISCARD_BYTES_MAX: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The body of an answer.
#[derive(Debug, Default)]
pub struct Body {
    kind: Kind,
    /// What the answer takes until it is sent.
    held: Held,
}

/// The request counts as under way, at its connection and at its port, until its answer is sent; and the bytes of
/// an answer take room until a client that reads slowly has them.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "held for what dropping it gives back")]
pub(super) struct Held {
    pub request: Option<OwnedSemaphorePermit>,
    pub of_connection: Option<OfConnection>,
    pub room: Option<BodyRoom>,
}

#[derive(Debug)]
enum Kind {
    /// Bytes that are there, in pieces that need not be copied together.
    Pieces(VecDeque<Bytes>),
    /// Bytes that are made while the client reads.
    Stream(Stream),
}

/// Bytes as their maker sends them. It runs within the connection's task: another one would have to be woken up for each
/// piece, and then this one as well.
struct Stream {
    /// None once it has ended.
    maker: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pieces: mpsc::Receiver<Bytes>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stream").field("pieces", &self.pieces).finish_non_exhaustive()
    }
}

impl Stream {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Poll::Ready(piece) = self.pieces.poll_recv(context) {
            return Poll::Ready(piece);
        }
        if let Some(maker) = &mut self.maker
            && maker.as_mut().poll(context).is_ready()
        {
            self.maker = None;
        }
        self.pieces.poll_recv(context)
    }
}

/// A request's body.
pub(super) type Incoming = axum::body::Body;

impl Default for Kind {
    fn default() -> Self {
        Self::Pieces(VecDeque::new())
    }
}

impl Body {
    /// A body in pieces.
    pub(super) fn pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { kind: Kind::Pieces(pieces), held: Held::default() }
    }

    /// A body that goes on until nobody is left to send pieces. Where it is dropped before, its maker is as well.
    pub(super) fn stream(
        pieces: mpsc::Receiver<Bytes>,
        maker: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let maker: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(maker);
        Self { kind: Kind::Stream(Stream { maker: Some(maker), pieces }), held: Held::default() }
    }

    /// Gives back what is held when the body has been sent.
    pub(super) fn holding(mut self, held: Held) -> Self {
        self.held = held;
        self
    }

    /// Bytes of a body that is known whole.
    pub(super) fn len(&self) -> Option<usize> {
        match &self.kind {
            Kind::Pieces(pieces) => Some(pieces.iter().map(Bytes::len).sum()),
            Kind::Stream(_) => None,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::pieces([bytes.into()])
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.kind {
            Kind::Pieces(pieces) => Poll::Ready(pieces.pop_front()),
            Kind::Stream(stream) => stream.poll_next(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Pieces(pieces) if pieces.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, |length| SizeHint::with_exact(length as u64))
    }
}

/// A body that was read, and the room that it takes for as long as it is held.
#[derive(Debug)]
pub(super) struct Read {
    pub bytes: Bytes,
    pub room: BodyRoom,
}

/// Reads a request's body.
///
/// # Errors
/// `too_large` for more than `limit` bytes, before more is read; `overloaded` when other bodies take all the
/// room there is; [`Stop::Drop`] when the client is gone or too slow.
pub(super) async fn read(
    mut body: Incoming,
    headers: &HeaderMap,
    limit: usize,
    too_large: Code,
    mut room: BodyRoom,
) -> Result<Read, Stop> {
    let announced = body.size_hint().exact();
    // Room is taken for what has come, not for what is announced: announcing costs nothing.
    if announced.is_some_and(|length| length > limit as u64) {
        let problem = Problem::new(too_large, format!("the body has more than {limit} bytes"));
        // A client that waits for leave to send gets none.
        if !headers.contains_key(http::header::EXPECT) {
            discard(body);
        }
        return Err(problem.into());
    }
    let deadline = Instant::now() + BODY_TIMEOUT;
    let mut whole = BytesMut::new();
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(Read { bytes: whole.freeze(), room }),
            Ok(Some(Err(_))) | Err(_) => return Err(Stop::Drop),
        };
        let Ok(data) = frame.into_data() else { continue };
        let refusal = if whole.len() + data.len() > limit {
            Some(Problem::new(too_large, format!("the body has more than {limit} bytes")))
        } else {
            room.grow(whole.len() + data.len()).err()
        };
        if let Some(problem) = refusal {
            discard(body);
            return Err(problem.into());
        }
        whole.extend_from_slice(&data);
    }
}

/// Reads on for a while without keeping anything, while the refusal is on its way.
fn discard(mut body: Incoming) {
    tokio::spawn(async move {
        let deadline = Instant::now() + DISCARD_TIMEOUT;
        let mut discarded = 0;
        while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_BYTES_MAX {
                break;
            }
        }
    });
}

//! Reading by an answer without end: frames of batches, or server-sent events.

use hcube_api::cursor::Cursor;
use hcube_api::messages::frames::{self, Item};
use hcube_api::messages::sse::{self, MESSAGE, PROBLEM};
use hcube_api::messages::{Message, PullQuery};
use hcube_api::{Code, Problem, headers, media, paths};
use hcube_core::topic::Name;
use reqwest::Response;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Duration, Instant, timeout};

use super::place::Place;
use super::{Chunk, Chunks, poll};
use crate::client::{Call, Client};
use crate::endpoints::Endpoint;
use crate::error::Error;

/// A connection that lasted so long was of use, even where it brought no message.
const OF_USE_AFTER: Duration = Duration::from_secs(5);

/// How messages look on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Frames,
    Events,
}

struct Reader {
    client: Client,
    format: Format,
    topic: Name,
    query: PullQuery,
    place: Place,
    chunks: Chunks,
    /// Whether this connection was of use: it brought messages, or went on for a while. Its first sign of life says
    /// nothing, for a peer that cannot read the topic sends one as well.
    was_of_use: bool,
}

/// Why a subscription ended.
enum End {
    /// Nobody wants its messages any more.
    Unwanted,
    /// The peer, or something on the way to it, does not know the format.
    Unsupported,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads until the consumer is gone or an error stays. Of a peer that sends no frames without end it reads by polls.
pub(super) async fn run(
    client: Client,
    topic: Name,
    query: PullQuery,
    place: Place,
    format: Format,
    chunks: Chunks,
) {
    let mut reader = Reader { client, format, topic, query, place, chunks, was_of_use: false };
    match reader.read_on().await {
        End::Unwanted => {}
        End::Unsupported => {
            let Reader { client, topic, query, place, chunks, .. } = reader;
            poll::run(client, topic, query, place, chunks).await;
        }
        // Nobody left to tell is no loss.
        End::Failed(error) => _ = reader.chunks.send(Err(error)).await,
    }
}

impl Reader {
    /// Subscribes again and again, each time where the one before ended.
    async fn read_on(&mut self) -> End {
        let client = self.client.clone();
        let budget = client.inner.settings.retry_timeout;
        let mut attempts = client.attempts(budget);
        loop {
            let endpoint = attempts.endpoint();
            self.was_of_use = false;
            let end = match client.open(&self.call(), &endpoint).await {
                Ok(response) => self.read(response, &endpoint).await,
                Err(error) if self.is_unsupported(&error) => End::Unsupported,
                Err(error) => End::Failed(error),
            };
            let End::Failed(error) = end else { return end };
            client.note(&endpoint, true, Some(&error));
            if self.was_of_use {
                // The next failure has its whole time again.
                attempts = client.attempts(budget);
            }
            if let Err(error) = attempts.failed(&endpoint, error).await {
                return if self.may_work_by_polls(&error) { End::Unsupported } else { End::Failed(error) };
            }
        }
    }

    /// Peers before this one know no frames without end; whoever asks for events means them.
    fn is_unsupported(&self, error: &Error) -> bool {
        self.format == Format::Frames && error.code() == Some(Code::NotAcceptable)
    }

    /// Whether polls may read what a subscription cannot: peers take fewer subscriptions than polls, and a proxy may keep
    /// an answer back until it ends.
    fn may_work_by_polls(&self, error: &Error) -> bool {
        let last = if let Error::TimedOut { last, .. } = error { last } else { error };
        let is_kept_back = matches!(last, Error::Silent { .. }) && !self.was_of_use;
        self.format == Format::Frames && (is_kept_back || last.code() == Some(Code::Overloaded))
    }

    fn call(&self) -> Call {
        let path = paths::messages(&self.topic);
        let target = match self.query.partition {
            Some(partition) => format!("{path}?partition={partition}"),
            None => path,
        };
        // Our own place, not the last id: ids may be left out between messages that go out together.
        let place = self.place.cursor().to_string();
        let place = HeaderValue::try_from(place).expect("a cursor is visible ASCII");
        let last = HeaderMap::from_iter([(HeaderName::from_static(headers::LAST_EVENT_ID), place)]);
        let format = match self.format {
            Format::Frames => media::BATCH_STREAM,
            Format::Events => media::EVENT_STREAM,
        };
        Call::get(target).accept(format).headers(last)
    }

    /// Reads one subscription to its end.
    async fn read(&mut self, mut response: Response, endpoint: &Endpoint) -> End {
        let idle = self.client.inner.settings.idle_timeout;
        let began = Instant::now();
        let mut decoder = Decoder::new(self.format);
        loop {
            let piece = match timeout(idle, response.chunk()).await {
                Err(_) => return Error::Silent { endpoint: endpoint.to_string() }.into(),
                Ok(Err(error)) => return Error::from_transport(endpoint, &error).into(),
                Ok(Ok(None)) => {
                    let reason = "the subscription ended".to_owned();
                    return Error::Broken { endpoint: endpoint.to_string(), reason }.into();
                }
                Ok(Ok(Some(piece))) => piece,
            };
            self.was_of_use |= began.elapsed() >= OF_USE_AFTER;
            let arrived = match decoder.push(&piece, self.place.cursor()) {
                Ok(arrived) => arrived,
                Err(reason) => return senseless(endpoint, reason).into(),
            };
            if let Err(end) = self.take(arrived, endpoint).await {
                return end;
            }
        }
    }

    async fn take(&mut self, arrived: Arrived, endpoint: &Endpoint) -> Result<(), End> {
        let Arrived { messages, ending } = arrived;
        let messages = self.place.advance(messages).map_err(|gap| senseless(endpoint, gap.to_string()))?;
        if !messages.is_empty() {
            self.was_of_use = true;
            let after = self.place.cursor().clone();
            self.chunks.send(Ok(Chunk { messages, after })).await.map_err(|_| End::Unwanted)?;
        }
        ending.map_or(Ok(()), |problem| Err(End::Failed(problem.into())))
    }
}

/// What a piece of the answer completed.
#[derive(Default)]
struct Arrived {
    messages: Vec<Message>,
    /// Why there will be no more.
    ending: Option<Problem>,
}

enum Decoder {
    Frames(frames::Decoder),
    Events(sse::Decoder),
}

impl Decoder {
    fn new(format: Format) -> Self {
        match format {
            Format::Frames => Self::Frames(frames::Decoder::default()),
            Format::Events => Self::Events(sse::Decoder::default()),
        }
    }

    /// What this piece completes; of frames that begin before the place, what is behind it. Fails with the reason.
    fn push(&mut self, piece: &[u8], place: &Cursor) -> Result<Arrived, String> {
        let mut arrived = Arrived::default();
        match self {
            Self::Frames(decoder) => {
                for item in decoder.push(piece).map_err(|error| error.to_string())? {
                    match item {
                        Item::Frame(frame) => {
                            let from = place.get(frame.partition).unwrap_or(0);
                            let mut messages = frame.messages(from).map_err(|error| error.to_string())?;
                            arrived.messages.append(&mut messages);
                        }
                        Item::Problem(problem) => arrived.ending = Some(problem),
                    }
                }
            }
            Self::Events(decoder) => {
                for event in decoder.push(piece).map_err(|error| error.to_string())? {
                    let parsed =
                        match event.event.as_str() {
                            MESSAGE => serde_json::from_str(&event.data)
                                .map(|message| arrived.messages.push(message)),
                            PROBLEM => serde_json::from_str(&event.data)
                                .map(|problem| arrived.ending = Some(problem)),
                            // An event of a future version.
                            _ => Ok(()),
                        };
                    parsed.map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(arrived)
    }
}

fn senseless(endpoint: &Endpoint, reason: String) -> Error {
    Error::Answer { endpoint: endpoint.to_string(), reason }
}

//! Reading by server-sent events.

use hcube_api::messages::sse::{Decoder, Event, MESSAGE, PROBLEM};
use hcube_api::messages::{Message, PullQuery};
use hcube_api::{Problem, headers, media, paths};
use hcube_core::topic::Name;
use reqwest::Response;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use super::place::Place;
use super::{Chunk, Chunks};
use crate::client::{Call, Client};
use crate::endpoints::Endpoint;
use crate::error::Error;

struct Reader {
    client: Client,
    topic: Name,
    query: PullQuery,
    place: Place,
    chunks: Chunks,
    /// Whether anything came over this connection, keep-alives included.
    is_going: bool,
}

/// Why a subscription ended.
enum End {
    /// Nobody wants its messages any more.
    Unwanted,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads until the consumer is gone or an error stays.
pub(super) async fn run(client: Client, topic: Name, query: PullQuery, place: Place, chunks: Chunks) {
    let mut reader = Reader { client, topic, query, place, chunks, is_going: false };
    if let Err(error) = reader.read_on().await {
        // Nobody left to tell is no loss.
        let _ = reader.chunks.send(Err(error)).await;
    }
}

impl Reader {
    /// Subscribes again and again, each time where the one before ended.
    async fn read_on(&mut self) -> Result<(), Error> {
        let client = self.client.clone();
        let budget = client.inner.settings.retry_timeout;
        let mut attempts = client.attempts(budget);
        loop {
            let endpoint = attempts.endpoint();
            self.is_going = false;
            let end = match client.open(&self.call(), &endpoint).await {
                Ok(response) => self.read(response, &endpoint).await,
                Err(error) => End::Failed(error),
            };
            let End::Failed(error) = end else { return Ok(()) };
            client.note(&endpoint, true, Some(&error));
            if self.is_going {
                // A connection that worked gives the next failure its whole time again.
                attempts = client.attempts(budget);
            }
            attempts.failed(&endpoint, error).await?;
        }
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
        Call::get(target).accept(media::EVENT_STREAM).headers(last)
    }

    /// Reads one subscription to its end.
    async fn read(&mut self, mut response: Response, endpoint: &Endpoint) -> End {
        let idle = self.client.inner.settings.idle_timeout;
        let mut decoder = Decoder::default();
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
            self.is_going = true;
            let events = match decoder.push(&piece) {
                Ok(events) => events,
                Err(error) => return senseless(endpoint, error.to_string()).into(),
            };
            if let Err(end) = self.take(events, endpoint).await {
                return end;
            }
        }
    }

    async fn take(&mut self, events: Vec<Event>, endpoint: &Endpoint) -> Result<(), End> {
        let mut messages = Vec::new();
        let mut ending = None;
        for event in events {
            match event.event.as_str() {
                MESSAGE => {
                    let message: Message = serde_json::from_str(&event.data)
                        .map_err(|error| senseless(endpoint, error.to_string()))?;
                    messages.push(message);
                }
                PROBLEM => {
                    let problem: Problem = serde_json::from_str(&event.data)
                        .map_err(|error| senseless(endpoint, error.to_string()))?;
                    ending = Some(Error::from(problem));
                    break;
                }
                // An event of a future version.
                _ => {}
            }
        }
        let messages = self.place.advance(messages).map_err(|gap| senseless(endpoint, gap.to_string()))?;
        if !messages.is_empty() {
            let after = self.place.cursor().clone();
            self.chunks.send(Ok(Chunk { messages, after })).await.map_err(|_| End::Unwanted)?;
        }
        ending.map_or(Ok(()), |error| Err(End::Failed(error)))
    }
}

fn senseless(endpoint: &Endpoint, reason: String) -> Error {
    Error::Answer { endpoint: endpoint.to_string(), reason }
}

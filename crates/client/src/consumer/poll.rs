//! Reading by long polls. The next poll is under way while an answer is taken apart and handed on: the peer reads meanwhile.

use hcube_api::cursor::Cursor;
use hcube_api::messages::{PullQuery, Start};
use hcube_core::ids::Vertex;
use hcube_core::topic::Name;
use tokio::task::JoinHandle;

use super::place::Place;
use super::{Chunk, Chunks};
use crate::client::{Client, Near};
use crate::error::Error;

/// Reads until the consumer is gone, an error stays, or, where polls do not wait, there is nothing more.
pub(super) async fn run(client: Client, topic: Name, query: PullQuery, mut place: Place, chunks: Chunks) {
    let polls = Polls { client, topic, query };
    let mut poll = polls.begin(place.cursor().clone(), None);
    loop {
        let was_over = poll.0.is_finished();
        let chunk = match poll.answer().await {
            Ok(answer) if answer.is_empty() && polls.query.wait_ms == 0 => match answer.decode() {
                Ok(_nothing) => return,
                Err(error) => Err(error),
            },
            // It failed some time ago, while the caller was busy with what came before: that says nothing of now.
            Err(Error::TimedOut { .. }) if was_over => {
                poll = polls.begin(place.cursor().clone(), None);
                continue;
            }
            Ok(answer) => {
                poll = polls.after(&answer, place.cursor());
                take(&answer, &mut place)
            }
            Err(error) => Err(error),
        };
        if chunk.as_ref().is_ok_and(|chunk| chunk.messages.is_empty()) {
            continue;
        }
        let is_last = chunk.is_err();
        // Nobody left to tell is no loss.
        if chunks.send(chunk).await.is_err() || is_last {
            return;
        }
    }
}

struct Polls {
    client: Client,
    topic: Name,
    /// But for the place.
    query: PullQuery,
}

/// A poll under way; dropped, it is none any more.
struct Poll(JoinHandle<Result<Near, Error>>);

impl Polls {
    fn begin(&self, from: Cursor, prefer: Option<Vertex>) -> Poll {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        let query = PullQuery { from: Some(Start::Cursor(from)), ..self.query.clone() };
        Poll(tokio::spawn(async move { client.pull_near(&topic, query, prefer).await }))
    }

    /// The poll behind an answer; should the peer lie about where that is, then what comes does not fit the place.
    fn after(&self, answer: &Near, place: &Cursor) -> Poll {
        let mut from = place.clone();
        for (partition, next) in answer.next().iter().flat_map(Cursor::iter) {
            if from.get(partition).is_none_or(|at| next > at) {
                from.set(partition, next);
            }
        }
        // A single partition has one peer that serves it; several have none in common.
        self.begin(from, answer.served_by().filter(|_| self.query.partition.is_some()))
    }
}

impl Poll {
    async fn answer(&mut self) -> Result<Near, Error> {
        match (&mut self.0).await {
            Ok(answer) => answer,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a runtime that ends stops it, and this task with it.
                Err(_stopped) => std::future::pending().await,
            },
        }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn take(answer: &Near, place: &mut Place) -> Result<Chunk, Error> {
    let pulled = answer.decode()?;
    let messages = place.advance(pulled.messages).map_err(|gap| {
        let vertex = answer.served_by();
        Error::Answer {
            endpoint: vertex.map_or_else(|| "a peer".into(), |vertex| format!("the peer at vertex {vertex}")),
            reason: gap.to_string(),
        }
    })?;
    place.complete(&pulled.next);
    Ok(Chunk { messages, after: place.cursor().clone() })
}

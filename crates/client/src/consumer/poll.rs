//! Reading by long polls.

use hcube_api::messages::{PullQuery, Start};
use hcube_core::ids::Vertex;
use hcube_core::topic::Name;

use super::place::Place;
use super::{Chunk, Chunks};
use crate::client::Client;
use crate::error::Error;

/// Reads until the consumer is gone, an error stays, or, where polls do not wait, there is nothing more.
pub(super) async fn run(client: Client, topic: Name, mut query: PullQuery, mut place: Place, chunks: Chunks) {
    // A single partition has one peer that serves it; several have none in common.
    let mut served_by: Option<Vertex> = None;
    loop {
        query.from = Some(Start::Cursor(place.cursor().clone()));
        match once(&client, &topic, &query, &mut place, served_by).await {
            Ok((chunk, vertex)) => {
                served_by = vertex.filter(|_| query.partition.is_some());
                let is_empty = chunk.messages.is_empty();
                if is_empty && query.wait_ms == 0 {
                    return;
                }
                if !is_empty && chunks.send(Ok(chunk)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Nobody left to tell is no loss.
                let _ = chunks.send(Err(error)).await;
                return;
            }
        }
    }
}

async fn once(
    client: &Client,
    topic: &Name,
    query: &PullQuery,
    place: &mut Place,
    prefer: Option<Vertex>,
) -> Result<(Chunk, Option<Vertex>), Error> {
    let (pulled, served_by) = client.pull_near(topic, query, prefer).await?;
    let messages = place.advance(pulled.messages).map_err(|gap| Error::Answer {
        endpoint: served_by.map_or_else(|| "a peer".into(), |vertex| format!("the peer at vertex {vertex}")),
        reason: gap.to_string(),
    })?;
    place.complete(&pulled.next);
    Ok((Chunk { messages, after: place.cursor().clone() }, served_by))
}

//! W4: 100 topics, 256 callers, each one message at a time, each to the next topic in turn.

use std::sync::Arc;

use anyhow::Result;

use super::{Figure, MESSAGE_BYTES, Scale, payloads};
use crate::load::{Acknowledged, closed_loop};
use crate::machine::written::Storage;
use crate::system::{Mode, Publisher, System};

/// Topics.
const TOPICS: usize = 100;
/// Messages under way.
const IN_FLIGHT: u64 = 256;

/// Messages a second, latencies, and what the disk did for a byte.
///
/// # Errors
/// When a publish fails.
pub async fn run<S: System>(system: &S, scale: &Scale, storage: &Storage) -> Result<Vec<Figure>> {
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("w4-{number}")).collect();
    system.create_topics(&topics).await?;
    let publisher = ready(system, &topics).await?;
    let writing = storage.begin().await?;
    let all = load::<S>(&publisher, topics.len(), scale).await?;
    let mut figures =
        vec![("w4", all.rate()), ("w4-p50", all.quantile_ms(0.5)), ("w4-p99", all.quantile_ms(0.99))];
    figures.extend(writing.end("w4-written", all.total * MESSAGE_BYTES as u64).await?);
    Ok(figures)
}

/// A publisher that has published to each of the topics, which exist.
pub(crate) async fn ready<S: System>(system: &S, topics: &[String]) -> Result<Arc<S::Publisher>> {
    let publisher = Arc::new(system.publisher(topics, Mode::Shared).await?);
    touch(&*publisher, topics.len()).await?;
    Ok(publisher)
}

/// The load over so many topics.
pub(crate) async fn load<S: System>(
    publisher: &Arc<S::Publisher>,
    topics: usize,
    scale: &Scale,
) -> Result<Acknowledged> {
    // Callers begin at topics of their own and never meet for long.
    let topic_of = move |caller: u64, turn: u64| (caller + turn * IN_FLIGHT) as usize % topics;
    closed_loop(publisher, &payloads(), IN_FLIGHT, scale.span(), topic_of).await
}

/// One message to each topic, all at once: clients that look for a topic's leader at its first message do so here, not
/// while it is measured.
async fn touch<P: Publisher>(publisher: &P, topics: usize) -> Result<()> {
    let payloads = payloads();
    let mut deliveries = tokio::task::JoinSet::new();
    for topic in 0..topics {
        deliveries.spawn(publisher.enqueue(topic, payloads.get(topic as u64)).await?);
        if deliveries.len() >= IN_FLIGHT as usize {
            deliveries.join_next().await.transpose()?.transpose()?;
        }
    }
    while let Some(ended) = deliveries.join_next().await {
        ended??;
    }
    Ok(())
}

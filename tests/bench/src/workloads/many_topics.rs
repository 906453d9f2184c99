//! W4: 100 topics, 256 callers, each one message at a time, each to the next topic in turn.

use std::sync::Arc;

use anyhow::Result;

use super::{Figure, Scale, payloads};
use crate::load::{Acknowledged, closed_loop};
use crate::system::{Mode, System};

/// Topics.
const TOPICS: usize = 100;
/// Messages under way.
const IN_FLIGHT: u64 = 256;

/// Messages a second and latencies.
///
/// # Errors
/// When a publish fails.
pub async fn run<S: System>(system: &S, scale: &Scale) -> Result<Vec<Figure>> {
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("w4-{number}")).collect();
    system.create_topics(&topics).await?;
    let all = load(system, &topics, scale).await?;
    Ok(vec![("w4", all.rate()), ("w4-p50", all.quantile_ms(0.5)), ("w4-p99", all.quantile_ms(0.99))])
}

/// The load over topics that exist.
pub(crate) async fn load<S: System>(system: &S, topics: &[String], scale: &Scale) -> Result<Acknowledged> {
    let publisher = Arc::new(system.publisher(topics, Mode::Shared).await?);
    let count = topics.len();
    // Callers begin at topics of their own and never meet for long.
    let topic_of = move |caller: u64, turn: u64| (caller + turn * IN_FLIGHT) as usize % count;
    closed_loop(&publisher, &payloads(), IN_FLIGHT, scale.span(), topic_of).await
}

//! W1: one message in flight, the next when it is acknowledged.

use anyhow::Result;

use super::{Figure, Scale, payloads, topic_with_publisher};
use crate::load::closed_loop;
use crate::system::{Mode, System};

/// Messages a second and latencies.
///
/// # Errors
/// When a publish fails.
pub async fn run<S: System>(system: &S, scale: &Scale) -> Result<Vec<Figure>> {
    let publisher = topic_with_publisher(system, "w1", Mode::Prompt).await?;
    let all = closed_loop(&publisher, &payloads(), 1, scale.span(), |_, _| 0).await?;
    Ok(vec![("w1", all.rate()), ("w1-p50", all.quantile_ms(0.5)), ("w1-p99", all.quantile_ms(0.99))])
}

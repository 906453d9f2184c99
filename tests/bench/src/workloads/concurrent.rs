//! W2: 64 callers publish to one topic, each one message at a time.

use std::sync::Arc;

use anyhow::Result;

use super::{Figure, MESSAGE_BYTES, Scale, payloads, topic_with_publisher};
use crate::load::{Acknowledged, closed_loop};
use crate::machine::written::Storage;
use crate::system::{Mode, System};

/// Messages under way.
pub const IN_FLIGHT: u64 = 64;

/// Messages a second, latencies, what the servers' processors did for a message, and the disk for a byte.
///
/// # Errors
/// When a publish fails.
pub async fn run<S: System>(system: &S, scale: &Scale, storage: &Storage) -> Result<Vec<Figure>> {
    let publisher = topic_with_publisher(system, "w2", Mode::Shared).await?;
    let writing = storage.begin().await?;
    let before = system.servers().processor_seconds()?;
    let all = load::<S>(&publisher, scale).await?;
    // The warm-up ran under the same load.
    let spent =
        (system.servers().processor_seconds()? - before) * scale.measure_s / (scale.warm_s + scale.measure_s);
    let mut figures = vec![
        ("w2", all.rate()),
        ("w2-p50", all.quantile_ms(0.5)),
        ("w2-p99", all.quantile_ms(0.99)),
        ("w2-cpu", spent * 1e6 / all.count as f64),
    ];
    figures.extend(writing.end("w2-written", all.total * MESSAGE_BYTES as u64).await?);
    Ok(figures)
}

/// The load alone, for whoever wants to do something meanwhile.
pub(crate) async fn load<S: System>(publisher: &Arc<S::Publisher>, scale: &Scale) -> Result<Acknowledged> {
    closed_loop(publisher, &payloads(), IN_FLIGHT, scale.span(), |_, _| 0).await
}

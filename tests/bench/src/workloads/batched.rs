//! W3: as many messages as possible into one topic, at three sizes.

use anyhow::Result;

use super::{Figure, Scale, topic_with_publisher};
use crate::load::pipelined;
use crate::machine::written::Storage;
use crate::payload::Payloads;
use crate::system::{Mode, System};

/// Sizes with the names of their rates in messages and in megabytes a second, and of what went to the disk.
const SIZES: [(usize, &str, &str, &str); 3] = [
    (256, "w3-256", "w3-256-mb", "w3-256-written"),
    (1024, "w3-1k-msgs", "w3-1k", "w3-1k-written"),
    (16 * 1024, "w3-16k-msgs", "w3-16k", "w3-16k-written"),
];

/// Messages and megabytes a second, and what the disk did for a byte.
///
/// # Errors
/// When a publish fails.
pub async fn run<S: System>(system: &S, scale: &Scale, storage: &Storage) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (bytes, messages_name, megabytes_name, written_name) in SIZES {
        let publisher = topic_with_publisher(system, &format!("w3-{bytes}"), Mode::Batched).await?;
        let writing = storage.begin().await?;
        let all = pipelined(&publisher, &Payloads::new(bytes), scale.span()).await?;
        figures.push((messages_name, all.rate()));
        figures.push((megabytes_name, all.rate() * bytes as f64 / 1e6));
        figures.extend(writing.end(written_name, all.total * bytes as u64).await?);
    }
    Ok(figures)
}

//! W5: one consumer reads a topic from its beginning. What it read is proven by number and sum.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Figure, Scale, payloads, topic_with_publisher};
use crate::load::publish_all;
use crate::payload::head;
use crate::system::{Mode, Reader as _, Start, System};

/// How long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages a second.
///
/// # Errors
/// When a message cannot be published or read, is missing, or is another one.
pub async fn run<S: System>(system: &S, scale: &Scale) -> Result<Vec<Figure>> {
    let publisher = topic_with_publisher(system, "w5", Mode::Batched).await?;
    let payloads = payloads();
    publish_all(&publisher, &payloads, scale.read_back).await?;
    drop(publisher);
    let mut reader = system.reader("w5", Start::Earliest).await?;
    let (mut count, mut sum) = (0_u64, 0_u64);
    let began = Instant::now();
    let mut progress = (0, began);
    while count < scale.read_back {
        reader
            .read(&mut |payload| {
                count += 1;
                sum = sum.wrapping_add(head(payload));
            })
            .await?;
        if count > progress.0 {
            progress = (count, Instant::now());
        }
        ensure!(progress.1.elapsed() < PATIENCE, "{count} of {} messages were read", scale.read_back);
    }
    let seconds = began.elapsed().as_secs_f64();
    ensure!(count == scale.read_back, "{count} messages were read, {} published", scale.read_back);
    ensure!(sum == payloads.sum_of_heads(count), "other messages were read than published");
    Ok(vec![("w5", count as f64 / seconds)])
}

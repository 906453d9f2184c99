//! W6: one publisher and 50 subscribers that listen while it publishes, at full speed and at 200 messages a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::{Figure, Scale, payloads, topic_with_publisher};
use crate::load::{publish_all, publish_each};
use crate::payload::{Payloads, head};
use crate::system::{Mode, Publisher, Reader as _, Start, System};

/// Subscribers, each of which gets every message.
const SUBSCRIBERS: usize = 50;
/// Messages a second of the second part.
const PACE: u64 = 200;
/// How long the slowest subscriber may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest latency that is told apart from longer ones, in nanoseconds.
const LATENCY_MAX_NS: u64 = 120_000_000_000;
/// Messages, before those that count, that wake everybody up.
const WARM: u64 = 100;

/// Deliveries a second at full speed; delivery latency at 200 messages a second.
///
/// # Errors
/// When a message cannot be published, or a subscriber does not get all of them.
pub async fn run<S: System>(system: &S, scale: &Scale) -> Result<Vec<Figure>> {
    let rate = full_speed(system, scale.live).await.context("at full speed")?;
    let messages = (scale.live_paced_s * PACE as f64) as u64;
    let latencies = paced(system, messages).await.context("at 200 messages a second")?;
    let ms = |share| latencies.value_at_quantile(share) as f64 / 1e6;
    Ok(vec![("w6", rate), ("w6-p50", ms(0.5)), ("w6-p99", ms(0.99))])
}

async fn full_speed<S: System>(system: &S, messages: u64) -> Result<f64> {
    let publisher = topic_with_publisher(system, "w6-full", Mode::Batched).await?;
    let payloads = payloads();
    let expected = payloads.sum_of_heads(messages);
    let mut subscribers = JoinSet::new();
    for _ in 0..SUBSCRIBERS {
        let mut reader = system.reader("w6-full", Start::Latest).await?;
        subscribers.spawn(async move {
            let (mut count, mut sum) = (0, 0_u64);
            while count < messages {
                let each = &mut |payload: &[u8]| {
                    count += 1;
                    sum = sum.wrapping_add(head(payload));
                };
                reader.read(each).await?;
            }
            ensure!(
                count == messages && sum == expected,
                "a subscriber got {count} of {messages} messages, or others"
            );
            Ok(Instant::now())
        });
    }
    let began = Instant::now();
    publish_all(&publisher, &payloads, messages).await?;
    let mut last = began;
    while let Some(ended) =
        timeout(PATIENCE, subscribers.join_next()).await.context("a subscriber waits in vain")?
    {
        last = last.max(ended??);
    }
    Ok((messages * SUBSCRIBERS as u64) as f64 / (last - began).as_secs_f64())
}

/// Latencies from handing a message to the client until a subscriber has it, in nanoseconds.
async fn paced<S: System>(system: &S, messages: u64) -> Result<Histogram<u64>> {
    let publisher = topic_with_publisher(system, "w6-paced", Mode::Prompt).await?;
    let origin = Instant::now();
    let mut subscribers = JoinSet::new();
    let (awake, mut all_awake) = mpsc::unbounded_channel();
    for _ in 0..SUBSCRIBERS {
        let mut reader = system.reader("w6-paced", Start::Latest).await?;
        let awake = awake.clone();
        subscribers.spawn(async move {
            let mut latencies = Histogram::<u64>::new_with_max(LATENCY_MAX_NS, 3)?;
            let mut count = 0;
            while count < WARM + messages {
                let each = &mut |payload: &[u8]| {
                    count += 1;
                    if count == WARM {
                        // Where nobody listens any more, the publisher has given up.
                        let _ = awake.send(());
                    }
                    if count > WARM {
                        latencies.saturating_record(nanoseconds(origin).saturating_sub(head(payload)));
                    }
                };
                reader.read(each).await?;
            }
            ensure!(count == WARM + messages, "a subscriber got {count} of {messages} messages");
            anyhow::Ok(latencies)
        });
    }
    let payloads = payloads();
    let warm = payloads.clone();
    publish_each(&publisher, WARM, move |_| warm.with_head(nanoseconds(origin))).await?;
    for _ in 0..SUBSCRIBERS {
        timeout(PATIENCE, all_awake.recv()).await.context("a subscriber does not wake up")?;
    }
    publish_paced(&publisher, &payloads, messages, origin).await?;
    let mut all = Histogram::<u64>::new_with_max(LATENCY_MAX_NS, 3)?;
    while let Some(ended) =
        timeout(PATIENCE, subscribers.join_next()).await.context("a subscriber waits in vain")?
    {
        all.add(&ended??)?;
    }
    Ok(all)
}

async fn publish_paced<P: Publisher>(
    publisher: &Arc<P>,
    payloads: &Payloads,
    messages: u64,
    origin: Instant,
) -> Result<()> {
    let began = tokio::time::Instant::now();
    let mut deliveries = JoinSet::new();
    for number in 0..messages {
        sleep_until(began + Duration::from_micros(number * 1_000_000 / PACE)).await;
        deliveries.spawn(publisher.enqueue(0, payloads.with_head(nanoseconds(origin))).await?);
    }
    while let Some(ended) = deliveries.join_next().await {
        ended??;
    }
    Ok(())
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

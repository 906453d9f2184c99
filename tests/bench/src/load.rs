//! Ways to publish: so many callers that wait for each acknowledgement, or one that keeps a window full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::payload::Payloads;
use crate::system::Publisher;
use crate::workloads::MESSAGE_BYTES;

/// When to look: first nothing is counted, so that caches, connections and just-in-time compilers are warm.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Not counted.
    pub warm: Duration,
    /// Counted.
    pub measure: Duration,
}

/// Acknowledgements within a span.
#[derive(Debug)]
pub struct Acknowledged {
    /// How many.
    pub count: u64,
    /// How many there were before and after it besides: all that was published.
    pub total: u64,
    /// Of how long.
    pub seconds: f64,
    /// From handing over to acknowledgement, in nanoseconds.
    pub latencies: Histogram<u64>,
}

impl Acknowledged {
    fn new(span: Span) -> Result<Self> {
        Ok(Self { count: 0, total: 0, seconds: span.measure.as_secs_f64(), latencies: Histogram::new(3)? })
    }

    /// Messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// A quantile of the latencies, in milliseconds.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64 / 1e6
    }

    fn note(&mut self, latency: Duration) -> Result<()> {
        self.count += 1;
        Ok(self.latencies.record(u64::try_from(latency.as_nanos())?)?)
    }
}

/// `callers` publish one message at a time each; message `i` of a caller goes to the topic that `topic_of` says.
///
/// # Errors
/// When a publish fails, or nothing is acknowledged.
pub async fn closed_loop<P: Publisher>(
    publisher: &Arc<P>,
    payloads: &Payloads,
    callers: u64,
    span: Span,
    topic_of: impl Fn(u64, u64) -> usize + Copy + Send + 'static,
) -> Result<Acknowledged> {
    let from = Instant::now() + span.warm;
    let until = from + span.measure;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (publisher, payloads) = (Arc::clone(publisher), payloads.clone());
        tasks.spawn(async move {
            let mut acknowledged = Acknowledged::new(span)?;
            for turn in 0.. {
                let begun = Instant::now();
                if begun >= until {
                    break;
                }
                let payload = payloads.get(caller + turn * callers);
                publisher.enqueue(topic_of(caller, turn), payload).await?.await?;
                let now = Instant::now();
                acknowledged.total += 1;
                if now >= from && now < until {
                    acknowledged.note(now - begun)?;
                }
            }
            anyhow::Ok(acknowledged)
        });
    }
    let mut all = Acknowledged::new(span)?;
    while let Some(ended) = tasks.join_next().await {
        let one = ended??;
        all.count += one.count;
        all.total += one.total;
        all.latencies.add(&one.latencies)?;
    }
    anyhow::ensure!(all.count > 0, "nothing was acknowledged within {:?}", span.measure);
    Ok(all)
}

/// One caller hands messages for the first topic over as fast as they are taken, with a window of them under way.
///
/// # Errors
/// When a publish fails, or nothing is acknowledged.
pub async fn pipelined<P: Publisher>(
    publisher: &Arc<P>,
    payloads: &Payloads,
    span: Span,
) -> Result<Acknowledged> {
    let from = Instant::now() + span.warm;
    let until = from + span.measure;
    let (sender, mut deliveries) = mpsc::channel(publisher.window(payloads.bytes()));
    let (feeding, feed) = (Arc::clone(publisher), payloads.clone());
    let feeder = tokio::spawn(async move {
        for number in 0.. {
            let begun = Instant::now();
            if begun >= until {
                break;
            }
            let delivery = feeding.enqueue(0, feed.get(number)).await?;
            if sender.send((begun, delivery)).await.is_err() {
                break;
            }
        }
        anyhow::Ok(())
    });
    let mut all = Acknowledged::new(span)?;
    while let Some((begun, delivery)) = deliveries.recv().await {
        delivery.await?;
        let now = Instant::now();
        all.total += 1;
        if now >= from && now < until {
            all.note(now - begun)?;
        }
    }
    feeder.await??;
    anyhow::ensure!(all.count > 0, "nothing was acknowledged within {:?}", span.measure);
    Ok(all)
}

/// Publishes the payloads `0..count` to the first topic, all acknowledged when this returns.
///
/// # Errors
/// When a publish fails.
pub async fn publish_all<P: Publisher>(publisher: &Arc<P>, payloads: &Payloads, count: u64) -> Result<()> {
    publish_each(publisher, count, {
        let payloads = payloads.clone();
        move |number| payloads.get(number)
    })
    .await
}

/// Publishes what `payload` makes for `0..count`, of the usual size, to the first topic, all acknowledged when this returns.
///
/// # Errors
/// When a publish fails.
pub async fn publish_each<P: Publisher>(
    publisher: &Arc<P>,
    count: u64,
    payload: impl Fn(u64) -> bytes::Bytes + Send + 'static,
) -> Result<()> {
    let (sender, mut deliveries) = mpsc::channel(publisher.window(MESSAGE_BYTES));
    let feeding = Arc::clone(publisher);
    let feeder = tokio::spawn(async move {
        for number in 0..count {
            let delivery = feeding.enqueue(0, payload(number)).await?;
            if sender.send(delivery).await.is_err() {
                // Whoever waited for acknowledgements has failed, and says why.
                break;
            }
        }
        anyhow::Ok(())
    });
    let mut acknowledged = 0;
    while let Some(delivery) = deliveries.recv().await {
        delivery.await?;
        acknowledged += 1;
    }
    feeder.await??;
    anyhow::ensure!(acknowledged == count, "{acknowledged} of {count} messages were acknowledged");
    Ok(())
}

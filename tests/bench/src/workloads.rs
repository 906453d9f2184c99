//! What is measured, one module a workload. Each gives figures by name; [`crate::figures::METRICS`] says what they are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::load::Span;
use crate::payload::Payloads;
use crate::system::{Mode, System};

pub mod batched;
pub mod concurrent;
pub mod failover;
pub mod growth;
pub mod live;
pub mod many_topics;
pub mod memory;
pub mod one_in_flight;
pub mod read_back;

/// Bytes of a message where a workload does not vary them.
pub const MESSAGE_BYTES: usize = 256;

/// A figure with the name of its metric.
pub type Figure = (&'static str, f64);

/// Names of the workloads, as in the issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// One message in flight, 256 bytes
    W1,
    /// 64 single publishes in flight, one topic
    W2,
    /// Best batched throughput, one topic: 256 bytes, 1 KiB, 16 KiB
    W3,
    /// 100 topics, 256 in flight
    W4,
    /// Reading back by one consumer
    W5,
    /// One publisher, 50 live subscribers
    W6,
    /// kill -9 of the leader under W2
    W7,
    /// Memory, and time from start to first acknowledgement
    W8,
    /// Growth: topics and peers
    W9,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::W1, Self::W2, Self::W3, Self::W4, Self::W5, Self::W6, Self::W7, Self::W8, Self::W9];
}

/// How much of everything.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Scale {
    /// Rounds; each measures every system once.
    pub rounds: u32,
    /// Seconds of load before the first workload.
    pub wake_s: f64,
    /// The same for systems that compile their program while it runs.
    pub compile_s: f64,
    /// Seconds before counting.
    pub warm_s: f64,
    /// Seconds of counting.
    pub measure_s: f64,
    /// Messages that W5 reads back.
    pub read_back: u64,
    /// Messages that each of W6's subscribers gets at full speed.
    pub live: u64,
    /// Seconds that W6 publishes at 200 messages a second.
    pub live_paced_s: f64,
    /// Numbers of topics of W9.
    pub topics: &'static [usize],
    /// Numbers of peers of W9.
    pub peers: &'static [u16],
    /// Seconds that W9 may take to create topics before it goes on without them.
    pub patience_s: f64,
}

impl Scale {
    /// What figures in the documentation come from.
    pub const FULL: Self = Self {
        rounds: 3,
        wake_s: 15.0,
        compile_s: 180.0,
        warm_s: 2.0,
        measure_s: 6.0,
        read_back: 1_000_000,
        live: 50_000,
        live_paced_s: 10.0,
        topics: &[1, 10, 100, 1000, 10_000],
        peers: &[3, 5, 8, 16],
        patience_s: 180.0,
    };

    /// A few minutes.
    pub const QUICK: Self = Self {
        rounds: 1,
        wake_s: 5.0,
        compile_s: 60.0,
        warm_s: 1.0,
        measure_s: 2.0,
        read_back: 300_000,
        live: 10_000,
        live_paced_s: 3.0,
        topics: &[1, 100, 1000],
        peers: &[3, 8],
        patience_s: 30.0,
    };

    /// When to look.
    #[must_use]
    pub fn span(&self) -> Span {
        Span { warm: Duration::from_secs_f64(self.warm_s), measure: Duration::from_secs_f64(self.measure_s) }
    }
}

/// Makes one topic and a publisher for it.
pub(crate) async fn topic_with_publisher<S: System>(
    system: &S,
    topic: &str,
    mode: Mode,
) -> Result<Arc<S::Publisher>> {
    let topics = [topic.to_owned()];
    system.create_topics(&topics).await?;
    Ok(Arc::new(system.publisher(&topics, mode).await?))
}

/// Payloads of the usual size.
pub(crate) fn payloads() -> Payloads {
    Payloads::new(MESSAGE_BYTES)
}

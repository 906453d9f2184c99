//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::workloads::{Scale, Workload};

/// Compares hcube with NATS JetStream and Apache Kafka on this machine.
#[derive(Debug, Clone, Parser)]
#[command(name = "tests/bench/run")]
pub struct Options {
    /// A few minutes: one round, fewer messages, shorter looks
    #[arg(long)]
    pub quick: bool,
    /// Systems, separated by commas; all unless said
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub systems: Vec<String>,
    /// Workloads, separated by commas; all unless said (with --quick all but W9)
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub workloads: Vec<Workload>,
    /// Rounds; each takes every system once, in another order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE", env = "HCUBE_BENCH_JSON")]
    pub json: Option<PathBuf>,
    /// Where charts go, as SVG
    #[arg(long, value_name = "DIR")]
    pub charts: Option<PathBuf>,
    /// Draw the charts of an earlier run from its JSON, and measure nothing
    #[arg(long, value_name = "FILE", requires = "charts")]
    pub redraw: Option<PathBuf>,
    /// Leave out what the machine itself can do
    #[arg(long)]
    pub no_machine: bool,
    /// The program hcube
    #[arg(long, env = "HCUBE_BIN", value_name = "FILE")]
    pub hcube: PathBuf,
    /// The program nats-server
    #[arg(long, env = "NATS_SERVER", value_name = "FILE")]
    pub nats_server: Option<PathBuf>,
    /// The folder of Kafka's jars
    #[arg(long, env = "KAFKA_JARS", value_name = "DIR")]
    pub kafka_jars: Option<PathBuf>,
    /// Milliseconds that Kafka's producer gathers messages of callers who publish at once (W2, W4)
    #[arg(long, env = "KAFKA_LINGER_MS", value_name = "MS", default_value_t = 1.0)]
    pub kafka_linger_ms: f64,
}

impl Options {
    /// How much of everything.
    #[must_use]
    pub fn scale(&self) -> Scale {
        let scale = if self.quick { Scale::QUICK } else { Scale::FULL };
        Scale { rounds: self.rounds.unwrap_or(scale.rounds), ..scale }
    }

    /// What is measured, in order.
    #[must_use]
    pub fn chosen(&self) -> Vec<Workload> {
        let mut chosen = self.workloads.clone();
        if chosen.is_empty() {
            chosen = Workload::ALL.to_vec();
            chosen.retain(|workload| !self.quick || *workload != Workload::W9);
        }
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }
}

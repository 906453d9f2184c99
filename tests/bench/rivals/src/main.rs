//! The comparison with all systems: hcube, NATS JetStream and Apache Kafka, the latter two with and without a sync of
//! every message.

mod charts;
mod kafka;
mod nats;

use anyhow::anyhow;
use clap::Parser as _;
use hcube_compare::compare::{compare, ours};
use hcube_compare::options::Options;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut contenders = ours(&options);
    let mut absent = Vec::new();
    for name in ["nats-default", "nats-sync"] {
        match &options.nats_server {
            Some(program) => contenders.push(Box::new(nats::Nats::new(name, program.clone()))),
            None => absent.push((name.into(), anyhow!("nats-server is not installed; set NATS_SERVER"))),
        }
    }
    for name in ["kafka-default", "kafka-sync"] {
        match &options.kafka_jars {
            Some(jars) => contenders.push(Box::new(kafka::Kafka::new(
                name,
                jars.clone(),
                options.kafka_linger_ms.to_string(),
            ))),
            None => absent.push((name.into(), anyhow!("Kafka is not installed; set KAFKA_JARS"))),
        }
    }
    compare(&options, contenders, absent, charts::draw)
}

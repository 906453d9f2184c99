//! Many clients at once, one message a request and in batches.

use std::time::Instant;

use hcube_api::messages::{PullQuery, Start};
use hcube_api::topics::{CreateTopic, Partitions};
use hcube_core::record::{Batch, Producer, Record};
use hcube_core::topic::Name;
use tokio::task::JoinSet;

use super::Run;
use super::report::{Latencies, Row};
use crate::output::Output;

/// Partitions that the clients share out.
const PARTITIONS: u16 = 16;
/// Messages of a batch, and of a page that is pulled.
const BATCH: u32 = 100;

/// Times publishing one by one, publishing in batches, and pulling it all.
pub async fn rows(run: &Run, clients: u16, messages: u32, output: &Output) -> anyhow::Result<Vec<Row>> {
    let topic = run.name("concurrent");
    let partitions = Partitions::try_from(PARTITIONS)?;
    run.client.create_topic(&topic, &CreateTopic { partitions, ..CreateTopic::default() }).await?;
    let each = messages.div_ceil(u32::from(clients));
    let mut rows = Vec::new();
    let kinds = [("publish", 1, each), ("publish batches of 100", BATCH, each.div_ceil(BATCH))];
    for (api, records, requests) in kinds {
        output.talk(format_args!("{api}: {clients} clients"));
        let (took, latencies) = together(clients, |at| publish(run, &topic, at, records, requests)).await?;
        let count = u64::from(records) * u64::from(requests) * u64::from(clients);
        rows.push(Row::new(api, clients, count, took, &latencies));
    }
    output.talk(format_args!("pull pages of 100: {PARTITIONS} clients"));
    let (took, read) = together(PARTITIONS, |at| pull(run, &topic, at)).await?;
    let count = rows.iter().map(|row: &Row| row.count).sum();
    rows.push(Row::new("pull pages of 100", PARTITIONS, count, took, &read));
    run.client.delete_topic(&topic).await?;
    Ok(rows)
}

/// Runs so many clients at once; how long all took together, and their latencies.
async fn together<F>(
    clients: u16,
    client: impl Fn(u16) -> F,
) -> anyhow::Result<(std::time::Duration, Latencies)>
where
    F: Future<Output = anyhow::Result<Latencies>> + Send + 'static,
{
    let begun = Instant::now();
    let mut tasks: JoinSet<_> = (0..clients).map(client).collect();
    let mut all = Latencies::new();
    while let Some(ended) = tasks.join_next().await {
        all.add(&ended??);
    }
    Ok((begun.elapsed(), all))
}

fn publish(
    run: &Run,
    topic: &Name,
    at: u16,
    records: u32,
    requests: u32,
) -> impl Future<Output = anyhow::Result<Latencies>> + Send + 'static {
    let (client, topic, record) = (run.client.clone(), topic.clone(), run.record());
    async move {
        let partition = at % PARTITIONS;
        let publisher = client.register_publisher(None).await?;
        let records: Vec<Record> = vec![record; records as usize];
        let mut latencies = Latencies::new();
        let mut sequence = 0;
        for _ in 0..requests {
            let producer = Producer { id: publisher.producer_id, epoch: publisher.epoch, sequence };
            let sent = Instant::now();
            match &records[..] {
                [only] => {
                    client.publish(&topic, Some(partition), only.clone(), Some(producer)).await?;
                }
                several => {
                    client.publish_batch(&topic, partition, &Batch::build(producer, several)?).await?;
                }
            }
            latencies.record(sent.elapsed());
            sequence += records.len() as u64;
        }
        Ok(latencies)
    }
}

fn pull(
    run: &Run,
    topic: &Name,
    partition: u16,
) -> impl Future<Output = anyhow::Result<Latencies>> + Send + 'static {
    let (client, topic) = (run.client.clone(), topic.clone());
    async move {
        let mut query = PullQuery { partition: Some(partition), limit: BATCH, ..PullQuery::default() };
        let mut latencies = Latencies::new();
        loop {
            let sent = Instant::now();
            let pulled = client.pull(&topic, &query).await?;
            if pulled.messages.is_empty() {
                return Ok(latencies);
            }
            latencies.record(sent.elapsed());
            query.from = Some(Start::Cursor(pulled.next));
        }
    }
}

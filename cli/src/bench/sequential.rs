//! One client, one request after the other: the seed system's benchmark.

use std::time::Instant;

use hcube_api::clients::{Position, SetCursor};
use hcube_api::messages::{PullQuery, Start};
use hcube_api::topics::CreateTopic;
use hcube_core::record::Producer;

use super::Run;
use super::report::{Latencies, Row};
use crate::output::Output;

/// What the seed system reported, requests a second, by the names that it used: Python, in memory, no sync.
const SEED: [(&str, u32); 7] = [
    ("create_publisher", 569),
    ("create_subscriber", 587),
    ("create_topic", 111),
    ("delete_topic", 584),
    ("publish", 440),
    ("subscribe", 528),
    ("pull", 517),
];

/// Times every API with so many requests each.
pub async fn rows(run: &Run, requests: u32, output: &Output) -> anyhow::Result<Vec<Row>> {
    let client = &run.client;
    let progress = output.progress(Some(u64::from(requests) * SEED.len() as u64), "requests");
    let timer = Timer { requests, progress: &progress };
    let mut rows = Vec::new();
    rows.push(
        timer
            .time("create_publisher", async |i| {
                client.register_publisher(Some(&run.name(format_args!("p{i}")))).await.map(drop)
            })
            .await?,
    );
    rows.push(
        timer
            .time("create_subscriber", async |i| {
                client.register_subscriber(&run.name(format_args!("s{i}"))).await.map(drop)
            })
            .await?,
    );
    let settings = CreateTopic::default();
    rows.push(
        timer
            .time("create_topic", async |i| {
                client.create_topic(&run.name(format_args!("t{i}")), &settings).await.map(drop)
            })
            .await?,
    );
    rows.push(
        timer
            .time("delete_topic", async |i| client.delete_topic(&run.name(format_args!("t{i}"))).await)
            .await?,
    );
    let topic = run.name("messages");
    client.create_topic(&topic, &settings).await?;
    let publisher = client.register_publisher(None).await?;
    rows.push(
        timer
            .time("publish", async |i| {
                let producer =
                    Producer { id: publisher.producer_id, epoch: publisher.epoch, sequence: u64::from(i) };
                client.publish(&topic, Some(0), run.record(), Some(producer)).await.map(drop)
            })
            .await?,
    );
    // A subscription that outlives its peer is a durable cursor; putting it somewhere is one replicated write.
    let subscriber = run.name("s0");
    rows.push(
        timer
            .time("subscribe", async |i| {
                let place = SetCursor::Partitions(vec![Position { partition: 0, offset: u64::from(i) }]);
                client.set_cursor(&subscriber, &topic, &place).await.map(drop)
            })
            .await?,
    );
    rows.push(
        timer
            .time("pull", async |i| {
                let from = Some(Start::Offset(u64::from(i)));
                let query = PullQuery { partition: Some(0), from, limit: 1, ..PullQuery::default() };
                client.pull(&topic, &query).await.map(drop)
            })
            .await?,
    );
    client.delete_topic(&topic).await?;
    progress.finish_and_clear();
    Ok(rows)
}

struct Timer<'p> {
    requests: u32,
    progress: &'p indicatif::ProgressBar,
}

impl Timer<'_> {
    async fn time(
        &self,
        api: &'static str,
        mut request: impl AsyncFnMut(u32) -> Result<(), hcube_client::Error>,
    ) -> anyhow::Result<Row> {
        self.progress.set_message(api);
        let mut latencies = Latencies::new();
        let begun = Instant::now();
        for i in 0..self.requests {
            let sent = Instant::now();
            request(i).await.map_err(|error| anyhow::Error::new(error).context(api))?;
            latencies.record(sent.elapsed());
            self.progress.inc(1);
        }
        let row = Row::new(api, 1, u64::from(self.requests), begun.elapsed(), &latencies);
        let seed = SEED.iter().find(|(name, _)| *name == api);
        Ok(seed.map_or(row.clone(), |(_, per_s)| row.against(*per_s)))
    }
}

//! What is there at the end: every partition as readers get it, and every replica's own copy.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hcube_api::label::Label;
use hcube_api::messages::{PullQuery, Start};
use hcube_client::{Client, Message};
use hcube_core::topic::Name;

use super::history::{Copy, History, Key, Seen};
use super::readers::seen;

/// How long all replicas together may be waited for: to catch up, and to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before what is not there yet is asked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads everything of these topics into the history.
pub async fn collect(client: &Client, topics: &[Name], history: &mut History) -> anyhow::Result<()> {
    let mut patience = PATIENCE;
    for (topic, name) in (0u16..).zip(topics) {
        let described = described(client, name).await?;
        for partition in described.partitions {
            let key = Key { topic, partition: partition.partition };
            let end = partition.high_watermark.context("every partition has a leader")?;
            let (stored, whole) = read(client, name, key, None, end, &mut patience).await;
            for replica in &partition.replicas {
                let (_, copy) = read(client, name, key, Some(&replica.label), end, &mut patience).await;
                history.copies.entry(key).or_default().push(copy);
            }
            history.stored.insert(key, stored);
            history.whole.insert(key, whole);
        }
    }
    Ok(())
}

/// The topic, once every partition tells how far it goes.
async fn described(client: &Client, name: &Name) -> anyhow::Result<hcube_api::topics::Topic> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.describe_topic(name).await {
            Ok(topic) if topic.partitions.iter().all(|partition| partition.high_watermark.is_some()) => {
                return Ok(topic);
            }
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Ok(_) if Instant::now() >= deadline => {
                anyhow::bail!("some partitions of {name} have no leader although everything is healed");
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Reads a partition up to its end, from one replica or from whichever answers; what came before the patience was
/// over. Only the time in which nothing comes is taken from that.
async fn read(
    client: &Client,
    name: &Name,
    key: Key,
    replica: Option<&Label>,
    end: u64,
    patience: &mut Duration,
) -> (Vec<Seen>, Copy) {
    let (mut records, mut sum, mut next) = (Vec::new(), DefaultHasher::new(), 0);
    while next < end {
        let query = PullQuery {
            partition: Some(key.partition),
            from: Some(Start::Offset(next)),
            limit: PullQuery::LIMIT_MAX,
            max_bytes: PullQuery::MAX_BYTES_MAX,
            replica: replica.cloned(),
            ..PullQuery::default()
        };
        let asked = Instant::now();
        match client.pull(name, &query).await {
            Ok(pulled) if !pulled.messages.is_empty() => {
                for message in &pulled.messages {
                    // An offset that was left out shows, and does not keep this from coming to an end.
                    next = next.max(message.offset) + 1;
                    add(&mut sum, message);
                    records.push(seen(message));
                }
            }
            _ if patience.is_zero() => break,
            _ => {
                tokio::time::sleep(PAUSE).await;
                *patience = patience.saturating_sub(asked.elapsed());
            }
        }
    }
    let label = replica.map_or_else(|| "any replica".to_owned(), ToString::to_string);
    let copy = Copy { label, records: records.len() as u64, checksum: sum.finish() };
    (records, copy)
}

fn add(sum: &mut DefaultHasher, message: &Message) {
    let Message { partition, offset, timestamp_ms, record } = message;
    (partition, offset, timestamp_ms, &record.key, &record.headers, &record.value).hash(sum);
}

#[cfg(test)]
mod tests {
    use hcube_core::record::Record;

    use super::*;

    #[test]
    fn a_checksum_sees_every_field() {
        let message = || Message {
            partition: 0,
            offset: 1,
            timestamp_ms: 2,
            record: Record {
                key: Some("k".into()),
                headers: vec![("h".into(), "v".into())],
                value: "x".into(),
            },
        };
        let of = |message: &Message| {
            let mut sum = DefaultHasher::new();
            add(&mut sum, message);
            sum.finish()
        };
        let changes: [fn(&mut Message); 5] = [
            |message| message.offset = 2,
            |message| message.timestamp_ms = 3,
            |message| message.record.key = None,
            |message| message.record.headers.clear(),
            |message| message.record.value = "y".into(),
        ];
        assert_eq!(of(&message()), of(&message()));
        for change in changes {
            let mut changed = message();
            change(&mut changed);
            assert_ne!(of(&changed), of(&message()));
        }
    }
}

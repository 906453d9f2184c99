//! Reading a topic as one peer gives it, page by page.

use std::time::Duration;

use reqwest::blocking::Client;
use serde_json::Value;

use crate::answer::Answer;
use crate::history::{Acked, Reading, Stored};

/// How often a reading is repeated that does not reach what was acknowledged.
const REPETITIONS: u32 = 50;
/// A pause before a repetition.
const PAUSE: Duration = Duration::from_millis(100);

/// Everything in a partition as one peer gives it, with NDJSON as it came: from whoever holds it, or from the replica
/// at a vertex.
///
/// # Errors
/// What the peer refused with.
pub fn raw(
    client: &Client,
    endpoint: &str,
    topic: &str,
    partition: u16,
    replica: Option<&str>,
) -> Result<Vec<u8>, String> {
    let own = replica.map(|label| format!("&replica={label}")).unwrap_or_default();
    let (mut all, mut from) = (Vec::new(), "earliest".to_owned());
    loop {
        let url = format!(
            "{endpoint}/v1/topics/{topic}/messages?partition={partition}&from={from}&limit=10000&max_bytes=8388608{own}"
        );
        let answer = Answer::of(client, client.get(url).header("accept", "application/x-ndjson"))?;
        if answer.status != 200 {
            return Err(answer.to_string());
        }
        if answer.body.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&answer.body);
        from = answer.header("hcube-next").ok_or_else(|| format!("no Hcube-Next: {answer}"))?.to_owned();
    }
}

/// Everything in a topic as one peer gives it.
///
/// # Errors
/// What the peer refused with.
///
/// # Panics
/// When it gives what makes no sense.
pub fn whole(client: &Client, endpoint: &str, topic: &str, partitions: u16) -> Result<Reading, String> {
    let read = |partition| {
        raw(client, endpoint, topic, partition, None).map(|bytes| (partition, parse(partition, &bytes)))
    };
    (0..partitions).map(read).collect()
}

/// A reading that reaches what was acknowledged: any replica may answer, and one may be a moment behind.
///
/// # Errors
/// What the peer refused with at last.
///
/// # Panics
/// When it gives what makes no sense.
pub fn complete(
    client: &Client,
    endpoint: &str,
    topic: &str,
    partitions: u16,
    acked: &[Acked],
) -> Result<Reading, String> {
    let mut ends = vec![0; usize::from(partitions)];
    for Acked { partition, offset, .. } in acked {
        let end = &mut ends[usize::from(*partition)];
        *end = (offset + 1).max(*end);
    }
    let reached =
        |reading: &Reading| (0..).zip(&ends).all(|(number, end)| reading[&number].len() >= size(*end));
    let mut last = whole(client, endpoint, topic, partitions);
    for _ in 0..REPETITIONS {
        if last.as_ref().is_ok_and(reached) {
            break;
        }
        std::thread::sleep(PAUSE);
        last = whole(client, endpoint, topic, partitions);
    }
    last
}

fn size(end: u64) -> usize {
    usize::try_from(end).unwrap_or(usize::MAX)
}

/// Messages of one partition in NDJSON.
#[track_caller]
fn parse(partition: u16, ndjson: &[u8]) -> Vec<Stored> {
    let text = String::from_utf8_lossy(ndjson);
    let message = |line: &str| {
        let json: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(json["partition"], partition, "{line}");
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Stored {
            offset: json["offset"].as_u64().unwrap_or_else(|| panic!("no offset: {line}")),
            value: text("value").unwrap_or_else(|| panic!("no value: {line}")),
            key: text("key"),
        }
    };
    text.lines().map(message).collect()
}

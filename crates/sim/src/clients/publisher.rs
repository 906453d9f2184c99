//! Simulated clients: publishers that retry with the same sequence until they know, and readers.

use bytes::Bytes;
use hcube_broker::request::{From, Pull, TopicRef};
use hcube_broker::{PartitionId, Request};
use hcube_consensus::Rng;
use hcube_core::ids::{NodeId, ProducerId};
use hcube_core::record::{Batch, Producer, Record};

/// A publisher of one partition.
pub(crate) struct Publisher {
    pub number: u64,
    pub topic: TopicRef,
    pub partition: u16,
    /// Sequence of the next record.
    pub sequence: u64,
    /// The batch under way, which is repeated until its end is known.
    pub under_way: Option<(Batch, Vec<Bytes>)>,
    pub acknowledged_batches: u64,
    pub repeats: u64,
}

impl Publisher {
    pub fn new(number: u64, topic: TopicRef, partition: u16) -> Self {
        Self { number, topic, partition, sequence: 0, under_way: None, acknowledged_batches: 0, repeats: 0 }
    }

    pub fn partition_id(&self) -> PartitionId {
        (self.topic.id, self.partition)
    }

    /// The request to send now: the batch whose end is not known, or a new one.
    pub fn next(&mut self, rng: &mut Rng) -> Request {
        if self.under_way.is_some() {
            self.repeats += 1;
        }
        let (number, sequence) = (self.number, self.sequence);
        let (batch, _) = self.under_way.get_or_insert_with(|| {
            let count = 1 + rng.below(5);
            let values: Vec<Bytes> =
                (sequence..sequence + count).map(|sequence| value(number, sequence, rng)).collect();
            let records: Vec<Record> =
                values.iter().map(|value| Record { value: value.clone(), ..Record::default() }).collect();
            let producer = Producer { id: ProducerId(u128::from(number) + 1), epoch: 0, sequence };
            (Batch::build(producer, &records).expect("small batches are valid"), values)
        });
        let batch = batch.clone();
        Request::Publish { topic: self.topic.clone(), partition: self.partition, batch }
    }

    /// The batch under way was acknowledged; returns its bytes and values.
    pub fn acknowledged(&mut self) -> (Bytes, Vec<Bytes>) {
        let (batch, values) = self.under_way.take().expect("only what is under way is acknowledged");
        self.sequence += values.len() as u64;
        self.acknowledged_batches += 1;
        (batch.bytes().clone(), values)
    }
}

/// A value that names its publisher and sequence, and otherwise is noise of some length.
fn value(number: u64, sequence: u64, rng: &mut Rng) -> Bytes {
    let mut out = Vec::new();
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    let noise = rng.below(400);
    while (out.len() as u64) < 16 + noise {
        out.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    out.into()
}

/// A pull of everything from an offset on.
pub(crate) fn pull(
    topic: &TopicRef,
    partition: u16,
    from: From,
    wait_ms: u32,
    replica: Option<NodeId>,
) -> Request {
    Request::Pull(Pull {
        topic: topic.clone(),
        partition,
        from,
        max_records: 1000,
        max_bytes: 32 << 10,
        wait_ms,
        replica,
        leader: false,
    })
}

/// The values in batches that were read, with their offsets, from `from` on.
pub(crate) fn values(from: u64, batches: &[hcube_broker::request::StoredBatch]) -> Vec<(u64, Bytes)> {
    let mut values = Vec::new();
    for stored in batches {
        let batch = Batch::parse(stored.batch.clone()).expect("a batch that was read is whole");
        let records = batch.records().expect("a batch that was read decodes");
        let numbered = (stored.base_offset..).zip(records);
        values.extend(numbered.filter(|(offset, _)| *offset >= from).map(|(o, record)| (o, record.value)));
    }
    values
}

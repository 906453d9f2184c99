//! What the peers have stored, with deduplication as the design asks for it.

use std::collections::{BTreeMap, VecDeque};

use hcube_client::api::clients::Position;
use hcube_client::api::messages::PublishAck;
use hcube_client::api::messages::frames::Frame;
use hcube_client::api::{Code, Problem};
use hcube_core::ids::ProducerId;
use hcube_core::limits;
use hcube_core::record::{Batch, Producer};

/// What is remembered of a producer.
#[derive(Debug, Clone)]
struct Known {
    epoch: u32,
    next: u64,
    /// Sequence and acknowledgement of the last batches.
    last: VecDeque<(u64, PublishAck)>,
}

/// The partitions of the one topic, and what else is durable.
#[derive(Debug)]
pub struct Log {
    partitions: Vec<Vec<Frame>>,
    /// By partition and producer.
    producers: BTreeMap<(u16, ProducerId), Known>,
    epochs: BTreeMap<String, u32>,
    minted: u128,
    pub positions: Vec<Position>,
    /// The highest number of batches that were under way at once in one partition.
    pub in_flight_max: usize,
    in_flight: Vec<usize>,
}

impl Log {
    pub fn new(partitions: u16) -> Self {
        Self {
            partitions: vec![Vec::new(); partitions.into()],
            producers: BTreeMap::new(),
            epochs: BTreeMap::new(),
            minted: 0,
            positions: Vec::new(),
            in_flight_max: 0,
            in_flight: vec![0; partitions.into()],
        }
    }

    pub fn partitions(&self) -> u16 {
        u16::try_from(self.partitions.len()).unwrap()
    }

    /// The offset after the last message.
    pub fn end(&self, partition: u16) -> u64 {
        let last = self.partitions[usize::from(partition)].last();
        last.map_or(0, |frame| frame.base_offset + u64::from(frame.batch.records_count()))
    }

    /// The batches with messages at an offset or after it.
    pub fn frames(&self, partition: u16, from: u64) -> Vec<Frame> {
        let frames = self.partitions[usize::from(partition)].iter();
        frames.filter(|f| f.base_offset + u64::from(f.batch.records_count()) > from).cloned().collect()
    }

    pub fn values(&self, partition: u16) -> Vec<String> {
        let records = self.frames(partition, 0).into_iter().flat_map(|frame| frame.batch.records().unwrap());
        records.map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect()
    }

    pub fn begin(&mut self, partition: u16) {
        self.in_flight[usize::from(partition)] += 1;
        self.in_flight_max = self.in_flight_max.max(self.in_flight[usize::from(partition)]);
    }

    pub fn finish(&mut self, partition: u16) {
        self.in_flight[usize::from(partition)] -= 1;
    }

    /// A new producer id, or the name's with a higher epoch.
    pub fn register(&mut self, name: Option<&str>) -> (ProducerId, u32) {
        match name {
            Some(name) => {
                let epoch = self.epochs.entry(name.to_owned()).or_insert(0);
                *epoch += 1;
                (ProducerId(0xF00), *epoch)
            }
            None => {
                self.minted += 1;
                (ProducerId(self.minted), 0)
            }
        }
    }

    /// Forgets every producer, as a partition does with those that were idle for long.
    pub fn forget_producers(&mut self) {
        self.producers.clear();
    }

    pub fn publish(&mut self, partition: u16, batch: Batch) -> Result<PublishAck, Problem> {
        let Producer { id, epoch, sequence } = batch.producer();
        let count = batch.records_count();
        let known = self.producers.get(&(partition, id));
        match known.filter(|_| id != ProducerId::NONE) {
            Some(known) if epoch < known.epoch => {
                return Err(Problem::new(Code::Fenced, format!("epoch {} took over", known.epoch)));
            }
            Some(known) if epoch == known.epoch && sequence != known.next => {
                let stored = known.last.iter().find(|(at, ack)| (*at, ack.count) == (sequence, count));
                let gap = || Problem::new(Code::SequenceGap, format!("sequence {} is due", known.next));
                return stored.map(|(_, ack)| PublishAck { duplicate: true, ..*ack }).ok_or_else(gap);
            }
            None if id != ProducerId::NONE && sequence > 0 => {
                return Err(Problem::new(Code::UnknownProducer, "forgotten"));
            }
            _ => {}
        }
        let offset = self.end(partition);
        let timestamp_ms = 1_000 + offset;
        self.partitions[usize::from(partition)].push(Frame {
            partition,
            base_offset: offset,
            timestamp_ms,
            batch,
        });
        let ack = PublishAck { partition, offset, count, timestamp_ms, duplicate: false };
        let next = sequence + u64::from(count);
        let known =
            self.producers.entry((partition, id)).or_insert(Known { epoch, next, last: VecDeque::new() });
        if known.epoch != epoch {
            *known = Known { epoch, next, last: VecDeque::new() };
        }
        known.next = next;
        known.last.push_back((sequence, ack));
        if known.last.len() > limits::DEDUPLICATION_BATCHES {
            known.last.pop_front();
        }
        Ok(ack)
    }
}

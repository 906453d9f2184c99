//! What was acknowledged is durable on a majority of the voters, has one offset, and is found there once, in the order
//! of its publisher.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_broker::PartitionId;
use hcube_core::ids::GroupId;

use super::offsets::Offsets;
use super::{Invariants, hold};

const NAME: &str = "acknowledged records stay";

/// An acknowledgement.
pub(crate) struct Promise<'a> {
    pub group: GroupId,
    pub partition: PartitionId,
    pub base_offset: u64,
    pub batch: &'a Bytes,
    pub values: &'a [Bytes],
}

/// Every value that was acknowledged, and where.
#[derive(Default)]
pub(crate) struct Acknowledged {
    values: BTreeMap<Bytes, (PartitionId, u64)>,
}

impl Invariants {
    /// A publish was acknowledged.
    pub fn acknowledge(&mut self, promise: &Promise<'_>) {
        self.told("acknowledged", promise.group, promise.batch);
        for (offset, value) in (promise.base_offset..).zip(promise.values) {
            self.acknowledged.promise(promise.partition, offset, value);
            self.offsets.saw(promise.partition, offset, value);
        }
    }
}

impl Acknowledged {
    fn promise(&mut self, partition: PartitionId, offset: u64, value: &Bytes) {
        let before = self.values.insert(value.clone(), (partition, offset));
        let same = before.is_none_or(|before| before == (partition, offset));
        hold!("a repeat gets the first offset", same, "a record is at {before:?} and at offset {offset}");
    }

    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Compares the whole content of a partition, offsets from 0, with what was promised.
    pub fn check(&self, offsets: &mut Offsets, partition: PartitionId, content: &[Bytes]) {
        for (offset, value) in (0..).zip(content) {
            offsets.saw(partition, offset, value);
        }
        for (value, (_, offset)) in self.values.iter().filter(|(_, (at, _))| *at == partition) {
            let here = usize::try_from(*offset).ok().and_then(|offset| content.get(offset));
            hold!(NAME, here == Some(value), "a record is not at offset {offset} of {partition:?}");
        }
        let mut once: Vec<&Bytes> = content.iter().collect();
        once.sort_unstable();
        let twice = once.windows(2).any(|pair| pair[0] == pair[1]);
        hold!("no record twice", !twice, "a record is in {partition:?} twice");
        // Values carry "client sequence": each client's must be in its own order.
        let mut last: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        for value in content {
            let (client, sequence) = value.split_at(8);
            let sequence = &sequence[..8];
            let before = last.insert(client, sequence);
            let rises = before.is_none_or(|before| before < sequence);
            hold!("publishers' order", rises, "a client's records are out of order in {partition:?}");
        }
    }
}

//! Offsets are dense, and the same offset holds the same bytes for every reader, on every replica, for ever.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_broker::PartitionId;

use super::hold;

/// The record at each offset, by whoever saw it first.
#[derive(Default)]
pub(crate) struct Offsets {
    seen: BTreeMap<(PartitionId, u64), Bytes>,
    pub reads: u64,
}

impl Offsets {
    /// A record was read, or acknowledged.
    pub fn saw(&mut self, partition: PartitionId, offset: u64, value: &Bytes) {
        self.reads += 1;
        let first = self.seen.entry((partition, offset)).or_insert_with(|| value.clone());
        hold!("one record an offset", first == value, "offset {offset} of {partition:?} changed");
    }

    /// Records were read one after another.
    pub fn saw_run(&mut self, partition: PartitionId, from: u64, values: &[(u64, Bytes)]) {
        for (expected, (offset, value)) in (from..).zip(values) {
            hold!(
                "offsets are dense",
                expected == *offset,
                "offset {offset} of {partition:?} stands where {expected} should"
            );
            self.saw(partition, *offset, value);
        }
    }
}

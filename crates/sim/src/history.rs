//! What clients were told, and what must therefore be true.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_broker::PartitionId;
use hcube_core::ids::{GroupId, NodeId};

/// Everything that was promised or seen so far.
#[derive(Default)]
pub(crate) struct History {
    /// Value at each offset, by whoever saw it first.
    seen: BTreeMap<(PartitionId, u64), Bytes>,
    /// Values that were acknowledged, and where.
    acknowledged: BTreeMap<Bytes, (PartitionId, u64)>,
    /// Who led a group in a term.
    leaders: BTreeMap<(GroupId, u64), NodeId>,
    pub elections: u64,
    pub reads: u64,
}

impl History {
    /// A publish was acknowledged.
    pub fn acknowledge(&mut self, partition: PartitionId, base_offset: u64, values: &[Bytes]) {
        for (offset, value) in (base_offset..).zip(values) {
            let before = self.acknowledged.insert(value.clone(), (partition, offset));
            assert!(before.is_none_or(|before| before == (partition, offset)), "a record got two offsets");
            self.saw(partition, offset, value);
        }
    }

    /// A record was read. The same offset holds the same bytes for everybody, for ever.
    pub fn saw(&mut self, partition: PartitionId, offset: u64, value: &Bytes) {
        self.reads += 1;
        let first = self.seen.entry((partition, offset)).or_insert_with(|| value.clone());
        assert_eq!(first, value, "offset {offset} of {partition:?} changed");
    }

    /// A node leads a group. One leader for each term.
    pub fn leads(&mut self, group: GroupId, term: u64, node: NodeId) {
        let elections = &mut self.elections;
        let leader = *self.leaders.entry((group, term)).or_insert_with(|| {
            *elections += 1;
            node
        });
        assert_eq!(leader, node, "two leaders of {group:?} in term {term}");
    }

    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    /// Compares the whole content of a partition, offsets from 0, with what was promised.
    pub fn check_content(&mut self, partition: PartitionId, content: &[Bytes]) {
        for (offset, value) in (0..).zip(content) {
            self.saw(partition, offset, value);
        }
        let promised = self.acknowledged.iter().filter(|(_, (at, _))| *at == partition);
        for (value, (_, offset)) in promised {
            let here = usize::try_from(*offset).ok().and_then(|offset| content.get(offset));
            assert_eq!(
                here,
                Some(value),
                "an acknowledged record is not at offset {offset} of {partition:?}"
            );
        }
        let mut once: Vec<&Bytes> = content.iter().collect();
        once.sort_unstable();
        let twice = once.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None, "a record is in {partition:?} twice");
        // Values carry "client sequence": each client's must be in its own order.
        let mut last: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        for value in content {
            let (client, sequence) = value.split_at(8);
            let sequence = &sequence[..8];
            let before = last.insert(client, sequence);
            assert!(before.is_none_or(|before| before < sequence), "a client's records are out of order");
        }
    }
}

//! A slot's state as bytes: what a snapshot of its group carries, a format version and the state in postcard.

use bytes::Bytes;
use hcube_core::codec::DecodeError;
use hcube_core::planted::{self, Bug};

use super::{Partition, Slot};

/// Version of the encoding.
const FORMAT: u8 = 2;
/// The version before placement could change, which is still read: it ends before [`Slot::placed`].
const FORMAT_FIXED: u8 = 1;

impl Slot {
    /// The state's bytes.
    ///
    /// # Panics
    /// When records still lie in the log: a snapshot stands for the log up to its index.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        postcard::to_extend(self, vec![FORMAT]).expect("a slot's state has a plain shape").into()
    }

    /// The state in these bytes.
    ///
    /// # Errors
    /// When they are not one, or of a format that this version does not know.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut slot = Self::decode_whole(bytes)?;
        if planted::is(Bug::NoDeduplicationInSnapshots) {
            slot.partitions.values_mut().for_each(Partition::forget_producers);
        }
        Ok(slot)
    }

    fn decode_whole(bytes: &Bytes) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                postcard::from_bytes(rest).map_err(|_| DecodeError::Invalid("the state of a slot"))
            }
            Some((&FORMAT_FIXED, rest)) => postcard::from_bytes(&[rest, &[0]].concat())
                .map_err(|_| DecodeError::Invalid("the state of a slot")),
            Some((other, _)) => Err(DecodeError::Unknown { what: "slot format", value: (*other).into() }),
            None => Err(DecodeError::Truncated("slot format")),
        }
    }
}

/// Chunks inside a snapshot: all of them lie in files.
pub(super) mod chunks {
    use std::collections::VecDeque;

    use hcube_core::ids::{GroupId, ReplicaId};
    use hcube_log::SortedFileId;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::partition::{Chunk, Place};

    #[derive(Serialize, Deserialize)]
    struct Row {
        first: u64,
        end: u64,
        stamp_ms: u64,
        bytes: u64,
        group: GroupId,
        replica: ReplicaId,
        generation: u64,
    }

    pub fn serialize<S: Serializer>(chunks: &VecDeque<Chunk>, serializer: S) -> Result<S::Ok, S::Error> {
        let rows: Result<Vec<Row>, S::Error> = chunks
            .iter()
            .map(|chunk| match chunk.place {
                Place::File(id) => Ok(Row {
                    first: chunk.first,
                    end: chunk.end,
                    stamp_ms: chunk.stamp_ms,
                    bytes: chunk.bytes,
                    group: id.group,
                    replica: id.replica,
                    generation: id.generation,
                }),
                Place::Log(_) => Err(S::Error::custom("records still lie in the log")),
            })
            .collect();
        rows?.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<Chunk>, D::Error> {
        let rows = Vec::<Row>::deserialize(deserializer)?;
        Ok(rows
            .into_iter()
            .map(|row| Chunk {
                first: row.first,
                end: row.end,
                stamp_ms: row.stamp_ms,
                bytes: row.bytes,
                place: Place::File(SortedFileId {
                    group: row.group,
                    replica: row.replica,
                    generation: row.generation,
                }),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::{GroupId, ProducerId, ReplicaId, TopicId};
    use hcube_core::record::{Batch, Producer, Record};
    use hcube_log::SortedFileId;
    use proptest::prelude::*;

    use super::*;
    use crate::command::Command;
    use crate::slot::Applied;

    fn publish(offset: u64) -> Command {
        let producer = Producer { id: ProducerId(9), epoch: 1, sequence: offset };
        let batch = Batch::build(producer, &[Record::default()]).unwrap().bytes().clone();
        Command::Publish { partition: (TopicId(1), 0), base_offset: offset, stamp_ms: 100 + offset, batch }
    }

    fn lived() -> Slot {
        let mut slot = Slot::default();
        let name = || "reader".parse().unwrap();
        let commands = [
            Command::Open((TopicId(1), 0)),
            Command::Open((TopicId(2), 1)),
            publish(0),
            publish(1),
            Command::Cursor { partition: (TopicId(1), 0), subscriber: name(), offset: Some(1) },
            Command::RegisterSubscriber { name: name() },
            Command::RegisterPublisher { name: name(), id: ProducerId(9) },
            Command::Close(TopicId(2)),
        ];
        for (index, command) in (2..).zip(&commands) {
            assert_ne!(slot.apply(index, command), Applied::NotOpen);
        }
        slot
    }

    #[test]
    fn a_compacted_state_round_trips() {
        let mut slot = lived();
        slot.compacted(9, Some(SortedFileId { group: GroupId(1), replica: ReplicaId(2), generation: 3 }));
        assert_eq!(Slot::decode(&slot.encode()).unwrap(), slot);
        assert_eq!(
            slot.apply(10, &Command::Open((TopicId(2), 1))),
            Applied::NotOpen,
            "a closed topic opened again"
        );
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(at: prop::sample::Index, to: u8, random: Vec<u8>) {
            let mut slot = lived();
            slot.compacted(9, Some(SortedFileId { group: GroupId(1), replica: ReplicaId(2), generation: 3 }));
            let mut bytes = slot.encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = Slot::decode(&bytes.into());
            let _ = Slot::decode(&random.into());
        }
    }
}

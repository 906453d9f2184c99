//! What a slot's replicated log holds.
//!
//! ```text
//! u8 tag, then the fields in order, little-endian; see `Command`
//! ```
//!
//! A publish keeps its record batch as the last field, unchanged, so that its bytes can be served from the
//! log without decoding anything but [`PUBLISH_HEADER_BYTES`] in front.

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::{ProducerId, TopicId};
use hcube_core::meta::command::read_name;
use hcube_core::topic::Name;

/// Bytes before the record batch in a publish.
pub const PUBLISH_HEADER_BYTES: usize = 35;

/// A partition of one life of a topic.
pub type PartitionId = (TopicId, u16);

/// One change of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Tag 1: a record batch at its place.
    Publish {
        /// Where.
        partition: PartitionId,
        /// Offset of the first record.
        base_offset: u64,
        /// The leader's clock, never falling within a slot, in milliseconds since 1970.
        stamp_ms: u64,
        /// The batch as its publisher built it.
        batch: Bytes,
    },
    /// Tag 2: from here on the slot takes publishes for the partition.
    Open(PartitionId),
    /// Tag 3: the topic is gone for ever, all its partitions in this slot included.
    Close(TopicId),
    /// Tag 4: records below the offset are gone.
    LogStart {
        /// Where.
        partition: PartitionId,
        /// The first offset that is left.
        offset: u64,
    },
    /// Tag 5: where a registered subscriber goes on.
    Cursor {
        /// Where.
        partition: PartitionId,
        /// Who.
        subscriber: Name,
        /// The next offset to read; none forgets the cursor.
        offset: Option<u64>,
    },
    /// Tag 6: a publisher registers, or registers again with the next epoch.
    RegisterPublisher {
        /// Who.
        name: Name,
        /// Its producer id, unless it has one already.
        id: ProducerId,
    },
    /// Tag 7: a subscriber registers.
    RegisterSubscriber {
        /// Who.
        name: Name,
    },
}

impl Command {
    /// The command's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Publish { partition, base_offset, stamp_ms, batch } => {
                out.reserve_exact(PUBLISH_HEADER_BYTES + batch.len());
                out.u8(1);
                write_partition(&mut out, *partition);
                out.u64(*base_offset);
                out.u64(*stamp_ms);
                out.extend_from_slice(batch);
            }
            Self::Open(partition) => {
                out.u8(2);
                write_partition(&mut out, *partition);
            }
            Self::Close(topic) => {
                out.u8(3);
                out.u128(topic.0);
            }
            Self::LogStart { partition, offset } => {
                out.u8(4);
                write_partition(&mut out, *partition);
                out.u64(*offset);
            }
            Self::Cursor { partition, subscriber, offset } => {
                out.u8(5);
                write_partition(&mut out, *partition);
                out.text(subscriber.as_str());
                out.option(*offset, |out, offset| out.u64(offset));
            }
            Self::RegisterPublisher { name, id } => {
                out.u8(6);
                out.text(name.as_str());
                out.u128(id.0);
            }
            Self::RegisterSubscriber { name } => {
                out.u8(7);
                out.text(name.as_str());
            }
        }
        out.into()
    }

    /// The command in these bytes; a publish shares its batch with them.
    ///
    /// # Errors
    /// When they are not one.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let command = match reader.u8("slot command")? {
            1 => {
                let partition = read_partition(&mut reader)?;
                let base_offset = reader.u64("base offset")?;
                let stamp_ms = reader.u64("stamp")?;
                return Ok(Self::Publish { partition, base_offset, stamp_ms, batch: reader.rest() });
            }
            2 => Self::Open(read_partition(&mut reader)?),
            3 => Self::Close(TopicId(reader.u128("topic id")?)),
            4 => Self::LogStart { partition: read_partition(&mut reader)?, offset: reader.u64("log start")? },
            5 => Self::Cursor {
                partition: read_partition(&mut reader)?,
                subscriber: read_name(&mut reader)?,
                offset: reader.option("cursor", |reader| reader.u64("cursor"))?,
            },
            6 => Self::RegisterPublisher {
                name: read_name(&mut reader)?,
                id: ProducerId(reader.u128("producer id")?),
            },
            7 => Self::RegisterSubscriber { name: read_name(&mut reader)? },
            tag => return Err(DecodeError::Unknown { what: "slot command", value: tag.into() }),
        };
        reader.finish()?;
        Ok(command)
    }
}

/// The record batch inside an entry that is known to be a publish.
#[must_use]
pub fn batch_of(entry: &Bytes) -> Option<Bytes> {
    (entry.first() == Some(&1) && entry.len() > PUBLISH_HEADER_BYTES)
        .then(|| entry.slice(PUBLISH_HEADER_BYTES..))
}

fn write_partition(out: &mut Vec<u8>, (topic, partition): PartitionId) {
    out.u128(topic.0);
    out.u16(partition);
}

fn read_partition(reader: &mut Reader) -> Result<PartitionId, DecodeError> {
    Ok((TopicId(reader.u128("topic id")?), reader.u16("partition")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn commands_round_trip(topic: u128, partition: u16, number: u64, stamp_ms: u64, batch: Vec<u8>) {
            let partition = (TopicId(topic), partition);
            let name: Name = "reader-1".parse().unwrap();
            let batch = Bytes::from([&[7][..], &batch].concat());
            let publish = Command::Publish { partition, base_offset: number, stamp_ms, batch: batch.clone() };
            prop_assert_eq!(batch_of(&publish.encode()), Some(batch));
            for command in [
                publish,
                Command::Open(partition),
                Command::Close(TopicId(topic)),
                Command::LogStart { partition, offset: number },
                Command::Cursor { partition, subscriber: name.clone(), offset: Some(number) },
                Command::Cursor { partition, subscriber: name.clone(), offset: None },
                Command::RegisterPublisher { name: name.clone(), id: ProducerId(topic) },
                Command::RegisterSubscriber { name: name.clone() },
            ] {
                prop_assert_eq!(Command::decode(command.encode()).unwrap(), command);
            }
        }

        #[test]
        fn random_bytes_never_panic(input: Vec<u8>) {
            let _ = batch_of(&input.clone().into());
            let _ = Command::decode(input.into());
        }
    }
}

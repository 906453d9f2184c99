//! A slot's state as bytes: what a snapshot of its group carries, a format version and the state in postcard.

use bytes::Bytes;
use hcube_core::codec::DecodeError;

use super::Slot;

/// Version of the encoding.
const FORMAT: u8 = 1;

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
        match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                postcard::from_bytes(rest).map_err(|_| DecodeError::Invalid("the state of a slot"))
            }
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

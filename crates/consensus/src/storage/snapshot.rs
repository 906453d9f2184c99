//! What travels inside a Raft snapshot.

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::{SortedFileId, SortedFileMeta};

/// What a Raft snapshot of a group carries: the state machine's own bytes, and the sorted files beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotData {
    /// The state machine at the snapshot's index, opaque here.
    pub state: Bytes,
    /// The files with the records, as the holder names them.
    pub files: Vec<SortedFileMeta>,
}

impl SnapshotData {
    /// The bytes inside the Raft message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.bytes(&self.state);
        out.list(self.files.iter(), |out, file| {
            out.u32(file.id.group.0);
            out.u64(file.id.replica.0);
            out.u64(file.id.generation);
            out.u64(file.bytes);
            out.u32(file.crc);
        });
        out.into()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let state = reader.bytes("snapshot state")?;
        let files = reader.list("snapshot files", |reader| {
            let id = SortedFileId {
                group: GroupId(reader.u32("file group")?),
                replica: ReplicaId(reader.u64("file replica")?),
                generation: reader.u64("file generation")?,
            };
            Ok(SortedFileMeta { id, bytes: reader.u64("file bytes")?, crc: reader.u32("file checksum")? })
        })?;
        reader.finish()?;
        Ok(Self { state, files })
    }
}

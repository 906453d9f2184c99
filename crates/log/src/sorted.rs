//! Sorted files: where a slot's records live after their log segments are gone.
//!
//! A file is immutable, named `sorted/<group>-<replica>-<generation>.sorted` after the replica that wrote it, and
//! holds rows in the order of (topic, partition, base offset). Little-endian:
//!
//! | part | content |
//! |---|---|
//! | header, 40 bytes | magic `HCUBESRT`, format version `u32`, group `u32`, replica `u64`, generation `u64`, 4 zero bytes, crc32c of the 36 before |
//! | rows | 48 bytes: batch length `u32`, crc32c of all that follows in the row and of the length, partition `u16`, 2 zero bytes, records `u32`, topic `u128`, base offset `u64`, stamp `u64`; then the batch |
//! | footer | see `Footer` in `sorted/footer.rs`: the CRC of all rows, and for each partition its range and a sparse index |
//! | trailer, 24 bytes | footer length `u64`, crc32c of the footer and that length `u32`, format version `u32`, magic |
//!
//! A file is complete under its name or not there: it is written under a temporary name, synced, renamed.
//!
//! Its batches may also stay in the log's segments, see `sorted/index.rs`; whoever reads it does not notice.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use bytes::Bytes;
use hcube_core::codec::DecodeError;
use hcube_core::ids::{GroupId, ReplicaId, TopicId};

use crate::disk::Disk;

mod content;
mod footer;
mod index;
mod read;
mod staging;
mod write;

pub use footer::{IndexPoint, PartitionRange};
pub use index::{Kept, KeptSegment, kept_by, kept_bytes, list_kept};
pub use read::{Rows, SortedFile};
pub use staging::{Staging, StagingError};
pub use write::{make_whole, write_index, write_sorted};

const DIR: &str = "sorted";
const MAGIC: &[u8; 8] = b"HCUBESRT";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 40;
const TRAILER_BYTES: u64 = 24;
const ROW_HEADER_BYTES: usize = 48;

/// Names a sorted file in the whole cluster: replica ids are never reused, and a replica counts its generations.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct SortedFileId {
    /// Whose records.
    pub group: GroupId,
    /// The replica that wrote the file first; a copy keeps the name.
    pub replica: ReplicaId,
    /// Counted up by that replica.
    pub generation: u64,
}

/// What a base remembers of a sorted file; enough to tell any other file from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SortedFileMeta {
    /// Its name.
    pub id: SortedFileId,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// crc32c of the footer, which in turn covers the CRC of all rows.
    pub crc: u32,
}

/// One batch of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The topic's life.
    pub topic: TopicId,
    /// Partition of the topic.
    pub partition: u16,
    /// Offset of the batch's first record.
    pub base_offset: u64,
    /// Records in the batch, at least 1.
    pub records: u32,
    /// The batch's replicated stamp, milliseconds since 1970.
    pub stamp_ms: u64,
    /// The batch as the client built it.
    pub batch: Bytes,
}

impl Row {
    /// The offset behind the last record.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.base_offset.saturating_add(self.records.into())
    }
}

/// Why a sorted file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SortedError {
    /// The disk failed, or the file is not there.
    #[error("sorted file {id} cannot be read: {source}")]
    Io {
        /// The file.
        id: SortedFileId,
        /// Why.
        source: io::Error,
    },
    /// A format that this version does not know, by a newer hcube perhaps.
    #[error("sorted file {id} has format version {found}; this hcube knows version {VERSION}")]
    Version {
        /// The file.
        id: SortedFileId,
        /// The version it names.
        found: u32,
    },
    /// A checksum does not hold.
    #[error("sorted file {id} is damaged at byte {at}")]
    Damaged {
        /// The file.
        id: SortedFileId,
        /// Where the damaged part begins.
        at: u64,
    },
    /// It is intact, but not the file that was asked for.
    #[error("sorted file {id} is another one than the base names")]
    Other {
        /// The file.
        id: SortedFileId,
    },
    /// The checksums hold but the content makes no sense.
    #[error("sorted file {id} is malformed: {source}")]
    Malformed {
        /// The file.
        id: SortedFileId,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl fmt::Display for SortedFileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.group, self.replica, self.generation)
    }
}

impl SortedFileId {
    fn path(self) -> String {
        format!("{DIR}/{self}.sorted")
    }

    /// Reads what [`fmt::Display`] writes.
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let id = Self {
            group: GroupId(parts.next()?.parse().ok()?),
            replica: ReplicaId(parts.next()?.parse().ok()?),
            generation: parts.next()?.parse().ok()?,
        };
        // Only the one way of writing a number counts, so that name and id stay one to one.
        (parts.next().is_none() && id.to_string() == name).then_some(id)
    }
}

/// Removes a sorted file, durably; it is no error when there is none. Readers that have it open go on,
/// but find damage where the log has used one of its segments again meanwhile.
pub fn remove_sorted<D: Disk>(disk: &D, id: SortedFileId) -> io::Result<()> {
    write::remove_if_there(disk, &id.path())?;
    match write::remove_index(disk, id) {
        // There was never any.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The sorted files on the disk that none of `referenced` names: left by a crash between writing a file and
/// writing the base that names it. What else a crash left is removed on the way: unfinished files, because no name ever
/// led to them; segments that are kept for no index; indexes of files that have been made whole.
///
/// Call it with every recovered group's files, and not when the log is damaged.
pub fn list_orphans<D: Disk>(disk: &D, referenced: &BTreeSet<SortedFileId>) -> io::Result<Vec<SortedFileId>> {
    let names = write::list_if_there(disk, DIR)?;
    let whole = |name: &String| name.strip_suffix(".sorted").and_then(SortedFileId::parse);
    let whole: BTreeSet<_> = names.iter().filter_map(whole).collect();
    let indexes: BTreeSet<_> = names.iter().filter_map(|name| index::parse(name)).collect();
    for id in whole.intersection(&indexes) {
        write::remove_index(disk, *id)?;
    }
    let is_left = |name: &&String| {
        let is_kept_for_none = |id| whole.contains(&id) || !indexes.contains(&id);
        name.ends_with(write::TEMPORARY) || index::parse_kept(name).is_some_and(is_kept_for_none)
    };
    for name in names.iter().filter(is_left) {
        write::remove_if_there(disk, &format!("{DIR}/{name}"))?;
    }
    Ok(whole.union(&indexes).filter(|id| !referenced.contains(id)).copied().collect())
}

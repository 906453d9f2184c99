//! Which batches stay in the log's segments when they leave the log, and for how long.
//!
//! What is published is written once, and not a second time into a sorted file, where much of a segment is a group's. So
//! that a few batches do not keep whole segments from being deleted, such a file is made whole, which copies its batches,
//! as soon as most of a segment is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use hcube_log::disk::Disk;
use hcube_log::sorted::{self, Kept, KeptSegment};
use hcube_log::{Position, Reader, SortedFileId};

use crate::{CompactionRow, Piece};

/// Batches of fewer bytes on average are copied: sorted, they are read much faster.
pub(super) const BATCH_BYTES_MIN: u64 = 4 << 10;
/// A group's batches stay in a segment if they are so much of it at least: one in this many bytes.
const SHARE_MIN: u64 = 64;
/// A segment that the log needs no more is kept while files refer to so much of it: one in this many bytes.
const USED_MIN: u64 = 4;

/// The segments that files keep.
#[derive(Debug, Default)]
pub(super) struct Segments {
    segments: BTreeMap<u64, Segment>,
    /// Files that could not be made whole, and whether they ever can be.
    failed: BTreeMap<SortedFileId, bool>,
}

#[derive(Debug)]
struct Segment {
    bytes: u64,
    /// The files that keep it, with bytes of their batches there.
    files: BTreeMap<SortedFileId, u64>,
}

impl Segments {
    /// What is on the disk.
    pub fn load<D: Disk>(disk: &D) -> io::Result<Self> {
        let mut loaded = Self::default();
        for (file, kept) in sorted::list_kept(disk)? {
            loaded.keep(disk, file, &kept);
        }
        Ok(loaded)
    }

    /// A file keeps these.
    pub fn keep<D: Disk>(&mut self, disk: &D, file: SortedFileId, kept: &[KeptSegment]) {
        for KeptSegment { number, bytes } in kept {
            // Of one that cannot even be opened nothing is known; it is never found wasteful.
            let whole = || sorted::kept_bytes(disk, file, *number).unwrap_or_default();
            let segment = (self.segments.entry(*number))
                .or_insert_with(|| Segment { bytes: whole(), files: BTreeMap::new() });
            segment.files.insert(file, *bytes);
        }
    }

    /// A file is gone, or whole.
    pub fn let_go(&mut self, file: SortedFileId) {
        self.failed.remove(&file);
        // With it room may have been made, which may be what others lacked.
        self.failed.retain(|_, for_good| *for_good);
        self.segments.retain(|_, segment| {
            segment.files.remove(&file);
            !segment.files.is_empty()
        });
    }

    /// A file could not be made whole: never, or not before another one is gone.
    pub fn give_up(&mut self, file: SortedFileId, for_good: bool) {
        self.failed.insert(file, for_good);
    }

    /// A file to be made whole, because it keeps a segment that is hardly used: of several the one that has least there.
    pub fn wasteful<D: Disk>(&self, reader: &Reader<D>) -> Option<SortedFileId> {
        self.segments.iter().find_map(|(number, Segment { bytes, files })| {
            if files.values().sum::<u64>() >= bytes / USED_MIN || reader.segment_bytes(*number).is_some() {
                return None;
            }
            let left = files.iter().filter(|(file, _)| !self.failed.contains_key(file));
            left.min_by_key(|(_, used)| **used).map(|(file, _)| *file)
        })
    }
}

/// The segments in which batches of a compaction are to stay, if these have so many bytes at least on average.
pub(super) fn worth_keeping<D: Disk>(
    rows: &[CompactionRow],
    reader: &Reader<D>,
    batch_bytes_min: u64,
) -> BTreeSet<u64> {
    let mut found: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for position in rows.iter().filter_map(position) {
        let (batches, bytes) = found.entry(position.segment).or_default();
        *batches += 1;
        *bytes += u64::from(position.length);
    }
    let is_worth = |(number, (batches, bytes)): (u64, (u64, u64))| {
        let whole = reader.segment_bytes(number)?;
        (bytes >= batches * batch_bytes_min && bytes >= whole / SHARE_MIN).then_some(number)
    };
    found.into_iter().filter_map(is_worth).collect()
}

fn position(row: &CompactionRow) -> Option<Position> {
    match row.piece {
        Piece::Log { position, .. } => Some(position),
        Piece::Memory(_) | Piece::File { .. } => None,
    }
}

/// Where the batch of a row lies, if that is in one of the segments. It is what an entry ends with.
pub(super) fn place(row: &CompactionRow, batch_bytes: usize, segments: &BTreeSet<u64>) -> Option<Kept> {
    let Position { segment, offset, length } = position(row)?;
    let before = u64::from(length).checked_sub(batch_bytes as u64)?;
    segments.contains(&segment).then_some(Kept { segment, offset: u64::from(offset) + before })
}

//! Carries out reads, compactions and staging over a disk: what the node's threads and the simulator share.
//!
//! Everything here is synchronous. A [`Storage`] is shared between threads; it holds a lock only to look up
//! open files and while a received part is written.

mod files;
mod kept;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hcube_consensus::Fetch;
use hcube_core::ids::GroupId;
use hcube_core::record::Batch;
use hcube_log::disk::Disk;
use hcube_log::sorted::{self, Row, SortedError, Staging, StagingError};
use hcube_log::{Reader, Recovery, SortedFileId, SortedFileMeta};

use crate::command::{PartitionId, batch_of};
use crate::request::StoredBatch;
use crate::{Compaction, CompactionRow, Piece, ReadError, ReadPlan};

use files::{Files, read_error};
use kept::Segments;

/// A sorted file is read in steps of this, because how many records are wanted may end a read long before
/// its bytes do.
const SCAN_BYTES: usize = 256 << 10;

/// Removes what an earlier life left unfinished: files that no base names, and parts of snapshots. Returns the former.
/// Those of a damaged group stay until the peer has destroyed its replica durably, and has them removed.
///
/// # Errors
/// When the disk fails.
pub fn clean<D: Disk>(disk: &D, recovery: &Recovery) -> io::Result<Vec<SortedFileId>> {
    let files = recovery.groups.values().flat_map(|group| &group.base.files);
    let referenced: BTreeSet<SortedFileId> = files.map(|file| file.id).collect();
    let orphans = sorted::list_orphans(disk, &referenced)?;
    for orphan in &orphans {
        sorted::remove_sorted(disk, *orphan)?;
    }
    Staging::clear(disk)?;
    Ok(orphans)
}

/// Reads from the log and the sorted files of one disk, and writes sorted files.
#[derive(Debug)]
pub struct Storage<D: Disk> {
    disk: D,
    reader: Reader<D>,
    files: Files<D>,
    /// The file that each group is receiving.
    receiving: Mutex<BTreeMap<GroupId, (SortedFileId, Staging<D>)>>,
    /// The segments that files keep, once anybody has asked.
    kept: Mutex<Option<Segments>>,
    batch_bytes_min: u64,
}

impl<D: Disk> Storage<D> {
    /// The storage of a node whose log has this reader.
    #[must_use]
    pub fn new(disk: D, reader: Reader<D>) -> Self {
        Self {
            files: Files::new(disk.clone()),
            disk,
            reader,
            receiving: Mutex::default(),
            kept: Mutex::default(),
            batch_bytes_min: kept::BATCH_BYTES_MIN,
        }
    }

    /// The batches of a plan, in order, each with its checksum verified.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when a piece is not where the plan says, [`ReadError::Failed`] when it is damaged.
    pub fn read(&self, plan: &ReadPlan) -> Result<Vec<StoredBatch>, ReadError> {
        let mut reading = Reading { plan, batches: Vec::new(), bytes: 0, records: 0, next: None };
        for piece in &plan.pieces {
            let goes_on = match piece {
                Piece::Memory(batch) => reading.take(batch.clone())?,
                // A batch that is too old is not even read.
                Piece::Log { stamp_ms, .. } if *stamp_ms < plan.stamp_ms => true,
                Piece::Log { base_offset, stamp_ms, position } => {
                    let batch = self.batch_at(*position)?;
                    reading.take(StoredBatch { base_offset: *base_offset, stamp_ms: *stamp_ms, batch })?
                }
                Piece::File { file, end } => self.read_rows(&mut reading, file, *end)?,
            };
            if !goes_on {
                break;
            }
        }
        Ok(reading.batches)
    }

    /// The entries of a fetch; none when one of them cannot be read.
    #[must_use]
    pub fn fetch(&self, fetch: &Fetch) -> Option<Vec<Bytes>> {
        fetch.positions.iter().map(|position| self.reader.read(*position).ok()).collect()
    }

    /// Bytes of a sorted file as it is, from byte `at`; fewer than `length` at its end.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when there is no such file.
    pub fn read_file(&self, file: &SortedFileMeta, at: u64, length: u32) -> Result<Bytes, ReadError> {
        let open = self.files.open(file)?;
        open.read_chunk(at, length as usize).map_err(|error| read_error(&error))
    }

    /// Keeps batches in the log's segments where these have so many bytes at least on average.
    #[must_use]
    pub fn keeping_batches_of(mut self, bytes: u64) -> Self {
        self.batch_bytes_min = bytes;
        self
    }

    /// Writes a compaction's batches into its file, which is durable when this returns, or leaves them in the log's
    /// segments, where that is worth it. `pace` is told how many bytes are to be written next, and may wait before they
    /// are.
    ///
    /// # Errors
    /// When a batch cannot be read or is damaged, or the file cannot be written; there is no such file then.
    pub fn compact(
        &self,
        compaction: &Compaction,
        mut pace: impl FnMut(u64),
    ) -> Result<SortedFileMeta, String> {
        let Compaction { file, ref rows, may_keep_segments, .. } = *compaction;
        let segments = if may_keep_segments {
            kept::worth_keeping(rows, &self.reader, self.batch_bytes_min)
        } else {
            BTreeSet::new()
        };
        if !segments.is_empty() {
            // There are file systems that have one name for a file only.
            if let Ok(written) = self.leave(file, rows, &segments, &mut pace) {
                return Ok(written);
            }
        }
        self.write_rows(rows, |rows| {
            let rows = rows.map(|(_, row)| row).inspect(|row| pace(row.batch.len() as u64));
            sorted::write_sorted(&self.disk, file, rows)
        })
    }

    /// Leaves batches in these segments, and copies the others.
    fn leave(
        &self,
        file: SortedFileId,
        rows: &[CompactionRow],
        segments: &BTreeSet<u64>,
        pace: &mut impl FnMut(u64),
    ) -> Result<SortedFileMeta, String> {
        let written = self.write_rows(rows, |rows| {
            let rows = rows.map(|(at, row)| {
                let place = kept::place(at, row.batch.len(), segments);
                // What stays is gone through at once: spread out, it would meet twice as many publishes.
                if place.is_none() {
                    pace(row.batch.len() as u64);
                }
                (row, place)
            });
            sorted::write_index(&self.disk, file, segments, rows)
        })?;
        if let Some(known) = &mut *self.kept() {
            known.keep(&self.disk, file, &sorted::kept_by(&self.disk, file).unwrap_or_default());
        }
        Ok(written)
    }

    /// Writes a file of the batches of these rows, which are read one after the other.
    fn write_rows(
        &self,
        rows: &[CompactionRow],
        write: impl FnOnce(&mut dyn Iterator<Item = (&CompactionRow, Row)>) -> io::Result<SortedFileMeta>,
    ) -> Result<SortedFileMeta, String> {
        let mut failed = None;
        let mut rows = rows.iter().map_while(|row| match self.row(row) {
            Ok(read) => Some((row, read)),
            Err(error) => {
                failed = Some(error.to_string());
                None
            }
        });
        let written = write(&mut rows);
        match (written, failed) {
            (Ok(file), None) => Ok(file),
            (Ok(file), Some(reason)) => match self.remove(&[file.id]) {
                Ok(()) => Err(reason),
                Err(error) => Err(format!("{reason}; then {error}")),
            },
            (Err(error), _) => Err(error.to_string()),
        }
    }

    /// Makes a file whole that keeps a segment which is hardly used any more, if there is one, and returns it. To be called
    /// whenever there is nothing else to do. `pace` as in [`Storage::compact`].
    ///
    /// # Errors
    /// When it cannot be. It stays as it was, and is not tried again before another file is gone.
    pub fn let_segment_go(&self, pace: impl FnMut(u64)) -> Result<Option<SortedFileId>, String> {
        let mut kept = self.kept();
        let segments = match &mut *kept {
            Some(segments) => segments,
            none => none.insert(Segments::load(&self.disk).map_err(|error| error.to_string())?),
        };
        let Some(file) = segments.wasteful(&self.reader) else { return Ok(None) };
        let made = sorted::make_whole(&self.disk, file, pace);
        self.files.forget(file);
        match made {
            Ok(()) => {
                segments.let_go(file);
                Ok(Some(file))
            }
            Err(error) => {
                segments.give_up(file, !matches!(error, SortedError::Io { .. }));
                Err(error.to_string())
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Segments>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a part of a file that another peer sends. The part that reaches the file's end has it checked
    /// and put in its place, durably.
    ///
    /// Parts that were received before are skipped, so that a transfer which begins again costs no writes;
    /// should they be wrong, the check at the end throws the file away.
    ///
    /// # Errors
    /// When the part leaves a gap, the disk fails, or the whole is not the file expected.
    pub fn stage(&self, file: &SortedFileMeta, at: u64, part: &Bytes) -> Result<(), String> {
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let group = file.id.group;
        // Out of the map while it is worked on: after an error the next part opens the file anew.
        let mut staging = match receiving.remove(&group) {
            Some((id, staging)) if id == file.id => staging,
            _ => Staging::create(&self.disk, file.id).map_err(|error| error.to_string())?,
        };
        let known = usize::try_from(staging.received().saturating_sub(at)).unwrap_or(usize::MAX);
        if known < part.len() {
            let from = at + known as u64;
            staging.append(from, &part[known..]).map_err(|error| error.to_string())?;
        }
        if at + part.len() as u64 >= file.bytes {
            let finished = staging.finish(*file);
            self.files.forget(file.id);
            if let Err(error @ StagingError::Io { .. }) = &finished {
                // A sync may have failed, after which nothing that the kernel says of these bytes can be
                // believed, nor a second sync: whatever is being received begins anew.
                receiving.clear();
                Staging::clear(&self.disk).map_err(|second| format!("{error}; then {second}"))?;
            }
            finished.map_err(|error| error.to_string())?;
        } else {
            receiving.insert(group, (file.id, staging));
        }
        Ok(())
    }

    /// Removes sorted files, as many as it can; those that are not there count as removed.
    ///
    /// # Errors
    /// The first failure. The files concerned are found again as orphans at the next start.
    pub fn remove(&self, files: &[SortedFileId]) -> io::Result<()> {
        let mut result = Ok(());
        for id in files {
            result = result.and(sorted::remove_sorted(&self.disk, *id));
            // Now, when nobody can open it any more.
            self.files.forget(*id);
            if let Some(segments) = &mut *self.kept() {
                segments.let_go(*id);
            }
        }
        result
    }

    /// Reads rows of a sorted file. Returns whether the read goes on behind them.
    fn read_rows(
        &self,
        reading: &mut Reading<'_>,
        file: &SortedFileMeta,
        end: u64,
    ) -> Result<bool, ReadError> {
        let open = self.files.open(file)?;
        let ReadPlan { partition: (topic, partition), from, stamp_ms, .. } = *reading.plan;
        let mut from = reading.next.unwrap_or_default().max(from);
        if stamp_ms > 0 {
            match open.find_stamp(topic, partition, stamp_ms).map_err(|error| read_error(&error))? {
                Some(first) => from = from.max(first),
                None => return Ok(true),
            }
        }
        while from < end {
            let rows = open.scan(topic, partition, from, SCAN_BYTES).map_err(|error| read_error(&error))?;
            if rows.is_empty() {
                return Err(ReadError::Failed(format!("sorted file {} ends before offset {end}", file.id)));
            }
            for row in rows.into_iter().filter(|row| row.base_offset < end) {
                from = row.end_offset();
                let Row { base_offset, stamp_ms, batch, .. } = row;
                if !reading.take(StoredBatch { base_offset, stamp_ms, batch })? {
                    return Ok(false);
                }
            }
            if from < end && open.find(topic, partition, from).is_none() {
                return Err(ReadError::Failed(format!("sorted file {} ends at offset {from}", file.id)));
            }
        }
        Ok(true)
    }

    fn row(&self, row: &CompactionRow) -> Result<Row, ReadError> {
        let CompactionRow { partition: (topic, partition), records, ref piece } = *row;
        let (base_offset, stamp_ms, batch) = match piece {
            Piece::Memory(batch) => (batch.base_offset, batch.stamp_ms, batch.batch.clone()),
            Piece::Log { base_offset, stamp_ms, position } => {
                (*base_offset, *stamp_ms, self.batch_at(*position)?)
            }
            Piece::File { file, .. } => {
                return Err(ReadError::Failed(format!("file {} cannot be a row", file.id)));
            }
        };
        if checked(&batch, (topic, partition), base_offset)? != records {
            let message = format!("the batch at offset {base_offset} does not have {records} records");
            return Err(ReadError::Failed(message));
        }
        Ok(Row { topic, partition, base_offset, records, stamp_ms, batch })
    }

    fn batch_at(&self, position: hcube_log::Position) -> Result<Bytes, ReadError> {
        let entry = self.reader.read(position).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Gone,
            _ => ReadError::Failed(error.to_string()),
        })?;
        batch_of(&entry).ok_or_else(|| ReadError::Failed("the entry is not a publish".to_owned()))
    }
}

/// A read under way.
struct Reading<'p> {
    plan: &'p ReadPlan,
    batches: Vec<StoredBatch>,
    bytes: u64,
    records: u64,
    /// The offset after the last batch taken; none before the first.
    next: Option<u64>,
}

impl Reading<'_> {
    /// Takes the next batch, unless the plan has enough or does not want it. Returns whether there may be more.
    fn take(&mut self, batch: StoredBatch) -> Result<bool, ReadError> {
        let StoredBatch { base_offset, stamp_ms, .. } = batch;
        if stamp_ms < self.plan.stamp_ms {
            return Ok(true);
        }
        let bytes = self.bytes + batch.batch.len() as u64;
        if !self.batches.is_empty() && bytes > self.plan.max_bytes {
            return Ok(false);
        }
        let records = checked(&batch.batch, self.plan.partition, base_offset)?;
        if self.next.is_some_and(|next| next != base_offset) {
            let next = self.next.unwrap_or_default();
            let message = format!("offset {next} should follow and offset {base_offset} does");
            return Err(ReadError::Failed(message));
        }
        let end = base_offset + u64::from(records);
        self.records += end.saturating_sub(base_offset.max(self.plan.from));
        self.bytes = bytes;
        self.next = Some(end);
        self.batches.push(batch);
        Ok(self.bytes < self.plan.max_bytes && self.records < self.plan.max_records)
    }
}

/// Records of an intact batch.
fn checked(batch: &Bytes, (topic, partition): PartitionId, base_offset: u64) -> Result<u32, ReadError> {
    let batch = Batch::parse(batch.clone()).map_err(|error| {
        ReadError::Failed(format!("offset {base_offset} of partition {partition} of topic {topic}: {error}"))
    })?;
    Ok(batch.records_count())
}

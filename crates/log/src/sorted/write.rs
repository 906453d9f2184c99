//! Writing a sorted file, in either form.

use std::collections::BTreeSet;
use std::convert::identity;
use std::io;

use hcube_core::codec::{Writer, length_u32};

use super::footer::{Footer, IndexPoint, PartitionRange};
use super::index::{self, Kept, KeptSegment};
use super::read::SortedFile;
use super::{
    DIR, HEADER_BYTES, MAGIC, ROW_HEADER_BYTES, Row, SortedError, SortedFileId, SortedFileMeta, VERSION,
};
use crate::disk::{BLOCK_BYTES, Disk, File};
use crate::segment;

/// Suffix of files that are not complete.
pub(super) const TEMPORARY: &str = ".tmp";
/// Bytes of rows between two points of the index.
const INDEX_EVERY_BYTES: u64 = 16 << 10;
/// Rows are handed to the disk in writes of at least this.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes a sorted file from rows in the order of (topic, partition, base offset).
///
/// Streams: the memory it takes is a buffer, the largest row and the index. The file is durable under its name
/// when this returns. Fails with `InvalidInput` when the rows are out of order or overlap.
pub fn write_sorted<D: Disk>(
    disk: &D,
    id: SortedFileId,
    rows: impl Iterator<Item = Row>,
) -> io::Result<SortedFileMeta> {
    make_dir(disk, DIR)?;
    name_when_done(disk, &id.path(), identity, |temporary| write_whole(disk, temporary, id, rows))
}

/// Writes a sorted file as an index: rows that come with a place in one of the `segments` stay there, others are copied.
/// Otherwise as [`write_sorted`]; the table is in memory too, 72 bytes a row.
///
/// Fails with `NotFound` when the log has no such segment any more, and in ways of its own where the file system has one
/// name for a file only.
pub fn write_index<D: Disk>(
    disk: &D,
    id: SortedFileId,
    segments: &BTreeSet<u64>,
    rows: impl Iterator<Item = (Row, Option<Kept>)>,
) -> io::Result<SortedFileMeta> {
    make_dir(disk, DIR)?;
    let written = (|| {
        for segment in segments {
            disk.link(&segment::path(*segment), &index::kept_path(id, *segment))?;
        }
        // Names are durable together with the index's own.
        name_when_done(disk, &index::path(id), identity, |temporary| {
            write_table(disk, temporary, id, segments, rows)
        })
    })();
    written.inspect_err(|_| {
        for segment in segments {
            // What is left is found at the next start. The first error is the one to tell.
            let _ = disk.remove(&index::kept_path(id, *segment));
        }
    })
}

/// Turns an index into the whole file that it stands for; a file that is whole already stays as it is. `pace` is told how
/// many bytes are written next.
///
/// # Errors
/// When it cannot be read, is damaged, or there is no room for it: it stays as it was.
pub fn make_whole<D: Disk>(disk: &D, id: SortedFileId, pace: impl FnMut(u64)) -> Result<(), SortedError> {
    let io = |source| SortedError::Io { id, source };
    if !disk.exists(&index::path(id)).map_err(io)? {
        return Ok(());
    }
    let file = SortedFile::open_unnamed(disk, id)?;
    // Not found out by taking the last room from everybody else.
    if disk.free_bytes().map_err(io)? < file.meta().bytes {
        return Err(io(io::ErrorKind::StorageFull.into()));
    }
    name_when_done(disk, &id.path(), io, |temporary| {
        let whole = disk.create_new(temporary).map_err(io)?;
        file.copy_to(&whole, pace)?;
        whole.sync_data().map_err(io)
    })?;
    remove_index(disk, id).map_err(io)
}

/// Removes the index of a sorted file and the names of what it keeps; it is no error when there is none.
pub(super) fn remove_index<D: Disk>(disk: &D, id: SortedFileId) -> io::Result<()> {
    let kept = index::kept_by(disk, id);
    remove_if_there(disk, &index::path(id))?;
    // Where the index cannot be read the next start finds them.
    for segment in kept.into_iter().flatten() {
        remove_if_there(disk, &index::kept_path(id, segment.number))?;
    }
    disk.sync_dir(DIR)
}

pub(super) fn remove_if_there<D: Disk>(disk: &D, path: &str) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Names of what a directory holds; none where there is no such directory.
pub(super) fn list_if_there<D: Disk>(disk: &D, dir: &str) -> io::Result<Vec<String>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

/// Has a file written under a temporary name, durably, and gives it its own. `error` makes the caller's kind of error.
fn name_when_done<D: Disk, T, E>(
    disk: &D,
    path: &str,
    error: impl Fn(io::Error) -> E,
    write: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, E> {
    let temporary = format!("{path}{TEMPORARY}");
    remove_if_there(disk, &temporary).map_err(&error)?;
    let written = write(&temporary).inspect_err(|_| {
        // Room is what may be missing. The first error is the one to tell.
        let _ = disk.remove(&temporary);
    })?;
    disk.rename(&temporary, path).map_err(&error)?;
    disk.sync_dir(DIR).map_err(&error)?;
    Ok(written)
}

/// Makes a directory of the data directory, durably.
pub(super) fn make_dir<D: Disk>(disk: &D, dir: &str) -> io::Result<()> {
    if !disk.exists(dir)? {
        disk.create_dir_all(dir)?;
    }
    disk.sync_dir("")
}

pub(super) fn encode_header(id: SortedFileId) -> Vec<u8> {
    let mut raw = MAGIC.to_vec();
    raw.u32(VERSION);
    raw.u32(id.group.0);
    raw.u64(id.replica.0);
    raw.u64(id.generation);
    raw.u32(0);
    raw.u32(crc32c::crc32c(&raw));
    raw
}

fn write_whole<D: Disk>(
    disk: &D,
    path: &str,
    id: SortedFileId,
    rows: impl Iterator<Item = Row>,
) -> io::Result<SortedFileMeta> {
    let mut whole = Whole::begin(id);
    let mut output = Output { file: disk.create_new(path)?, buffer: encode_header(id), written: 0 };
    for row in rows {
        let head = whole.row(&row)?;
        output.buffer.extend_from_slice(&head);
        output.buffer.extend_from_slice(&row.batch);
        output.flush_beyond(BUFFER_BYTES)?;
    }
    let (tail, meta) = whole.end();
    output.buffer.extend_from_slice(&tail);
    output.finish()?;
    Ok(meta)
}

fn write_table<D: Disk>(
    disk: &D,
    path: &str,
    id: SortedFileId,
    segments: &BTreeSet<u64>,
    rows: impl Iterator<Item = (Row, Option<Kept>)>,
) -> io::Result<SortedFileMeta> {
    let mut whole = Whole::begin(id);
    let mut output = Output { file: disk.create_new(path)?, buffer: Vec::new(), written: 0 };
    let mut kept: Vec<_> = segments.iter().map(|number| KeptSegment { number: *number, bytes: 0 }).collect();
    let mut table = Vec::new();
    for (row, place) in rows {
        let at = whole.bytes;
        let head = whole.row(&row)?;
        match place {
            Some(Kept { segment, offset }) => {
                let found = kept.binary_search_by_key(&segment, |segment| segment.number);
                let place = found.map_err(|_| invalid("a row lies in a segment that is not kept"))?;
                kept[place].bytes += row.batch.len() as u64;
                index::encode_entry(&mut table, &head, at, place as u64 + 1, offset);
            }
            None => {
                index::encode_entry(&mut table, &head, at, 0, output.position());
                output.buffer.extend_from_slice(&row.batch);
                output.flush_beyond(BUFFER_BYTES)?;
            }
        }
    }
    let (table_at, rows, rows_end) =
        (output.position(), (table.len() / index::ENTRY_BYTES) as u64, whole.bytes);
    let (tail, meta) = whole.end();
    output.buffer.extend_from_slice(&table);
    output.buffer.extend_from_slice(&tail);
    output.buffer.extend_from_slice(&index::End { table_at, rows, rows_end, segments: kept }.encode());
    output.finish()?;
    Ok(meta)
}

/// What a whole file holds so far, without its bytes.
struct Whole {
    id: SortedFileId,
    bytes: u64,
    /// crc32c of these.
    crc: u32,
    footer: Footer,
}

impl Whole {
    fn begin(id: SortedFileId) -> Self {
        let header = encode_header(id);
        Self { id, bytes: header.len() as u64, crc: crc32c::crc32c(&header), footer: Footer::default() }
    }

    /// Adds a row. Returns its head.
    fn row(&mut self, row: &Row) -> io::Result<[u8; ROW_HEADER_BYTES]> {
        let head = encode_row_head(row)?;
        let start = self.bytes;
        self.bytes += (head.len() + row.batch.len()) as u64;
        note_row(&mut self.footer, row, start, self.bytes)?;
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, &head), &row.batch);
        Ok(head)
    }

    /// Footer and trailer, and what a base remembers of the file.
    fn end(mut self) -> (Vec<u8>, SortedFileMeta) {
        self.footer.rows_crc = self.crc;
        let mut tail = self.footer.encode();
        tail.u64(tail.len() as u64);
        let crc = crc32c::crc32c(&tail);
        tail.u32(crc);
        tail.u32(VERSION);
        tail.extend_from_slice(MAGIC);
        let meta = SortedFileMeta { id: self.id, bytes: self.bytes + tail.len() as u64, crc };
        (tail, meta)
    }
}

/// A file that is written from its begin to its end.
struct Output<F> {
    file: F,
    buffer: Vec<u8>,
    written: u64,
}

impl<F: File> Output<F> {
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Writes whole blocks, once there are so many bytes. They pass the cache: in it they would take the room of what is
    /// read, and finding that room costs more time than all the rest of sorting.
    fn flush_beyond(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() > bytes {
            let blocks = self.buffer.len() / BLOCK_BYTES * BLOCK_BYTES;
            self.file.write_past_cache_at(&self.buffer[..blocks], self.written)?;
            self.wrote(blocks);
        }
        Ok(())
    }

    /// Writes the rest, and makes all of it durable.
    fn finish(&mut self) -> io::Result<()> {
        self.flush_beyond(BLOCK_BYTES)?;
        self.file.write_at(&self.buffer, self.written)?;
        self.wrote(self.buffer.len());
        self.file.sync_data()
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.buffer.drain(..bytes);
    }
}

fn encode_row_head(row: &Row) -> io::Result<[u8; ROW_HEADER_BYTES]> {
    if u32::try_from(row.batch.len()).is_err() {
        return Err(invalid("a batch has 4 GiB or more"));
    }
    let mut raw = Vec::with_capacity(ROW_HEADER_BYTES);
    raw.u32(length_u32(row.batch.len()));
    raw.u32(0);
    raw.u16(row.partition);
    raw.u16(0);
    raw.u32(row.records);
    raw.u128(row.topic.0);
    raw.u64(row.base_offset);
    raw.u64(row.stamp_ms);
    let mut head = [0; ROW_HEADER_BYTES];
    head.copy_from_slice(&raw);
    let crc = crc32c::crc32c_append(head_crc(&head), &row.batch);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(head)
}

/// crc32c of a row without the field that holds it.
pub(super) fn row_crc(raw: &[u8]) -> u32 {
    let (head, batch) = raw.split_at(ROW_HEADER_BYTES);
    crc32c::crc32c_append(head_crc(head), batch)
}

fn head_crc(head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&head[..4]), &head[8..])
}

fn note_row(footer: &mut Footer, row: &Row, start: u64, end: u64) -> io::Result<()> {
    let point = IndexPoint { base_offset: row.base_offset, stamp_ms: row.stamp_ms, position: start };
    let key = (row.topic, row.partition);
    if row.records == 0 || row.base_offset.checked_add(row.records.into()).is_none() {
        return Err(invalid("a row has no records or ends beyond the last offset"));
    }
    match footer.partitions.last_entry() {
        Some(mut last) if *last.key() == key => {
            let range = last.get_mut();
            if row.base_offset < range.end_offset || row.stamp_ms < range.last_stamp_ms {
                return Err(invalid("rows overlap or are out of order"));
            }
            range.end_offset = row.end_offset();
            range.last_stamp_ms = row.stamp_ms;
            range.batch_bytes += row.batch.len() as u64;
            range.end = end;
            if range.index.last().is_none_or(|last| start - last.position >= INDEX_EVERY_BYTES) {
                range.index.push(point);
            }
        }
        Some(last) if *last.key() > key => return Err(invalid("partitions are out of order")),
        _ => {
            let range = PartitionRange {
                first_offset: row.base_offset,
                end_offset: row.end_offset(),
                first_stamp_ms: row.stamp_ms,
                last_stamp_ms: row.stamp_ms,
                batch_bytes: row.batch.len() as u64,
                start,
                end,
                index: vec![point],
            };
            footer.partitions.insert(key, range);
        }
    }
    Ok(())
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The header's bytes, as the format's table says.
const _: () = assert!(HEADER_BYTES == 8 + 4 + 4 + 8 + 8 + 4 + 4);

//! Writing a sorted file.

use std::io;

use hcube_core::codec::{Writer, length_u32};

use super::footer::{Footer, IndexPoint, PartitionRange};
use super::{DIR, HEADER_BYTES, MAGIC, ROW_HEADER_BYTES, Row, SortedFileId, SortedFileMeta, VERSION};
use crate::disk::{BLOCK_BYTES, Disk, File};

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
    let temporary = format!("{}{TEMPORARY}", id.path());
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let written = write_file(disk, &temporary, id, rows).inspect_err(|_| {
        // Room is what may be missing. The first error is the one to tell.
        let _ = disk.remove(&temporary);
    })?;
    disk.rename(&temporary, &id.path())?;
    disk.sync_dir(DIR)?;
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

fn write_file<D: Disk>(
    disk: &D,
    path: &str,
    id: SortedFileId,
    rows: impl Iterator<Item = Row>,
) -> io::Result<SortedFileMeta> {
    let file = disk.create_new(path)?;
    let mut output = Output { file: &file, buffer: encode_header(id), written: 0, crc: 0 };
    let mut footer = Footer::default();
    for row in rows {
        let start = output.position();
        encode_row(&mut output.buffer, &row)?;
        note_row(&mut footer, &row, start, output.position())?;
        output.flush_beyond(BUFFER_BYTES)?;
    }
    output.flush()?;
    footer.rows_crc = output.crc;
    let mut tail = footer.encode();
    tail.u64(tail.len() as u64);
    let crc = crc32c::crc32c(&tail);
    tail.u32(crc);
    tail.u32(VERSION);
    tail.extend_from_slice(MAGIC);
    output.buffer = tail;
    output.flush()?;
    file.sync_data()?;
    Ok(SortedFileMeta { id, bytes: output.written, crc })
}

struct Output<'f, F> {
    file: &'f F,
    buffer: Vec<u8>,
    written: u64,
    crc: u32,
}

impl<F: File> Output<'_, F> {
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

    fn flush(&mut self) -> io::Result<()> {
        self.flush_beyond(BLOCK_BYTES)?;
        self.file.write_at(&self.buffer, self.written)?;
        self.wrote(self.buffer.len());
        Ok(())
    }

    fn wrote(&mut self, bytes: usize) {
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer[..bytes]);
        self.written += bytes as u64;
        self.buffer.drain(..bytes);
    }
}

fn encode_row(buffer: &mut Vec<u8>, row: &Row) -> io::Result<()> {
    if u32::try_from(row.batch.len()).is_err() {
        return Err(invalid("a batch has 4 GiB or more"));
    }
    let start = buffer.len();
    buffer.u32(length_u32(row.batch.len()));
    buffer.u32(0);
    buffer.u16(row.partition);
    buffer.u16(0);
    buffer.u32(row.records);
    buffer.u128(row.topic.0);
    buffer.u64(row.base_offset);
    buffer.u64(row.stamp_ms);
    debug_assert_eq!(buffer.len(), start + ROW_HEADER_BYTES);
    buffer.extend_from_slice(&row.batch);
    let crc = row_crc(&buffer[start..]);
    buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// crc32c of a row without the field that holds it.
pub(super) fn row_crc(raw: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&raw[..4]), &raw[8..])
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

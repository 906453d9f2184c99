//! Reading a sorted file.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hcube_core::codec::Reader;
use hcube_core::ids::TopicId;

use super::content::Content;
use super::footer::{Footer, PartitionRange};
use super::write::{encode_header, row_crc};
use super::{
    HEADER_BYTES, MAGIC, ROW_HEADER_BYTES, Row, SortedError, SortedFileId, SortedFileMeta, TRAILER_BYTES,
    VERSION,
};
use crate::disk::{Disk, File};
use crate::segment::u32_at;

/// Rows are read in pieces of at least this.
const READ_BYTES: usize = 64 << 10;
/// What goes through all rows takes so many bytes at a time.
const PIECE_BYTES: u64 = 256 << 10;

/// An open sorted file. Clones share the handle; any thread may read.
#[derive(Debug)]
pub struct SortedFile<D: Disk> {
    shared: Arc<Shared<D>>,
}

#[derive(Debug)]
struct Shared<D: Disk> {
    meta: SortedFileMeta,
    content: Content<D>,
    footer: Footer,
    rows_end: u64,
}

impl<D: Disk> Clone for SortedFile<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Disk> SortedFile<D> {
    /// Opens the file that a base names. Reads and verifies header and footer only, not the rows.
    pub fn open(disk: &D, meta: SortedFileMeta) -> Result<Self, SortedError> {
        Self::from_content(Content::open(disk, meta.id)?, meta)
    }

    /// Opens a file of which no base is at hand.
    pub(super) fn open_unnamed(disk: &D, id: SortedFileId) -> Result<Self, SortedError> {
        let io = |source| SortedError::Io { id, source };
        let content = Content::open(disk, id)?;
        let bytes = content.len().map_err(io)?;
        let trailer_at = bytes.checked_sub(TRAILER_BYTES).ok_or(SortedError::Other { id })?;
        let trailer = read_range(&content, trailer_at..bytes).map_err(io)?;
        let (_, crc) = decode_trailer(trailer, id, trailer_at)?;
        Self::from_content(content, SortedFileMeta { id, bytes, crc })
    }

    pub(super) fn from_content(content: Content<D>, meta: SortedFileMeta) -> Result<Self, SortedError> {
        let id = meta.id;
        let io = |source| SortedError::Io { id, source };
        if content.len().map_err(io)? != meta.bytes || meta.bytes < HEADER_BYTES + TRAILER_BYTES {
            return Err(SortedError::Other { id });
        }
        let read = |range| read_range(&content, range).map_err(io);
        check_header(&read(0..HEADER_BYTES)?, id)?;
        let trailer_at = meta.bytes - TRAILER_BYTES;
        let trailer = read(trailer_at..meta.bytes)?;
        let (footer_bytes, crc) = decode_trailer(trailer.clone(), id, trailer_at)?;
        if crc != meta.crc {
            return Err(SortedError::Other { id });
        }
        let rows_end = trailer_at
            .checked_sub(footer_bytes)
            .filter(|rows_end| *rows_end >= HEADER_BYTES)
            .ok_or(SortedError::Damaged { id, at: trailer_at })?;
        let raw = read(rows_end..trailer_at)?;
        if crc32c::crc32c_append(crc32c::crc32c(&raw), &trailer[..8]) != crc {
            return Err(SortedError::Damaged { id, at: rows_end });
        }
        let footer = Footer::decode(raw).map_err(|source| SortedError::Malformed { id, source })?;
        Ok(Self { shared: Arc::new(Shared { meta, content, footer, rows_end }) })
    }

    /// What the base says of the file.
    #[must_use]
    pub fn meta(&self) -> SortedFileMeta {
        self.shared.meta
    }

    /// Descriptors that it takes.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.shared.content.handles()
    }

    /// What the file holds, by topic and partition.
    #[must_use]
    pub fn partitions(&self) -> &BTreeMap<(TopicId, u16), PartitionRange> {
        &self.shared.footer.partitions
    }

    /// Where a scan for `offset` starts in the file: at a row that is not behind the one with the offset, or the
    /// first one behind. None when the file holds nothing at or beyond the offset.
    #[must_use]
    pub fn find(&self, topic: TopicId, partition: u16, offset: u64) -> Option<u64> {
        let range = self.partitions().get(&(topic, partition)).filter(|range| offset < range.end_offset)?;
        let after = range.index.partition_point(|point| point.base_offset <= offset);
        Some(range.index[after.saturating_sub(1)].position)
    }

    /// The base offset of the first row stamped at or after `stamp_ms`. None when all are earlier.
    pub fn find_stamp(
        &self,
        topic: TopicId,
        partition: u16,
        stamp_ms: u64,
    ) -> Result<Option<u64>, SortedError> {
        let Some(range) = self.partitions().get(&(topic, partition)) else { return Ok(None) };
        if range.last_stamp_ms < stamp_ms {
            return Ok(None);
        }
        let after = range.index.partition_point(|point| point.stamp_ms < stamp_ms);
        let start = range.index[after.saturating_sub(1)].position;
        for row in self.rows_within(start..range.end) {
            let row = row?;
            if row.stamp_ms >= stamp_ms {
                return Ok(Some(row.base_offset));
            }
        }
        Ok(None)
    }

    /// Rows of a partition that hold records at or beyond `from_offset`, in order: at least one if there is any,
    /// then as many as keep the batches within `bytes_max`. Every row's CRC is checked.
    pub fn scan(
        &self,
        topic: TopicId,
        partition: u16,
        from_offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<Row>, SortedError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let range = self.partitions().get(&(topic, partition));
        if let (Some(range), Some(start)) = (range, self.find(topic, partition, from_offset)) {
            for row in self.rows_within(start..range.end) {
                let row = row?;
                if row.end_offset() <= from_offset {
                    continue;
                }
                bytes += row.batch.len();
                if !found.is_empty() && bytes > bytes_max {
                    break;
                }
                found.push(row);
            }
        }
        Ok(found)
    }

    /// All rows in order, read piece by piece: for merging generations.
    #[must_use]
    pub fn rows(&self) -> Rows<D> {
        self.rows_within(HEADER_BYTES..self.shared.rows_end)
    }

    /// Bytes of the file as it is, for streaming it to another peer; fewer at its end.
    pub fn read_chunk(&self, at: u64, length: usize) -> Result<Bytes, SortedError> {
        let SortedFileMeta { id, bytes, .. } = self.shared.meta;
        let end = at.saturating_add(length as u64).min(bytes);
        read_range(&self.shared.content, at.min(end)..end).map_err(|source| SortedError::Io { id, source })
    }

    /// Reads everything and checks the CRC of all rows.
    pub fn verify(&self) -> Result<(), SortedError> {
        self.pass_rows(|_, _| Ok(()))
    }

    /// Copies everything into an empty file, and checks the CRC of all rows on the way. `pace` is told how many bytes are
    /// written next.
    pub(super) fn copy_to<F: File>(&self, to: &F, mut pace: impl FnMut(u64)) -> Result<(), SortedError> {
        let Shared { meta, rows_end, .. } = *self.shared;
        self.pass_rows(|at, piece| {
            pace(piece.len() as u64);
            to.write_past_cache_at(piece, at)
        })?;
        let tail = self.read_chunk(rows_end, usize::try_from(meta.bytes).unwrap_or(usize::MAX))?;
        to.write_at(&tail, rows_end).map_err(|source| SortedError::Io { id: meta.id, source })
    }

    /// Reads header and rows piece by piece, hands each piece on with its place, and checks the CRC of all of them.
    fn pass_rows(&self, mut each: impl FnMut(u64, &[u8]) -> io::Result<()>) -> Result<(), SortedError> {
        let Shared { meta, content, footer, rows_end } = &*self.shared;
        let io = |source| SortedError::Io { id: meta.id, source };
        let mut crc = 0;
        let mut at = 0;
        while at < *rows_end {
            let end = (at + PIECE_BYTES).min(*rows_end);
            let piece = read_range(content, at..end).map_err(io)?;
            crc = crc32c::crc32c_append(crc, &piece);
            each(at, &piece).map_err(io)?;
            at = end;
        }
        if crc == footer.rows_crc { Ok(()) } else { Err(SortedError::Damaged { id: meta.id, at: 0 }) }
    }

    /// Makes the file's bytes durable, for one that was written in pieces.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.shared.content.sync()
    }

    fn rows_within(&self, range: Range<u64>) -> Rows<D> {
        Rows {
            file: self.clone(),
            position: range.start,
            end: range.end,
            buffer: BytesMut::new(),
            failed: false,
        }
    }
}

/// Rows of a sorted file in order; ends after the first error.
#[derive(Debug)]
pub struct Rows<D: Disk> {
    file: SortedFile<D>,
    /// Where the next row begins, which is where the buffer begins too.
    position: u64,
    end: u64,
    buffer: BytesMut,
    failed: bool,
}

impl<D: Disk> Iterator for Rows<D> {
    type Item = Result<Row, SortedError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.position >= self.end {
            return None;
        }
        let row = self.read_row();
        self.failed = row.is_err();
        Some(row)
    }
}

impl<D: Disk> Rows<D> {
    fn read_row(&mut self) -> Result<Row, SortedError> {
        let id = self.file.shared.meta.id;
        let damaged = SortedError::Damaged { id, at: self.position };
        if !self.fill(ROW_HEADER_BYTES)? {
            return Err(damaged);
        }
        let mut length = [0; 4];
        length.copy_from_slice(&self.buffer[..4]);
        let bytes = ROW_HEADER_BYTES + u32::from_le_bytes(length) as usize;
        if !self.fill(bytes)? {
            return Err(damaged);
        }
        let raw = self.buffer.split_to(bytes).freeze();
        let row = decode_row(raw).ok_or(damaged)?;
        self.position += bytes as u64;
        Ok(row)
    }

    /// Has at least this many bytes in the buffer; false when the rows end before.
    fn fill(&mut self, bytes: usize) -> Result<bool, SortedError> {
        let Shared { meta, content, .. } = &*self.file.shared;
        let have = self.buffer.len();
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        if bytes <= have || bytes > left {
            return Ok(bytes <= have);
        }
        let want = bytes.max(READ_BYTES).min(left);
        self.buffer.resize(want, 0);
        content
            .read_exact_at(&mut self.buffer[have..], self.position + have as u64)
            .map_err(|source| SortedError::Io { id: meta.id, source })?;
        Ok(true)
    }
}

fn decode_row(raw: Bytes) -> Option<Row> {
    let computed = row_crc(&raw);
    let mut reader = Reader::new(raw);
    let row = (|| {
        reader.u32("length")?;
        let stored = reader.u32("crc")?;
        let partition = reader.u16("partition")?;
        reader.u16("zeros")?;
        let records = reader.u32("records")?;
        let topic = TopicId(reader.u128("topic")?);
        let (base_offset, stamp_ms) = (reader.u64("base offset")?, reader.u64("stamp")?);
        let row = Row { topic, partition, base_offset, records, stamp_ms, batch: reader.rest() };
        Ok::<_, hcube_core::codec::DecodeError>((stored == computed).then_some(row))
    })();
    row.ok().flatten()
}

fn check_header(raw: &Bytes, id: SortedFileId) -> Result<(), SortedError> {
    let version = u32_at(raw, MAGIC.len());
    let crc_at = raw.len() - 4;
    let intact = raw.starts_with(MAGIC) && crc32c::crc32c(&raw[..crc_at]) == u32_at(raw, crc_at);
    match version {
        _ if !intact => Err(SortedError::Damaged { id, at: 0 }),
        VERSION if *raw == encode_header(id) => Ok(()),
        VERSION => Err(SortedError::Other { id }),
        found => Err(SortedError::Version { id, found }),
    }
}

/// Length of the footer and its CRC.
fn decode_trailer(raw: Bytes, id: SortedFileId, at: u64) -> Result<(u64, u32), SortedError> {
    let mut reader = Reader::new(raw);
    let malformed = |source| SortedError::Malformed { id, source };
    let length = reader.u64("footer length").map_err(malformed)?;
    let crc = reader.u32("footer crc").map_err(malformed)?;
    let version = reader.u32("format version").map_err(malformed)?;
    // The header, which has a CRC of its own, has told the version already.
    if version != VERSION || reader.rest() != MAGIC[..] {
        return Err(SortedError::Damaged { id, at });
    }
    Ok((length, crc))
}

fn read_range<D: Disk>(content: &Content<D>, range: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut raw = vec![0; length];
    content.read_exact_at(&mut raw, range.start)?;
    Ok(raw.into())
}

//! A sorted file whose batches were left in the segments where the log wrote them.
//!
//! `sorted/<id>.index` stands for `sorted/<id>.sorted`: what that would hold can be read from it byte by byte, so that it
//! is served, sent to other peers and made whole at any time without anybody's knowing. Beside it each segment that it
//! refers to has another name, `sorted/<id>-<segment, 20 digits>.kept`, which keeps its file when the log needs it no more:
//! the file system counts who needs it. Little-endian:
//!
//! | part | content |
//! |---|---|
//! | copies | batches that do not lie in one of the segments, one after the other |
//! | table | for each row its head as in the whole file (48 bytes); where it begins there `u64`; where its batch lies: place of the segment in the list below from 1 on, or 0 for the copies, `u64`, and the byte there `u64` |
//! | tail | footer and trailer as in the whole file |
//! | segments | the number `u64` of each, and bytes of the batches that lie there `u64` |
//! | end, 48 bytes | where the table begins `u64`, rows `u64`, where the rows end in the whole file `u64`, segments `u32`, 4 zero bytes, format version `u32`, crc32c of the segments and the 36 bytes before, magic `HCUBEIDX` |
//!
//! Rows have their own checksums, which hold only where the table has led to the right batch.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};

use super::write::{encode_header, list_if_there};
use super::{DIR, HEADER_BYTES, ROW_HEADER_BYTES, SortedError, SortedFileId};
use crate::disk::{Disk, File};
use crate::segment::{u32_at, u64_at};

const MAGIC: &[u8; 8] = b"HCUBEIDX";
const VERSION: u32 = 1;
const END_BYTES: u64 = 48;
/// Those of them that the CRC covers.
const COVERED_BYTES: usize = 36;
const SEGMENT_BYTES: u64 = 16;
pub(super) const ENTRY_BYTES: usize = ROW_HEADER_BYTES + 24;
/// Rows of the table that are read at a time.
const BLOCK_ROWS: u64 = 64;

/// A segment of the log that a sorted file keeps, because batches lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSegment {
    /// Its number in the log.
    pub number: u64,
    /// Bytes of the file's batches that lie there.
    pub bytes: u64,
}

/// Where a batch lies that was left in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Number of the segment.
    pub segment: u64,
    /// Where the batch begins there, in bytes.
    pub offset: u64,
}

/// Everything behind the tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) table_at: u64,
    pub(super) rows: u64,
    pub(super) rows_end: u64,
    pub(super) segments: Vec<KeptSegment>,
}

/// An open index, with the segments that it refers to.
#[derive(Debug)]
pub(super) struct Index<D: Disk> {
    file: D::File,
    header: Vec<u8>,
    end: End,
    tail_bytes: u64,
    segments: Vec<D::File>,
}

/// A row of the table.
struct Entry {
    head: Bytes,
    at: u64,
    source: u64,
    offset: u64,
}

pub(super) fn path(id: SortedFileId) -> String {
    format!("{DIR}/{id}.index")
}

pub(super) fn kept_path(id: SortedFileId, segment: u64) -> String {
    format!("{DIR}/{id}-{segment:020}.kept")
}

/// The file whose index has this name.
pub(super) fn parse(name: &str) -> Option<SortedFileId> {
    name.strip_suffix(".index").and_then(SortedFileId::parse)
}

/// The file that keeps a segment by this name.
pub(super) fn parse_kept(name: &str) -> Option<SortedFileId> {
    let (id, _) = name.strip_suffix(".kept")?.rsplit_once('-')?;
    SortedFileId::parse(id)
}

pub(super) fn encode_entry(
    table: &mut Vec<u8>,
    head: &[u8; ROW_HEADER_BYTES],
    at: u64,
    source: u64,
    offset: u64,
) {
    table.extend_from_slice(head);
    table.u64(at);
    table.u64(source);
    table.u64(offset);
}

impl End {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut raw = Vec::new();
        for segment in &self.segments {
            raw.u64(segment.number);
            raw.u64(segment.bytes);
        }
        raw.u64(self.table_at);
        raw.u64(self.rows);
        raw.u64(self.rows_end);
        raw.u32(u32::try_from(self.segments.len()).expect("a log has no 4 billion segments"));
        raw.u32(0);
        raw.u32(VERSION);
        raw.u32(crc32c::crc32c(&raw));
        raw.extend_from_slice(MAGIC);
        raw
    }

    /// Reads what stands at the end of an index of so many bytes, and says how many bytes its tail has.
    fn read<F: File>(file: &F, bytes: u64, id: SortedFileId) -> Result<(Self, u64), SortedError> {
        let io = |source| SortedError::Io { id, source };
        let read = |at: u64, count: u64| {
            let mut raw = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut raw, at).map_err(io)?;
            Ok::<_, SortedError>(raw)
        };
        let end_at = bytes.checked_sub(END_BYTES).ok_or(SortedError::Damaged { id, at: 0 })?;
        let malformed = |source| SortedError::Malformed { id, source };
        let raw = read(end_at, END_BYTES)?;
        let Fixed { table_at, rows, rows_end, segments, version, crc } =
            Fixed::decode(raw.clone().into()).map_err(malformed)?;
        let segments_at = end_at.checked_sub(u64::from(segments) * SEGMENT_BYTES);
        let segments_at = segments_at.ok_or(SortedError::Damaged { id, at: end_at })?;
        let mut covered = read(segments_at, end_at - segments_at)?;
        covered.extend_from_slice(&raw[..COVERED_BYTES]);
        if crc32c::crc32c(&covered) != crc {
            return Err(SortedError::Damaged { id, at: segments_at });
        }
        if version != VERSION {
            return Err(SortedError::Version { id, found: version });
        }
        let tail_at = rows.checked_mul(ENTRY_BYTES as u64).and_then(|bytes| bytes.checked_add(table_at));
        let tail_bytes = tail_at.and_then(|at| segments_at.checked_sub(at));
        let (Some(tail_bytes), true) = (tail_bytes, rows_end >= HEADER_BYTES) else {
            return Err(malformed(DecodeError::Invalid("places in the index")));
        };
        let mut reader = Reader::new(covered.into());
        let segments: Result<_, DecodeError> = (0..segments)
            .map(|_| Ok(KeptSegment { number: reader.u64("segment")?, bytes: reader.u64("bytes")? }))
            .collect();
        Ok((Self { table_at, rows, rows_end, segments: segments.map_err(malformed)? }, tail_bytes))
    }
}

/// The fixed part of the end.
struct Fixed {
    table_at: u64,
    rows: u64,
    rows_end: u64,
    segments: u32,
    version: u32,
    crc: u32,
}

impl Fixed {
    fn decode(raw: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(raw);
        let (table_at, rows, rows_end) =
            (reader.u64("table")?, reader.u64("rows")?, reader.u64("rows' end")?);
        let segments = reader.u32("segments")?;
        reader.u32("zeros")?;
        let (version, crc) = (reader.u32("format version")?, reader.u32("crc")?);
        let is_ours = reader.rest() == MAGIC[..];
        is_ours
            .then_some(Self { table_at, rows, rows_end, segments, version, crc })
            .ok_or(DecodeError::Invalid("magic"))
    }
}

impl<D: Disk> Index<D> {
    /// Opens an index and what it refers to.
    pub(super) fn open(disk: &D, id: SortedFileId) -> Result<Self, SortedError> {
        let io = |source| SortedError::Io { id, source };
        let file = disk.open(&path(id)).map_err(io)?;
        let (end, tail_bytes) = End::read(&file, file.len().map_err(io)?, id)?;
        let open = |segment: &KeptSegment| disk.open(&kept_path(id, segment.number)).map_err(io);
        let segments = end.segments.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { file, header: encode_header(id), end, tail_bytes, segments })
    }

    pub(super) fn handles(&self) -> usize {
        1 + self.segments.len()
    }

    /// Bytes of the whole file.
    pub(super) fn len(&self) -> u64 {
        self.end.rows_end + self.tail_bytes
    }

    /// Fills `buf` from byte `at` of the whole file. Fails with `InvalidData` where the table is damaged.
    pub(super) fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            done += self.read_some(&mut buf[done..], at + done as u64)?;
        }
        Ok(())
    }

    /// Reads at least one byte, of one part of the file.
    fn read_some(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let rows_end = self.end.rows_end;
        if at < HEADER_BYTES {
            return Ok(copy(&self.header, at, buf));
        }
        if at < rows_end {
            return self.read_rows(buf, at);
        }
        let left = self.len().checked_sub(at).filter(|left| *left > 0).ok_or(io::ErrorKind::UnexpectedEof)?;
        let count = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let tail_at = self.end.table_at + self.end.rows * ENTRY_BYTES as u64;
        self.file.read_exact_at(&mut buf[..count], tail_at + (at - rows_end))?;
        Ok(count)
    }

    /// Reads from the row that holds byte `at` on, as far as the part of the table goes that was read for it.
    fn read_rows(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        for entry in self.block(at)? {
            let next = at + done as u64;
            let length = u32_at(&entry.head, 0);
            let batch_at = entry.at.saturating_add(ROW_HEADER_BYTES as u64);
            let end = batch_at.saturating_add(length.into());
            if next >= end || done == buf.len() {
                continue;
            }
            let skip = next.checked_sub(entry.at).ok_or_else(damaged)?;
            done += copy(&entry.head, skip, &mut buf[done..]);
            let skip = (at + done as u64).saturating_sub(batch_at);
            let count = usize::try_from(end - batch_at - skip).unwrap_or(usize::MAX).min(buf.len() - done);
            let part = &mut buf[done..done + count];
            let offset = entry.offset.saturating_add(skip);
            match usize::try_from(entry.source).ok().and_then(|source| source.checked_sub(1)) {
                None => self.file.read_exact_at(part, offset)?,
                Some(place) => self.segments.get(place).ok_or_else(damaged)?.read_exact_at(part, offset)?,
            }
            done += count;
        }
        if done == 0 { Err(damaged()) } else { Ok(done) }
    }

    /// The part of the table in which the row lies that holds byte `at`.
    fn block(&self, at: u64) -> io::Result<Vec<Entry>> {
        let (mut low, mut high) = (0, self.end.rows.div_ceil(BLOCK_ROWS));
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let mut raw = [0; 8];
            let entry_at = self.end.table_at + middle * BLOCK_ROWS * ENTRY_BYTES as u64;
            self.file.read_exact_at(&mut raw, entry_at + ROW_HEADER_BYTES as u64)?;
            if u64::from_le_bytes(raw) <= at { low = middle } else { high = middle }
        }
        let first = low * BLOCK_ROWS;
        let count = BLOCK_ROWS.min(self.end.rows - first);
        let mut raw = vec![0; usize::try_from(count).unwrap_or_default() * ENTRY_BYTES];
        self.file.read_exact_at(&mut raw, self.end.table_at + first * ENTRY_BYTES as u64)?;
        let raw = Bytes::from(raw);
        let entry = |start: usize| {
            let fields = start + ROW_HEADER_BYTES;
            let head = raw.slice(start..fields);
            let field = |at| u64_at(&raw, fields + at);
            Entry { head, at: field(0), source: field(8), offset: field(16) }
        };
        Ok((0..raw.len()).step_by(ENTRY_BYTES).map(entry).collect())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the table of an index is damaged")
}

/// Copies what lies in `from` behind `skip` bytes, as much as fits.
fn copy(from: &[u8], skip: u64, to: &mut [u8]) -> usize {
    let rest = usize::try_from(skip).ok().and_then(|skip| from.get(skip..)).unwrap_or_default();
    let count = rest.len().min(to.len());
    to[..count].copy_from_slice(&rest[..count]);
    count
}

/// The segments that each sorted file keeps. Indexes that cannot be read are left out.
pub fn list_kept<D: Disk>(disk: &D) -> io::Result<BTreeMap<SortedFileId, Vec<KeptSegment>>> {
    let names = list_if_there(disk, DIR)?;
    let ids = names.iter().filter_map(|name| parse(name));
    Ok(ids.filter_map(|id| Some((id, kept_by(disk, id)?))).collect())
}

/// The segments that a sorted file keeps; none when it has no index that can be read.
pub fn kept_by<D: Disk>(disk: &D, id: SortedFileId) -> Option<Vec<KeptSegment>> {
    let file = disk.open(&path(id)).ok()?;
    let (end, _) = End::read(&file, file.len().ok()?, id).ok()?;
    Some(end.segments)
}

/// Bytes of a segment that a sorted file keeps.
pub fn kept_bytes<D: Disk>(disk: &D, id: SortedFileId, segment: u64) -> io::Result<u64> {
    disk.open(&kept_path(id, segment))?.len()
}

//! Segments: the files of the write-ahead log.
//!
//! `log/<number, 20 digits>.wal`, counted up from 1. The first 64 bytes are the header, the rest are frames and, behind
//! them, zeros or what a segment of another number left there, whose frames are none under this number's salt. Where the
//! log has gone on in the next segment, zeros stand behind the last frame: a head's length, or all that there is room for.
//! Header, little-endian: magic `HCUBEWAL`, format version `u32`, 4 zero bytes, number `u64`, log salt `u64`, bytes of
//! the segment `u64`, 20 zero bytes, crc32c of all before `u32`.
//!
//! A segment is filled, or a file that was one before gets another header, or its room is merely reserved; it is synced and
//! only then given its name, so one that has its name is complete.

use std::io;
use std::sync::Arc;

use hcube_core::codec::Writer;

use crate::disk::{Disk, File, ZEROS_BYTES, zero};
use crate::error::OpenError;
use crate::frame::HEAD_BYTES;

/// The directory of all segments.
pub(crate) const DIR: &str = "log";
/// Where the first frame begins.
pub(crate) const HEADER_BYTES: u32 = 64;
/// The least that a segment may have.
pub(crate) const BYTES_MIN: u64 = 4 << 10;
/// The most that a segment may have, so that an offset always fits 32 bits.
pub(crate) const BYTES_MAX: u64 = 2 << 30;
/// Suffix of segments that are not complete.
pub(crate) const TEMPORARY: &str = ".tmp";

const MAGIC: &[u8; 8] = b"HCUBEWAL";
const VERSION: u32 = 1;

/// The path of a segment.
pub(crate) fn path(number: u64) -> String {
    format!("{DIR}/{number:020}.wal")
}

/// The number in a segment's file name.
pub(crate) fn number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".wal")?.parse().ok()?;
    path(number).ends_with(&format!("/{name}")).then_some(number)
}

/// A segment's header as found.
pub(crate) struct Header {
    /// The log's salt.
    pub(crate) salt: u64,
    /// Bytes of the segment.
    pub(crate) bytes: u64,
}

fn encode_header(number: u64, salt: u64, bytes: u64) -> Vec<u8> {
    let mut raw = MAGIC.to_vec();
    raw.u32(VERSION);
    raw.u32(0);
    raw.u64(number);
    raw.u64(salt);
    raw.u64(bytes);
    raw.resize(HEADER_BYTES as usize - 4, 0);
    raw.u32(crc32c::crc32c(&raw));
    raw
}

/// Reads the header of a segment; none when it is damaged.
pub(crate) fn decode_header(raw: &[u8], number: u64) -> Result<Option<Header>, OpenError> {
    let Some(raw) = raw.first_chunk::<{ HEADER_BYTES as usize }>() else { return Ok(None) };
    let (content, crc) = raw.split_at(raw.len() - 4);
    if crc32c::crc32c(content) != u32_at(crc, 0) || !content.starts_with(MAGIC) {
        return Ok(None);
    }
    let found = u32_at(content, 8);
    if found != VERSION {
        return Err(OpenError::Version { path: path(number), found, known: VERSION });
    }
    let header = Header { salt: u64_at(content, 24), bytes: u64_at(content, 32) };
    Ok((u64_at(content, 16) == number).then_some(header))
}

pub(crate) fn u32_at(raw: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&raw[at..at + 4]);
    u32::from_le_bytes(field)
}

pub(crate) fn u64_at(raw: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&raw[at..at + 8]);
    u64::from_le_bytes(field)
}

/// How a new file becomes a segment.
pub(crate) enum Make<'p> {
    /// Filled with zeros: each byte is written twice, but a sync of what is written over them costs least.
    Filled,
    /// The same, in pieces that are durable one by one. This is told how many bytes are written next; it may wait before
    /// they are, or have the whole given up.
    Paced(&'p mut dyn FnMut(u64) -> io::Result<()>),
    /// Its room is only reserved, which takes no time; each sync of what is written there costs a journal commit more.
    Reserved,
}

/// Makes a segment under its name, ready for use.
pub(crate) fn create<D: Disk>(
    disk: &D,
    number: u64,
    salt: u64,
    bytes: u64,
    how: Make<'_>,
) -> io::Result<Arc<D::File>> {
    let temporary = format!("{DIR}/{number:020}{TEMPORARY}");
    let file = make(disk, &temporary, number, salt, bytes, how)?;
    publish(disk, &temporary, number)?;
    Ok(file)
}

/// Makes a segment under a temporary path, and syncs it.
pub(crate) fn make<D: Disk>(
    disk: &D,
    temporary: &str,
    number: u64,
    salt: u64,
    bytes: u64,
    how: Make<'_>,
) -> io::Result<Arc<D::File>> {
    if disk.exists(temporary)? {
        disk.remove(temporary)?;
    }
    let header = encode_header(number, salt, bytes);
    let make = || {
        let file = disk.create_new(temporary)?;
        file.write_at(&header, 0)?;
        match how {
            Make::Filled => zero(&file, header.len() as u64, bytes)?,
            Make::Paced(pace) => fill(&file, header.len() as u64, bytes, pace)?,
            Make::Reserved => file.reserve(bytes)?,
        }
        file.sync_data()?;
        Ok(Arc::new(file))
    };
    make().inspect_err(|_| {
        // What little room there is must not be kept by a file of no use. The first error is the one to tell.
        let _ = disk.remove(temporary);
    })
}

fn fill<F: File>(
    file: &F,
    start: u64,
    bytes: u64,
    pace: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = start;
    while at < bytes {
        let end = bytes.min((at / ZEROS_BYTES as u64 + 1) * ZEROS_BYTES as u64);
        pace(end - at)?;
        zero(file, at, end)?;
        // Left to one sync, all of them would stand before those of the log's batches at once.
        file.sync_data()?;
        at = end;
    }
    Ok(())
}

/// Makes a segment under a temporary path of a file that has the size and was a segment of a lower number.
pub(crate) fn refit<F: File>(file: &F, number: u64, salt: u64, bytes: u64) -> io::Result<()> {
    // Without a first frame, not even an old one, its header may rot and nothing is lost.
    let mut raw = encode_header(number, salt, bytes);
    raw.resize(raw.len() + HEAD_BYTES, 0);
    file.write_at(&raw, 0)?;
    file.sync_data()
}

/// Gives a filled segment its name, durably.
pub(crate) fn publish<D: Disk>(disk: &D, temporary: &str, number: u64) -> io::Result<()> {
    disk.rename(temporary, &path(number))?;
    disk.sync_dir(DIR)
}

/// So many zeros, for what a segment holds. A large buffer that is needed once must not stay with the process: glibc keeps
/// what was freed below 32 MiB (mallopt(3), `M_MMAP_THRESHOLD`), and gives larger mappings back at once. Room that is not
/// touched costs nothing.
pub(crate) fn blank(bytes: usize) -> Vec<u8> {
    let mut zeros = vec![0; bytes.max(33 << 20)];
    zeros.truncate(bytes);
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_to_one() {
        assert_eq!(number("00000000000000000007.wal"), Some(7));
        for name in ["7.wal", "00000000000000000007.tmp", "+0000000000000000007.wal", "x.wal", ".wal"] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let raw = encode_header(3, 9, 4096);
        assert_eq!(decode_header(&raw, 3).unwrap().unwrap().bytes, 4096);
        assert!(decode_header(&raw, 4).unwrap().is_none());
        for bit in 0..raw.len() * 8 {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_header(&flipped, 3).unwrap().is_none(), "bit {bit}");
        }
    }

    #[test]
    fn unknown_version_is_refused_by_name() {
        let mut raw = encode_header(3, 9, 4096);
        raw[8] = 2;
        let crc = crc32c::crc32c(&raw[..60]);
        raw[60..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(decode_header(&raw, 3), Err(OpenError::Version { found: 2, .. })));
    }
}

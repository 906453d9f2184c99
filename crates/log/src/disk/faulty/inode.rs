//! The bytes of one file in memory: as seen, as durable, and what lies between.

use std::collections::BTreeMap;

use super::Choices;

/// Sectors are written whole or not at all.
const SECTOR_BYTES: usize = 512;

/// One file.
#[derive(Debug, Default)]
pub(super) struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<Write>,
}

#[derive(Debug)]
struct Write {
    at: usize,
    bytes: Vec<u8>,
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn read(&self, buf: &mut [u8], at: u64) -> usize {
        let rest = usize::try_from(at).ok().and_then(|at| self.seen.get(at..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) {
        let write = Write { at: usize::try_from(at).expect("a file fits memory"), bytes: bytes.to_vec() };
        write.apply(&mut self.seen, 0..usize::MAX);
        self.unsynced.push(write);
    }

    pub(super) fn sync(&mut self) {
        for write in self.unsynced.drain(..) {
            write.apply(&mut self.durable, 0..usize::MAX);
        }
    }

    /// What was written is taken for durable although it is not.
    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    /// Bytes from `from` on become zeros, durably.
    pub(super) fn blank(&mut self, from: usize) {
        for bytes in [&mut self.seen, &mut self.durable] {
            bytes.iter_mut().skip(from).for_each(|byte| *byte = 0);
        }
    }

    /// Where the last byte lies that is not 0, or 0.
    pub(super) fn content_end(&self) -> usize {
        self.durable.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }

    pub(super) fn flip(&mut self, byte: usize, bit: u8) {
        self.seen[byte] ^= 1 << bit;
        if let Some(durable) = self.durable.get_mut(byte) {
            *durable ^= 1 << bit;
        }
    }

    /// A file with the same bytes, all durable.
    pub(super) fn fork(&self) -> Self {
        Self { seen: self.seen.clone(), durable: self.seen.clone(), unsynced: Vec::new() }
    }

    /// A file with the durable bytes alone.
    pub(super) fn durable_fork(&self) -> Self {
        Self { seen: self.durable.clone(), durable: self.durable.clone(), unsynced: Vec::new() }
    }

    /// Each sector keeps the first few of the writes that touched it: in a third of all crashes none, in
    /// another all, else a number of its own.
    pub(super) fn crash(&mut self, choices: &mut Choices) {
        let mut sectors: BTreeMap<usize, Vec<&Write>> = BTreeMap::new();
        for write in self.unsynced.iter().filter(|write| !write.bytes.is_empty()) {
            let last = (write.at + write.bytes.len() - 1) / SECTOR_BYTES;
            for sector in write.at / SECTOR_BYTES..=last {
                sectors.entry(sector).or_default().push(write);
            }
        }
        let mood = choices.below(3);
        for (sector, writes) in sectors {
            let survive = match mood {
                0 => 0,
                1 => writes.len(),
                _ => usize::try_from(choices.below(writes.len() as u64 + 1)).unwrap_or_default(),
            };
            let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            for write in &writes[..survive] {
                write.apply(&mut self.durable, range.clone());
            }
        }
        self.unsynced.clear();
        self.seen = self.durable.clone();
    }
}

impl Write {
    /// Writes what lies in the range, extending the file with zeros where needed.
    fn apply(&self, file: &mut Vec<u8>, range: std::ops::Range<usize>) {
        let start = self.at.max(range.start);
        let end = (self.at + self.bytes.len()).min(range.end);
        if start < end {
            if file.len() < end {
                file.resize(end, 0);
            }
            file[start..end].copy_from_slice(&self.bytes[start - self.at..end - self.at]);
        }
    }
}

//! Files of segments that are not needed any more, and become segments again.
//!
//! Filling a new segment with zeros writes every byte of the log twice. A file whose blocks are there needs another header
//! only: its old frames are none under the new number's salt.

use std::sync::{Arc, PoisonError};

use super::Log;
use crate::disk::{Disk, File};
use crate::error::{SyncError, WriteError};
use crate::segment;

/// Files kept at most: what a log under full load frees at once.
const RETIRED_MAX: usize = 8;
/// Segments for which a disk must have room, or none are kept.
const ROOM_SEGMENTS: u64 = 8;

/// A file that was a segment, or was made to be one. An open removes what a crash leaves of it.
#[derive(Debug)]
pub(super) struct Retired<D: Disk> {
    pub(super) path: String,
    pub(super) file: Arc<D::File>,
}

impl<D: Disk> Log<D> {
    /// Takes a segment out of the log, durably. To be called for one at a time, oldest first: a gap in the numbers is
    /// always damage.
    pub(super) fn retire(&mut self, number: u64) -> Result<(), WriteError> {
        let is_of_use = self.is_of_use(number);
        let file = self.forget(number);
        let path = format!("{}/{number:020}-retired{}", segment::DIR, segment::TEMPORARY);
        let gone = if is_of_use {
            self.disk.rename(&segment::path(number), &path)
        } else {
            self.disk.remove(&segment::path(number))
        };
        gone.map_err(|error| {
            // Going on would take out younger segments and leave a gap.
            self.poisoned = true;
            WriteError::Io(error)
        })?;
        self.disk.sync_dir(segment::DIR).map_err(|error| {
            self.poisoned = true;
            WriteError::Sync(SyncError::Io(error))
        })?;
        if let Some(file) = file.filter(|_| is_of_use) {
            self.retired.push(Retired { path, file });
        }
        Ok(())
    }

    fn is_of_use(&self, number: u64) -> bool {
        let bytes = self.config.segment_bytes;
        let has_room =
            || self.disk.free_bytes().is_ok_and(|free| free >= bytes.saturating_mul(ROOM_SEGMENTS));
        // With another name it holds rows of a sorted file, and must stay as it is.
        let is_free = || self.file(number).links().is_ok_and(|names| names == 1);
        self.retired.len() < RETIRED_MAX && self.segment_size(number) == bytes && is_free() && has_room()
    }

    /// Deletes the files that are kept to become segments, for a log that has no need of them for now.
    pub fn release_retired(&mut self) -> std::io::Result<()> {
        while let Some(retired) = self.retired.last() {
            self.disk.remove(&retired.path)?;
            self.retired.pop();
        }
        Ok(())
    }

    /// A file to make a segment of, that nobody reads any more.
    pub(super) fn take_retired(&mut self) -> Option<Retired<D>> {
        // Whoever began to read it while it was a segment holds it, and nobody new can.
        let is_free = |retired: &Retired<D>| {
            Arc::strong_count(&retired.file) == 1 && retired.file.links().is_ok_and(|names| names == 1)
        };
        let at = self.retired.iter().position(is_free)?;
        Some(self.retired.swap_remove(at))
    }

    pub(super) fn retired_bytes(&self) -> u64 {
        self.retired.len() as u64 * self.config.segment_bytes
    }

    /// Forgets a segment that goes. Returns its file.
    pub(super) fn forget(&mut self, number: u64) -> Option<Arc<D::File>> {
        self.sizes.remove(&number);
        self.reserved.remove(&number);
        self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

impl<D: Disk> Retired<D> {
    /// Makes it a segment, but for its name.
    pub(super) fn refit(self, disk: &D, number: u64, salt: u64, bytes: u64) -> std::io::Result<Arc<D::File>> {
        segment::refit(&*self.file, number, salt, bytes).inspect_err(|_| {
            // Nobody would know of it any more. The first error is the one to tell.
            let _ = disk.remove(&self.path);
        })?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::faulty::FaultyDisk;
    use crate::{Config, Log};

    #[test]
    fn a_file_that_somebody_reads_does_not_become_a_segment() {
        let config = Config { segment_bytes: 4096, ..Config::default() };
        let (mut log, _) = Log::open(FaultyDisk::new(), config).unwrap();
        let reads = log.file(1);
        log.retire(1).unwrap();
        assert!(log.take_retired().is_none());
        drop(reads);
        assert!(log.take_retired().is_some());
        assert!(log.take_retired().is_none());
    }
}

//! A small cache of open sorted files.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hcube_log::disk::Disk;
use hcube_log::sorted::{SortedError, SortedFile};
use hcube_log::{SortedFileId, SortedFileMeta};

use crate::ReadError;

/// Descriptors kept open: each file takes one, another for each segment that it keeps, and its footer's memory.
const OPEN_MAX: usize = 256;

/// The sorted files that were read lately.
#[derive(Debug)]
pub(super) struct Files<D: Disk> {
    disk: D,
    open: Mutex<Open<D>>,
}

#[derive(Debug)]
struct Open<D: Disk> {
    /// Each with the time of its last use.
    files: BTreeMap<SortedFileId, (SortedFile<D>, u64)>,
    /// Counts uses.
    time: u64,
    /// Counts files that were forgotten.
    forgotten: u64,
}

impl<D: Disk> Files<D> {
    pub fn new(disk: D) -> Self {
        Self { disk, open: Mutex::new(Open { files: BTreeMap::new(), time: 0, forgotten: 0 }) }
    }

    /// The file, opened where it is not open yet.
    pub fn open(&self, meta: &SortedFileMeta) -> Result<SortedFile<D>, ReadError> {
        let forgotten = {
            let mut open = self.lock();
            if let Some(file) = open.used(meta) {
                return Ok(file);
            }
            open.forgotten
        };
        // Not under the lock: a footer may be long, and other files need not wait for it.
        let file = SortedFile::open(&self.disk, *meta).map_err(|error| read_error(&error))?;
        let mut open = self.lock();
        // Else it may be the very file that is gone by now, and the log may use its segments again.
        if open.forgotten == forgotten {
            open.insert(file.clone());
        }
        Ok(file)
    }

    /// Closes a file that was removed or replaced. Readers that have it go on.
    pub fn forget(&self, id: SortedFileId) {
        let mut open = self.lock();
        open.forgotten += 1;
        open.files.remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, Open<D>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> Open<D> {
    fn used(&mut self, meta: &SortedFileMeta) -> Option<SortedFile<D>> {
        self.time += 1;
        let (file, used) = self.files.get_mut(&meta.id).filter(|(file, _)| file.meta() == *meta)?;
        *used = self.time;
        Some(file.clone())
    }

    fn insert(&mut self, file: SortedFile<D>) {
        self.files.insert(file.meta().id, (file, self.time));
        while self.files.len() > 1
            && self.files.values().map(|(file, _)| file.handles()).sum::<usize>() > OPEN_MAX
        {
            let oldest = self.files.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            oldest.and_then(|id| self.files.remove(&id));
        }
    }
}

/// What a failed read means to who planned it.
pub(super) fn read_error(error: &SortedError) -> ReadError {
    match error {
        SortedError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ReadError::Gone,
        error => ReadError::Failed(error.to_string()),
    }
}

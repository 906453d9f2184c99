//! Sorted files on their way in from another peer: chunk by chunk, resumable, named only when intact.

use std::io;

use super::content::Content;
use super::read::SortedFile;
use super::write::make_dir;
use super::{DIR, SortedError, SortedFileId, SortedFileMeta};
use crate::disk::{Disk, File};

const STAGING_DIR: &str = "staging";

/// A file that is being received.
#[derive(Debug)]
pub struct Staging<D: Disk> {
    disk: D,
    id: SortedFileId,
    file: D::File,
    received: u64,
}

/// Why a received file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The disk failed.
    #[error("sorted file {id} cannot be received: {source}")]
    Io {
        /// The file.
        id: SortedFileId,
        /// Why.
        source: io::Error,
    },
    /// A chunk that does not go on where the last one ended.
    #[error("sorted file {id} goes on at byte {expected}, not at {found}")]
    OutOfPlace {
        /// The file.
        id: SortedFileId,
        /// Bytes received so far.
        expected: u64,
        /// Where the chunk wanted to go.
        found: u64,
    },
    /// What was received is not the file expected; it was thrown away and has to be received anew.
    #[error("sorted file {id} arrived wrong: {source}")]
    Rejected {
        /// The file.
        id: SortedFileId,
        /// What is wrong with it.
        source: SortedError,
    },
}

impl<D: Disk> Staging<D> {
    /// Begins to receive a file, or goes on with what was received before.
    ///
    /// After a crash some of that may be wrong; [`Staging::finish`] finds out.
    pub fn create(disk: &D, id: SortedFileId) -> io::Result<Self> {
        make_dir(disk, STAGING_DIR)?;
        let path = part(id);
        let file = if disk.exists(&path)? { disk.open(&path)? } else { disk.create_new(&path)? };
        let received = file.len()?;
        Ok(Self { disk: disk.clone(), id, file, received })
    }

    /// Bytes received so far: where the next chunk goes.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes a chunk that begins at byte `at` of the file.
    pub fn append(&mut self, at: u64, chunk: &[u8]) -> Result<(), StagingError> {
        let id = self.id;
        if at != self.received {
            return Err(StagingError::OutOfPlace { id, expected: self.received, found: at });
        }
        self.file.write_at(chunk, at).map_err(|source| StagingError::Io { id, source })?;
        self.received += chunk.len() as u64;
        Ok(())
    }

    /// Checks everything against what the base says, and gives the file its name. It is durable then.
    pub fn finish(self, expected: SortedFileMeta) -> Result<SortedFile<D>, StagingError> {
        let Self { disk, id, file, .. } = self;
        let io = |source| StagingError::Io { id, source };
        let path = part(id);
        let checked = if expected.id == id {
            SortedFile::from_content(Content::<D>::Whole(file), expected)
                .and_then(|file| file.verify().map(|()| file))
        } else {
            Err(SortedError::Other { id })
        };
        match checked {
            Ok(sorted) => {
                sorted.sync().map_err(io)?;
                make_dir(&disk, DIR).map_err(io)?;
                disk.rename(&path, &id.path()).map_err(io)?;
                disk.sync_dir(DIR).map_err(io)?;
                disk.sync_dir(STAGING_DIR).map_err(io)?;
                Ok(sorted)
            }
            Err(SortedError::Io { source, .. }) => Err(io(source)),
            Err(source) => {
                disk.remove(&path).map_err(io)?;
                Err(StagingError::Rejected { id, source })
            }
        }
    }

    /// Throws away everything that is being received, as after a start when no snapshot is under way.
    pub fn clear(disk: &D) -> io::Result<()> {
        if !disk.exists(STAGING_DIR)? {
            return Ok(());
        }
        let names = disk.list(STAGING_DIR)?;
        for name in names {
            disk.remove(&format!("{STAGING_DIR}/{name}"))?;
        }
        disk.sync_dir(STAGING_DIR)
    }
}

fn part(id: SortedFileId) -> String {
    format!("{STAGING_DIR}/{id}.part")
}

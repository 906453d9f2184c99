//! The bytes of a sorted file, wherever they lie.

use std::io;

use super::index::Index;
use super::{SortedError, SortedFileId};
use crate::disk::{Disk, File};

/// An open sorted file, in either form.
#[derive(Debug)]
pub(super) enum Content<D: Disk> {
    /// The whole of it.
    Whole(D::File),
    /// The index of it, with batches that lie in kept segments.
    Index(Index<D>),
}

impl<D: Disk> Content<D> {
    /// Opens the file of this name in the form that it has.
    pub(super) fn open(disk: &D, id: SortedFileId) -> Result<Self, SortedError> {
        match Self::open_whole(disk, id) {
            Err(error) if is_missing(&error) => {}
            opened => return opened,
        }
        match Index::open(disk, id) {
            // It may have been made whole between the two.
            Err(error) if is_missing(&error) => Self::open_whole(disk, id),
            opened => opened.map(Self::Index),
        }
    }

    fn open_whole(disk: &D, id: SortedFileId) -> Result<Self, SortedError> {
        disk.open(&id.path()).map(Self::Whole).map_err(|source| SortedError::Io { id, source })
    }

    /// Descriptors that it takes.
    pub(super) fn handles(&self) -> usize {
        match self {
            Self::Whole(_) => 1,
            Self::Index(index) => index.handles(),
        }
    }

    /// Bytes of the whole.
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Whole(file) => file.len(),
            Self::Index(index) => Ok(index.len()),
        }
    }

    /// Fills `buf` from byte `at` of the whole.
    pub(super) fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::Whole(file) => file.read_exact_at(buf, at),
            Self::Index(index) => index.read_exact_at(buf, at),
        }
    }

    /// Makes bytes durable that were written in pieces. An index was durable before it had a name.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Whole(file) => file.sync_data(),
            Self::Index(_) => Ok(()),
        }
    }
}

fn is_missing(error: &SortedError) -> bool {
    matches!(error, SortedError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

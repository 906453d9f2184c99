//! The one seam to the disk: product code sees files only through [`Disk`] and [`File`].
//!
//! Paths are relative to the data directory, with `/` between their parts.

use std::fmt;
use std::io;

/// Bytes of which places and lengths of writes past the cache are multiples: no disk has larger blocks.
pub(crate) const BLOCK_BYTES: usize = 4096;

#[cfg(any(test, feature = "faulty"))]
pub mod faulty;
mod real;

pub use real::{LockError, RealDisk};

/// A data directory.
pub trait Disk: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its open files.
    type File: File;

    /// Creates a file for reading and writing. Fails with `AlreadyExists` when there is one.
    fn create_new(&self, path: &str) -> io::Result<Self::File>;
    /// Opens a file for reading and writing. Fails with `NotFound` when there is none.
    fn open(&self, path: &str) -> io::Result<Self::File>;
    /// Whether there is such a file or directory.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// Names of what a directory holds, sorted. Fails with `NotFound` when there is no such directory.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Renames a file, replacing what has the new name. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file a second name, which must not be taken. Durable after [`Disk::sync_dir`] of the new name's directory.
    /// Fails with `NotFound` when there is no such file, and where the file system has one name for a file only.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file's name. Durable after [`Disk::sync_dir`]; handles that are open go on reading.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Creates a directory and its parents where they do not exist. Durable after [`Disk::sync_dir`] of its parent.
    fn create_dir_all(&self, dir: &str) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable. The data directory itself is `""`.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Bytes that can still be written.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Bytes of zeros that are written at a time.
pub(crate) const ZEROS_BYTES: usize = 512 << 10;

/// Overwrites the bytes from `start` to `end` with zeros.
pub(crate) fn zero<F: File + ?Sized>(file: &F, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES)];
    let mut at = start;
    while at < end {
        let count = usize::try_from(end - at).unwrap_or(ZEROS_BYTES).min(zeros.len());
        file.write_at(&zeros[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// An open file. Several threads may read while one writes.
pub trait File: fmt::Debug + Send + Sync + 'static {
    /// Reads into `buf` from byte `at`; fewer bytes than asked at the end of the file, or for any other reason.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `buf` at byte `at`, extending the file where needed. Durable after [`File::sync_data`].
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()>;
    /// As [`File::write_at`], for much that is seldom read: past the system's cache, where bytes and file system allow
    /// that. To be called by the file's only user.
    fn write_past_cache_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.write_at(buf, at)
    }
    /// Takes the room for so many bytes and makes the file as long; what was not written reads as zeros. Durable after
    /// [`File::sync_data`]. Costs next to nothing where the file system can do it, but each later sync of bytes that were
    /// never written before costs more.
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        zero(self, self.len()?, bytes)
    }
    /// Makes everything written durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Names that the file has.
    fn links(&self) -> io::Result<u64>;
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from byte `at`. Fails with `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

//! The file system of the machine.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags, fallocate, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, retry_on_intr};

use super::{BLOCK_BYTES, Disk, File, zero};

/// A directory of the file system, held by at most one process at a time.
#[derive(Debug, Clone)]
pub struct RealDisk {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    root: PathBuf,
    // The lock lives as long as this handle; the kernel drops it when the process dies in any way.
    _lock: fs::File,
}

/// Why a data directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{} cannot be used as a data directory: {source}", path.display())]
    Io {
        /// The data directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RealDisk {
    /// Creates the directory where it does not exist, and holds it until the last clone is dropped.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, LockError> {
        let root = root.into();
        match Self::lock(&root) {
            Ok(lock) => Ok(Self { held: Arc::new(Held { root, _lock: lock }) }),
            Err(fs::TryLockError::WouldBlock) => Err(LockError::InUse { path: root }),
            Err(fs::TryLockError::Error(source)) => Err(LockError::Io { path: root, source }),
        }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.held.root
    }

    fn lock(root: &Path) -> Result<fs::File, fs::TryLockError> {
        let open = || {
            fs::create_dir_all(root)?;
            if let Some(parent) = root.canonicalize()?.parent() {
                fs::File::open(parent)?.sync_all()?;
            }
            fs::File::options().create(true).write(true).truncate(false).open(root.join("lock"))
        };
        let lock = open().map_err(fs::TryLockError::Error)?;
        lock.try_lock()?;
        Ok(lock)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.held.root.join(path)
    }
}

impl Disk for RealDisk {
    type File = fs::File;

    fn create_new(&self, path: &str) -> io::Result<fs::File> {
        fs::File::options().read(true).write(true).create_new(true).open(self.path(path))
    }

    fn open(&self, path: &str) -> io::Result<fs::File> {
        fs::File::options().read(true).write(true).open(self.path(path))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.path(path).try_exists()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fs::File::open(self.path(dir))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.held.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl File for fs::File {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, at)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, buf, at)
    }

    fn write_past_cache_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        if !buf.len().is_multiple_of(BLOCK_BYTES) || !at.is_multiple_of(BLOCK_BYTES as u64) {
            return File::write_at(self, buf, at);
        }
        // The kernel takes such bytes from the memory where they are, which begins at a block too.
        let mut room: Vec<u8> = Vec::with_capacity(buf.len() + BLOCK_BYTES);
        let start = room.as_ptr().align_offset(BLOCK_BYTES);
        room.resize(start, 0);
        room.extend_from_slice(buf);
        let flags = fcntl_getfl(self)?;
        match fcntl_setfl(self, flags | OFlags::DIRECT) {
            Ok(()) => {
                let written = File::write_at(self, &room[start..], at);
                fcntl_setfl(self, flags)?;
                match written {
                    Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                        File::write_at(self, buf, at)
                    }
                    written => written,
                }
            }
            // Not every file system can do so.
            Err(Errno::INVAL) => File::write_at(self, buf, at),
            Err(error) => Err(error.into()),
        }
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match retry_on_intr(|| fallocate(self, FallocateFlags::empty(), 0, bytes)) {
            // Not every file system can do so.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => zero(self, File::len(self)?, bytes),
            reserved => Ok(reserved?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn links(&self) -> io::Result<u64> {
        Ok(self.metadata()?.nlink())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_the_cache_is_read_back_and_goes_on_with_what_does_not() {
        let root = std::env::temp_dir().join(format!("hcube-real-disk-{}", std::process::id()));
        let disk = RealDisk::open(&root).unwrap();
        let file = disk.create_new("file").unwrap();
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES + 700).map(|at| (at % 251) as u8).collect();
        // The memory begins where it likes.
        file.write_past_cache_at(&bytes[..2 * BLOCK_BYTES], 0).unwrap();
        file.write_past_cache_at(&bytes[2 * BLOCK_BYTES..3 * BLOCK_BYTES], 2 * BLOCK_BYTES as u64).unwrap();
        file.write_past_cache_at(&bytes[3 * BLOCK_BYTES..], 3 * BLOCK_BYTES as u64).unwrap();
        file.sync_data().unwrap();
        let mut read = vec![0; bytes.len()];
        File::read_exact_at(&disk.open("file").unwrap(), &mut read, 0).unwrap();
        assert!(read == bytes && file.len().unwrap() == bytes.len() as u64);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn reserved_room_reads_as_zeros_and_what_was_written_stays() {
        let root = std::env::temp_dir().join(format!("hcube-real-disk-room-{}", std::process::id()));
        let disk = RealDisk::open(&root).unwrap();
        let file = disk.create_new("file").unwrap();
        File::write_at(&file, b"written", 0).unwrap();
        File::reserve(&file, 100_000).unwrap();
        assert_eq!(file.len().unwrap(), 100_000);
        let mut read = vec![1; 100_000];
        File::read_exact_at(&file, &mut read, 0).unwrap();
        assert!(read.starts_with(b"written") && read[7..].iter().all(|byte| *byte == 0));
        fs::remove_dir_all(root).unwrap();
    }
}

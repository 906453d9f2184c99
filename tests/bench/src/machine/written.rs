//! Bytes that go to the disk under a load, whoever hands them over: the disk's own count, not the servers' (`write_bytes`
//! in `/proc/PID/io`). A kernel that keeps large pieces of a file together counts a whole piece, 1 MiB here, for a server
//! that changes 4 KiB of it, and what the file system writes for its journal it counts for nobody.

use std::fs::{self, File};
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::workloads::Figure;

/// Bytes of a sector, whatever the disk calls one (Documentation/block/stat.rst of the kernel).
const SECTOR_BYTES: u64 = 512;

/// The disk on which the servers' folders are.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Any file of the file system.
    folder: Arc<File>,
    /// Where the kernel says what the disk has done.
    counts: PathBuf,
}

impl Storage {
    /// The disk of a folder.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn of(folder: &Path) -> Result<Self> {
        let folder = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
        let device = folder.metadata()?.st_dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let counts = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        Ok(Self { folder: Arc::new(folder), counts })
    }

    /// Begins to count, after everything that waits to be written has been.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn begin(&self) -> Result<Begun> {
        Ok(Begun { storage: self.clone(), before: self.written_bytes().await? })
    }

    /// Bytes so far, with everything that waits to be written; none where the file system is not on one disk that counts.
    async fn written_bytes(&self) -> Result<Option<u64>> {
        let folder = Arc::clone(&self.folder);
        tokio::task::spawn_blocking(move || rustix::fs::syncfs(&*folder)).await?.context("syncfs")?;
        let counts = fs::read_to_string(&self.counts).unwrap_or_default();
        let sectors = counts.split_whitespace().nth(6).and_then(|field| field.parse::<u64>().ok());
        Ok(sectors.map(|sectors| sectors * SECTOR_BYTES))
    }
}

/// A count that has begun.
#[derive(Debug)]
pub struct Begun {
    storage: Storage,
    before: Option<u64>,
}

impl Begun {
    /// A figure of this name: what went to the disk for each byte of payload that was acknowledged since the count began.
    /// Whatever else is written to that disk is in it. None where the disk does not count.
    ///
    /// # Errors
    /// When what waits to be written cannot be.
    pub async fn end(self, metric: &'static str, payload_bytes: u64) -> Result<Option<Figure>> {
        let now = self.storage.written_bytes().await?;
        let bytes = now.zip(self.before).map(|(now, before)| now.saturating_sub(before));
        Ok(bytes.map(|bytes| (metric, bytes as f64 / payload_bytes as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_counted_once_it_is_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let begun = Storage::of(dir.path()).unwrap().begin().await.unwrap();
        fs::write(dir.path().join("file"), vec![7; 4 << 20]).unwrap();
        // A folder in memory is on no disk, which has no count then.
        if let Some((metric, share)) = begun.end("w2-written", 4 << 20).await.unwrap() {
            assert_eq!(metric, "w2-written");
            assert!(share >= 1.0, "{share}");
        }
    }
}

//! Disks that lie, and what tests do to disks behind the product's back.

use super::{FaultyDisk, lock};

/// What a disk says that is not so. None of it by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lies {
    /// `sync_dir` says that it worked, and does nothing.
    pub about_dir_syncs: bool,
    /// `sync_data` of files that were opened below this directory says that it worked, and does nothing.
    pub about_syncs_in: Option<&'static str>,
    /// A sync that fails says that it worked.
    pub about_sync_errors: bool,
    /// Each file is said to have one name.
    pub about_links: bool,
}

impl Lies {
    pub(super) fn skip(self, path: &str) -> bool {
        self.about_syncs_in.is_some_and(|dir| path.starts_with(dir))
    }
}

impl FaultyDisk {
    /// From now on the disk lies like this, also after crashes.
    pub fn lie(&self, lies: Lies) {
        self.lock().lies = lies;
    }

    /// A sync that was to fail works after all.
    pub fn clear_sync_failure(&self) {
        self.lock().fail_next_sync = false;
    }

    /// Paths of all files, sorted, with the bytes up to the last one that is not 0.
    #[must_use]
    pub fn content(&self) -> Vec<(String, u64)> {
        let world = self.lock();
        world.files.iter().map(|(path, inode)| (path.clone(), lock(inode).content_end() as u64)).collect()
    }

    /// Blanks the last bytes of content, durably, in the newest file below a directory that has any.
    pub fn cut_newest(&self, dir: &str, bytes: usize) {
        let world = self.lock();
        for (_, inode) in world.files.iter().rev().filter(|(path, _)| path.starts_with(dir)) {
            let mut inode = lock(inode);
            let end = inode.content_end();
            // A segment's header is no content.
            if end > 512 {
                return inode.blank(end.saturating_sub(bytes).max(512));
            }
        }
    }
}
